"""Search among the items that a request allows: candidates, filters, cold items."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from gclrec.common.ragged import Ragged
from gclrec.data.interactions import BoolArray, IntArray
from gclrec.recall.candidates import CandidateSet
from gclrec.recall.index import Index
from gclrec.recall.recommender import Recommender
from gclrec.runs.embeddings import FloatArray
from gclrec.serving.catalogue import Catalogue
from gclrec.serving.expression import parsed_filter
from gclrec.serving.messages import RecommendRequest, Restriction
from gclrec.serving.told import rows_of

_CACHED_BYTES = 64 << 20  # of the vectors of filtered items

Searcher = Index | CandidateSet


class RestrictedSearch:
    """Searches the items of a recommender that a request allows, and keeps what recent filters selected.

    Args:
        recommender: whose items are searched.
        catalogue: what is known of these items.
    """

    def __init__(self, recommender: Recommender, catalogue: Catalogue) -> None:
        self._recommender, self._catalogue = recommender, catalogue
        self._searchers: OrderedDict[tuple[str | None, bool, bool], Searcher | None] = OrderedDict()
        self._lock = threading.Lock()

    def search(
        self, vectors: FloatArray, request: Restriction, exclude: Ragged | None, *, directions: bool = False
    ) -> tuple[IntArray, FloatArray]:
        """Return ``(B, k)`` rows and scores of the best items that a request allows, best first.

        Args:
            vectors: ``(B, D)`` of users or items.
            request: what it allows, and how long the lists are.
            exclude: rows that each list must not hold.
            directions: search by cosine.

        Raises:
            FilterError: its filter is malformed.
        """
        if request.exclude:
            left_out = rows_of(request.exclude, self._recommender.lookups[1])
            more = Ragged.from_lists([left_out[left_out >= 0]]).take(np.zeros(len(vectors), dtype=np.int64))
            exclude = more.union(Ragged.empty(len(vectors)) if exclude is None else exclude)
        searcher = self._searcher(request, directions)
        k = min(request.k, len(self._recommender.items))
        if searcher is None:
            return np.full((len(vectors), k), -1), np.full((len(vectors), k), np.float32(-np.inf))
        return searcher.search(vectors, k, exclude=exclude)

    def _searcher(self, request: Restriction, directions: bool) -> Searcher | None:
        """Return what searches the items that a request allows; ``None`` if it allows none."""
        index = self._recommender.directions if directions else self._recommender.index
        if request.candidates is None and request.filter is None and not request.cold_only:
            return index
        key = request.filter, request.cold_only, directions
        if request.candidates is None:
            with self._lock:
                if key in self._searchers:
                    self._searchers.move_to_end(key)
                    return self._searchers[key]
        mask = self._allowed(request)
        searcher = CandidateSet(index, np.flatnonzero(mask)) if mask.any() else None
        if request.candidates is None:
            with self._lock:
                self._searchers[key] = searcher
                while len(self._searchers) > 1 and self._cached_bytes() > _CACHED_BYTES:
                    self._searchers.popitem(last=False)
        return searcher

    def _cached_bytes(self) -> int:
        sets = [each for each in self._searchers.values() if isinstance(each, CandidateSet)]
        size = 4 * self._recommender.index.dim
        return sum(len(each.rows) * size for each in sets) + 8 * len(self._recommender.items) * len(
            self._searchers
        )

    def _allowed(self, request: Restriction) -> BoolArray:
        """Return ``(I,)`` whether a request allows an item."""
        count = len(self._recommender.items)
        mask: BoolArray = np.ones(count, dtype=np.bool_)
        if request.candidates is not None:
            rows = rows_of(request.candidates, self._recommender.lookups[1])
            mask[:] = False
            mask[rows[rows >= 0]] = True
        if request.filter is not None:
            mask &= parsed_filter(request.filter, self._catalogue.fields)
        if request.cold_only:
            mask &= self._catalogue.interactions == 0
        return mask

    def popular(self, request: RecommendRequest) -> tuple[IntArray, FloatArray]:
        """Return the ``(k,)`` most popular items that a request allows, with their number of interactions."""
        k = min(request.k, len(self._recommender.items))
        mask = self._allowed(request)
        left_out = rows_of(request.exclude, self._recommender.lookups[1])
        mask[left_out[left_out >= 0]] = False
        order = self._catalogue.by_popularity
        best = order[mask[order]][:k]
        rows, scores = np.full(k, -1), np.full(k, np.float32(-np.inf))
        rows[: len(best)], scores[: len(best)] = best, self._catalogue.interactions[best]
        return rows, scores
