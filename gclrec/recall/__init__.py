"""Recall: from the embeddings of a run to an index that answers top-k queries by the user's own ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.recall.index import Index as Index
    from gclrec.recall.recommendation import Recommendation as Recommendation
    from gclrec.recall.recommender import Recommender as Recommender

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "gclrec.recall.index": "Index",
        "gclrec.recall.recommendation": "Recommendation",
        "gclrec.recall.recommender": "Recommender",
    },
)
