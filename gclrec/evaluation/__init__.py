"""Evaluation: exact full ranking, metrics, groups of users and items.

The tables (``METRICS``, ``USER_GROUPS`` ...) need NumPy only; what ranks brings PyTorch along and is imported
when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gclrec.evaluation.groups import ITEM_GROUPS, USER_GROUPS
from gclrec.evaluation.metrics import CATALOGUE_METRICS, METRICS

if TYPE_CHECKING:
    from gclrec.evaluation.evaluator import Evaluation, evaluate, evaluate_ranking
    from gclrec.evaluation.ranking import Seen, top_k, top_k_of_scores

__all__ = [
    "CATALOGUE_METRICS",
    "Evaluation",
    "ITEM_GROUPS",
    "METRICS",
    "Seen",
    "USER_GROUPS",
    "evaluate",
    "evaluate_ranking",
    "top_k",
    "top_k_of_scores",
]

_LAZY = {
    "Evaluation": "evaluator",
    "evaluate": "evaluator",
    "evaluate_ranking": "evaluator",
    "Seen": "ranking",
    "top_k": "ranking",
    "top_k_of_scores": "ranking",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
