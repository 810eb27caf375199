r"""Ranking losses: pull a user to its item and away from others.

All take vectors and return a scalar, the mean over the rows of a batch:

* ``user (B, D)`` and ``positive (B, D)``;
* ``negatives``: ``(B, N, D)``, each row's own, or ``(N, D)``, shared by all rows;
* ``log_weight``: :math:`\log w`, broadcasts to ``(B, N)``. How much a negative counts: 0 is once, minus
  infinity is not at all, and a sampling correction is minus the logarithm of how often the item is expected
  to be drawn. ``None``: each counts once;
* ``seen (H,)``: places ``row * N + column``, row by row, of negatives that do not count either, such as a
  user's own items among negatives that a whole batch shares.

A row with no negative that counts adds nothing, except to a loss that needs none. Other shapes and an unknown
``score`` raise ``ValueError``. The docstrings below describe the settings of each loss only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from gclrec.common.declaration import Setting, Span
from gclrec.graph.functional import single
from gclrec.losses.alignment_uniformity import alignment_uniformity
from gclrec.losses.base import Loss, LossTemperature, Score, compared, whole_weight
from gclrec.losses.log_sum_exp import log_sum_exp
from gclrec.losses.temperature import over

_POWER = Setting(
    "loss_power",
    "Power of bsl's sum over negatives (its second temperature); 1 weighs both sides alike.",
    low=0,
    closed=False,
    search=Span(0.8, 1.5),
)
_MARGIN = Setting(
    "loss_margin", "Cosine above which ccl pushes a negative away.", low=-1, high=1, search=Span(0.0, 0.95)
)
_NEGATIVE_WEIGHT = Setting(
    "negative_weight",
    "Weight of ccl's mean over negatives, beside 1 for the positive.",
    low=0,
    search=Span(1.0, 1000.0, log=True),
)


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Ask that a positive item scores above a negative one (Bayesian personalised ranking, [1]).

    .. math:: -\frac{1}{B} \sum_k \log \sigma(s^+_k - s^-_k)

    Args:
        positive: ``(B,)`` scores of items that the user interacted with.
        negative: ``(B,)`` scores of sampled other items.

    Returns:
        Scalar mean over the batch; ``log 2`` when all scores are equal.

    Raises:
        ValueError: the shapes differ.

    [1] Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618
    """
    if positive.shape != negative.shape:
        raise ValueError(
            f"each positive needs one negative, got {tuple(positive.shape)} and {tuple(negative.shape)}"
        )
    return functional.softplus(negative - positive).mean()


