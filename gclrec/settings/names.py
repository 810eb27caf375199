"""The names that a setting may have."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gclrec.baselines import BASELINES
from gclrec.common.schedules import SCHEDULES
from gclrec.contrast import SSL
from gclrec.contrast.byol import TARGETS
from gclrec.contrast.features import FEATURE_VIEWS, SSL_SIDES
from gclrec.contrast.neighbours import FORMS
from gclrec.contrast.two_views import NEGATIVE_NODES
from gclrec.data.splits import SPLITS
from gclrec.encoders import ATTRIBUTE_USES, ENCODERS, HISTORIES, LAYER_WEIGHTS, REFINERS, USER_VECTORS
from gclrec.encoders.init import STARTS
from gclrec.evaluation.scoring import SCORINGS
from gclrec.losses.base import SCORES
from gclrec.losses.ranking_losses import LOSSES
from gclrec.negatives.registry import NEGATIVES

NAMES: Mapping[str, Collection[str]] = {
    "split": SPLITS,
    "baseline": BASELINES,
    "encoder": ENCODERS,
    "layer_weights": LAYER_WEIGHTS,
    "user_vectors": USER_VECTORS,
    "refiner": REFINERS,
    "history": ("none", *HISTORIES),
    "attributes": ("none", *ATTRIBUTE_USES),
    "loss": LOSSES,
    "init": STARTS,
    "score": SCORINGS,
    "schedule": SCHEDULES,
    "loss_score": SCORES,
    "negatives": NEGATIVES,
    "ssl": SSL,
    "ssl_negatives": NEGATIVE_NODES,
    "ssl_target": TARGETS,
    "neighbour_form": FORMS,
    "feature_views": FEATURE_VIEWS,
    "ssl_sides": SSL_SIDES,
    "views_every": ("batch", "epoch"),
    "precision": ("single", "half"),
    "device": ("auto", "cpu", "cuda"),
}
"""For each setting that is a name the names it may have, besides ``None`` where that is its default."""
