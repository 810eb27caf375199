"""A part of the catalogue, searched exactly: a list of candidates, or the items that are cold."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.recall.index import Index
from gclrec.runs.embeddings import FloatArray, Matrix
from gclrec.runs.reading import Lists


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

    def search(self, queries: Matrix, k: int, *, exclude: Lists | None = None) -> tuple[IntArray, FloatArray]:
        """Return the ``k`` best items of the shelf; see :meth:`gclrec.recall.index.Index.search`."""
        if exclude is not None:
            indptr, items = exclude
            place = self._place[items]
            kept = np.concatenate([[0], np.cumsum(place >= 0)])
            exclude = kept[indptr], place[place >= 0]
        found, scores = self._index.search(queries, k, exclude=exclude)
        return np.where(found >= 0, self.rows[found], -1), scores
