"""Recall: from the embeddings of a run to an index that answers top-k queries by the user's own ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.recall.index import Index
    from gclrec.recall.recommendation import Recommendation
    from gclrec.recall.recommender import Recommender

__all__ = [
    "Index",
    "Recommendation",
    "Recommender",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Index": "gclrec.recall.index",
        "Recommendation": "gclrec.recall.recommendation",
        "Recommender": "gclrec.recall.recommender",
    },
)
