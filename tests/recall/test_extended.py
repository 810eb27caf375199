"""Indexes that take in further items: every backend finds them, and stays what it was for the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.recall.candidates import CandidateSet
from gclrec.recall.faiss_backends import GRAPH_LAYOUTS, HnswGraph
from gclrec.recall.index import Index

from .catalogue import DIM, ITEMS, QUERIES, VECTORS, clustered, lists, numbered, slow_search

NEW = clustered(60, 9) * 1.5
NEW_IDS = pl.Series("id", np.arange(ITEMS, ITEMS + 60))
ALL = np.concatenate([VECTORS, NEW])


def test_new_items_are_found(index: Index) -> None:
    before = index.search(QUERIES[:5], 3)
    extended = index.extended(NEW, NEW_IDS)
    assert len(extended) == ITEMS + 60
    assert len(index) == ITEMS
    np.testing.assert_array_equal(index.search(QUERIES[:5], 3)[0], before[0])  # the former one is untouched
    rows, scores = extended.search(QUERIES, 10)
    expected = slow_search(ALL, QUERIES, 10)
    assert (expected >= ITEMS).mean() > 0.05
    fresh = expected >= ITEMS
    found = (rows[:, :, None] == expected[:, None, :]).any(axis=1)
    assert found[fresh].mean() > 0.93  # lists are tuned to find .95
    assert found.mean() > 0.9
    np.testing.assert_allclose(
        scores[:, 0], np.einsum("qd,qd->q", ALL[rows[:, 0]], QUERIES), rtol=1e-4, atol=1e-5
    )
    assert extended.ids.raw(rows[rows >= ITEMS]).to_list() == rows[rows >= ITEMS].tolist()


def test_extended_twice_saved_and_loaded(index: Index, tmp_path: Path) -> None:
    extended = index.extended(NEW[:20], NEW_IDS[:20]).extended(NEW[20:], NEW_IDS[20:])
    extended.save(tmp_path / "index")
    loaded = Index.load(tmp_path / "index")
    for ours, theirs in zip(loaded.search(QUERIES, 10), extended.search(QUERIES, 10), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.extended(NEW + 1, NEW_IDS + 1000).search(QUERIES[:2], 5)[0].shape == (2, 5)


@pytest.mark.parametrize("layout", GRAPH_LAYOUTS)
def test_many_new_items_are_linked(layout: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A scan of more items than the head may hold would be slow."""
    monkeypatch.setattr("gclrec.recall.faiss_backends.HEAD_ITEMS", 30)
    exact = Index.exact(VECTORS, numbered(ITEMS))
    graph = HnswGraph.build(VECTORS, layout, seed=0)
    longest = np.linalg.norm(VECTORS, axis=1).max()
    new = NEW.copy()
    new[:3] = 2 * longest * new[:3] / np.linalg.norm(new[:3], axis=1, keepdims=True)
    index = replace(exact, backend="hnsw", structure=graph, effort=200).extended(new, NEW_IDS)
    assert isinstance(index.structure, HnswGraph)
    scanned = set(index.structure.head_rows[:-1].tolist())
    head = set(graph.head_rows[:-1].tolist())
    assert scanned == head
    rows, _ = index.search(QUERIES, 10)
    expected = slow_search(np.concatenate([VECTORS, new]), QUERIES, 10)
    found = (rows[:, :, None] == expected[:, None, :]).any(axis=1)
    assert found[expected >= ITEMS].mean() > 0.9
    index.save(tmp_path / "index")
    np.testing.assert_array_equal(Index.load(tmp_path / "index").search(QUERIES, 10)[0], rows)


def test_what_does_not_fit() -> None:
    index = Index.exact(VECTORS, numbered(ITEMS))
    with pytest.raises(InputError, match="do not fit the index"):
        index.extended(NEW[:, :3], NEW_IDS)
    with pytest.raises(InputError, match="do not fit the index"):
        index.extended(NEW, NEW_IDS[:5])
    with pytest.raises(InputError, match="row 0 holds NaN"):
        index.extended(NEW * np.nan, NEW_IDS)


@pytest.mark.parametrize("count", [4, 200])  # a few queries are scanned, more ranked together
def test_candidates_by_brute_force(index: Index, count: int) -> None:
    random = np.random.default_rng(4)
    rows = np.sort(random.choice(ITEMS, 50, replace=False))
    excluded = [set(random.choice(rows, 45, replace=False)) | {int(rows[0]) - 1, 7} for _ in range(count)]
    excluded = [{int(i) for i in each if i >= 0} for each in excluded]
    found, scores = CandidateSet(index, rows).search(QUERIES[:count], 8, exclude=lists(excluded))
    off = set(range(ITEMS)) - set(rows.tolist())
    expected = slow_search(VECTORS, QUERIES[:count], 8, [each | off for each in excluded])
    np.testing.assert_array_equal(found, expected)
    assert (found[:, -1] == -1).all()
    assert np.isneginf(scores[found < 0]).all()
    assert scores.shape == (count, 8)
    assert CandidateSet(index, rows).search(QUERIES[:2], 3)[0].shape == (2, 3)
    assert index.dim == DIM
