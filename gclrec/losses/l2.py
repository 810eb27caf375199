"""L2 regularisation of a batch's layer-0 vectors."""

from __future__ import annotations

import torch
from torch import Tensor


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
