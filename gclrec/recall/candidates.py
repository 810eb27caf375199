"""A part of the catalogue, searched exactly: a list of candidates, or the items that are cold."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.recall.index import Index
from gclrec.runs.embeddings import FloatArray, Matrix


class Shelf:
    """Some items of an index; answers in the row numbers of the whole.

    A query costs one product with the vectors on the shelf, which are copied once.

    Args:
        index: of all items.
        rows: ``(C,)`` sorted rows of those on the shelf, at least one.
    """

    def __init__(self, index: Index, rows: IntArray) -> None:
        self.rows = rows
        self._num_items = len(index)
        self._index = Index(Vocabulary(index.ids.raw(rows)), np.ascontiguousarray(index.vectors[rows]))

    @cached_property
    def _place(self) -> IntArray:
        """``(I,)`` where an item stands on the shelf, ``-1`` if it does not."""
        place = np.full(self._num_items, -1, dtype=np.int64)
        place[self.rows] = np.arange(len(self.rows))
        return place

    def search(
        self, queries: Matrix, k: int, *, exclude: Ragged | None = None
    ) -> tuple[IntArray, FloatArray]:
        """Return the ``k`` best items of the shelf; see :meth:`gclrec.recall.index.Index.search`."""
        if exclude is not None:
            places = replace(exclude, values=self._place[exclude.values])
            exclude = places.keep(places.values >= 0)
        found, scores = self._index.search(queries, k, exclude=exclude)
        return np.where(found >= 0, self.rows[found], -1), scores
