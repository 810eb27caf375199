"""A subset of the catalogue, searched exactly: candidates of a request, or the cold items."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.recall.index import Index
from gclrec.runs.embeddings import FloatArray, Matrix


class CandidateSet:
    """Some items of an index, whose vectors are copied once; answers are rows of the whole index.

    Args:
        index: of all items.
        rows: ``(C,)`` sorted rows of the candidates, at least one.
    """

    def __init__(self, index: Index, rows: IntArray) -> None:
        self.rows = rows
        self._num_items = len(index)
        self._index = Index(Vocabulary(index.ids.raw(rows)), np.ascontiguousarray(index.vectors[rows]))

    @cached_property
    def _place(self) -> IntArray:
        """``(I,)`` place of an item among the candidates, ``-1`` if it is none."""
        place = np.full(self._num_items, -1, dtype=np.int64)
        place[self.rows] = np.arange(len(self.rows))
        return place

    def search(
        self, queries: Matrix, k: int, *, exclude: Ragged | None = None
    ) -> tuple[IntArray, FloatArray]:
        """Return the ``k`` best candidates; see :meth:`gclrec.recall.index.Index.search`."""
        if exclude is not None:
            places = replace(exclude, values=self._place[exclude.values])
            exclude = places.keep(places.values >= 0)
        found, scores = self._index.search(queries, k, exclude=exclude)
        return np.where(found >= 0, self.rows[found], -1), scores
