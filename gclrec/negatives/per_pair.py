"""Negatives of each row's own: uniform, by popularity, or from what its user was shown and did not click."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.negatives.sampler import Negatives


def uniform(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,  # noqa: ARG001 - the signature of all
    *,
    count: int = 1,
    log_q: bool = False,
    generator: Generator | None = None,
) -> Negatives:
    """Draw for each row its own items, uniformly from those that its user has no interaction with.

    The draw is exact and needs no second try: a rank among the user's missing items is drawn and
    looked up. So it takes the same time for a user who has seen nearly everything.

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers; each has at least one item left.
        positives: ``(B,)`` item numbers; all are interactions, so they are never drawn.
        count: items drawn for each row, with replacement.
        log_q: subtract the logarithm of how often an item is expected to be drawn.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        Items ``(B, count)``, none of which is an interaction of its user.

    Raises:
        ValueError: a user has interacted with every item.
    """
    items, missing = _missing_items(graph, users, count, generator)
    return Negatives(items, (missing.float() / count).log().unsqueeze(1) if log_q else None)


def popularity(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,  # noqa: ARG001 - the signature of all
    *,
    count: int = 1,
    alpha: float = 0.75,
    log_q: bool = False,
    generator: Generator | None = None,
) -> Negatives:
    r"""Draw for each row its own items by popularity, from those that its user has no interaction with.

    .. math:: P(i \mid u) \propto \max(\deg i, 1)^\alpha \quad \text{for } i \notin N(u)

    As exact as :func:`uniform`, and as quick: no draw is rejected. The exponent 0.75 is word2vec's, [1].

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers; each has at least one item left.
        positives: ``(B,)`` item numbers; all are interactions, so they are never drawn.
        count: items drawn for each row, with replacement.
        alpha: 0 is uniform, 1 is by the number of interactions.
        log_q: subtract the logarithm of how often an item is expected to be drawn.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        Items ``(B, count)``, none of which is an interaction of its user.

    Raises:
        ValueError: a user has interacted with every item.

    [1] Mikolov et al., NeurIPS 2013, https://arxiv.org/abs/1310.4546
    """
    masses = graph.remember(("popularity", alpha), lambda: _Masses.of(graph, alpha))
    left = masses.left[users]
    if len(left) and int(left.min()) <= 0:
        raise ValueError("a user has interacted with every item, so there is no negative to draw")
    place = _places(len(users), count, generator, users.device)
    items = masses.item_at(_repeated(users, count), (place * left.unsqueeze(1)).long().view(-1))
    items = items.view(-1, count)
    if not log_q:
        return Negatives(items)
    expected = count * masses.mass[items].double() / left.unsqueeze(1)
    return Negatives(items, -expected.log().float())


class Exposed:
    r"""Draw from what a user was shown and did not click, mixed with uniform items.

    Each of a row's negatives is, with probability ``share``, one of its user's exposed items, all alike, and
    otherwise one of all items that the user has no interaction with. A user without exposed items gets
    uniform ones only. With ``log_q`` the weight is the inverse of how often an item is expected,

    .. math:: N \Big( p \frac{[i \in X_u]}{|X_u|} + (1 - p) \frac{1}{I - \deg u} \Big)

    from both sources together.

    Args:
        graph: the training interactions; a pair that is one of them is left out of the exposed ones.
        exposed: ``(2, X)`` users and items of distinct pairs.
        share: the probability ``p``, in ``[0, 1]``.
        count: items ``N`` drawn for each row, with replacement.
        log_q: subtract the logarithm of how often an item is expected to be drawn; for ``share`` below 1,
            since otherwise most items never are.

    Raises:
        ValueError: ``share`` is out of range, or is 1 with ``log_q``.
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        exposed: Tensor,
        *,
        share: float = 0.5,
        count: int = 1,
        log_q: bool = False,
    ) -> None:
        if not 0.0 <= share <= 1.0 or (log_q and share == 1.0):
            raise ValueError(f"share must be in [0, 1], and below 1 with log_q; got {share}")
        fresh = ~graph.contains(*exposed)
        self.exposed = BipartiteGraph(graph.num_users, graph.num_items, exposed[:, fresh])
        self.share = share
        self.count = count
        self.log_q = log_q

    def __call__(
        self,
        graph: BipartiteGraph,
        users: Tensor,
        positives: Tensor,  # noqa: ARG002 - the signature of all
        *,
        generator: Generator | None = None,
    ) -> Negatives:
        """Return items ``(B, count)``, none of which is an interaction of its user.

        Raises:
            ValueError: a user has interacted with every item.
        """
        items, missing = _missing_items(graph, users, self.count, generator)
        shown = self.exposed.user_degrees[users].unsqueeze(1)
        share = torch.where(shown > 0, self.share, 0.0)
        chosen = _places(len(users), self.count, generator, users.device) < share
        place = (_places(len(users), self.count, generator, users.device) * shown).long()
        if self.exposed.num_edges:
            edges = self.exposed.arrangement
            place = (place + edges.user_ptr[users].unsqueeze(1)).clamp_(max=self.exposed.num_edges - 1)
            items = torch.where(chosen, edges.user_to[place].long(), items)
        if not self.log_q:
            return Negatives(items)
        found = self.exposed.contains(_repeated(users, self.count), items.view(-1)).view_as(items)
        expected = share * found / shown.clamp(min=1) + (1.0 - share) / missing.unsqueeze(1)
        return Negatives(items, -(self.count * expected).log())


