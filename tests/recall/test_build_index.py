"""Building: the target is met or missed with a warning, the seed decides all; figures are measured right."""

from __future__ import annotations

import time
import warnings

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Vocabulary
from gclrec.recall.build_index import BACKENDS, BATCH, build_index, kth_scores, measure, rate, recalls
from gclrec.recall.faiss_backends import GRAPH_LAYOUTS, HnswGraph, InvertedLists, size_in_bytes
from gclrec.recall.index import Index

from .catalogue import DIM, ITEMS, QUERIES, VECTORS, clustered, numbered, slow_search


@pytest.mark.parametrize("skew", [0.5, 1.5])
@pytest.mark.parametrize("backend", ["hnsw", "ivfflat", "ivfpq"])
def test_skewed_lengths_reach_the_target_or_say_so(backend: str, skew: float) -> None:
    vectors, queries = clustered(4_000, 1, skew=skew), clustered(300, 2, skew=0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index = build_index(vectors, numbered(4_000), backend=backend, queries=queries)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :100]
    found = np.mean([np.isin(a, b).mean() for a, b in zip(index.search(queries, 100)[0], exact, strict=True)])
    assert index.quality is not None
    assert abs(found - index.quality.recall) < 0.03
    below = [warning for warning in caught if "below the target" in str(warning.message)]
    assert (index.quality.recall < 0.95) == bool(below)
    if backend == "hnsw":
        assert not below  # one of the three layouts always did it


def test_layouts_of_a_graph_agree_on_what_they_find() -> None:
    vectors = clustered(3_000, 1, skew=1.0)
    exact = slow_search(vectors, QUERIES[:50], 20)
    for layout in GRAPH_LAYOUTS:
        graph = HnswGraph.build(vectors, layout, seed=0)
        rows, _ = Index(numbered(3_000), vectors, "hnsw", graph, effort=3_000).search(QUERIES[:50], 20)
        overlap = np.mean([np.isin(a, b).mean() for a, b in zip(rows, exact, strict=True)])
        assert overlap > 0.9, layout


def test_an_unreachable_target_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InvertedLists, "efforts", (12, 12))
    with pytest.warns(InputWarning, match="below the target"):
        index = build_index(VECTORS, numbered(ITEMS), backend="ivfflat", queries=QUERIES, target_recall=1.0)
    assert index.quality is not None
    assert index.quality.recall < 1


@pytest.mark.parametrize("backend", ["hnsw", "ivfflat", "ivfpq"])
def test_the_seed_decides_all(backend: str) -> None:
    import faiss

    vectors = clustered(1_100, 1)

    def content(seed: int) -> bytes:
        index = build_index(vectors, numbered(1_100), backend=backend, seed=seed)
        assert index.structure is not None
        return faiss.serialize_index(index.structure.faiss_index()).tobytes()

    assert content(1) == content(1)
    assert content(1) != content(2)


def test_auto_takes_the_fastest_that_reaches_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.recall.build_index.FAST_ENOUGH", float("inf"))
    index = build_index(VECTORS, numbered(ITEMS), backend="auto", queries=QUERIES)
    assert [trial.backend for trial in index.trials] == ["exact", "ivfflat", "hnsw"]
    enough = [trial for trial in index.trials if trial.recall >= 0.95]
    best = max(enough, key=lambda trial: trial.queries_per_second * trial.queries_per_second_batched)
    assert index.backend == best.backend
    assert index.quality == best
    assert index.trials[0].recall == 1


@pytest.mark.parametrize("slower", ["hnsw", "ivfflat"])
def test_auto_builds_a_graph_of_many_items_where_that_of_a_sample_is_fast(
    slower: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gclrec.recall.build_index.FAST_ENOUGH", float("inf"))
    monkeypatch.setattr("gclrec.recall.build_index._LAYOUT_ITEMS", ITEMS // 4)
    monkeypatch.setattr(
        "gclrec.recall.build_index._speed", lambda quality: float(quality.backend not in (slower, "exact"))
    )
    said: list[str] = []
    index = build_index(VECTORS, numbered(ITEMS), queries=QUERIES, progress=said.append)
    left_out = "hnsw: on 500 items not 2 times as fast as ivfflat on all"
    assert (left_out in said) == (slower == "hnsw")
    assert index.backend == {"hnsw": "ivfflat", "ivfflat": "hnsw"}[slower]
    assert len(index.trials) == 2 + (slower == "ivfflat")


def test_auto_is_content_with_exact_where_that_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.recall.build_index.FAST_ENOUGH", 0.0)
    index = build_index(VECTORS, numbered(ITEMS), backend="auto", queries=QUERIES)
    assert index.backend == "exact"
    assert [trial.backend for trial in index.trials] == ["exact"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backend": "annoy"}, "unknown backend 'annoy', expected one of auto, exact"),
        ({"target_recall": 0.0}, "target recall"),
        ({"target_recall": 1.01}, "target recall"),
        ({"target_recall": float("nan")}, "target recall"),
        ({"seed": -1}, "seed"),
        ({"queries": np.ones((3, DIM + 1))}, "expected (Q, 16)"),
        ({"queries": np.ones((0, DIM))}, "expected (Q, 16)"),
        ({"queries": np.full((3, DIM), np.nan)}, "row 0"),
        ({"vectors": np.ones((3, DIM))}, "2,000 ids and 3 vectors"),
        ({"vectors": np.ones(3)}, "shape (3,)"),
        ({"vectors": np.ones((0, DIM)), "ids": numbered(0)}, "not zero"),
    ],
)
def test_bad_arguments(changes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        build_index(**{"vectors": VECTORS, "ids": numbered(ITEMS), "queries": QUERIES} | changes)
    assert said in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("items", [1, 2, 17, 300])
def test_tiny_catalogues(
    backend: str, items: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gclrec.recall.build_index.FAST_ENOUGH", float("inf"))  # auto tries everything
    vectors = clustered(items, 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index = build_index(vectors, numbered(items), backend=backend)
    rows, _ = index.search(vectors[:5], items + 2)
    expected = slow_search(vectors, vectors[:5], items)
    assert np.array_equal(np.sort(rows[:, :items]), np.sort(expected))
    assert (rows[:, items:] == -1).all()
    said = [str(warning.message) for warning in caught if issubclass(warning.category, InputWarning)]
    assert any("1,024 items" in line for line in said) == (backend == "ivfpq")
    assert capfd.readouterr() == ("", "")  # faiss warns on stderr when it has few points to learn from


def test_a_graph_tries_its_layouts_on_a_sample_of_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.recall.build_index._LAYOUT_ITEMS", 300)
    vectors = np.random.default_rng(3).normal(size=(900, 8)).astype(np.float32)
    said: list[str] = []
    index = build_index(vectors, [f"item {i}" for i in range(900)], backend="hnsw", progress=said.append)
    assert any("on 300 items" in line for line in said)
    assert (len(index), index.backend) == (900, "hnsw")
    assert index.quality is not None
    assert index.quality.recall > 0.9


# -- measuring -----------------------------------------------------------------------------------


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
