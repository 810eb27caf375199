"""The registry of negative samplers: which items a user is pushed away from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Generator, Tensor

from gclrec.common.declaration import Declared, declarations
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.negatives.per_pair import Exposed, by_popularity, check_exposed, uniform
from gclrec.negatives.queue import Queue
from gclrec.negatives.sampler import Negatives, Sampler
from gclrec.negatives.shared import in_batch, mixed, shared


@dataclass(frozen=True)
class NegativeSampler:
    """One entry of :data:`NEGATIVES`.

    Args:
        draw: the sampler, a function or a class; its annotated keyword arguments are settings of a run.
        about: where negatives come from, in a few words.
        make: ``make(graph, exposed=..., **settings)`` makes the sampler of a class; ``None`` for a function.
        sized_by: public name of the setting that sets how many there are; ``None``: their number is one.
        needs_exposed: whether it needs a table of pairs that were shown and not clicked.
        check: raises :class:`~gclrec.common.errors.SettingError` for settings that contradict each other.
    """

    draw: Callable[..., Any]
    about: str
    make: Callable[..., Sampler] | None = None
    sized_by: str | None = None
    needs_exposed: bool = False
    check: Callable[..., None] | None = None

    @property
    def declared(self) -> Mapping[str, Declared]:
        """Its settings by keyword argument."""
        return declarations(self.draw)


def no_negatives(
    graph: BipartiteGraph,  # noqa: ARG001 - the signature of all
    users: Tensor,
    positives: Tensor,  # noqa: ARG001
    *,
    generator: Generator | None = None,  # noqa: ARG001
) -> Negatives:
    """Draw nothing, for a loss without negatives."""
    return Negatives(users.new_empty(0))


def build_sampler(
    name: str, graph: BipartiteGraph, *, exposed: Tensor | None = None, **settings: Any
) -> Sampler:
    """Return a sampler by its name in :data:`NEGATIVES`.

    Args:
        name: of the sampler.
        graph: the training graph that it will be used with.
        exposed: ``(2, X)`` pairs that were shown and not clicked, for ``exposed``.
        settings: keyword arguments of the sampler; the others keep their defaults.

    Raises:
        ValueError: ``name`` is not known, or the sampler needs ``exposed`` pairs and there are none.
    """
    if name not in NEGATIVES:
        raise ValueError(f"name must be one of {', '.join(NEGATIVES)}, got {name!r}")
    entry = NEGATIVES[name]
    if entry.make is None:
        return partial(entry.draw, **settings)
    return entry.make(graph, exposed=exposed, **settings)


def _queue(graph: BipartiteGraph, *, exposed: Tensor | None, **settings: Any) -> Sampler:  # noqa: ARG001
    return Queue(**settings).to(graph.device)


def _exposed(graph: BipartiteGraph, *, exposed: Tensor | None, **settings: Any) -> Sampler:
    if exposed is None:
        raise ValueError("exposed negatives need a table of pairs that were shown and not clicked")
    return Exposed(graph, exposed, **settings)


NEGATIVES: Mapping[str, NegativeSampler] = {
    "uniform": NegativeSampler(uniform, "all items alike"),
    "popularity": NegativeSampler(by_popularity, "popular items more often"),
    "shared": NegativeSampler(shared, "uniform items, the same for the whole batch"),
    "in_batch": NegativeSampler(in_batch, "the batch's other items", sized_by="batch_size"),
    "mixed": NegativeSampler(mixed, "in_batch and shared together"),
    "exposed": NegativeSampler(
        Exposed, "items shown and not clicked", _exposed, needs_exposed=True, check=check_exposed
    ),
    "queue": NegativeSampler(Queue, "the items of the last batches", _queue, sized_by="queue_size"),
}
"""Negative samplers by the name that ``negatives`` takes."""
