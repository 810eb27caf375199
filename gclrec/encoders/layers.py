"""How the layers of a graph encoder are combined."""

from __future__ import annotations

LAYER_WEIGHTS = ("mean", "mean_without_0", "last", "learned")
"""How layers 0..L are combined: LightGCN's mean, SimGCL's mean of 1..L, the last alone, or a learned mix."""

USER_VECTORS = ("free", "items")
"""What a user is before propagation: a vector of its own, or what its items make of it."""


def fixed_weights(name: str, num_layers: int) -> list[float] | None:
    """Return ``w_0 .. w_L`` of a name in :data:`LAYER_WEIGHTS`, or ``None`` when they are learned."""
    return {
        "mean": [1.0 / (num_layers + 1)] * (num_layers + 1),
        "mean_without_0": [0.0] + [1.0 / max(num_layers, 1)] * num_layers,
        "last": [0.0] * num_layers + [1.0],
    }.get(name)


def check_layers(name: str, num_layers: int) -> None:
    """Raise ``ValueError`` unless the name is known and suits the number of layers."""
    if name not in LAYER_WEIGHTS:
        raise ValueError(f"layer_weights must be one of {', '.join(LAYER_WEIGHTS)}, got {name!r}")
    least = int(name == "mean_without_0")
    if num_layers < least:
        raise ValueError(f"num_layers must be at least {least}, got {num_layers}")
