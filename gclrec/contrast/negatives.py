"""Where the items come from that a user is *not* drawn to."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Draws the negatives of a batch. No sampler lets a user's training item count as its negative."""

    def __call__(
        self, graph: BipartiteGraph, users: Tensor, positives: Tensor, *, generator: Generator | None = None
    ) -> Negatives:
        """Return the negatives of the training pairs ``users (B,)``, ``positives (B,)``."""


def none(
    graph: BipartiteGraph,  # noqa: ARG001 - the signature of all
    users: Tensor,
    positives: Tensor,  # noqa: ARG001
    *,
    generator: Generator | None = None,  # noqa: ARG001
) -> Negatives:
    """Draw nothing, for a loss that compares with no negative."""
    return Negatives(users.new_empty(0))


def uniform(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,  # noqa: ARG001 - the signature of all
    *,
    count: int = 1,
    alpha: float = 0.75,  # noqa: ARG001
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
        alpha: not used.
        log_q: subtract the logarithm of how often an item is expected to be drawn.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        Items ``(B, count)``, none of which is an interaction of its user.

    Raises:
        ValueError: a user has interacted with every item.
    """
    missing = graph.num_items - graph.user_degrees[users]
    if len(missing) and int(missing.min()) <= 0:
        raise ValueError("a user has interacted with every item, so there is no negative to draw")
    place = _places(len(users), count, generator, users.device)
    rank = (place * missing.unsqueeze(1)).long().view(-1)
    items = graph.nth_missing_item(_repeated(users, count), rank).view(-1, count)
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


def shared(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,  # noqa: ARG001 - the signature of all
    *,
    count: int = 1024,
    alpha: float = 0.75,  # noqa: ARG001
    log_q: bool = False,
    generator: Generator | None = None,
) -> Negatives:
    """Draw distinct items uniformly, once for the whole batch.

    Far cheaper than as many for each row: all scores are one matrix product. What is an interaction of a
    row's user does not count for that row. With ``count`` of at least ``I`` it is the whole catalogue.

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers.
        positives: ``(B,)`` item numbers; they are interactions, so they do not count.
        count: items drawn.
        alpha: not used.
        log_q: subtract the logarithm of the share of the catalogue that is drawn.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        Items ``(min(count, I),)`` with ``log_weight`` ``(B, N)``.
    """
    items = _distinct(graph, count, generator, users.device)
    weight = torch.zeros(len(items), device=users.device)
    if log_q:
        weight -= torch.tensor(len(items) / graph.num_items).log()
    return Negatives(items, _without_seen(graph, users, items, weight))


def in_batch(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,
    *,
    count: int = 0,  # noqa: ARG001 - the signature of all
    alpha: float = 0.75,  # noqa: ARG001
    log_q: bool = False,
    generator: Generator | None = None,  # noqa: ARG001
) -> Negatives:
    r"""Take the positives of the other rows, as often as they occur.

    So a negative is drawn in proportion to its number of interactions. With ``log_q`` a score becomes

    .. math:: s(u, i) - \log \big((B - 1) \deg(i) / E\big)

    the sampling-bias correction of [1] but for the factor :math:`B - 1`, which makes the sum over the batch
    an unbiased estimate of the sum over all items that the user has no interaction with. The positive is not
    sampled, so it is not corrected. What is an interaction of a row's user (its own positive too, when
    another row holds it) does not count for that row; [1] does not say so.

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers.
        positives: ``(B,)`` item numbers.
        count: not used.
        alpha: not used.
        log_q: subtract the logarithm of how often an item is expected in the batch.
        generator: not used; nothing is drawn.

    Returns:
        Distinct items ``(N,)``, ``N <= B``, with ``log_weight`` ``(B, N)``.

    [1] Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996
    """
    items, times = positives.unique(return_counts=True)
    weight = times.float().log()
    if log_q:
        weight -= _expected_in_batch(graph, items, len(users)).log()
    return Negatives(items, _without_seen(graph, users, items, weight))


def mixed(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,
    *,
    count: int = 1024,
    alpha: float = 0.75,  # noqa: ARG001 - the signature of all
    log_q: bool = False,
    generator: Generator | None = None,
) -> Negatives:
    """Take the positives of the other rows and, beside them, uniform items (mixed negative sampling, [1]).

    Items that nobody has in the batch are thus pushed away too. ``log_q`` corrects for both sources together.

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers.
        positives: ``(B,)`` item numbers.
        count: uniform items drawn for the batch.
        alpha: not used.
        log_q: subtract the logarithm of how often an item is expected.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        Distinct items ``(N,)``, ``N <= B + count``, with ``log_weight`` ``(B, N)``.

    [1] Yang et al., WWW 2020, https://doi.org/10.1145/3366424.3386195
    """
    drawn = _distinct(graph, count, generator, users.device)
    items, times = torch.cat([positives, drawn]).unique(return_counts=True)
    weight = times.float().log()
    if log_q:
        expected = _expected_in_batch(graph, items, len(users)) + len(drawn) / graph.num_items
        weight -= expected.log()
    return Negatives(items, _without_seen(graph, users, items, weight))


def _places(rows: int, count: int, generator: Generator | None, device: torch.device) -> Tensor:
    return torch.rand(rows, count, generator=generator, device=device, dtype=torch.float64)


def _repeated(users: Tensor, count: int) -> Tensor:
    return users if count == 1 else users.repeat_interleave(count)


def _distinct(graph: BipartiteGraph, count: int, generator: Generator | None, device: torch.device) -> Tensor:
    return torch.randperm(graph.num_items, generator=generator, device=device)[:count]


def _expected_in_batch(graph: BipartiteGraph, items: Tensor, rows: int) -> Tensor:
    """Return how often each item is expected among the other rows of a batch, ``(N,)``."""
    degree = graph.remember("item_degrees", lambda: graph.degrees()[1])[items]
    return degree * (max(rows - 1, 1) / max(graph.num_edges, 1))


def _without_seen(graph: BipartiteGraph, users: Tensor, items: Tensor, weight: Tensor) -> Tensor:
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


NEGATIVES: Mapping[str, Sampler] = {
    "uniform": uniform,
    "popularity": popularity,
    "shared": shared,
    "in_batch": in_batch,
    "mixed": mixed,
}
