"""The index: exact where it says so, true scores always, exclusion without end, files that are checked."""

from __future__ import annotations

import itertools
import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.data.interactions import Vocabulary
from gclrec.errors import InputError, InputWarning
from gclrec.evaluation.ranking import Seen, top_k
from gclrec.recall.building import BACKENDS
from gclrec.recall.folder import MANIFEST
from gclrec.recall.index import Index, take_lists
from gclrec.recall.structures import GRAPH_LAYOUTS, Graph, Lists

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


@pytest.fixture(scope="module")
def built() -> dict[str, Index]:
    """Every backend on the same items, built once."""
    return {
        name: Index.build(VECTORS, numbered(ITEMS), backend=name, queries=QUERIES, seed=3)
        for name in BACKENDS
    }


@pytest.fixture(params=BACKENDS)
def index(request: pytest.FixtureRequest, built: dict[str, Index]) -> Index:
    return built[request.param]


def slow_search(vectors, queries, k, excluded=None):
    """Textbook: all scores, a stable sort, the allowed ones."""
    rows = np.full((len(queries), k), -1)
    for q, query in enumerate(queries):
        scores = vectors @ query
        allowed = [i for i in range(len(vectors)) if excluded is None or i not in excluded[q]]
        best = sorted(allowed, key=lambda i: (-scores[i], i))[:k]
        rows[q, : len(best)] = best
    return rows


def lists(excluded: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    indptr = np.cumsum([0, *map(len, excluded)])
    return indptr, np.array([item for items in excluded for item in sorted(items)], dtype=np.int64)


# -- answers ------------------------------------------------------------------------------------


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
    seen = Seen.from_pairs(np.repeat(np.arange(size), 30), np.tile(np.arange(30) * 7, size), size)
    rows, scores = Index.exact(VECTORS, numbered(ITEMS)).search(
        QUERIES[:size], 20, exclude=(seen.indptr.numpy(), seen.items.numpy())
    )
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
    for structure in (Graph.build(twins, "inner product", seed=0), Lists.build(twins, False, seed=0)):
        index = Index(numbered(1200), twins, "any", structure, effort=1000)
        rows, scores = index.search(QUERIES[:8], 40)
        level = scores[:, :-1] == scores[:, 1:]
        assert level.any()
        assert (rows[:, 1:] > rows[:, :-1])[level].all()


def test_zero_and_negative_scores() -> None:
    vectors = np.array([[0.0], [-1.0], [-0.0], [-2.0], [1.0]], dtype=np.float32)
    structure = Graph.build(vectors, "inner product", seed=0)
    rows, scores = Index(numbered(5), vectors, "hnsw", structure, effort=5).search(np.ones((1, 1)), 6)
    assert rows.tolist() == [[4, 0, 2, 1, 3, -1]]
    assert scores.tolist() == [[1, 0, 0, -1, -2, -np.inf]]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("items", [1, 2, 17, 300])
def test_tiny_catalogues(
    backend: str, items: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gclrec.recall.building.FAST_ENOUGH", float("inf"))  # auto tries everything
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


def test_empty_batch(index: Index) -> None:
    rows, scores = index.search(np.empty((0, DIM)), 5)
    assert rows.shape == scores.shape == (0, 5)


# -- skewed lengths -------------------------------------------------------------------------------


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
    monkeypatch.setattr(Lists, "efforts", (12, 12))
    with pytest.warns(InputWarning, match="below the target"):
        index = Index.build(VECTORS, numbered(ITEMS), backend="ivfflat", queries=QUERIES, target_recall=1.0)
    assert index.quality is not None
    assert index.quality.recall < 1


# -- building -------------------------------------------------------------------------------------


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
    monkeypatch.setattr("gclrec.recall.building.FAST_ENOUGH", float("inf"))
    index = Index.build(VECTORS, numbered(ITEMS), backend="auto", queries=QUERIES)
    assert [trial.backend for trial in index.trials] == ["exact", "ivfflat", "hnsw", "ivfpq"]
    enough = [trial for trial in index.trials if trial.recall >= 0.95]
    best = max(enough, key=lambda trial: trial.queries_per_second * trial.queries_per_second_batched)
    assert index.backend == best.backend
    assert index.quality == best
    assert index.trials[0].recall == 1


def test_auto_is_content_with_exact_where_that_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.recall.building.FAST_ENOUGH", 0.0)
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


@pytest.mark.parametrize(
    ("queries", "k", "exclude", "said"),
    [
        (np.ones((1, 3)), 5, None, "3 dimensions"),
        (np.full((1, DIM), np.inf), 5, None, "queries: row 0"),
        (np.ones((1, DIM)), 0, None, "k must be at least 1"),
        (np.ones((1, DIM)), 5, ([0, 1, 2], [3, 4]), "3 offsets"),
        (np.ones((1, DIM)), 5, ([0, 1], [3, 4]), "do not fit"),
        (np.ones((1, DIM)), 5, ([0, 1], [ITEMS]), "must lie in"),
        (np.ones((1, DIM)), 5, ([0, 1], [-1]), "must lie in"),
    ],
)
def test_bad_searches(index: Index, queries, k, exclude, said: str) -> None:
    with pytest.raises(InputError) as caught:
        index.search(queries, k, exclude=exclude)
    assert said in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6), st.data())
def test_take_lists(given_lists: list[list[int]], data) -> None:
    indptr = np.cumsum([0, *map(len, given_lists)])
    items = np.array([item for one in given_lists for item in one], dtype=np.int64)
    rows = data.draw(st.lists(st.integers(0, len(given_lists) - 1), max_size=8))
    taken, values = take_lists(indptr, items, rows)
    assert [values[a:b].tolist() for a, b in itertools.pairwise(taken)] == [given_lists[row] for row in rows]


