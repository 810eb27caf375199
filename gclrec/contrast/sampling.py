"""What all samplers of negatives share."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph


class Negatives(NamedTuple):
    """Items to compare a batch's positives with.

    Args:
        items: item numbers, ``(B, N)`` with each row's own, or ``(N,)`` distinct ones shared by all rows.
        log_weight: how much each counts, as a logarithm: broadcasts to ``(B, N)``, and minus infinity is an
            item that does not count for that row. ``None``: each counts once.
    """

    items: Tensor
    log_weight: Tensor | None = None


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


def without_seen(graph: BipartiteGraph, users: Tensor, items: Tensor, weight: Tensor) -> Tensor:
    """Return ``weight (N,)`` for every row, ``(B, N)``, minus infinity where the user has the item."""
    slot = items.new_full((graph.num_items,), -1)
    slot[items] = torch.arange(len(items), device=items.device)
    edges = graph.arrangement
    start, degree = edges.user_ptr[users].long(), graph.user_degrees[users]
    ends = degree.cumsum(0)
    row = torch.arange(len(users), device=users.device).repeat_interleave(degree)
    place = torch.arange(len(row), device=users.device) + (start - ends + degree)[row]
    found = slot[edges.user_to[place].long()]
    held = found >= 0
    result = weight.expand(len(users), -1).contiguous()
    result[row[held], found[held]] = -torch.inf
    return result
