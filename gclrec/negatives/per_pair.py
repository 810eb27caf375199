"""Negatives for each row: uniform, by popularity, or from items that its user was shown and did not click.

Arguments that all samplers have: the training ``graph``; ``users (B,)`` and ``positives (B,)``, the pairs of
the batch, where a user must have at least one item left and positives are interactions, so never drawn;
``count`` items for each row, drawn with replacement; ``log_q``, which subtracts the logarithm of how often an
item is expected to be drawn; and ``generator``, the source of all randomness (the global one if ``None``).
They return items ``(B, count)``, none of which is an interaction of its user, and raise ``ValueError`` if a
user has interacted with every item.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from torch import Generator, Tensor

from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import SettingError
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.negatives.sampler import COUNT, LogQ, Negatives

_ALPHA = Setting(
    "popularity_alpha",
    "Exponent of the item degree in popularity negatives.",
    low=0,
    high=10,
    search=Span(0.0, 1.0),
    lenient=True,
)


def uniform(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,  # noqa: ARG001 - the signature of all
    *,
    count: Annotated[int, COUNT] = 1,
    log_q: LogQ = False,
    generator: Generator | None = None,
) -> Negatives:
    """Draw items for each row uniformly from those that its user has no interaction with.

    The draw is exact and needs no rejection: a rank among the user's missing items is drawn and looked up,
    which takes the same time for a user who has seen nearly everything.
    """
    items, missing = _missing_items(graph, users, count, generator)
    return Negatives(items, (missing.float() / count).log().unsqueeze(1) if log_q else None)


def by_popularity(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,  # noqa: ARG001 - the signature of all
    *,
    count: Annotated[int, COUNT] = 1,
    alpha: Annotated[float, _ALPHA] = 0.75,
    log_q: LogQ = False,
    generator: Generator | None = None,
) -> Negatives:
    r"""Draw items for each row by popularity from those that its user has no interaction with.

    .. math:: P(i \mid u) \propto \max(\deg i, 1)^\alpha \quad \text{for } i \notin N(u)

    As exact and as fast as :func:`uniform`: no draw is rejected. ``alpha`` 0 is uniform, 1 is by the number
    of interactions, and 0.75 is word2vec's exponent, [1].

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


EXPOSED = Setting(
    "exposed",
    "File of pairs that were shown and not clicked, for exposed negatives; raw ids, columns named as in the "
    "data.",
    type=str | None,
)
EXPOSED_SHARE = Setting(
    "exposed_share",
    "Share of shown pairs in exposed negatives, beside uniform ones. Default 0.5.",
    low=0,
    high=1,
    search=Span(0.05, 0.95),
    type=float | None,
)


def check_exposed(*, share: float = 0.5, log_q: bool = False, **others: object) -> None:
    """Refuse a correction for :class:`Exposed` that would divide by a probability of 0.

    Raises:
        SettingError: ``share`` is 1 with ``log_q``, so that most items are never drawn.
    """
    del others
    if log_q and share == 1.0:
        raise SettingError("share", "must be below 1 with log_q, or most items are never drawn")


class Exposed:
    r"""Draw items that a user was shown and did not click, mixed with uniform ones.

    Each negative of a row is, with probability ``share``, one of its user's exposed items, all equally
    likely, and otherwise a uniform one of the items that the user has no interaction with. A user without
    exposed items gets uniform ones only. With ``log_q`` the weight is the inverse of how often an item is
    expected,

    .. math:: N \Big( p \frac{[i \in X_u]}{|X_u|} + (1 - p) \frac{1}{I - \deg u} \Big)

    from both sources together.

    Args:
        graph: the training interactions; a pair that is one of them is left out of the exposed ones.
        exposed: ``(2, X)`` users and items of distinct pairs.
        share: the probability ``p``, in ``[0, 1]``; below 1 with ``log_q``.
        count: items ``N`` for each row.
        log_q: whether the weights correct for how often an item is drawn.

    Raises:
        ValueError: ``share`` is out of range, or is 1 with ``log_q``.
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        exposed: Annotated[Tensor, EXPOSED],
        *,
        share: Annotated[float, EXPOSED_SHARE] = 0.5,
        count: Annotated[int, COUNT] = 1,
        log_q: LogQ = False,
    ) -> None:
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share must be in [0, 1], got {share}")
        check_exposed(share=share, log_q=log_q)
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
        """Return items ``(B, count)``, none of which is an interaction of its user."""
        items, missing = _missing_items(graph, users, self.count, generator)
        shown = self.exposed.user_degrees[users].unsqueeze(1)
        share = torch.where(shown > 0, self.share, 0.0)
        chosen = _places(len(users), self.count, generator, users.device) < share
        place = (_places(len(users), self.count, generator, users.device) * shown).long()
        if self.exposed.num_edges:
            edges = self.exposed.edges
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
    """Popularity as integers, so that leaving out a user's items is exact.

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
        edges = graph.edges
        user, item, ptr = edges.user_of.long(), edges.user_to.long(), edges.user_ptr.long()
        seen = torch.cat([mass.new_zeros(1), mass[item].cumsum(0)])
        missing = user * ends[-1] + ends[item] - mass[item] - (seen[:-1] - seen[ptr[user]])
        return cls(mass, ends, ptr, seen, missing, ends[-1] - seen[ptr].diff())

    def item_at(self, users: Tensor, n: Tensor) -> Tensor:
        """Return the item that holds unit ``n (B,)`` of the mass a user does not have, ``(B,)``."""
        passed = torch.searchsorted(self.missing, users * self.ends[-1] + n, right=True)
        before = self.seen[passed] - self.seen[self.ptr[users]]
        return torch.searchsorted(self.ends, n + before, right=True)