# -- files ----------------------------------------------------------------------------------------


def test_round_trip(index: Index, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    assert again.ids == index.ids
    assert (again.backend, again.effort) == (index.backend, index.effort)
    assert (again.quality, again.trials) == (index.quality, index.trials)
    assert np.array_equal(again.vectors, index.vectors)
    if index.structure is not None:
        assert again.structure is not None
        assert again.structure.settings == index.structure.settings
    exclude = lists([set(range(q, 900 + q)) for q in range(40)])
    for ours, theirs in zip(
        index.search(QUERIES[:40], 30, exclude=exclude),
        again.search(QUERIES[:40], 30, exclude=exclude),
        strict=True,
    ):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("layout", GRAPH_LAYOUTS)
def test_round_trip_of_each_layout(layout: str, tmp_path: Path) -> None:
    index = Index(numbered(ITEMS), VECTORS, "hnsw", Graph.build(VECTORS, layout, seed=0), effort=100)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    for ours, theirs in zip(index.search(QUERIES, 30), again.search(QUERIES, 30), strict=True):
        assert np.array_equal(ours, theirs)


def test_text_ids_survive(tmp_path: Path) -> None:
    ids = Vocabulary(pl.Series("id", [f"ítem {n}" for n in range(300)]))
    Index.build(clustered(300, 1), ids, backend="exact").save(tmp_path / "index")
    assert Index.load(tmp_path / "index").ids == ids


def test_items_faiss_is_for_other_programs_too(built: dict[str, Index], tmp_path: Path) -> None:
    import faiss

    for name in ("exact", "ivfflat"):
        built[name].save(tmp_path / name)
        foreign = faiss.read_index(str(tmp_path / name / "items.faiss"))
        assert foreign.metric_type == faiss.METRIC_INNER_PRODUCT
        assert (foreign.ntotal, foreign.d) == (ITEMS, DIM)
        first = foreign.search(QUERIES[:1], 1)[1][0, 0]
        assert first == built["exact"].search(QUERIES[:1], 1)[0][0, 0] or name == "ivfflat"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = ("items.faiss", "vectors.npy", "ids.parquet")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, cut) for name in (*FILES, MANIFEST)),
        *((name, Path.unlink) for name in (*FILES, MANIFEST)),
        *((name, flip) for name in FILES),
    ],
)
def test_damage_is_named(index: Index, tmp_path: Path, name: str, damage) -> None:
    index.save(tmp_path / "index")
    damage(tmp_path / "index" / name)
    with pytest.raises(InputError) as caught:
        Index.load(tmp_path / "index")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def change_manifest(folder: Path, **values: object) -> None:
    """Change the manifest; the checksums of files that were changed too are put right."""
    import hashlib

    path = folder / MANIFEST
    manifest = json.loads(path.read_text()) | values
    for name in manifest["files"]:
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("backend", ["exact", "hnsw", "ivfflat"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"metric": "l2"}, "metric 'l2'"),
        ({"count": 1_999}, "the manifest says (1999, 16)"),
        ({"dim": 17}, "the manifest says (2000, 17)"),
        ({"backend": None, "count": "many"}, "cannot be used"),
        ({"measured": {"recall": 1}}, "cannot be used"),
        ({"compared": None}, "cannot be used"),
        ({"settings": None}, "cannot be used"),
        ({"kind": "gclrec embeddings"}, "not the manifest of gclrec index"),
    ],
)
def test_a_manifest_that_does_not_fit(built, backend: str, tmp_path: Path, values, said: str) -> None:
    built[backend].save(tmp_path / "index")
    change_manifest(tmp_path / "index", **values)
    with pytest.raises(InputError) as caught:
        Index.load(tmp_path / "index")
    assert said in str(caught.value)


@pytest.mark.parametrize(("one", "other"), [("hnsw", "ivfflat"), ("ivfflat", "hnsw"), ("ivfpq", "exact")])
def test_a_faiss_file_of_another_index(built, one: str, other: str, tmp_path: Path) -> None:
    built[one].save(tmp_path / "one")
    built[other].save(tmp_path / "other")
    (tmp_path / "other" / "items.faiss").replace(tmp_path / "one" / "items.faiss")
    change_manifest(tmp_path / "one")
    with pytest.raises(InputError, match=r"items\.faiss: .* do not fit the manifest"):
        Index.load(tmp_path / "one")


@pytest.mark.parametrize("name", ["items.faiss", "vectors.npy", "ids.parquet"])
def test_rubbish_with_a_right_checksum(built, name: str, tmp_path: Path) -> None:
    built["hnsw"].save(tmp_path / "index")
    (tmp_path / "index" / name).write_bytes(b"rubbish" * 99)
    change_manifest(tmp_path / "index")
    with pytest.raises(InputError, match=name):
        Index.load(tmp_path / "index")


def test_nothing_is_unpickled(built: dict[str, Index], tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    built["exact"].save(tmp_path / "index")
    bomb = np.array([Bomb()], dtype=object)
    with (tmp_path / "index" / "vectors.npy").open("wb") as file:
        np.lib.format.write_array(file, bomb, allow_pickle=True)
    change_manifest(tmp_path / "index")
    with pytest.raises(InputError, match=r"vectors\.npy"):
        Index.load(tmp_path / "index")
    for name in ("items.faiss", "ids.parquet", MANIFEST):
        (tmp_path / "index" / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError):
        Index.load(tmp_path / "index")
    assert not (tmp_path / "exploded").exists()


def test_a_folder_of_something_else_is_not_replaced(built: dict[str, Index], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not replaced"):
        built["exact"].save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_be_written(built: dict[str, Index], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        built["exact"].save(tmp_path / "file" / "index")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Index.load(tmp_path / "nowhere")
