"""Scores of one query with all items, and the best of many scores, in NumPy: the inner loop of an index."""

from __future__ import annotations

import numpy as np

from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray
from gclrec.runs.embeddings import FloatArray


def scan(vectors: FloatArray, query: FloatArray) -> FloatArray:
    """Return ``(I,)`` scores of all items, in pieces so small that a BLAS keeps to the calling thread.

    In a service the other threads are busy with other queries; waiting for them costs more than it saves.
    """
    items, dim = vectors.shape
    piece = max(1, 2**15 // dim)
    whole = items - items % piece
    scores = np.empty(items, dtype=np.float32)
    pieces = vectors[:whole].reshape(whole // piece, piece, dim)
    np.matmul(pieces, query, out=scores[:whole].reshape(whole // piece, piece))
    np.matmul(vectors[whole:], query, out=scores[whole:])
    return scores


def best_of_row(scores: FloatArray, k: int) -> IntArray:
    """Return the places of the ``k`` best finite scores, equal scores in order of place."""
    bound, chunks = np.float32(-np.inf), len(scores) // 32
    if chunks > 4 * k:
        # At least k scores reach the k-th largest maximum of a chunk. (0.02 ms instead of 0.23 ms for a
        # partition of 41,000 scores, which take 0.19 ms to compute.)
        maxima = scores[: chunks * 32].reshape(32, chunks).max(axis=0)
        bound = np.partition(maxima, chunks - k)[chunks - k]
    elif len(scores) > k:
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero(scores >= max(bound, np.finfo(np.float32).min))
    order: IntArray = places[np.argsort(-scores[places], kind="stable")[:k]]
    return order


def hide(proposed: IntArray, exclude: Ragged, num_items: int) -> IntArray:
    """Return the proposals, each row in ascending order, with ``-1`` in place of excluded ones.

    Numbers that ascend are found faster: those of 200 queries with 89 proposals and about 34 excluded items
    each in 0.8 ms instead of 1.3 ms.
    """
    if not len(exclude.values):
        return proposed
    ascending = np.sort(proposed, axis=1)
    keys = np.sort(exclude.owners() * num_items + exclude.values)
    asked = np.arange(len(ascending))[:, None] * num_items + ascending
    place = np.searchsorted(keys, asked)
    place[place == len(keys)] = 0
    ascending[(keys[place] == asked) & (ascending >= 0)] = -1
    return ascending


def best_first(rows: IntArray, scores: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """Return the ``k`` best of ``(B, n)`` rows by score, equal scores by row; score ``-inf`` means none.

    Score and row are packed into one integer, so that one sort orders both: for 256 queries with 100
    proposals in 0.2 ms instead of 1.3 ms with ``np.lexsort``.
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # adding zero makes -0.0 equal to 0.0
    falling = np.where(bits >> 31, bits, ~(bits | np.uint32(2**31)))
    keys = (falling.astype(np.uint64) << np.uint64(32)) | rows.astype(np.uint32)
    keys.sort(axis=1)
    falling = (keys[:, :k] >> np.uint64(32)).astype(np.uint32)
    best = np.where(falling >> 31, falling, ~falling & np.uint32(2**31 - 1)).view(np.float32)
    found = (keys[:, :k] & np.uint64(2**32 - 1)).astype(np.int64)
    return np.where(np.isneginf(best), -1, found), best
