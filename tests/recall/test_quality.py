"""Measuring an index: the figures are what they say they are."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.data.interactions import Vocabulary
from gclrec.recall.faiss_backends import InvertedLists, size_in_bytes
from gclrec.recall.index import Index
from gclrec.recall.quality import BATCH, kth_scores, measure, rate, recalls


@pytest.fixture
def catalogue() -> tuple[Index, np.ndarray]:
    random = np.random.default_rng(0)
    vectors, queries = random.normal(size=(900, 8)), random.normal(size=(70, 8)).astype(np.float32)
    return Index.exact(vectors, Vocabulary(pl.Series("id", np.arange(900)))), queries


def test_recall_by_counting(catalogue) -> None:
    exact, queries = catalogue
    blind = Index(
        exact.ids, exact.vectors, "ivfflat", InvertedLists.build(exact.vectors, False, seed=0), effort=8
    )
    found, right = blind.search(queries, 20)[0], exact.search(queries, 20)[0]
    counted = [len(set(a) & set(b)) / 20 for a, b in zip(found.tolist(), right.tolist(), strict=True)]
    assert 0.3 < np.mean(counted) < 0.99  # or the test would show nothing
    shares = recalls(blind.search(queries, 20)[1], kth_scores(exact, queries, 20))
    np.testing.assert_allclose(shares, counted)
    assert measure(blind, queries, exact, 20).recall == pytest.approx(np.mean(counted))


def test_an_item_that_ties_counts() -> None:
    exact = Index.exact(np.ones((6, 1)), Vocabulary(pl.Series("id", np.arange(6))))
    kth = kth_scores(exact, np.ones((1, 1)), 2)
    assert recalls(np.array([[1.0, 1.0]], dtype=np.float32), kth).tolist() == [
        1.0
    ]  # whichever items they are
    assert recalls(np.array([[1.0, 0.9]], dtype=np.float32), kth).tolist() == [0.5]
    assert recalls(np.array([[1.0, -np.inf]], dtype=np.float32), kth).tolist() == [0.5]


def test_figures_of_exact_search(catalogue) -> None:
    exact, queries = catalogue
    figures = measure(exact, queries, exact, build_seconds=1.5)
    assert figures.backend == "exact"
    assert (figures.recall, figures.k, figures.queries) == (1.0, 100, 70)
    assert figures.build_seconds == 1.5
    assert figures.bytes == 900 * 8 * 4
    assert figures.queries_per_second > 0
    assert figures.queries_per_second_batched > 0


def test_lists_are_no_longer_than_the_catalogue() -> None:
    exact = Index.exact(np.eye(5), Vocabulary(pl.Series("id", np.arange(5))))
    assert measure(exact, np.eye(5), exact).k == 5


def test_no_query(catalogue) -> None:
    exact, queries = catalogue
    with pytest.raises(InputError, match="found no query"):
        measure(exact, queries[:0], exact)


def test_rate_counts_queries_not_calls() -> None:
    asked: list[int] = []

    def search(start: int) -> None:
        asked.append(start)
        time.sleep(0.01)

    assert 1 / 0.01 < rate(search, BATCH) <= BATCH / 0.01
    assert asked[:3] == [0, 0, BATCH]  # a first call that is not timed, then other queries each time


def test_size_is_that_of_the_file(catalogue, tmp_path) -> None:
    import faiss

    index = InvertedLists.build(catalogue[0].vectors, False, seed=0).faiss_index()
    faiss.write_index(index, str(tmp_path / "index"))
    assert size_in_bytes(index) == (tmp_path / "index").stat().st_size
