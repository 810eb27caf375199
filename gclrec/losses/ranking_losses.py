r"""Main losses: how a user is drawn to its item and away from others.

All take vectors: ``user (B, D)``, ``positive (B, D)`` and ``negatives``, either ``(B, N, D)``, each row's
own, or ``(N, D)``, shared by all rows. ``log_weight``, broadcasting to ``(B, N)``, says how much a negative
counts: 0 is once, minus infinity is not at all, and a sampling correction is minus the logarithm of how often
the item was expected to be drawn. ``seen (H,)`` lists places ``row * N + column`` that do not count either,
row by row: a user's own items among negatives that a whole batch shares. Every loss is a mean over the rows;
a row with no negative that counts adds nothing, but for a loss that needs none. Vectors of other shapes, and
an unknown ``score``, raise ``ValueError``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from gclrec.graph.dense import single, unit
from gclrec.losses.info_nce import bpr
from gclrec.losses.log_sum_exp import log_sum_exp
from gclrec.losses.temperature import over

SCORES: Mapping[str, Callable[[Tensor], Tensor]] = {"dot": single, "cosine": unit}
"""By what two vectors are compared: what is done to each, before their inner product is taken."""


class RankingLoss(Protocol):
    """A main loss; settings of its own are keyword arguments."""

    def __call__(
        self,
        user: Tensor,
        positive: Tensor,
        negatives: Tensor,
        log_weight: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Return the mean over the rows, a scalar."""


def pairwise(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    log_weight: Tensor | None = None,
    seen: Tensor | None = None,
    *,
    score: str = "dot",
) -> Tensor:
    r"""Ask that the positive scores above each negative (BPR, [1]).

    .. math:: -\frac{1}{B} \sum_k \sum_j \bar w_{kj} \log \sigma(s(u_k, p_k) - s(u_k, n_j))

    where the weights :math:`\bar w_{kj} = w_{kj} / \sum_j w_{kj}` make a mean over the negatives.

    Args:
        user: ``(B, D)``.
        positive: ``(B, D)``.
        negatives: ``(B, N, D)`` or ``(N, D)``.
        log_weight: :math:`\log w`.
        seen: places where :math:`w_{kj} = 0` besides.
        score: a name in :data:`SCORES`.

    [1] Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618
    """
    above, below = _scores(user, positive, negatives, score)
    log_weight = whole_weight(log_weight, seen, below)
    if log_weight is None and below.shape[1] == 1:
        return bpr(above, below.squeeze(1))
    return _mean_over(functional.softplus(below - above.unsqueeze(1)), log_weight).mean()


def sampled_softmax(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    log_weight: Tensor | None = None,
    seen: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
    score: str = "cosine",
) -> Tensor:
    r"""Find the positive among the negatives (InfoNCE between user and item, [1]; the two-tower loss, [2]).

    .. math:: -\frac{1}{B} \sum_k \log \frac{e^{s(u_k, p_k) / \tau}}
        {e^{s(u_k, p_k) / \tau} + \sum_j w_{kj} e^{s(u_k, n_j) / \tau}}

    Args:
        user: ``(B, D)``.
        positive: ``(B, D)``.
        negatives: ``(B, N, D)`` or ``(N, D)``.
        log_weight: :math:`\log w`.
        seen: places where :math:`w_{kj} = 0` besides.
        temperature: ``tau > 0``, also a scalar tensor or one for each row, ``(B,)``; it may need a gradient.
        score: a name in :data:`SCORES`.

    Raises:
        ValueError: ``temperature`` is not positive, or has another shape.

    [1] van den Oord et al., 2018, https://arxiv.org/abs/1807.03748
    [2] Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996
    """
    above, log_sums = _log_sums(user, positive, negatives, log_weight, seen, score, temperature)
    return functional.softplus(log_sums - above).mean()


