"""Batches of (user, positive, negatives), drawn without a Python loop over pairs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from gclrec.common.errors import InputWarning, NoNegativesError
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
    """Every training pair once a pass, in a new order each time.

    A batch is a tuple of parts of nearly equal size with negatives of their own; see
    :class:`~gclrec.training.objective.Objective`.

    Args:
        graph: the training interactions.
        batch_size: pairs in a batch; the last of an epoch may be smaller.
        negatives: how negatives are drawn.
        generator: all randomness comes from here.
        known: draw negatives among these items; ``negatives`` is then made for their graph. Among all if
            ``None``.
        most: pairs in a part, at most.
        seed: of the orders of :meth:`between`.

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
        most: int | None = None,
        seed: int = 0,
    ) -> None:
        self.graph = graph
        self.batch_size = batch_size
        self.negatives = negatives
        self.generator = generator
        self.most = batch_size if most is None else most
        self.seed = seed
        self.users, self.items = graph.edges.user_of, graph.edges.user_to
        self._known = known
        among = graph if known is None else known.graph
        if bool((graph.user_degrees >= among.num_items).any()):
            usable = graph.user_degrees[self.users] < among.num_items
            self.users, self.items = self.users[usable], self.items[usable]
        if len(self.users) == 0:
            raise NoNegativesError(
                "there is nothing to train on: no user has both an interaction and an item left over"
            )
        full = int((graph.user_degrees >= among.num_items).sum())
        if full:
            have = "user has" if full == 1 else "users have"
            message = (
                f"{full:,} {have} every item of training, so no negative is left to learn from their pairs"
            )
            warnings.warn(message, InputWarning, stacklevel=2)

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Batch, ...]]:
        order = torch.randperm(len(self.users), generator=self.generator, device=self.users.device)
        for places in order.split(self.batch_size):
            yield self._batch(places)

    def between(self, first: int, last: int) -> Iterator[tuple[Batch, ...]]:
        """Yield the batches of some steps of one long run, whatever pass they fall into.

        The order of a pass depends on the seed and its number alone, so a run can begin at any step. All
        batches of a pass have nearly the same size.

        Args:
            first: number of the first step, from 0.
            last: number of the step after the last.
        """
        order, drawn = torch.empty(0), -1
        for step in range(first, last):
            number, place = divmod(step, len(self))
            if number != drawn:
                seed = np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)[0]
                shuffle = Generator(self.users.device).manual_seed(int(seed >> np.uint64(1)))
                order, drawn = (
                    torch.randperm(len(self.users), generator=shuffle, device=self.users.device),
                    number,
                )
            begin, end = (len(order) * at // len(self) for at in (place, place + 1))
            yield self._batch(order[begin:end])

    def _batch(self, places: Tensor) -> tuple[Batch, ...]:
        return tuple(map(self._part, places.tensor_split(-(-len(places) // self.most))))

    def _part(self, places: Tensor) -> Batch:
        users, positives = self.users[places].long(), self.items[places].long()
        if self._known is None:
            return Batch(
                users, positives, *self.negatives(self.graph, users, positives, generator=self.generator)
            )
        found, *weights = self.negatives(
            self._known.graph, users, self._known.place[positives], generator=self.generator
        )
        return Batch(users, positives, self._known.items[found], *weights)