def _missing_items(
    graph: BipartiteGraph, users: Tensor, count: int, generator: Generator | None
) -> tuple[Tensor, Tensor]:
    """Return items ``(B, count)`` uniform over those a user has not, and how many these are, ``(B,)``."""
    missing = graph.num_items - graph.user_degrees[users]
    if len(missing) and int(missing.min()) <= 0:
        raise ValueError("a user has interacted with every item, so there is no negative to draw")
    place = _places(len(users), count, generator, users.device)
    rank = (place * missing.unsqueeze(1)).long().view(-1)
    return graph.nth_missing_item(_repeated(users, count), rank).view(-1, count), missing


def _places(rows: int, count: int, generator: Generator | None, device: torch.device) -> Tensor:
    return torch.rand(rows, count, generator=generator, device=device, dtype=torch.float64)


def _repeated(users: Tensor, count: int) -> Tensor:
    return users if count == 1 else users.repeat_interleave(count)


class _Masses(NamedTuple):
    """Popularity as whole numbers, so that leaving out a user's items is exact.

    Args:
        mass: ``(I,)`` of each item.
        ends: ``(I,)`` of all items up to each.
        ptr: ``(U + 1,)`` where each user's edges begin.
        seen: ``(E + 1,)`` of the items of all edges before each.
        missing: ``(E,)`` ascending: ``user * total`` + the mass of smaller items that the user does not have.
        left: ``(U,)`` of all items that the user does not have.
    """

    mass: Tensor
    ends: Tensor
    ptr: Tensor
    seen: Tensor
    missing: Tensor
    left: Tensor

    @classmethod
    def of(cls, graph: BipartiteGraph, alpha: float) -> _Masses:
        degree = graph.degrees()[1].double()
        share = degree.clamp(min=1.0).pow(alpha)
        largest = max(
            float(share.sum()) * max(graph.num_users, 2**9), float((share * degree).sum())
        )  # of what is computed below; it must stay under 2^63, and a total under 2^53
        scale = min(2.0**20, 2.0**61 / largest)
        mass = (share * scale).round().long().clamp_(min=1)
        ends = mass.cumsum(0)
        edges = graph.arrangement
        user, item, ptr = edges.user_of.long(), edges.user_to.long(), edges.user_ptr.long()
        seen = torch.cat([mass.new_zeros(1), mass[item].cumsum(0)])
        missing = user * ends[-1] + ends[item] - mass[item] - (seen[:-1] - seen[ptr[user]])
        return cls(mass, ends, ptr, seen, missing, ends[-1] - seen[ptr].diff())

    def item_at(self, users: Tensor, n: Tensor) -> Tensor:
        """Return the item in which unit ``n (B,)`` of the mass that a user does not have lies, ``(B,)``."""
        passed = torch.searchsorted(self.missing, users * self.ends[-1] + n, right=True)
        before = self.seen[passed] - self.seen[self.ptr[users]]
        return torch.searchsorted(self.ends, n + before, right=True)
