"""Negatives from the last batches."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Generator, Tensor, nn

from gclrec.common.declaration import Around, Setting
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.negatives.sampler import (
    LogQ,
    LogQPositive,
    Negatives,
    expected_times,
    seen_places,
    with_positives,
)
from gclrec.negatives.shared import other_rows

QUEUE_SIZE = Setting(
    "queue_size",
    "Training pairs whose items queue negatives keep; keys in each of moco's queues.",
    low=1,
    high=2**24,
    search=Around(4.0),
)
"""Length of a queue, here and in momentum contrast."""


class Queue(nn.Module):
    r"""Take the positives of the other rows and those of the last batches (cross-batch negatives, [1], [2]).

    The queue holds the items of the last ``size`` training pairs before this batch, first in first out, as
    often as they occurred. It keeps item *numbers*, not vectors: the published queues keep old vectors
    because encoding their items again would cost too much, while a graph encoder makes all vectors in every
    step anyway. So each item is scored by its current vector and passes gradient, and no warm-up is needed.
    With ``log_q`` the weight is the inverse of how often an item is expected,

    .. math:: (B - 1 + Q) \frac{\deg i}{E}

    where ``Q`` is the number of items in the queue.

    Args:
        size: pairs whose items are kept.
        log_q: whether the weights correct for how often an item is expected.
        log_q_positive: whether the positive is corrected too.

    Raises:
        ValueError: ``size`` is below 1.

    [1] Wang et al., SIGIR 2021 (CBNS), https://arxiv.org/abs/2110.15154
    [2] Wang et al., CVPR 2020 (XBM), https://arxiv.org/abs/1912.06798
    """

    items: Tensor

    def __init__(
        self,
        size: Annotated[int, QUEUE_SIZE] = 4096,
        *,
        log_q: LogQ = False,
        log_q_positive: LogQPositive = False,
    ) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.log_q = log_q
        self.log_q_positive = log_q_positive
        self.register_buffer("items", torch.full((size,), -1))

    def forward(
        self,
        graph: BipartiteGraph,
        users: Tensor,
        positives: Tensor,
        *,
        generator: Generator | None = None,  # noqa: ARG002 - the signature of all
    ) -> Negatives:
        """Return distinct items with a ``log_weight`` each and ``seen``, and put the batch into the queue."""
        held = self.items[self.items >= 0]
        items, times = torch.cat([positives, held]).unique(return_counts=True)
        weight = times.float().log()
        if self.log_q:
            pairs = other_rows(users) + len(held)
            weight -= expected_times(graph, items, pairs).log()
            if self.log_q_positive:
                weight = with_positives(weight, expected_times(graph, positives, pairs).log())
        found = Negatives(items, weight, seen_places(graph, users, items))
        self.items.copy_(torch.cat([self.items, positives])[-len(self.items) :])  # oldest first
        return found
