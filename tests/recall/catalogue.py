"""Items and queries for the tests of the index, and a search by the textbook."""

from __future__ import annotations

import numpy as np
import polars as pl

from gclrec.common.ragged import Ragged
from gclrec.data.interactions import Vocabulary

ITEMS, DIM = 2_000, 16


def numbered(count: int) -> Vocabulary:
    return Vocabulary(pl.Series("id", np.arange(count)))


def clustered(count: int, seed: int, *, skew: float = 0.5) -> np.ndarray:
    """Vectors around 20 directions, with log-normal lengths: roughly what training makes."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(20, DIM))
    vectors = centres[random.integers(0, 20, count)] + 0.7 * random.normal(size=(count, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors * random.lognormal(0, skew, (count, 1))).astype(np.float32)


VECTORS, QUERIES = clustered(ITEMS, 1), clustered(400, 2)


def slow_search(vectors, queries, k, excluded=None):
    """Textbook: all scores, a stable sort, the allowed ones."""
    rows = np.full((len(queries), k), -1)
    for q, query in enumerate(queries):
        scores = vectors @ query
        allowed = [i for i in range(len(vectors)) if excluded is None or i not in excluded[q]]
        best = sorted(allowed, key=lambda i: (-scores[i], i))[:k]
        rows[q, : len(best)] = best
    return rows


def lists(excluded: list[set[int]]) -> Ragged:
    return Ragged.from_lists([sorted(items) for items in excluded])
