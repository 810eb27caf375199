"""Streamed log-sum-exp of the inner products of many rows, the core of all softmax losses.

Under ``torch.autocast`` products and exponentials are in its 16-bit type, and sums over the rows in single
precision: a third less time on processors with such instructions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from gclrec.common.devices import on_cpu
from gclrec.graph.functional import differentiable_once

_BLOCK = 2**19
"""Logits that exist at a time, unless a single row is longer."""

_TAME = 40.0
"""Logits and weights up to this size, summed by the million, are far from overflow."""

_FEWEST_ROWS = 128
"""Least rows of a block: fewer make matrix products slow."""


def mean_log_sum_exp(a: Tensor, n: Tensor, hidden: Tensor | None = None) -> Tensor:
    r"""Return the mean over the rows of ``a`` of the log-sum-exp of their inner products with ``n``.

    .. math:: \frac{1}{B} \sum_k \log \sum_j e^{a_k \cdot n_j}

    Logits exist a block at a time, and their gradients are computed with them, so nothing of size ``(B, N)``
    is kept. With softmax rows ``P`` the gradients are ``P n / B`` and ``P^T a / B``.

    Args:
        a: ``(B, D)``.
        n: ``(N, D)``.
        hidden: ``(N,)`` int64, the row of ``a`` that leaves out this row of ``n``; -1 for none.

    Returns:
        Scalar; 0 when ``a`` has no rows.
    """
    return cast("Tensor", _MeanLogSumExp.apply(a, n, hidden))  # type: ignore[no-untyped-call]


def log_sum_exp(a: Tensor, n: Tensor, log_weight: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
    r"""Return the log-sum-exp of each row of :math:`a n^T + \log w`, ``(B,)``.

    For losses that weigh the gradients of rows afterwards: only the exponentials, ``(B, N)``, are kept for
    the backward pass. A row whose weights are all 0 gives minus infinity, without gradient.

    Args:
        a: ``(B, D)``.
        n: ``(N, D)``, at least one.
        log_weight: broadcasts to ``(B, N)``; no gradient.
        seen: ``(H,)`` int64 places ``row * N + column`` whose weight is 0, in order of rows.
    """
    return cast("Tensor", _LogSumExp.apply(a, n, log_weight, seen))  # type: ignore[no-untyped-call]


class _Block(NamedTuple):
    """Some rows with their log-sums and exponentials, which sum to ``sums``; rows are the first axis."""

    rows: slice
    log_sums: Tensor
    exponentials: Tensor
    sums: Tensor


def _blocks(
    a: Tensor,
    n: Tensor,
    log_weight: Tensor | None = None,
    *,
    hidden: Tensor | None = None,
    seen: Tensor | None = None,
) -> Iterator[_Block]:
    """Yield the blocks in order of rows."""
    lowest, least = torch.finfo(a.dtype).min, torch.finfo(a.dtype).tiny
    whole = torch.promote_types(a.dtype, torch.float32)
    size = max(_BLOCK // max(len(n), 1), _FEWEST_ROWS)
    tame = _are_tame(a, n, log_weight)
    starts = range(0, len(a), size)
    places = [None] * len(starts) if seen is None else _by_block(seen, starts, len(n))
    for start, place in zip(starts, places, strict=True):
        part = a[start : start + size]
        rows = slice(start, start + len(part))
        logits = part @ n.T
        if log_weight is not None:
            logits += log_weight[rows] if log_weight.dim() == 2 and len(log_weight) == len(a) else log_weight
        if hidden is not None:
            _hide(logits, hidden - start)
        if tame:
            logits.exp_()
            if place is not None:
                logits.view(-1).index_fill_(0, place, 0.0)
            sums = logits.sum(1, keepdim=True, dtype=whole)
            log_sums = sums.log()
        else:
            if place is not None:
                logits.view(-1).index_fill_(0, place, -torch.inf)
            highest = logits.amax(1, keepdim=True).clamp_(min=lowest)
            sums = logits.sub_(highest).exp_().sum(1, keepdim=True, dtype=whole)
            log_sums = sums.log() + highest
        yield _Block(rows, log_sums.squeeze(1), logits, sums.clamp_(min=least))


def _are_tame(a: Tensor, n: Tensor, log_weight: Tensor | None) -> bool:
    """Return whether no exponential can overflow or vanish, so that the largest logit need not be subtracted.

    That saves two passes over the logits. Unit vectors are tame at temperatures down to 1/40. ``False`` on a
    GPU, where the check would wait for the device, and for float16.
    """
    if not on_cpu(a.device) or a.dtype == torch.float16 or not len(a) or not len(n):
        return False
    longest = (float(torch.linalg.vector_norm(rows, dim=1).amax()) for rows in (a, n))
    if math.prod(longest) > _TAME:
        return False
    if log_weight is None:
        return True
    low, high = log_weight.masked_fill(log_weight.isneginf(), 0.0).aminmax()
    return float(low) >= -_TAME and float(high) <= _TAME


def _by_block(seen: Tensor, starts: range, columns: int) -> list[Tensor]:
    """Return the places of each block, relative to its first row."""
    firsts = torch.tensor(starts, device=seen.device) * columns
    bounds = [*torch.searchsorted(seen, firsts).tolist(), len(seen)]
    return [
        seen[begin:end] - start * columns
        for start, begin, end in zip(starts, bounds[:-1], bounds[1:], strict=True)
    ]


def _hide(logits: Tensor, hidden: Tensor) -> None:
    """Set the logit of each column to minus infinity in the row ``hidden`` names, if it is in the block."""
    here = (hidden >= 0) & (hidden < len(logits))
    row = torch.where(here, hidden, 0).unsqueeze(0)
    logits.scatter_(0, row, logits.gather(0, row).masked_fill_(here.unsqueeze(0), -torch.inf))


def _narrowed(*rows: Tensor) -> tuple[Tensor, ...]:
    """Return rows in the 16-bit type of autocast, if it is on; double precision is kept."""
    kind = rows[0].device.type
    if not torch.is_autocast_enabled(kind):
        return rows
    dtype = torch.get_autocast_dtype(kind)
    return tuple(x.to(dtype) if x.dtype == torch.float32 else x for x in rows)


class _MeanLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, n: Tensor, hidden: Tensor | None) -> Tensor:
        of_a, of_n, _ = ctx.needs_input_grad
        log_sums = a.new_empty(len(a), dtype=torch.promote_types(a.dtype, torch.float32))
        grad_a = torch.empty_like(a) if of_a else None
        grad_n = torch.zeros_like(n) if of_n else None
        left, right = _narrowed(a, n)
        for rows, sums_of_rows, exponentials, sums in _blocks(left, right, hidden=hidden):
            log_sums[rows] = sums_of_rows
            if grad_a is not None:
                torch.div(exponentials @ right, sums, out=grad_a[rows])
            if grad_n is not None:
                grad_n += ((a[rows] / sums).to(right.dtype).T @ exponentials).T
        ctx.save_for_backward(grad_a, grad_n)
        ctx.count = max(len(a), 1)
        return cast("Tensor", log_sums.sum() / ctx.count)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        scale = grads[0] / ctx.count
        grad_a, grad_n = (None if grad is None else grad * scale for grad in ctx.saved_tensors)
        return grad_a, grad_n, None


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, n: Tensor, log_weight: Tensor | None, seen: Tensor | None) -> Tensor:
        whole = torch.promote_types(a.dtype, torch.float32)
        log_sums, sums = a.new_empty(len(a), dtype=whole), a.new_empty(len(a), 1, dtype=whole)
        left, right = _narrowed(a, n)
        exponentials = left.new_empty(len(a), len(n))
        for block in _blocks(left, right, log_weight, seen=seen):
            log_sums[block.rows], sums[block.rows] = block.log_sums, block.sums
            exponentials[block.rows] = block.exponentials
        ctx.save_for_backward(a, right, exponentials, sums)
        return log_sums

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        a, n, exponentials, sums = ctx.saved_tensors
        scale = grads[0].unsqueeze(1) / sums
        weighted = (a * scale).to(n.dtype)
        grad_n = (weighted.T @ exponentials).T.to(a.dtype)
        return (exponentials @ n) * scale, grad_n, None, None
