"""Negatives that a whole batch shares: uniform ones, the batch's own items, and those of the last batches."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.negatives.sampler import Negatives, expected_times, seen_places


def shared(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,  # noqa: ARG001 - the signature of all
    *,
    count: int = 1024,
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
        log_q: subtract the logarithm of the share of the catalogue that is drawn.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        Items ``(min(count, I),)`` with ``seen``.

    Raises:
        ValueError: ``count`` is below 1.
    """
    items = _distinct(graph, count, generator, users.device)
    share = torch.tensor(len(items) / graph.num_items, device=users.device)
    return Negatives(items, -share.log() if log_q else None, seen_places(graph, users, items))


def in_batch(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,
    *,
    log_q: bool = False,
    generator: Generator | None = None,  # noqa: ARG001 - the signature of all
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
        log_q: subtract the logarithm of how often an item is expected in the batch.
        generator: not used; nothing is drawn.

    Returns:
        Distinct items ``(N,)``, ``N <= B``, with ``log_weight`` ``(N,)`` and ``seen``.

    [1] Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996
    """
    items, times = positives.unique(return_counts=True)
    weight = times.float().log()
    if log_q:
        weight -= expected_times(graph, items, _others(users)).log()
    return Negatives(items, weight, seen_places(graph, users, items))


def mixed(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,
    *,
    share: float = 0.5,
    count: int | None = None,
    log_q: bool = False,
    generator: Generator | None = None,
) -> Negatives:
    r"""Take the positives of the other rows and, beside them, uniform items (mixed negative sampling, [1]).

    Items that nobody has in the batch are thus pushed away too. With ``log_q`` the weight is the inverse of
    how often an item is expected from both sources together,

    .. math:: (B - 1) \frac{\deg i}{E} + \frac{N}{I}

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers.
        positives: ``(B,)`` item numbers.
        share: uniform ones among all negatives: ``N = B share / (1 - share)``, in ``(0, 1)``. They are
            distinct, so a catalogue that is smaller sets the limit.
        count: ``N`` itself, in place of ``share``.
        log_q: subtract the logarithm of how often an item is expected.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        Distinct items, at most ``B + N``, with a ``log_weight`` each and ``seen``.

    [1] Yang et al., WWW 2020, https://doi.org/10.1145/3366424.3386195
    """
    if count is None:
        if not 0.0 < share < 1.0:
            raise ValueError(f"share must be in (0, 1), got {share}")
        count = max(round(len(users) * share / (1.0 - share)), 1)
    drawn = _distinct(graph, count, generator, users.device)
    items, times = torch.cat([positives, drawn]).unique(return_counts=True)
    weight = times.float().log()
    if log_q:
        expected = expected_times(graph, items, _others(users)) + len(drawn) / graph.num_items
        weight -= expected.log()
    return Negatives(items, weight, seen_places(graph, users, items))


class Queue(nn.Module):
    r"""Take the positives of the other rows and those of the last batches (cross-batch negatives, [1], [2]).

    The queue holds the items of the last ``size`` training pairs before this batch, first in first out, as
    often as they occurred. It keeps item *numbers* and not vectors: the published queues keep old vectors
    because encoding their items again would cost too much, while a graph encoder makes all vectors in every
    step anyway. So each is scored by its vector of today and passes gradient, nothing is stale, and no
    warm-up is needed. With ``log_q`` the weight is the inverse of how often an item is expected,

    .. math:: (B - 1 + Q) \frac{\deg i}{E}

    where ``Q`` is how many the queue holds so far.

    Args:
        size: pairs whose items are kept.
        log_q: subtract the logarithm of how often an item is expected.

    Raises:
        ValueError: ``size`` is below 1.

    [1] Wang et al., SIGIR 2021 (CBNS), https://arxiv.org/abs/2110.15154
    [2] Wang et al., CVPR 2020 (XBM), https://arxiv.org/abs/1912.06798
    """

    items: Tensor

    def __init__(self, size: int = 8192, *, log_q: bool = False) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.log_q = log_q
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
            weight -= expected_times(graph, items, _others(users) + len(held)).log()
        found = Negatives(items, weight, seen_places(graph, users, items))
        self.items.copy_(torch.cat([self.items, positives])[-len(self.items) :])  # oldest first
        return found


def _others(users: Tensor) -> int:
    return max(len(users) - 1, 1)


def _distinct(graph: BipartiteGraph, count: int, generator: Generator | None, device: torch.device) -> Tensor:
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    return torch.randperm(graph.num_items, generator=generator, device=device)[:count]
