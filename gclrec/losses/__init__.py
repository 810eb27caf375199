"""Losses on embeddings: ranking, InfoNCE, alignment and uniformity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.losses.info_nce import bpr, info_nce, l2
    from gclrec.losses.ranking_losses import (
        LOSSES,
        alignment_uniformity,
        bilateral_softmax,
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

__getattr__, __dir__ = lazy(
    __name__,
    {
        "LOSSES": "gclrec.losses.ranking_losses",
        "alignment_uniformity": "gclrec.losses.ranking_losses",
        "bilateral_softmax": "gclrec.losses.ranking_losses",
        "bpr": "gclrec.losses.info_nce",
        "cosine_contrastive": "gclrec.losses.ranking_losses",
        "info_nce": "gclrec.losses.info_nce",
        "l2": "gclrec.losses.info_nce",
        "pairwise": "gclrec.losses.ranking_losses",
        "sampled_softmax": "gclrec.losses.ranking_losses",
    },
)
