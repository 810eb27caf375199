"""Negatives that a whole batch shares: uniform ones, and the batch's own items.

Arguments that all samplers have: the training ``graph``; ``users (B,)`` and ``positives (B,)``, the pairs of
the batch; ``log_q``, which subtracts the logarithm of how often an item is expected; and ``generator``, the
source of all randomness (the global one if ``None``). They return distinct items ``(N,)`` with ``seen``:
items that a row's user has interacted with, its positive among them, do not count for that row. Those that
take items of batches also have ``log_q_positive``, which corrects the score of the positive too
(:func:`~gclrec.negatives.sampler.with_positives`).
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.negatives.sampler import (
    COUNT,
    LogQ,
    LogQPositive,
    Negatives,
    expected_times,
    seen_places,
    with_positives,
)


def shared(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,  # noqa: ARG001 - the signature of all
    *,
    count: Annotated[int, COUNT] = 1024,
    log_q: LogQ = False,
    generator: Generator | None = None,
) -> Negatives:
    """Draw distinct items uniformly, once for the whole batch.

    Far cheaper than as many for each row: all scores are one matrix product. With ``count`` of at least ``I``
    it is the whole catalogue.

    Returns:
        Items ``(min(count, I),)``.

    Raises:
        ValueError: ``count`` is below 1.
    """
    items = distinct_items(graph, count, generator, users.device)
    share = torch.tensor(len(items) / graph.num_items, device=users.device)
    return Negatives(items, -share.log() if log_q else None, seen_places(graph, users, items))


def in_batch(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,
    *,
    log_q: LogQ = False,
    log_q_positive: LogQPositive = False,
    generator: Generator | None = None,  # noqa: ARG001 - the signature of all
) -> Negatives:
    r"""Take the positives of the other rows, as often as they occur.

    So a negative is drawn in proportion to its number of interactions. With ``log_q`` a score becomes

    .. math:: s(u, i) - \log \big((B - 1) \deg(i) / E\big)

    the sampling-bias correction of [1] except for the factor :math:`B - 1`, which makes the sum over the
    batch an unbiased estimate of the sum over all items that the user has no interaction with. The positive
    is in the denominator with certainty, so its score stays as it is, as [2] argues; [1] corrects it like the
    others, as does ``log_q_positive``. [1] does not say whether a user's other items count; here they do not.

    Returns:
        At most ``B`` items, with ``log_weight`` ``(N,)``, or ``(B, N)`` with ``log_q_positive``.

    [1] Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996
    [2] Khrylchenko et al., RecSys 2025, https://arxiv.org/abs/2507.09331
    """
    items, times = positives.unique(return_counts=True)
    weight = times.float().log()
    if log_q:
        weight -= expected_times(graph, items, other_rows(users)).log()
        if log_q_positive:
            weight = with_positives(weight, expected_times(graph, positives, other_rows(users)).log())
    return Negatives(items, weight, seen_places(graph, users, items))


def mixed(
    graph: BipartiteGraph,
    users: Tensor,
    positives: Tensor,
    *,
    count: Annotated[int | None, COUNT] = None,
    log_q: LogQ = False,
    log_q_positive: LogQPositive = False,
    generator: Generator | None = None,
) -> Negatives:
    r"""Take the positives of the other rows and, beside them, uniform items (mixed negative sampling, [1]).

    So items that nobody has in the batch are pushed away too. With ``log_q`` the weight is the inverse of how
    often an item is expected from both sources together,

    .. math:: (B - 1) \frac{\deg i}{E} + \frac{N}{I}

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers.
        positives: ``(B,)`` item numbers.
        count: uniform items ``N``, distinct, so a smaller catalogue sets the limit; ``B`` if ``None``.
        log_q: whether the weights correct for how often an item is expected.
        log_q_positive: whether the positive is corrected too.
        generator: source of all randomness; the global one if ``None``.

    Returns:
        At most ``B + N`` items, with a ``log_weight`` each.

    Raises:
        ValueError: ``count`` is below 1.

    [1] Yang et al., WWW 2020, https://doi.org/10.1145/3366424.3386195
    """
    drawn = distinct_items(graph, max(len(users), 1) if count is None else count, generator, users.device)
    items, times = torch.cat([positives, drawn]).unique(return_counts=True)
    weight = times.float().log()
    if log_q:
        uniform = len(drawn) / graph.num_items
        weight -= (expected_times(graph, items, other_rows(users)) + uniform).log()
        if log_q_positive:
            own = expected_times(graph, positives, other_rows(users)) + uniform
            weight = with_positives(weight, own.log())
    return Negatives(items, weight, seen_places(graph, users, items))


def other_rows(users: Tensor) -> int:
    """Return the number of other rows in a batch, at least 1."""
    return max(len(users) - 1, 1)


def distinct_items(
    graph: BipartiteGraph, count: int, generator: Generator | None, device: torch.device
) -> Tensor:
    """Return distinct items drawn uniformly, at most all of them."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    return torch.randperm(graph.num_items, generator=generator, device=device)[:count]
