"""Batches of (user, positive, negatives), drawn without a Python loop over pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gclrec.contrast.negatives import Sampler
from gclrec.graph.bipartite import BipartiteGraph


@dataclass(frozen=True)
class Batch:
    """Training pairs and what to compare them with.

    Args:
        users: ``(B,)`` int64.
        positives: ``(B,)`` int64.
        negatives: ``(B, N)`` int64, each pair's own, or ``(N,)``, shared by all.
        log_weight: how much each negative counts; see :class:`~gclrec.contrast.negatives.Negatives`.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor
    log_weight: Tensor | None = None


class PairBatches:
    """Every training pair once an epoch, in a new order each time.

    Args:
        graph: the training interactions.
        batch_size: pairs in a batch; the last of an epoch may be smaller.
        negatives: how negatives are drawn.
        generator: all randomness comes from here.
        known_only: draw negatives among the items that have an interaction. With attributes an item without
            any is one that has yet to appear, and as a negative it would teach that nobody wants its kind.

    Pairs of users who have interacted with *every* item are left out: such a user has no negative.

    Raises:
        ValueError: no pair is left to train on.
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        batch_size: int,
        negatives: Sampler,
        generator: Generator,
        *,
        known_only: bool = False,
    ) -> None:
        self.graph = graph
        self.batch_size = batch_size
        self.negatives = negatives
        self.generator = generator
        users, items = graph.edge_index
        known = graph.degrees()[1] > 0
        self._known: Tensor | None = None  # numbers of the items that negatives are drawn among
        if known_only and not bool(known.all()):
            self._known = known.nonzero().squeeze(1)
            self._place = known.cumsum(0) - 1
            among = torch.stack([users, self._place[items]])
            graph = BipartiteGraph(graph.num_users, len(self._known), among)
        self._among = graph
        usable = graph.user_degrees[users] < graph.num_items
        self.users, self.items = users[usable], items[usable]
        if len(self.users) == 0:
            raise ValueError(
                "there is nothing to train on: no user has both an interaction and an item left over"
            )

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.users), generator=self.generator, device=self.users.device)
        for places in order.split(self.batch_size):
            users, positives = self.users[places], self.items[places]
            if self._known is None:
                negatives = self.negatives(self.graph, users, positives, generator=self.generator)
                yield Batch(users, positives, *negatives)
            else:
                places = self._place[positives]
                found, log_weight = self.negatives(self._among, users, places, generator=self.generator)
                yield Batch(users, positives, self._known[found], log_weight)
