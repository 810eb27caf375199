"""Building: the target is met or missed aloud, the seed decides all, tiny catalogues work."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.recall import build_index as building
from gclrec.recall.build_index import BACKENDS
from gclrec.recall.faiss_backends import GRAPH_LAYOUTS, Graph, InvertedLists
from gclrec.recall.index import Index

from .catalogue import DIM, ITEMS, QUERIES, VECTORS, clustered, numbered, slow_search


@pytest.mark.parametrize("skew", [0.5, 1.5])
@pytest.mark.parametrize("backend", ["hnsw", "ivfflat", "ivfpq"])
def test_skewed_lengths_reach_the_target_or_say_so(backend: str, skew: float) -> None:
    vectors, queries = clustered(4_000, 1, skew=skew), clustered(300, 2, skew=0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index = Index.build(vectors, numbered(4_000), backend=backend, queries=queries)
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
        graph = Graph.build(vectors, layout, seed=0)
        rows, _ = Index(numbered(3_000), vectors, "hnsw", graph, effort=3_000).search(QUERIES[:50], 20)
        overlap = np.mean([np.isin(a, b).mean() for a, b in zip(rows, exact, strict=True)])
        assert overlap > 0.9, layout


def test_an_unreachable_target_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InvertedLists, "efforts", (12, 12))
    with pytest.warns(InputWarning, match="below the target"):
        index = Index.build(VECTORS, numbered(ITEMS), backend="ivfflat", queries=QUERIES, target_recall=1.0)
    assert index.quality is not None
    assert index.quality.recall < 1


@pytest.mark.parametrize("backend", ["hnsw", "ivfflat", "ivfpq"])
def test_the_seed_decides_all(backend: str) -> None:
    import faiss

    vectors = clustered(1_100, 1)

    def content(seed: int) -> bytes:
        index = Index.build(vectors, numbered(1_100), backend=backend, seed=seed)
        assert index.structure is not None
        return faiss.serialize_index(index.structure.faiss_index()).tobytes()

    assert content(1) == content(1)
    assert content(1) != content(2)


def test_auto_takes_the_fastest_that_reaches_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.recall.build_index.FAST_ENOUGH", float("inf"))
    index = Index.build(VECTORS, numbered(ITEMS), backend="auto", queries=QUERIES)
    assert [trial.backend for trial in index.trials] == ["exact", "ivfflat", "hnsw", "ivfpq"]
    enough = [trial for trial in index.trials if trial.recall >= 0.95]
    best = max(enough, key=lambda trial: trial.queries_per_second * trial.queries_per_second_batched)
    assert index.backend == best.backend
    assert index.quality == best
    assert index.trials[0].recall == 1


def test_auto_is_content_with_exact_where_that_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.recall.build_index.FAST_ENOUGH", 0.0)
    index = Index.build(VECTORS, numbered(ITEMS), backend="auto", queries=QUERIES)
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
        Index.build(**{"vectors": VECTORS, "ids": numbered(ITEMS), "queries": QUERIES} | changes)
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
        index = Index.build(vectors, numbered(items), backend=backend)
    rows, _ = index.search(vectors[:5], items + 2)
    expected = slow_search(vectors, vectors[:5], items)
    assert np.array_equal(np.sort(rows[:, :items]), np.sort(expected))
    assert (rows[:, items:] == -1).all()
    said = [str(warning.message) for warning in caught if issubclass(warning.category, InputWarning)]
    assert any("1,024 items" in line for line in said) == (backend == "ivfpq")
    assert capfd.readouterr() == ("", "")  # faiss warns on stderr when it has few points to learn from


def test_a_graph_tries_its_layouts_on_a_sample_of_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_LAYOUT_ITEMS", 300)
    vectors = np.random.default_rng(3).normal(size=(900, 8)).astype(np.float32)
    said: list[str] = []
    index = Index.build(vectors, [f"item {i}" for i in range(900)], backend="hnsw", say=said.append)
    assert any("on 300 items" in line for line in said)
    assert (len(index), index.backend) == (900, "hnsw")
    assert index.quality is not None
    assert index.quality.recall > 0.9
