"""Batches of (user, positive, negatives), drawn without a Python loop over pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.negatives.sampler import Sampler


@dataclass(frozen=True)
class Batch:
    """Training pairs and what to compare them with.

    Args:
        users: ``(B,)`` int64.
        positives: ``(B,)`` int64.
        negatives: ``(B, N)`` int64, each pair's own, or ``(N,)``, shared by all.
        log_weight: how much each negative counts; see :class:`~gclrec.negatives.sampler.Negatives`.
        seen: negatives that do not count for a pair; likewise.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor
    log_weight: Tensor | None = None
    seen: Tensor | None = None


@dataclass(frozen=True, eq=False)
class KnownItems:
    """The items with an interaction, numbered on their own, from which negatives are drawn.

    With attributes, an item without interactions is a new one; as a negative it would teach the model that
    items with its attributes are not wanted.

    Args:
        graph: the same interactions, between all users and the known items.
        items: ``(K,)`` number of each known item among all.
        place: ``(I,)`` number of each item among the known ones; means nothing for another.
        known: ``(I,)`` bool.
    """

    graph: BipartiteGraph
    items: Tensor
    place: Tensor
    known: Tensor

    @classmethod
    def of(cls, graph: BipartiteGraph) -> KnownItems:
        """Return those of a graph."""
        known = graph.degrees()[1] > 0
        place = known.cumsum(0) - 1
        users, items = graph.edge_index
        among = BipartiteGraph(graph.num_users, int(known.sum()), torch.stack([users, place[items]]))
        return cls(among, known.nonzero().squeeze(1), place, known)

    def renumbered(self, pairs: Tensor) -> Tensor:
        """Return those of some pairs ``(2, X)`` whose item is known, by its number among the known ones."""
        users, items = pairs[:, self.known[pairs[1]]]
        return torch.stack([users, self.place[items]])


class PairBatches:
    """Every training pair once an epoch, in a new order each time.

    Args:
        graph: the training interactions.
        batch_size: pairs in a batch; the last of an epoch may be smaller.
        negatives: how negatives are drawn.
        generator: all randomness comes from here.
        known: draw negatives among these items; ``negatives`` is then made for their graph. Among all if
            ``None``.

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
        known: KnownItems | None = None,
    ) -> None:
        self.graph = graph
        self.batch_size = batch_size
        self.negatives = negatives
        self.generator = generator
        users, items = graph.edge_index
        self._known = known
        among = graph if known is None else known.graph
        usable = graph.user_degrees[users] < among.num_items
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
                found, *weights = self.negatives(
                    self._known.graph, users, self._known.place[positives], generator=self.generator
                )
                yield Batch(users, positives, self._known.items[found], *weights)
