"""What a recommender answers with: pairs of item and score, or a table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.runs.embeddings import FloatArray


class Recommendation(NamedTuple):
    """An item in the user's own id, and its score."""

    item: int | str
    score: float


def listed(items: Vocabulary, rows: IntArray, scores: FloatArray) -> list[Recommendation]:
    """Return ``(k,)`` rows and scores as pairs; a row ``-1`` is no item."""
    found = rows >= 0
    pairs = zip(items.raw(rows[found]).to_list(), scores[found].tolist(), strict=True)
    return [Recommendation(item, score) for item, score in pairs]


def tabled(users: pl.Series, items: Vocabulary, rows: IntArray, scores: FloatArray) -> pl.DataFrame:
    """Return ``(B, k)`` rows and scores of ``B`` users as a table user, item, rank (from 1), score."""
    place, rank = np.nonzero(rows >= 0)
    return pl.DataFrame(
        {
            "user": users.gather(place).alias("user"),
            "item": items.raw(rows[place, rank]),
            "rank": rank + 1,
            "score": scores[place, rank],
        }
    )
