"""Evaluation: exact full ranking, metrics, groups of users and items.

The tables (``METRICS``, ``USER_GROUPS`` ...) need NumPy only; what ranks brings PyTorch along and is imported
when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.common.ragged import Ragged as Ragged
    from gclrec.evaluation.evaluator import Evaluation as Evaluation
    from gclrec.evaluation.evaluator import evaluate as evaluate
    from gclrec.evaluation.evaluator import evaluate_ranking as evaluate_ranking
    from gclrec.evaluation.groups import ITEM_GROUPS as ITEM_GROUPS
    from gclrec.evaluation.groups import USER_GROUPS as USER_GROUPS
    from gclrec.evaluation.metrics import CATALOGUE_METRICS as CATALOGUE_METRICS
    from gclrec.evaluation.metrics import METRICS as METRICS
    from gclrec.evaluation.ranking import top_k as top_k
    from gclrec.evaluation.ranking import top_k_of_scores as top_k_of_scores

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "gclrec.common.ragged": "Ragged",
        "gclrec.evaluation.evaluator": "Evaluation evaluate evaluate_ranking",
        "gclrec.evaluation.groups": "ITEM_GROUPS USER_GROUPS",
        "gclrec.evaluation.metrics": "CATALOGUE_METRICS METRICS",
        "gclrec.evaluation.ranking": "top_k top_k_of_scores",
    },
)