def bilateral_softmax(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    log_weight: Tensor | None = None,
    seen: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
    power: float = 1.1,
    score: str = "cosine",
) -> Tensor:
    r"""Softmax loss with a temperature of its own for the negatives (BSL, [1]).

    .. math:: -\frac{1}{B} \sum_k \log \frac{e^{s(u_k, p_k) / \tau_1}}
        {\big( \sum_j w_{kj} e^{s(u_k, n_j) / \tau_1} \big)^{\tau_2}}

    in the form of the authors' published code, to which their settings belong. The positive is not in the
    sum.

    Args:
        user: ``(B, D)``.
        positive: ``(B, D)``.
        negatives: ``(B, N, D)`` or ``(N, D)``.
        log_weight: :math:`\log w`.
        seen: places where :math:`w_{kj} = 0` besides.
        temperature: :math:`\tau_1 > 0`, also one for each row, ``(B,)``. There is no use in learning it:
            where the positive scores highest, a smaller one lowers the loss without bound.
        power: :math:`\tau_2 > 0`; above 1 the negatives weigh more.
        score: a name in :data:`SCORES`.

    [1] Wu et al., ICDE 2024, https://arxiv.org/abs/2312.12882
    """
    above, log_sums = _log_sums(user, positive, negatives, log_weight, seen, score, temperature)
    return torch.where(log_sums.isneginf(), 0.0, power * log_sums - above).mean()


def difficulty(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    log_weight: Tensor | None = None,
    seen: Tensor | None = None,
    *,
    score: str = "cosine",
) -> Tensor:
    r"""Return how hard each row's positive is to tell from its negatives, ``(B,)``.

    .. math:: \log \sum_j w_{kj} e^{s(u_k, n_j)} - s(u_k, p_k)

    The softmax loss at temperature 1 without the positive in the sum; minus infinity of a row with no
    negative that counts.
    """
    above, log_sums = _log_sums(user, positive, negatives, log_weight, seen, score, 1.0)
    return log_sums - above


def cosine_contrastive(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    log_weight: Tensor | None = None,
    seen: Tensor | None = None,
    *,
    margin: float = 0.4,
    negative_weight: float = 10.0,
) -> Tensor:
    r"""Draw the positive close and push away negatives that are closer than a margin (CCL of SimpleX, [1]).

    .. math:: \frac{1}{B} \sum_k \Big( 1 - \cos(u_k, p_k)
        + \mu \sum_j \bar w_{kj} \max\big(0, \cos(u_k, n_j) - m\big) \Big)

    with the weights of :func:`pairwise`.

    Args:
        user: ``(B, D)``.
        positive: ``(B, D)``.
        negatives: ``(B, N, D)`` or ``(N, D)``.
        log_weight: :math:`\log w`.
        seen: places where :math:`w_{kj} = 0` besides.
        margin: ``m`` in ``[-1, 1)``.
        negative_weight: :math:`\mu`.

    [1] Mao et al., CIKM 2021, https://arxiv.org/abs/2109.12613
    """
    above, below = _scores(user, positive, negatives, "cosine")
    log_weight = whole_weight(log_weight, seen, below)
    pushed = _mean_over(functional.relu(below - margin), log_weight)
    alone = _is_alone(below, log_weight)
    return torch.where(alone, 0.0, 1.0 - above + negative_weight * pushed).mean()