def pairwise(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    log_weight: Tensor | None = None,
    seen: Tensor | None = None,
    *,
    score: Score = "dot",
) -> Tensor:
    r"""Ask that the positive scores above each negative (BPR, [1]).

    .. math:: -\frac{1}{B} \sum_k \sum_j \bar w_{kj} \log \sigma(s(u_k, p_k) - s(u_k, n_j))

    where the weights :math:`\bar w_{kj} = w_{kj} / \sum_j w_{kj}` make a mean over the negatives.

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
    temperature: LossTemperature = 0.1,
    score: Score = "cosine",
) -> Tensor:
    r"""Find the positive among the negatives (InfoNCE between user and item, [1]; the two-tower loss, [2]).

    .. math:: -\frac{1}{B} \sum_k \log \frac{e^{s(u_k, p_k) / \tau}}
        {e^{s(u_k, p_k) / \tau} + \sum_j w_{kj} e^{s(u_k, n_j) / \tau}}

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
    temperature: LossTemperature = 0.1,
    power: Annotated[float, _POWER] = 1.1,
    score: Score = "cosine",
) -> Tensor:
    r"""Softmax loss with a separate temperature for the negatives (BSL, [1]).

    .. math:: -\frac{1}{B} \sum_k \log \frac{e^{s(u_k, p_k) / \tau_1}}
        {\big( \sum_j w_{kj} e^{s(u_k, n_j) / \tau_1} \big)^{\tau_2}}

    with ``temperature`` :math:`\tau_1` and ``power`` :math:`\tau_2`, in the form of the authors' published
    code, to which their settings belong. The positive is not in the sum. The temperature must not be learned:
    where the positive scores highest, a smaller one lowers the loss without bound.

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

    The softmax loss at temperature 1 without the positive in the sum; minus infinity for a row with no
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
    margin: Annotated[float, _MARGIN] = 0.4,
    negative_weight: Annotated[float, _NEGATIVE_WEIGHT] = 10.0,
) -> Tensor:
    r"""Pull the positive close and push away negatives that are closer than a margin (CCL of SimpleX, [1]).

    .. math:: \frac{1}{B} \sum_k \Big( 1 - \cos(u_k, p_k)
        + \mu \sum_j \bar w_{kj} \max\big(0, \cos(u_k, n_j) - m\big) \Big)

    with ``margin`` :math:`m`, ``negative_weight`` :math:`\mu` and the weights of :func:`pairwise`.

    [1] Mao et al., CIKM 2021, https://arxiv.org/abs/2109.12613
    """
    above, below = _scores(user, positive, negatives, "cosine")
    log_weight = whole_weight(log_weight, seen, below)
    pushed = _mean_over(functional.relu(below - margin), log_weight)
    alone = _is_alone(below, log_weight)
    return torch.where(alone, 0.0, 1.0 - above + negative_weight * pushed).mean()


def nothing(
    user: Tensor,
    positive: Tensor,  # noqa: ARG001 - the signature of all
    negatives: Tensor,  # noqa: ARG001
    log_weight: Tensor | None = None,  # noqa: ARG001
    seen: Tensor | None = None,  # noqa: ARG001
) -> Tensor:
    """Return zero: training is left to the contrast."""
    return user.new_zeros(())


def _scores(user: Tensor, positive: Tensor, negatives: Tensor, score: str) -> tuple[Tensor, Tensor]:
    """Return the scores of the positives ``(B,)`` and of the negatives ``(B, N)``."""
    user, positive, negatives = compared(user, positive, negatives, score)
    return (user * positive).sum(1), _inner(user, negatives)


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
    user, positive, negatives = compared(user, positive, negatives, score)
    user = over(user, temperature)
    above = (user * positive).sum(1)
    if negatives.dim() == 2 and len(negatives):
        return above, log_sum_exp(user, negatives, log_weight, seen)
    below = single(_inner(user, negatives))
    log_weight = whole_weight(log_weight, seen, below)
    if log_weight is None:
        return above, torch.logsumexp(below, 1)
    alone = _is_alone(below, log_weight)  # minus infinity, without gradient
    weighted = (below + log_weight).masked_fill(alone.unsqueeze(1), 0.0)
    return above, torch.logsumexp(weighted, 1).masked_fill(alone, -torch.inf)


def _is_alone(below: Tensor, log_weight: Tensor | None) -> Tensor:
    """Return which rows have no negative that counts, ``(B,)`` bool."""
    if log_weight is None:
        return below.new_full((len(below),), below.shape[1] == 0, dtype=torch.bool)
    return log_weight.isneginf().expand_as(below).all(1)


def _mean_over(values: Tensor, log_weight: Tensor | None) -> Tensor:
    """Return the weighted mean of each row, ``(B,)``; 0 for a row without weight."""
    if log_weight is None:
        return values.sum(1) / max(values.shape[1], 1)
    log_weight = log_weight.expand_as(values)
    highest = log_weight.amax(1, keepdim=True).clamp(min=torch.finfo(log_weight.dtype).min)
    weight = (log_weight - highest).exp()
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1.0)


LOSSES: Mapping[str, Loss] = {
    "bpr": Loss(pairwise, "positive above negative", ("dot", "cosine")),
    "softmax": Loss(
        sampled_softmax,
        "the positive among the negatives",
        ("cosine", "dot"),
        sums_exponentials=True,
        temperatures=("learned", "adaptive"),
    ),
    "bsl": Loss(
        bilateral_softmax,
        "softmax with a second temperature",
        ("cosine", "dot"),
        sums_exponentials=True,
        temperatures=("adaptive",),
    ),
    "ccl": Loss(cosine_contrastive, "cosines with a margin", ("cosine",)),
    "directau": Loss(alignment_uniformity, "alignment and uniformity", ("cosine",), needs_negatives=False),
    "none": Loss(nothing, "the contrast alone", needs_negatives=False),
}
"""Ranking losses by the name that ``loss`` takes."""
