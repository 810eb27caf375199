"""InfoNCE, the contrastive loss between two views of the same nodes."""

from __future__ import annotations

from torch import Tensor

from gclrec.graph.functional import unit
from gclrec.losses.log_sum_exp import mean_log_sum_exp
from gclrec.losses.temperature import over


def info_nce(
    anchor: Tensor,
    positive: Tensor,
    temperature: float | Tensor = 0.2,
    *,
    own: Tensor | None = None,
    hidden: Tensor | None = None,
) -> Tensor:
    r"""Contrast each row of one view with the same node in the other and with other nodes (InfoNCE, [1]).

    .. math:: -\frac{1}{B} \sum_k \log
        \frac{e^{\cos(a_k, p_{o(k)}) / \tau}}{\sum_j e^{\cos(a_k, p_j) / \tau}}

    With ``own`` there may be more keys than anchors: all nodes of a view (SGL's form, [2]), or a batch's and
    those of a queue. The keys must be *distinct* nodes, since a repeated node would be its own negative,
    unless ``hidden`` says otherwise.

    Args:
        anchor: ``(B, D)`` embeddings of the first view, of any length.
        positive: ``(B, D)`` embeddings of the same nodes in the second view; with ``own`` ``(N, D)`` of any.
        temperature: ``tau > 0``; smaller weighs hard negatives more. A scalar tensor or one for each row,
            ``(B,)``, may need a gradient.
        own: ``(B,)`` int64, the row of ``positive`` that belongs to each anchor; row ``k`` if ``None``.
        hidden: ``(N,)`` int64, the one anchor that a key is not compared with; -1 for none.

    Returns:
        Scalar mean over the batch; ``log(B)`` when all rows are equal.

    Raises:
        ValueError: the shapes do not suit each other, or ``temperature`` is not positive.

    Example:
        >>> import torch
        >>> users = torch.eye(4)
        >>> round(info_nce(users, users, temperature=0.2).item(), 4)
        0.02

    [1] van den Oord et al., 2018, https://arxiv.org/abs/1807.03748; as in SimCLR,
    https://arxiv.org/abs/2002.05709
    [2] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    """
    if own is None and anchor.shape != positive.shape:
        raise ValueError(
            f"both views need the same shape, got {tuple(anchor.shape)} and {tuple(positive.shape)}"
        )
    if anchor.shape[1:] != positive.shape[1:]:
        raise ValueError(
            f"anchors and keys need one length, got {tuple(anchor.shape)} and {tuple(positive.shape)}"
        )
    if own is not None and own.shape != anchor.shape[:1]:
        raise ValueError(f"own needs one key an anchor, got {tuple(own.shape)} for {len(anchor)} anchors")
    if hidden is not None and hidden.shape != positive.shape[:1]:
        raise ValueError(f"hidden needs one anchor a key, got {tuple(hidden.shape)} for {len(positive)} keys")
    scaled = over(unit(anchor), temperature)
    keys = unit(positive)
    matching = keys if own is None else keys.index_select(0, own)
    return mean_log_sum_exp(scaled, keys, hidden) - (scaled * matching).sum(1).mean()