def alignment_uniformity(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,  # noqa: ARG001 - the signature of all
    log_weight: Tensor | None = None,  # noqa: ARG001
    seen: Tensor | None = None,  # noqa: ARG001
    *,
    uniformity_weight: float = 1.0,
) -> Tensor:
    r"""Draw user and positive together and spread each side over the sphere (DirectAU, [1]).

    .. math:: \frac{1}{B} \sum_k \lVert \hat u_k - \hat p_k \rVert^2
        + \frac{\gamma}{2} \big( U(\hat u) + U(\hat p) \big), \quad
        U(x) = \log \frac{1}{B (B - 1)} \sum_{k \ne l} e^{-2 \lVert x_k - x_l \rVert^2}

    on vectors of unit length. Rows are taken as they come: a user or item that stands in the batch twice
    is a pair at distance 0, as in the authors' code.

    Args:
        user: ``(B, D)``.
        positive: ``(B, D)``.
        negatives: not used.
        log_weight: not used.
        seen: not used.
        uniformity_weight: :math:`\gamma`.

    [1] Wang et al., KDD 2022, https://arxiv.org/abs/2206.12811
    """
    _check(user, positive)
    user, positive = unit(user), unit(positive)
    alignment = (user - positive).square().sum(1).mean()
    return alignment + uniformity_weight / 2 * (_uniformity(user) + _uniformity(positive))


def whole_weight(log_weight: Tensor | None, seen: Tensor | None, scores: Tensor) -> Tensor | None:
    """Return the logarithmic weights with minus infinity where ``seen`` says so.

    Args:
        log_weight: broadcasts to ``(B, N)``; ``None`` for zeros.
        seen: ``(H,)`` places ``row * N + column``; without any, ``log_weight`` is returned as it is.
        scores: ``(B, N)``.
    """
    if seen is None:
        return log_weight
    whole = torch.zeros_like(scores) if log_weight is None else log_weight.expand_as(scores).clone()
    return whole.view(-1).index_fill_(0, seen, -torch.inf).view_as(scores)


def _uniformity(rows: Tensor) -> Tensor:
    """Return the logarithm of the mean Gaussian potential of all pairs of unit rows; 0 for a single row."""
    if len(rows) < 2:
        return rows.new_zeros(())
    squares = rows.detach().square().sum(1)  # 1, or 0 for a row of zeros: constants
    itself = torch.arange(len(rows), device=rows.device) * (len(rows) + 1)
    sums = log_sum_exp(4.0 * rows, rows, -2.0 * squares, itself)
    return torch.logsumexp(sums - 2.0 * squares, 0) - math.log(len(rows) * (len(rows) - 1))


def _scores(user: Tensor, positive: Tensor, negatives: Tensor, score: str) -> tuple[Tensor, Tensor]:
    """Return the scores of the positives ``(B,)`` and of the negatives ``(B, N)``."""
    user, positive, negatives = _compared(user, positive, negatives, score)
    return (user * positive).sum(1), _inner(user, negatives)


def _compared(user: Tensor, positive: Tensor, negatives: Tensor, score: str) -> Iterator[Tensor]:
    """Return the vectors whose inner products are the scores."""
    _check(user, positive, negatives)
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
    return map(SCORES[score], (user, positive, negatives))


def _check(user: Tensor, positive: Tensor, negatives: Tensor | None = None) -> None:
    """Raise ``ValueError`` unless the shapes are those that all losses ask for."""
    shapes = [tuple(x.shape) for x in (user, positive, negatives) if x is not None]
    if user.dim() != 2 or positive.shape != user.shape:
        raise ValueError(f"user and positive must both be (B, D), got {shapes[0]} and {shapes[1]}")
    if negatives is None:
        return
    fits = negatives.dim() == 2 or (negatives.dim() == 3 and len(negatives) == len(user))
    if not fits or negatives.shape[-1] != user.shape[1]:
        raise ValueError(f"negatives must be (B, N, D) or (N, D) for users {shapes[0]}, got {shapes[2]}")


def _inner(user: Tensor, negatives: Tensor) -> Tensor:
    """Return the inner products of each row with its negatives, ``(B, N)``."""
    if negatives.dim() == 2:
        return user @ negatives.T
    if negatives.shape[1] == 1:
        return (user.unsqueeze(1) * negatives).sum(2)
    return torch.bmm(negatives, user.unsqueeze(2)).squeeze(2)


