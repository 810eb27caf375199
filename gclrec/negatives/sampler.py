"""What all samplers of negatives share."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.csr import positions


class Negatives(NamedTuple):
    """Items to compare a batch's positives with.

    Args:
        items: item numbers, ``(B, N)`` with each row's own, or ``(N,)`` distinct ones shared by all rows.
        log_weight: how much each counts, as a logarithm: broadcasts to ``(B, N)``, and minus infinity is an
            item that does not count for that row. ``None``: each counts once.
        seen: ``(H,)`` int64 places ``row * N + column`` that do not count either, in order of rows: what a
            row's user has an interaction with. ``None``: there are none.
    """

    items: Tensor
    log_weight: Tensor | None = None
    seen: Tensor | None = None


class Sampler(Protocol):
    """Draws the negatives of a batch. No sampler lets a user's training item count as its negative.

    Most are pure functions. One that remembers something from batch to batch is an ``nn.Module`` and has it
    in its buffers, so that a checkpoint is complete.
    """

    def __call__(
        self, graph: BipartiteGraph, users: Tensor, positives: Tensor, *, generator: Generator | None = None
    ) -> Negatives:
        """Return the negatives of the training pairs ``users (B,)``, ``positives (B,)``."""


def expected_times(graph: BipartiteGraph, items: Tensor, pairs: int) -> Tensor:
    """Return how often each item is expected among so many training pairs, ``(N,)``."""
    degree = graph.remember("item_degrees", lambda: graph.degrees()[1])[items]
    return degree * (pairs / max(graph.num_edges, 1))


def seen_places(graph: BipartiteGraph, users: Tensor, items: Tensor) -> Tensor:
    """Return where users have the item already, as :class:`Negatives` has it.

    A list of places instead of a mask ``(B, N)``: it is made of the users' own edges, of which few are among
    the items, and a loss touches nothing else.

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers.
        items: ``(N,)`` distinct item numbers.
    """
    edges = graph.arrangement
    column = torch.full((graph.num_items,), -1, dtype=edges.user_to.dtype, device=items.device)
    column[items] = torch.arange(len(items), dtype=column.dtype, device=items.device)
    start, degree = edges.user_ptr[users].long(), graph.user_degrees[users]
    ends = degree.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    rows = torch.arange(len(users), device=users.device)

    def of_edges(values: Tensor) -> Tensor:
        return values.repeat_interleave(degree, output_size=total)

    edge = of_edges(start - ends + degree) + torch.arange(total, device=users.device)
    found = column.index_select(0, edges.user_to.index_select(0, edge))
    held = positions(found >= 0)
    first = of_edges(rows * len(items)).index_select(0, held)
    return first + found.index_select(0, held)
