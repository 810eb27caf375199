"""Encoders: from a graph to users' and items' embeddings. Each is usable alone, on a plain ``edge_index``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Generator, Tensor, nn

from gclrec.encoders.egcf import EGCF
from gclrec.encoders.embeddings import Embeddings, GraphLike, Perturbation
from gclrec.encoders.lightgcn import LAYER_WEIGHTS, LightGCN
from gclrec.encoders.mf import MF

__all__ = ["EGCF", "ENCODERS", "LAYER_WEIGHTS", "MF", "Embeddings", "Encoder", "LightGCN", "build_encoder"]


class Encoder(Protocol):
    """What training and views ask of an encoder, beside being an ``nn.Module``."""

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """Trainable vectors before propagation, users ``(U, D)`` and items ``(I, D)``."""

    def __call__(
        self, graph: GraphLike, *, layers: bool = False, perturb: Perturbation | None = None
    ) -> Embeddings:
        """Return the embeddings of all users and items on ``graph``."""


def build_encoder(
    name: str,
    num_users: int,
    num_items: int,
    *,
    dim: int = 64,
    num_layers: int = 3,
    layer_weights: str = "mean",
    init_std: float = 0.1,
    generator: Generator | None = None,
) -> MF | LightGCN | EGCF:
    """Return an encoder by its name in :data:`ENCODERS`; what does not concern it is left aside."""
    if name == "mf":
        return MF(num_users, num_items, dim, init_std=init_std, generator=generator)
    if name == "egcf":
        return EGCF(num_users, num_items, dim, num_layers, init_std=init_std, generator=generator)
    return LightGCN(
        num_users,
        num_items,
        dim,
        num_layers,
        layer_weights=layer_weights,
        init_std=init_std,
        generator=generator,
    )


ENCODERS: Mapping[str, type[nn.Module]] = {"lightgcn": LightGCN, "mf": MF, "egcf": EGCF}