def _log_sums(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    log_weight: Tensor | None,
    seen: Tensor | None,
    score: str,
    temperature: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the positives' scores over the temperature and the log-sum-exp of the negatives'."""
    user, positive, negatives = _compared(user, positive, negatives, score)
    user = over(user, temperature)
    above = (user * positive).sum(1)
    if negatives.dim() == 2 and len(negatives):
        return above, log_sum_exp(user, negatives, log_weight, seen)
    below = single(_inner(user, negatives))
    return above, _log_sum_exp(below, whole_weight(log_weight, seen, below))


def _is_alone(below: Tensor, log_weight: Tensor | None) -> Tensor:
    """Return which rows have no negative that counts, ``(B,)`` bool."""
    if log_weight is None:
        return below.new_full((len(below),), below.shape[1] == 0, dtype=torch.bool)
    return log_weight.isneginf().expand_as(below).all(1)


def _log_sum_exp(logits: Tensor, log_weight: Tensor | None) -> Tensor:
    """Return the weighted log-sum-exp of each row, ``(B,)``; minus infinity, without gradient, of nothing."""
    if log_weight is None:
        return torch.logsumexp(logits, 1)
    alone = _is_alone(logits, log_weight)
    weighted = (logits + log_weight).masked_fill(alone.unsqueeze(1), 0.0)
    return torch.logsumexp(weighted, 1).masked_fill(alone, -torch.inf)


def nothing(
    user: Tensor,
    positive: Tensor,  # noqa: ARG001 - the signature of all
    negatives: Tensor,  # noqa: ARG001
    log_weight: Tensor | None = None,  # noqa: ARG001
    seen: Tensor | None = None,  # noqa: ARG001
) -> Tensor:
    """Return zero: what is learned is left to the contrast beside it."""
    return user.new_zeros(())


def _mean_over(values: Tensor, log_weight: Tensor | None) -> Tensor:
    """Return the weighted mean of each row, ``(B,)``; 0 of nothing."""
    if log_weight is None:
        return values.sum(1) / max(values.shape[1], 1)
    log_weight = log_weight.expand_as(values)
    highest = log_weight.amax(1, keepdim=True).clamp(min=torch.finfo(log_weight.dtype).min)
    weight = (log_weight - highest).exp()
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1.0)


@dataclass(frozen=True)
class Loss:
    """One entry of :data:`LOSSES`.

    Args:
        compute: the loss.
        scores: the names in :data:`SCORES` by which it may compare; the first is its default.
        settings: its keyword arguments, and the training settings that they are taken from.
        needs_negatives: whether it looks at negatives.
        sums_exponentials: whether a sampling correction means anything to it.
        temperatures: the names in :data:`~gclrec.losses.temperature.TEMPERATURES` that may stand in place
            of a number for its temperature.
    """

    compute: RankingLoss
    scores: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    needs_negatives: bool = True
    sums_exponentials: bool = False
    temperatures: tuple[str, ...] = ()


LOSSES: Mapping[str, Loss] = {
    "bpr": Loss(pairwise, ("dot", "cosine"), {"score": "loss_score"}),
    "softmax": Loss(
        sampled_softmax,
        ("cosine", "dot"),
        {"score": "loss_score", "temperature": "loss_temperature"},
        sums_exponentials=True,
        temperatures=("learned", "adaptive"),
    ),
    "bsl": Loss(
        bilateral_softmax,
        ("cosine", "dot"),
        {"score": "loss_score", "temperature": "loss_temperature", "power": "loss_power"},
        sums_exponentials=True,
        temperatures=("adaptive",),
    ),
    "ccl": Loss(
        cosine_contrastive, ("cosine",), {"margin": "loss_margin", "negative_weight": "negative_weight"}
    ),
    "directau": Loss(
        alignment_uniformity, ("cosine",), {"uniformity_weight": "uniformity_weight"}, needs_negatives=False
    ),
    "none": Loss(nothing, (), needs_negatives=False),
}
