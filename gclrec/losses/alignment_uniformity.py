"""DirectAU: alignment of users with their items and uniformity of each side, without negatives."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from gclrec.common.declaration import Setting, Span
from gclrec.graph.functional import unit
from gclrec.losses.base import check_shapes
from gclrec.losses.log_sum_exp import log_sum_exp

_UNIFORMITY_WEIGHT = Setting(
    "uniformity_weight",
    "Weight of directau's uniformity, beside 1 for its alignment.",
    low=0,
    search=Span(0.1, 10.0, log=True),
)


def alignment_uniformity(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,  # noqa: ARG001 - the signature of all
    log_weight: Tensor | None = None,  # noqa: ARG001
    seen: Tensor | None = None,  # noqa: ARG001
    *,
    uniformity_weight: Annotated[float, _UNIFORMITY_WEIGHT] = 1.0,
) -> Tensor:
    r"""Pull user and positive together and spread each side over the sphere (DirectAU, [1]).

    .. math:: \frac{1}{B} \sum_k \lVert \hat u_k - \hat p_k \rVert^2
        + \frac{\gamma}{2} \big( U(\hat u) + U(\hat p) \big), \quad
        U(x) = \log \frac{1}{B (B - 1)} \sum_{k \ne l} e^{-2 \lVert x_k - x_l \rVert^2}

    on vectors of unit length. A user or item that stands in the batch twice is a pair at distance 0, as in
    the authors' code.

    Args:
        user: ``(B, D)``.
        positive: ``(B, D)``.
        negatives: not used, and neither are ``log_weight`` and ``seen``.
        log_weight: not used.
        seen: not used.
        uniformity_weight: :math:`\gamma`.

    Raises:
        ValueError: the shapes differ.

    [1] Wang et al., KDD 2022, https://arxiv.org/abs/2206.12811
    """
    check_shapes(user, positive)
    user, positive = unit(user), unit(positive)
    alignment = (user - positive).square().sum(1).mean()
    return alignment + uniformity_weight / 2 * (_uniformity(user) + _uniformity(positive))


def _uniformity(rows: Tensor) -> Tensor:
    """Return the logarithm of the mean Gaussian potential of all pairs of unit rows; 0 for a single row."""
    if len(rows) < 2:
        return rows.new_zeros(())
    squares = rows.detach().square().sum(1)  # 1, or 0 for a row of zeros: constants
    itself = torch.arange(len(rows), device=rows.device) * (len(rows) + 1)
    sums = log_sum_exp(4.0 * rows, rows, -2.0 * squares, itself)
    return torch.logsumexp(sums - 2.0 * squares, 0) - math.log(len(rows) * (len(rows) - 1))
