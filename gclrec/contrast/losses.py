"""Losses: tensors in, a scalar out. Every loss is a mean over its rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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


def info_nce(anchor: Tensor, positive: Tensor, temperature: float = 0.2) -> Tensor:
    r"""Contrast row ``k`` of one view with row ``k`` of the other (InfoNCE, [1]).

    .. math:: -\frac{1}{B} \sum_k \log
        \frac{e^{\cos(a_k, p_k) / \tau}}{\sum_j e^{\cos(a_k, p_j) / \tau}}

    The rows must be *distinct* nodes, since a repeated node would be its own negative.

    Args:
        anchor: ``(B, D)`` embeddings of the first view, of any length.
        positive: ``(B, D)`` embeddings of the same nodes in the second view.
        temperature: ``tau > 0``; smaller weighs hard negatives more.

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
    if temperature <= 0.0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    logits = functional.normalize(anchor, dim=1) @ functional.normalize(positive, dim=1).T
    same = torch.arange(len(anchor), device=anchor.device)
    return functional.cross_entropy(logits / temperature, same)
