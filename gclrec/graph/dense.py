"""Dense arithmetic that PyTorch has too, but slower: the product of two matrices, rows of unit length.

PyTorch hands a product of two float32 matrices to the BLAS that it was built with. Its builds for x86 carry
MKL, whose kernels for narrow matrices on processors of other makers than its own take two to six times as
long as oneDNN's, which PyTorch carries too. Both are single precision throughout.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from gclrec.graph.derivatives import differentiable_once

_SHORTEST = 1e-12
"""A row that is no longer than this has no direction: it stays as good as zero, and gets no gradient."""


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b`` of two matrices, without gradient.

    Shapes:
        - **a:** ``(N, K)``; **b:** ``(K, M)``; each may be a transposed view
        - **output:** ``(N, M)``
    """
    if not _by_onednn(a, b):
        return a @ b
    return cast("Tensor", torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], ""))


def _by_onednn(a: Tensor, b: Tensor) -> bool:
    if torch.compiler.is_compiling():  # the compiler has no lowering of it
        return False
    single = a.dtype == b.dtype == torch.float32 and a.device.type == b.device.type == "cpu"
    return single and _has_onednn() and min(a.numel(), b.numel()) > 0


def _has_onednn() -> bool:
    enabled = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    return bool(enabled) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def single(x: Tensor) -> Tensor:
    """Return 16-bit numbers, such as layers give under autocast, in single precision; others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def unit(rows: Tensor) -> Tensor:
    r"""Return the rows at length 1; a row of zeros stays one and gets no gradient.

    .. math:: \hat x = \frac{x}{\lVert x \rVert}, \qquad
        \frac{\partial L}{\partial x} = \frac{g - \hat x \, (\hat x \cdot g)}{\lVert x \rVert}

    with :math:`g` the gradient that arrives. As one function of autograd: on 2,000 rows of 64 numbers the
    backward pass of ``torch.nn.functional.normalize`` takes ten times as long.

    Shapes:
        - **rows:** ``(..., D)``
        - **output:** the same; of 16-bit rows in single precision
    """
    return cast("Tensor", _Unit.apply(single(rows)))  # type: ignore[no-untyped-call]


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        directions: Tensor = rows / lengths.clamp(min=_SHORTEST)
        ctx.save_for_backward(directions, lengths)
        return directions

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        directions, lengths = ctx.saved_tensors
        along = (grads[0] * directions).sum(-1, keepdim=True)
        across = torch.addcmul(grads[0], directions, along, value=-1).div_(lengths.clamp(min=_SHORTEST))
        return across.masked_fill_(lengths <= _SHORTEST, 0.0)
