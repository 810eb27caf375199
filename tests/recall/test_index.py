"""Searching: exact where it says so, true scores always, ties by row, exclusion without end."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import Vocabulary
from gclrec.evaluation.ranking import top_k
from gclrec.recall.build_index import build_index
from gclrec.recall.faiss_backends import HnswGraph, InvertedLists
from gclrec.recall.index import Index

from .catalogue import DIM, ITEMS, QUERIES, VECTORS, clustered, lists, numbered, slow_search


def test_reaches_the_target_and_says_so(index: Index) -> None:
    assert index.quality is not None
    assert index.quality.recall >= 0.95
    assert index.quality.k == 100
    assert index.quality.queries == 200
    found, _ = index.search(QUERIES, 100)
    exact = slow_search(VECTORS, QUERIES, 100)
    overlap = np.mean([np.isin(row, right).mean() for row, right in zip(found, exact, strict=True)])
    assert overlap >= 0.94
    short = np.mean(
        [
            np.isin(row, right[:10]).mean()
            for row, right in zip(index.search(QUERIES, 10)[0], exact, strict=True)
        ]
    )
    assert short >= 0.94


@pytest.mark.parametrize("size", [1, 5, 100])
def test_scores_are_inner_products_in_order(index: Index, size: int) -> None:
    rows, scores = index.search(QUERIES[:size], 50)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    assert (rows >= 0).all()
    true = np.einsum("bd,bkd->bk", QUERIES[:size], VECTORS[rows])
    np.testing.assert_allclose(scores, true, rtol=1e-5, atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 50 for row in rows.tolist())


@pytest.mark.parametrize("size", [1, 40])
def test_exact_is_the_ranking_of_the_evaluation(size: int) -> None:
    seen = Ragged.from_pairs(np.repeat(np.arange(size), 30), np.tile(np.arange(30) * 7, size), size)
    rows, scores = Index.exact(VECTORS, numbered(ITEMS)).search(QUERIES[:size], 20, exclude=seen)
    expected, values = top_k(QUERIES[:size], VECTORS, 20, seen=seen)
    assert np.array_equal(rows, expected.numpy())
    np.testing.assert_allclose(scores, values.numpy(), rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    items=st.integers(1, 300),
    batch=st.sampled_from([1, 3, 40]),
    k=st.integers(1, 30),
    share=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    seed=st.integers(0, 99),
)
def test_exact_settles_ties_by_row(items: int, batch: int, k: int, share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-1, 2, (items, 3)).astype(
        np.float32
    )  # whole numbers: sums are exact, ties abound
    queries = random.integers(-1, 2, (batch, 3)).astype(np.float32)
    excluded = [set(np.flatnonzero(random.random(items) < share).tolist()) for _ in range(batch)]
    rows, scores = Index.exact(vectors, numbered(items)).search(queries, k, exclude=lists(excluded))
    assert np.array_equal(rows, slow_search(vectors, queries, k, excluded))
    assert np.array_equal(np.isneginf(scores), rows < 0)


@settings(deadline=None, max_examples=25)
@given(
    backend=st.sampled_from(["hnsw", "ivfflat", "ivfpq"]),
    k=st.sampled_from([1, 7, 100]),
    seen=st.lists(st.sampled_from([0, 3, 60, 400, ITEMS - 3, ITEMS]), min_size=1, max_size=6),
    favourites=st.booleans(),
    seed=st.integers(0, 99),
)
def test_exclusion(built, backend: str, k: int, seen: list[int], favourites: bool, seed: int) -> None:
    """However much is excluded, be it just what the query would get, ``k`` others come if there are any."""
    random = np.random.default_rng(seed)
    queries = QUERIES[random.integers(0, len(QUERIES), len(seen))]
    order = np.argsort(-(queries @ VECTORS.T), axis=1)
    if not favourites:
        order = random.permuted(np.tile(np.arange(ITEMS), (len(seen), 1)), axis=1)
    excluded = [set(row[:count].tolist()) for row, count in zip(order, seen, strict=True)]
    rows, scores = built[backend].search(queries, k, exclude=lists(excluded))
    for row, score, out in zip(rows, scores, excluded, strict=True):
        found = row[row >= 0].tolist()
        assert len(found) == min(k, ITEMS - len(out))
        assert len(set(found)) == len(found)
        assert not out & set(found)
        assert np.isneginf(score[len(found) :]).all()
        assert np.isfinite(score[: len(found)]).all()


def test_ties_among_proposals_go_by_row(built: dict[str, Index]) -> None:
    twins = np.repeat(clustered(60, 5), 20, axis=0)  # every vector twenty times
    for structure in (
        HnswGraph.build(twins, "inner product", seed=0),
        InvertedLists.build(twins, False, seed=0),
    ):
        index = Index(numbered(1200), twins, "any", structure, effort=1000)
        rows, scores = index.search(QUERIES[:8], 40)
        level = scores[:, :-1] == scores[:, 1:]
        assert level.any()
        assert (rows[:, 1:] > rows[:, :-1])[level].all()


@pytest.mark.parametrize("effort", [1, 5, 1000])
def test_many_queries_look_into_the_lists_that_few_look_into(built: dict[str, Index], effort: int) -> None:
    for structure in (built["ivfflat"].structure, built["ivfpq"].structure):
        assert isinstance(structure, InvertedLists)
        together = structure.propose(QUERIES, 30, effort)
        one_by_one = np.concatenate([structure.propose(query[None], 30, effort) for query in QUERIES])
        assert together.shape == one_by_one.shape
        same = np.sort(together, axis=1) == np.sort(one_by_one, axis=1)
        assert same.mean() > 0.99  # equal approximate scores at the end of a list may differ


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_lists_at_half_precision_hold_vectors_of_any_size(scale: float) -> None:
    """Half precision ends at 65,504 and at 6e-8."""
    index = build_index(VECTORS * np.float32(scale), numbered(ITEMS), backend="ivfflat", queries=QUERIES)
    assert index.quality is not None
    assert index.quality.recall >= 0.95
    more = clustered(50, 9) * np.float32(scale)
    whole = index.extended(more, pl.Series(np.arange(ITEMS, ITEMS + 50)))
    rows, scores = whole.search(QUERIES, 20)
    vectors = np.concatenate([VECTORS * np.float32(scale), more])
    exact = Index.exact(vectors, numbered(ITEMS + 50)).search(QUERIES, 20)[0]
    assert (rows >= ITEMS).any()
    assert np.mean([np.isin(row, other).mean() for row, other in zip(rows, exact, strict=True)]) > 0.94
    np.testing.assert_allclose(scores, np.einsum("bd,bkd->bk", QUERIES, vectors[rows]), rtol=1e-4)


def test_zero_and_negative_scores() -> None:
    vectors = np.array([[0.0], [-1.0], [-0.0], [-2.0], [1.0]], dtype=np.float32)
    structure = HnswGraph.build(vectors, "inner product", seed=0)
    rows, scores = Index(numbered(5), vectors, "hnsw", structure, effort=5).search(np.ones((1, 1)), 6)
    assert rows.tolist() == [[4, 0, 2, 1, 3, -1]]
    assert scores.tolist() == [[1, 0, 0, -1, -2, -np.inf]]


def test_empty_batch(index: Index) -> None:
    rows, scores = index.search(np.empty((0, DIM)), 5)
    assert rows.shape == scores.shape == (0, 5)


@pytest.mark.parametrize(
    ("queries", "k", "exclude", "said"),
    [
        (np.ones((1, 3)), 5, None, "3 dimensions"),
        (np.full((1, DIM), np.inf), 5, None, "queries: row 0"),
        (np.ones((1, DIM)), 0, None, "k must be at least 1"),
        (np.ones((1, DIM)), 5, [[3], [4]], "2 lists, expected one for each of 1 queries"),
        (np.ones((1, DIM)), 5, [[ITEMS]], "must lie in"),
        (np.ones((1, DIM)), 5, [[-1]], "must lie in"),
    ],
)
def test_bad_searches(index: Index, queries, k, exclude, said: str) -> None:
    with pytest.raises(InputError) as caught:
        index.search(queries, k, exclude=None if exclude is None else Ragged.from_lists(exclude))
    assert said in str(caught.value)


def test_ids_name_the_rows_in_the_order_given() -> None:
    """A row is named by the id that stands in its place, whether that is sorted or not."""
    names = ["tea", "rice", "milk"]
    eye = np.eye(3, dtype=np.float32)
    for ids in (names, tuple(names), np.array(names), pl.Series(names), Vocabulary.in_order(names)):
        for index in (Index.exact(eye, ids), build_index(eye, ids, backend="exact"), Index(ids, eye)):
            rows, _ = index.search(np.array([[0.1, 0.3, 0.2]]), 2)
            assert index.ids.raw(rows[0]).to_list() == ["rice", "milk"]
    assert Index.exact(eye, [30, 10, 20]).ids.ids.to_list() == [30, 10, 20]
    assert repr(Index.exact(eye, names)) == "Index(items=3, dim=3, backend='exact')"


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a", "b"], "2 ids and 3"),
        (["a", "b", "a"], "'a' occurs twice"),
        (["a", None, "b"], "found None in a list"),
    ],
)
def test_ids_that_do_not_name_the_rows(ids: list, said: str) -> None:
    for make in (Index.exact, build_index, lambda vectors, ids: Index(ids, vectors)):
        with pytest.raises(InputError, match=said):
            make(np.eye(3, dtype=np.float32), ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tensors_are_vectors_too(dtype: torch.dtype) -> None:
    vectors = torch.eye(3, dtype=dtype, requires_grad=True)
    rows, scores = Index.exact(vectors * 2.0, ["a", "b", "c"]).search(vectors[:2], 1)
    assert rows.tolist() == [[0], [1]]
    assert scores.tolist() == [[2.0], [2.0]]
