"""Contrast: views, losses, negatives, and the named methods made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.lazy import lazy

if TYPE_CHECKING:
    from gclrec.contrast.foreign import augment
    from gclrec.contrast.hardness import hardness_curve
    from gclrec.contrast.losses import bpr, info_nce, l2
    from gclrec.contrast.methods import METHODS
    from gclrec.contrast.negatives import NEGATIVES, build_sampler
    from gclrec.contrast.ranking_losses import (
        LOSSES,
        alignment_uniformity,
        bilateral_softmax,
        cosine_contrastive,
        pairwise,
        sampled_softmax,
    )
    from gclrec.contrast.ssl import SSL
    from gclrec.contrast.views import VIEWS

__all__ = [
    "LOSSES",
    "METHODS",
    "NEGATIVES",
    "SSL",
    "VIEWS",
    "alignment_uniformity",
    "augment",
    "bilateral_softmax",
    "bpr",
    "build_sampler",
    "cosine_contrastive",
    "hardness_curve",
    "info_nce",
    "l2",
    "pairwise",
    "sampled_softmax",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "LOSSES": "gclrec.contrast.ranking_losses",
        "METHODS": "gclrec.contrast.methods",
        "NEGATIVES": "gclrec.contrast.negatives",
        "SSL": "gclrec.contrast.ssl",
        "VIEWS": "gclrec.contrast.views",
        "alignment_uniformity": "gclrec.contrast.ranking_losses",
        "augment": "gclrec.contrast.foreign",
        "bilateral_softmax": "gclrec.contrast.ranking_losses",
        "bpr": "gclrec.contrast.losses",
        "build_sampler": "gclrec.contrast.negatives",
        "cosine_contrastive": "gclrec.contrast.ranking_losses",
        "hardness_curve": "gclrec.contrast.hardness",
        "info_nce": "gclrec.contrast.losses",
        "l2": "gclrec.contrast.losses",
        "pairwise": "gclrec.contrast.ranking_losses",
        "sampled_softmax": "gclrec.contrast.ranking_losses",
    },
)
