"""Losses on embeddings: ranking losses, InfoNCE and L2. All take tensors and return a scalar."""

from __future__ import annotations

from gclrec.losses.alignment_uniformity import alignment_uniformity
from gclrec.losses.info_nce import info_nce
from gclrec.losses.l2 import l2
from gclrec.losses.ranking_losses import (
    LOSSES,
    bilateral_softmax,
    bpr,
    cosine_contrastive,
    pairwise,
    sampled_softmax,
)

__all__ = [
    "LOSSES",
    "alignment_uniformity",
    "bilateral_softmax",
    "bpr",
    "cosine_contrastive",
    "info_nce",
    "l2",
    "pairwise",
    "sampled_softmax",
]
