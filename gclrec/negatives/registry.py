"""Where the items come from that a user is *not* drawn to: the table of all samplers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.negatives.per_pair import Exposed, popularity, uniform
from gclrec.negatives.sampler import Negatives, Sampler
from gclrec.negatives.shared import Queue, in_batch, mixed, shared

__all__ = [
    "NEGATIVES",
    "Exposed",
    "Negatives",
    "Queue",
    "Sampler",
    "build_sampler",
    "in_batch",
    "mixed",
    "none",
    "popularity",
    "shared",
    "uniform",
]


def none(
    graph: BipartiteGraph,  # noqa: ARG001 - the signature of all
    users: Tensor,
    positives: Tensor,  # noqa: ARG001
    *,
    generator: Generator | None = None,  # noqa: ARG001
) -> Negatives:
    """Draw nothing, for a loss that compares with no negative."""
    return Negatives(users.new_empty(0))


def build_sampler(
    name: str, graph: BipartiteGraph, *, exposed: Tensor | None = None, **settings: Any
) -> Sampler:
    """Return a sampler by its name in :data:`NEGATIVES`.

    Args:
        name: the kind.
        graph: the training graph that it will be used with.
        exposed: ``(2, X)`` pairs that were shown and not clicked, for ``exposed``.
        settings: the keyword arguments that its entry names; the others keep their defaults.

    Raises:
        ValueError: ``name`` is not known, or ``exposed`` is asked for without pairs.
    """
    if name not in NEGATIVES:
        raise ValueError(f"name must be one of {', '.join(NEGATIVES)}, got {name!r}")
    return NEGATIVES[name].make(graph, exposed, **settings)


def _plain(draw: Sampler) -> Callable[..., Sampler]:
    def make(graph: BipartiteGraph, exposed: Tensor | None, **settings: Any) -> Sampler:  # noqa: ARG001
        return partial(draw, **settings)

    return make


def _queue(graph: BipartiteGraph, exposed: Tensor | None, **settings: Any) -> Sampler:  # noqa: ARG001
    return Queue(**settings).to(graph.device)


def _exposed(graph: BipartiteGraph, exposed: Tensor | None, **settings: Any) -> Sampler:
    if exposed is None:
        raise ValueError("exposed negatives need a table of pairs that were shown and not clicked")
    return Exposed(graph, exposed, **settings)


@dataclass(frozen=True)
class Kind:
    """One entry of :data:`NEGATIVES`.

    Args:
        make: ``make(graph, exposed, **settings)`` returns the sampler.
        settings: its keyword arguments, and the training settings that they are taken from.
    """

    make: Callable[..., Sampler]
    settings: Mapping[str, str]


_COUNT = {"count": "num_negatives", "log_q": "logq"}

NEGATIVES: Mapping[str, Kind] = {
    "uniform": Kind(_plain(uniform), _COUNT),
    "popularity": Kind(_plain(popularity), {**_COUNT, "alpha": "popularity_alpha"}),
    "shared": Kind(_plain(shared), _COUNT),
    "in_batch": Kind(_plain(in_batch), {"log_q": "logq"}),
    "mixed": Kind(_plain(mixed), {**_COUNT, "share": "mixed_share"}),
    "exposed": Kind(_exposed, {**_COUNT, "share": "exposed_share"}),
    "queue": Kind(_queue, {"size": "queue_size", "log_q": "logq"}),
}
