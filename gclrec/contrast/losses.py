"""Losses: tensors in, a scalar out. Every loss is a mean over its rows."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from gclrec.contrast.temperatures import over


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Ask that a positive item scores above a negative one (Bayesian personalised ranking, [1]).

    .. math:: -\frac{1}{B} \sum_k \log \sigma(s^+_k - s^-_k)

    Args:
        positive: ``(B,)`` scores of items that the user interacted with.
        negative: ``(B,)`` scores of sampled other items.

    Returns:
        Scalar mean over the batch; ``log 2`` when all scores are equal.

    [1] Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618
    """
    return functional.softplus(negative - positive).mean()


def l2(*rows: Tensor) -> Tensor:
    r"""Half the squared length of the rows, per batch row (LightGCN's regulariser, [1] equation 15).

    .. math:: \frac{1}{2B} \sum_{X} \lVert X \rVert_F^2

    Args:
        rows: tensors ``(B, D)``, the layer-0 vectors of a batch's users, positives and negatives.

    Returns:
        Scalar.

    [1] He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126
    """
    total = torch.stack([part.square().sum() for part in rows]).sum()
    return total / (2 * max(len(rows[0]), 1))


def info_nce(anchor: Tensor, positive: Tensor, temperature: float | Tensor = 0.2) -> Tensor:
    r"""Contrast row ``k`` of one view with row ``k`` of the other (InfoNCE, [1]).

    .. math:: -\frac{1}{B} \sum_k \log
        \frac{e^{\cos(a_k, p_k) / \tau}}{\sum_j e^{\cos(a_k, p_j) / \tau}}

    The rows must be *distinct* nodes, since a repeated node would be its own negative.

    Args:
        anchor: ``(B, D)`` embeddings of the first view, of any length.
        positive: ``(B, D)`` embeddings of the same nodes in the second view.
        temperature: ``tau > 0``; smaller weighs hard negatives more. A scalar tensor or one for each row,
            ``(B,)``, may need a gradient.

    Returns:
        Scalar mean over the batch; ``log(B)`` when all rows are equal.

    Raises:
        ValueError: the shapes differ, or ``temperature`` is not positive.

    Example:
        >>> users = torch.eye(4)
        >>> round(info_nce(users, users, temperature=0.2).item(), 4)
        0.02

    [1] van den Oord et al., 2018, https://arxiv.org/abs/1807.03748; as in SimCLR,
    https://arxiv.org/abs/2002.05709
    """
    if anchor.shape != positive.shape:
        raise ValueError(
            f"both views need the same shape, got {tuple(anchor.shape)} and {tuple(positive.shape)}"
        )
    scaled = over(functional.normalize(anchor, dim=1), temperature)
    return cast("Tensor", _Matching.apply(scaled, functional.normalize(positive, dim=1)))  # type: ignore[no-untyped-call]


_BLOCK = 2**19
"""Logits that exist at a time."""


class _Matching(torch.autograd.Function):
    r"""Mean cross-entropy of the logits ``a p^T`` against their diagonal, a block of rows at a time.

    .. math:: \frac{1}{B} \sum_k \Big( \log \sum_j e^{a_k \cdot p_j} - a_k \cdot p_k \Big)

    With softmax rows ``P``, the gradients are ``(P p - p) / B`` and ``(P^T a - a) / B``. They are taken
    while a block's ``P`` is at hand, so no ``(B, B)`` matrix is kept for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, p: Tensor) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        diagonal = (a * p).sum(1)
        log_sums = torch.empty_like(diagonal)
        grad_a, grad_p = (torch.empty_like(a), a.neg()) if wanted else (a, a)
        rows = max(_BLOCK // max(len(p), 1), 1)
        for start in range(0, len(a), rows):
            part = slice(start, start + rows)
            logits = a[part] @ p.T
            highest = logits.amax(1, keepdim=True)
            sums = logits.sub_(highest).exp_().sum(1, keepdim=True)
            log_sums[part] = (sums.log() + highest).squeeze(1)
            if wanted:
                softmax = logits.div_(sums)
                grad_a[part] = softmax @ p - p[part]
                grad_p.addmm_(softmax.T, a[part])
        if wanted:
            ctx.save_for_backward(grad_a, grad_p)
        return (log_sums - diagonal).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        grad_a, grad_p = ctx.saved_tensors
        scale = grads[0] / max(len(grad_a), 1)
        return grad_a * scale, grad_p * scale
