"""Evaluation: exact full ranking, metrics, groups of users and items.

The tables (``METRICS``, ``USER_GROUPS`` ...) need NumPy only; what ranks brings PyTorch along and is imported
when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy
from gclrec.evaluation.groups import ITEM_GROUPS, USER_GROUPS
from gclrec.evaluation.metrics import CATALOGUE_METRICS, METRICS

if TYPE_CHECKING:
    from gclrec.common.ragged import Ragged
    from gclrec.evaluation.evaluator import Evaluation, evaluate, evaluate_ranking
    from gclrec.evaluation.ranking import top_k, top_k_of_scores

__all__ = [
    "CATALOGUE_METRICS",
    "ITEM_GROUPS",
    "METRICS",
    "USER_GROUPS",
    "Evaluation",
    "Ragged",
    "evaluate",
    "evaluate_ranking",
    "top_k",
    "top_k_of_scores",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Evaluation": "gclrec.evaluation.evaluator",
        "Ragged": "gclrec.common.ragged",
        "evaluate": "gclrec.evaluation.evaluator",
        "evaluate_ranking": "gclrec.evaluation.evaluator",
        "top_k": "gclrec.evaluation.ranking",
        "top_k_of_scores": "gclrec.evaluation.ranking",
    },
)
