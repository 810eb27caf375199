"""Dense arithmetic that PyTorch has too, but slower: the product of two matrices, rows of unit length.

PyTorch hands a product of two float32 matrices to the BLAS that it was built with. Its builds for x86 carry
MKL, whose kernels for narrow matrices on processors of other makers than its own take two to six times as
long as oneDNN's, which PyTorch carries too. Both are single precision throughout.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor


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
