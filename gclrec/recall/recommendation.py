"""Answers in raw ids: a list of items with scores, or a table."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import polars as pl

from gclrec.common.errors import InputWarning, SettingError
from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.runs.embeddings import FloatArray


class Recommendation(NamedTuple):
    """An item, in the user's own id, and its score."""

    item: int | str
    score: float


def as_list(items: Vocabulary, rows: IntArray, scores: FloatArray) -> list[Recommendation]:
    """Return the ``(1, k)`` answer of a search as a list; row ``-1`` is no item."""
    found = rows[0] >= 0
    pairs = zip(items.raw(rows[0][found]).to_list(), scores[0][found].tolist(), strict=True)
    return [Recommendation(item, score) for item, score in pairs]


def as_table(users: pl.Series, items: Vocabulary, rows: IntArray, scores: FloatArray) -> pl.DataFrame:
    """Return the ``(B, k)`` answer of a search for ``B`` users: user, item, rank (from 1), score."""
    place, rank = np.nonzero(rows >= 0)
    return pl.DataFrame(
        {
            "user": users.gather(place).alias("user"),
            "item": items.raw(rows[place, rank]),
            "rank": rank + 1,
            "score": scores[place, rank],
        }
    )


def shard_rows(num_users: int, number: int, count: int) -> range:
    """Return the rows of the users in the ``number``-th of ``count`` equal parts, from 1.

    Raises:
        SettingError: there is no such part, or it has no users.
    """
    if not 1 <= number <= count <= max(num_users, 1):
        found = f"found part {number} of {count}, expected part 1 to N of N"
        raise SettingError("shard", f"{found}, with N at most the {num_users:,} users")
    return range(num_users * (number - 1) // count, num_users * number // count)


def warn_of_silent(users: pl.Series, rows: IntArray) -> None:
    """Warn of users without any item in the ``(B, k)`` answer of a search: they have every item already."""
    silent = users.filter(pl.Series((rows < 0).all(axis=1))).unique(maintain_order=True)
    if len(silent):
        who = f"{len(silent):,} user{' has' if len(silent) == 1 else 's have'}"
        message = f"{who} every item that may be recommended already, such as {silent[0]!r}; left out"
        warnings.warn(message, InputWarning, stacklevel=3)
