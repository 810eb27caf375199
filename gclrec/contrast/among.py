"""Contrast of some rows with all rows of a table, without the matrix of all pairs."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def info_nce_among(anchor: Tensor, keys: Tensor, positive: Tensor, temperature: float = 0.2) -> Tensor:
    r"""Contrast each anchor with one key of a table, all other keys being negatives (InfoNCE, [1]).

    .. math:: -\frac{1}{B} \sum_b \log
        \frac{e^{\cos(a_b, k_{p_b}) / \tau}}{\sum_n e^{\cos(a_b, k_n) / \tau}}

    Args:
        anchor: ``(B, D)``, of any length.
        keys: ``(N, D)``, likewise.
        positive: ``(B,)`` which key belongs to each anchor.
        temperature: ``tau > 0``.

    Returns:
        Scalar mean over the anchors; ``log(N)`` when all rows are equal.

    Example:
        >>> keys = torch.eye(4)
        >>> round(info_nce_among(keys[:2], keys, torch.tensor([0, 1]), temperature=0.2).item(), 4)
        0.02

    [1] van den Oord et al., 2018, https://arxiv.org/abs/1807.03748
    """
    a = functional.normalize(anchor, dim=1) / temperature
    k = functional.normalize(keys, dim=1)
    return mean_log_sum_exp(a, k) - (a * k.index_select(0, positive)).sum(1).mean()


def mean_log_sum_exp(queries: Tensor, keys: Tensor) -> Tensor:
    r"""Return the mean over the queries of the log-sum-exp of their inner products with all keys.

    .. math:: \frac{1}{B} \sum_b \log \sum_n e^{q_b \cdot k_n}

    Worked off in blocks of queries, gradients included, so that no ``(B, N)`` matrix is ever there.

    Shapes:
        - **queries:** ``(B, D)``; **keys:** ``(N, D)``, ``N >= 1``
        - **output:** scalar
    """
    return cast("Tensor", _MeanLogSumExp.apply(queries, keys))  # type: ignore[no-untyped-call]


_BLOCK = 2**19
"""Inner products that exist at a time."""


class _MeanLogSumExp(torch.autograd.Function):
    """With softmax rows ``P`` the gradients are ``P k / B`` and ``P^T q / B``, taken where ``P`` is made."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        log_sums = q.new_empty(len(q))
        grad_q, grad_k = (torch.empty_like(q), torch.zeros_like(k)) if wanted else (q, k)
        rows = max(_BLOCK // max(len(k), 1), 1)
        for start in range(0, len(q), rows):
            part = slice(start, start + rows)
            logits = q[part] @ k.T
            highest = logits.amax(1, keepdim=True)
            sums = logits.sub_(highest).exp_().sum(1, keepdim=True)
            log_sums[part] = (sums.log() + highest).squeeze(1)
            if wanted:
                softmax = logits.div_(sums)
                grad_q[part] = softmax @ k
                grad_k.addmm_(softmax.T, q[part])
        if wanted:
            ctx.save_for_backward(grad_q, grad_k)
        return log_sums.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        grad_q, grad_k = ctx.saved_tensors
        scale = grads[0] / max(len(grad_q), 1)
        return grad_q * scale, grad_k * scale
