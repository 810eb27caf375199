"""New items of a run folder: answers in raw ids, by the textbook; bad tables are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.common.ragged import Ragged
from gclrec.recall.build_index import BACKENDS, build_index
from gclrec.recall.fold_in import FoldIn
from gclrec.recall.index import Index
from gclrec.recall.recommender import Recommender

from .fake_run import write_run
from .folded_run import FoldedRun, folded_run


@pytest.fixture(params=["int", "string"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> FoldedRun:
    return folded_run(tmp_path / "run", ids=request.param)


def new_id(run: FoldedRun, number: int) -> int | str:
    return f"new{number}" if run.items.ids.dtype == pl.String else 10_000 + number


def pairs(run: FoldedRun, audiences: dict[int, list[int]]) -> pl.DataFrame:
    """A table of new items and the rows of users who have them."""
    rows = [(run.users.ids[u], new_id(run, n)) for n, users in audiences.items() for u in users]
    return pl.DataFrame(rows, schema=["user", "item"], orient="row")


def test_added_items_are_served(run: FoldedRun) -> None:
    before = Recommender.load(run.path)
    audiences = {0: [2, 5, 9], 1: [11, 4], 2: [7]}
    after = before.add_items(pairs(run, audiences))
    assert (len(before.items), len(after.items)) == (60, 63)
    lists = Ragged.from_lists([[2, 5, 9], [4, 11], [7]])
    vectors = np.concatenate([run.item_vectors, run.fold_in.new_items(lists).vectors])
    np.testing.assert_allclose(after.index.vectors, vectors, rtol=1e-6)
    for row in range(30):
        known = set(np.flatnonzero(run.known("train", "valid", "test")[row]))
        known |= {60 + n for n, users in audiences.items() if row in users}
        scores = vectors @ run.user_vectors[row]
        order = [i for i in sorted(range(63), key=lambda i: (-scores[i], i)) if i not in known]
        found = after.recommend(run.users.ids[row], 63)
        assert [item for item, _ in found] == after.items.raw(order).to_list()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = [i for i in np.argsort(-(unit @ unit[61]), kind="stable") if i != 61]
    similar = after.similar_items(new_id(run, 1), 10)
    assert [item for item, _ in similar] == after.items.raw(order[:10]).to_list()


def test_added_items_count_in_histories(run: FoldedRun) -> None:
    after = Recommender.load(run.path).add_items(pairs(run, {0: [2, 5, 9]}))
    sent = run.fold_in.new_items(Ragged.from_lists([[2, 5, 9]])).sent
    vector = run.fold_in.extended(sent).new_users(Ragged.from_lists([[3, 60]]))[0]
    found = after.recommend_for([run.items.ids[3], new_id(run, 0)], 5)
    np.testing.assert_allclose(found[0].score, (after.index.vectors @ vector)[4:].max(), rtol=0.5)
    rows = after.items.rows([item for item, _ in found])
    np.testing.assert_allclose([s for _, s in found], after.index.vectors[rows] @ vector, rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_process_loads_added_items(backend: str, tmp_path: Path) -> None:
    run = folded_run(tmp_path / "run", num_items=1200, ids="string")
    index = build_index(
        run.item_vectors, run.items, backend=backend, queries=run.user_vectors, target_recall=0.97
    )
    index.save(run.path / "index")
    today = Recommender.load(run.path).add_items(pairs(run, {0: [2, 5, 9], 1: [4]}))
    today.save_added()
    tomorrow = Recommender.load(run.path)
    assert tomorrow.index.backend == index.backend
    users = run.users.ids.to_list()
    assert tomorrow.recommend_many(users, 9).equals(today.recommend_many(users, 9))
    assert tomorrow.recommend_for(["new0"], 9) == today.recommend_for(["new0"], 9)
    assert len(Recommender.load(run.path, with_added=False).items) == 1200

    tomorrow.add_items(pairs(run, {2: [6]})).save_added()
    later = Recommender.load(run.path)
    assert later.items.ids.tail(3).to_list() == ["new0", "new1", "new2"]
    later.index.save(run.path / "index")  # as export does: the added items are in the index itself
    built_in = Recommender.load(run.path)
    assert built_in.recommend_many(users, 9).equals(later.recommend_many(users, 9))


def test_items_from_content(run: FoldedRun) -> None:
    """Layer-0 vectors from a function of a table, or given; alone or beside interactions."""
    recommender = Recommender.load(run.path)
    table = pl.DataFrame({"id": [new_id(run, 0), new_id(run, 1)], "colour": ["red", "blue"]})

    def encode(attributes: pl.DataFrame) -> np.ndarray:
        assert attributes.columns == ["id", "colour"]
        return np.stack([np.full(8, 1.0 if colour == "red" else -2.0) for colour in attributes["colour"]])

    encoded = recommender.add_items(attributes=table, encode=encode)
    np.testing.assert_allclose(encoded.index.vectors[60:, 0], [0.25, -0.5])  # w_0 = 1/4
    vectors = pl.Series("vector", encode(table), dtype=pl.Array(pl.Float64, 8))
    for dtype in (pl.Array(pl.Float32, 8), pl.List(pl.Float64)):
        given = recommender.add_items(attributes=table.with_columns(vectors.cast(dtype)))
        np.testing.assert_array_equal(given.index.vectors, encoded.index.vectors)
    both = recommender.add_items(pairs(run, {1: [2, 5], 7: [3]}), attributes=table, encode=encode)
    assert both.items.ids.tail(3).to_list() == [new_id(run, n) for n in (1, 7, 0)]
    lists = Ragged.from_lists([[2, 5], [3], []])
    start = np.stack([np.full(8, -2.0), np.full(8, np.nan), np.full(8, 1.0)]).astype(np.float32)
    np.testing.assert_allclose(
        both.index.vectors[60:], run.fold_in.new_items(lists, start=start).vectors, rtol=1e-6
    )


def test_known_and_unknown_ids(run: FoldedRun) -> None:
    recommender = Recommender.load(run.path)
    table = pairs(run, {0: [2, 5], 1: [3]})
    old = run.items.ids[4]
    mixed = pl.concat([table, pl.DataFrame({"user": table["user"][:1], "item": [old]})])
    with pytest.raises(InputError, match=f"1 of 3 items is in the run already, such as {old!r}; `skip_known"):
        recommender.add_items(mixed)
    one = recommender.add_items(table)
    assert recommender.add_items(mixed, skip_known=True).items == one.items
    with pytest.raises(InputError, match="2 of 2 items are in the run already"):
        one.add_items(table)
    with pytest.warns(InputWarning, match="no item is new"):
        assert one.add_items(table, skip_known=True) is one

    stranger = "nobody" if run.users.ids.dtype == pl.String else 99_999
    strange = pl.DataFrame({"user": [stranger, stranger], "item": [new_id(run, 0), new_id(run, 5)]})
    with pytest.raises(InputError, match=f"1 unknown user, such as {stranger!r}"):
        recommender.add_items(strange)
    with pytest.warns(InputWarning) as notes:
        found = recommender.add_items(pl.concat([table, strange]), skip_unknown=True)
    assert ["left out" in str(note.message) for note in notes] == [True, True]
    np.testing.assert_array_equal(found.index.vectors, one.index.vectors)


def test_bad_tables_of_items(run: FoldedRun) -> None:
    recommender = Recommender.load(run.path)
    table = pl.DataFrame({"id": [new_id(run, 0), new_id(run, 0)], "vector": [[1.0] * 8] * 2})
    for arguments, message in (
        ({}, "neither interactions nor attributes"),
        ({"attributes": table}, "is there twice"),
        ({"attributes": table[:1].drop("vector")}, "no column 'vector', found id"),
        ({"attributes": table[:1].with_columns(vector=pl.lit("x"))}, "found String, expected 8 numbers"),
        (
            {"attributes": table[:1].with_columns(vector=pl.Series([[1.0]]))},
            "found 1 numbers, expected 8",
        ),
        (
            {"attributes": table[:1], "encode": lambda t: np.ones((1, 3))},
            r"found shape \(1, 3\), expected",
        ),
        ({"attributes": table[:1], "encode": lambda t: np.array([[np.nan] + [1.0] * 7])}, "row 0 holds NaN"),
        ({"attributes": table[:1], "encode": lambda t: np.full((1, 8), np.nan)}, "1 of 1 item has neither"),
        ({"interactions": pl.DataFrame({"user": [1]})}, "no column 'item', found user"),
        ({"interactions": pairs(run, {0: [2]}).clear()}, "found no row"),
    ):
        with pytest.raises(InputError, match=message):
            recommender.add_items(**arguments)
    if run.items.ids.dtype == pl.Int64:
        with pytest.raises(InputError, match="item ids of the run are whole numbers, found 'tea'"):
            recommender.add_items(pl.DataFrame({"user": [1], "item": ["tea"]}))


def test_an_item_with_nothing_to_go_by(tmp_path: Path) -> None:
    """Without users, a layer weighting that gives layer 0 no share leaves nothing."""
    run = folded_run(tmp_path / "run", "last")
    attributes = pl.DataFrame({"id": [10_000], "vector": [[1.0] * 8]})
    with pytest.raises(InputError, match="1 of 1 item has neither a user that training has seen nor"):
        Recommender.load(run.path).add_items(attributes=attributes)
    users = pairs(run, {0: [2]})
    assert len(Recommender.load(run.path).add_items(users, attributes=attributes).items) == 61


# -- some items only ------------------------------------------------------------------------------


def test_candidates_and_cold_only_by_brute_force(run: FoldedRun) -> None:
    recommender = Recommender.load(run.path).add_items(pairs(run, {0: [2, 5, 9]}))
    candidates = [50, 3, 51, 20, 7, 60, 12]
    raw = recommender.items.raw(candidates).to_list()
    degree = np.append(np.bincount(run.parts["train"][1], minlength=60), 0)
    cold = np.flatnonzero(degree == 0).tolist()
    assert {50, 51, 52, 60} <= set(cold)
    for restricted, allowed in (
        (recommender.within(raw), candidates),
        (recommender.within(pl.Series(raw)), candidates),
        (recommender.cold_only(), cold),
        (recommender.within(raw).cold_only(), [i for i in candidates if i in cold]),
        (recommender.cold_only().within(raw), [i for i in candidates if i in cold]),
    ):
        for row in (0, 4, 9):
            scores = recommender.index.vectors @ run.user_vectors[row]
            known = set(np.flatnonzero(run.known("train", "valid", "test")[row]))
            known |= {60} if row == 9 else set()
            order = sorted(allowed, key=lambda i: (-scores[i], i))
            expected = recommender.items.raw([i for i in order if i not in known]).to_list()
            found = restricted.recommend(run.users.ids[row], 60)
            assert [item for item, _ in found] == expected
            everything = restricted.recommend(run.users.ids[row], 60, exclude_seen=False)
            assert [item for item, _ in everything] == recommender.items.raw(order).to_list()
        history = run.items.raw([3, 7])
        full = [i for i, _ in recommender.recommend_for(history, 61) if i in recommender.items.raw(allowed)]
        assert [i for i, _ in restricted.recommend_for(history, 61)] == full
        many = pl.concat(restricted.recommend_all(5))
        assert set(many["item"]) <= set(recommender.items.raw(allowed))


def test_nothing_left_to_recommend(run: FoldedRun) -> None:
    recommender = Recommender.load(run.path)
    with pytest.raises(InputError, match="no item is left"):
        recommender.within([run.items.ids[int(np.argmax(recommender.item_degrees))]]).cold_only()
    with pytest.raises(InputError, match="1 unknown candidate, such as 'x'"):
        recommender.within(["x", run.items.ids[3]])
    with pytest.warns(InputWarning, match="1 unknown candidate, such as 'x'; left out"):
        recommender.within(["x", run.items.ids[3]], skip_unknown=True)
    with pytest.raises(InputError, match="found none"):
        recommender.within([])


# -- folders that do not fit ----------------------------------------------------------------------


def test_without_a_run_folder() -> None:
    users = Recommender(*_bare())
    for ask in (
        lambda: users.recommend_for([0], 1),
        lambda: users.add_items(pl.DataFrame({"user": [0], "item": [5]})),
        users.save_added,
        users.cold_only,
    ):
        with pytest.raises(InputError, match="load the recommender from"):
            ask()


def _bare() -> tuple:
    from .catalogue import numbered

    vectors = np.eye(3, dtype=np.float32)
    return numbered(3), vectors, Index.exact(vectors, numbered(3)), Ragged.empty(3)


def test_a_run_without_fold_in(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    recommender = Recommender.load(run.path)
    assert recommender.recommend(run.users.ids[3])
    with pytest.raises(InputError, match="fold_in: missing, so the run cannot take new users or items"):
        recommender.recommend_for(run.items.raw([3]))


def test_a_run_that_was_trained_again(run: FoldedRun, tmp_path: Path) -> None:
    Recommender.load(run.path).add_items(pairs(run, {0: [2]})).save_added()
    other = folded_run(tmp_path / "other", "last", ids="string")
    for name in ("embeddings", "fold_in"):
        for path in (other.path / name).iterdir():
            (run.path / name / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="added: was made from other vectors than the run's; add"):
        Recommender.load(run.path)
    assert len(Recommender.load(run.path, with_added=False).items) == 60


@pytest.mark.parametrize("name", ["items.parquet", "pairs.parquet", "manifest.json"])
def test_damaged_additions_are_named(name: str, run: FoldedRun) -> None:
    Recommender.load(run.path).add_items(pairs(run, {0: [2]})).save_added()
    path = run.path / "added" / name
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(InputError, match=name):
        Recommender.load(run.path)


def test_fold_in_of_another_run(run: FoldedRun, tmp_path: Path) -> None:
    other = folded_run(tmp_path / "other", num_items=70)
    FoldIn.load(other.path / "fold_in").save(run.path / "fold_in")
    with pytest.raises(InputError, match="found 30 users and 70 items, the run has 30 and 60"):
        Recommender.load(run.path).recommend_for(run.items.raw([3]))
