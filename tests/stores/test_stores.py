"""Every store gives gclrec's exact lists, goes on after an interruption, and changes versions in one step."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.recall.recommender import Recommender
from gclrec.runs.embeddings import write_embeddings
from gclrec.stores import STORES, open_store, shown_url
from gclrec.stores.base import StoreContent
from gclrec.stores.upload import export_to, recommend_from
from tests.recall.fake_run import FakeRun, write_run
from tests.recall.folded_run import folded_run

from .conftest import missing


def run_with_ties(path: Path, *, ids: str = "int", seed: int = 0, num_items: int = 60) -> FakeRun:
    """Write a run with zero vectors on both sides and items whose scores tie."""
    run = write_run(path, ids=ids, seed=seed, num_items=num_items)
    run.item_vectors[[4, 17]] = 0
    run.item_vectors[[30, 8, 50]] = run.item_vectors[2]
    run.user_vectors[3] = 0
    write_embeddings(
        path / "embeddings",
        user_ids=run.users,
        user_vectors=run.user_vectors,
        user_degrees=np.bincount(run.parts["train"][0], minlength=len(run.users)),
        item_ids=run.items,
        item_vectors=run.item_vectors,
        item_degrees=np.bincount(run.parts["train"][1], minlength=len(run.items)),
    )
    return run


def check_lists(url: str, recommender: Recommender) -> None:
    """Compare the lists of all users with the exact ones: items, order and scores."""
    with closing(open_store(url)) as opened:
        for exclude_seen in (True, False):
            for user in recommender.users.ids.to_list():
                expected = recommender.recommend(user, 7, exclude_seen=exclude_seen)
                found = recommend_from(opened, user, 7, exclude_seen=exclude_seen)
                values = [score for _, score in expected]
                assert [score for _, score in found] == pytest.approx(values, abs=1e-5)
                if (
                    len(set(values)) > 1 or not values
                ):  # for a zero vector all tie, and a store cuts where it likes
                    assert [item for item, _ in found] == [item for item, _ in expected]
                assert all(type(item) is type(recommender.items.ids[0]) for item, _ in found)


@pytest.mark.parametrize("ids", ["int", "big", "string", "uuid"])
def test_lists_are_the_exact_ones(store: str, ids: str, tmp_path: Path) -> None:
    run = run_with_ties(tmp_path / "run", ids=ids)
    told: list[tuple[int, int]] = []
    done = export_to(run.path, store, batch=16, progress=lambda *now: told.append(now))
    assert (done.items, done.users, done.resumed) == (60, 30, 0)
    assert done.recall > 0.98  # lists of the zero vector aside
    assert [now for now, _ in told] == [16, 32, 48, 60, 76, 90]
    assert {total for _, total in told} == {90}
    check_lists(store, Recommender.load(run.path))


def test_an_interrupted_export_goes_on(store: str, tmp_path: Path) -> None:
    """Until it is done, the former lists are given."""
    first, second = (run_with_ties(tmp_path / name, seed=seed) for seed, name in enumerate("ab"))
    export_to(first.path, store, batch=16)

    for place in (32, 76):
        with pytest.raises(KeyboardInterrupt):
            export_to(second.path, store, batch=16, progress=partial(interrupt, place))
        check_lists(store, Recommender.load(first.path))
    told: list[int] = []
    done = export_to(second.path, store, batch=16, progress=lambda now, total: told.append(now))
    check_lists(store, Recommender.load(second.path))
    if not store.startswith("bundle"):  # it is written at the end, in one step
        assert done.resumed == 60 // 16 * 16 + 16
        assert told == [60, 90]
    again = export_to(second.path, store, progress=lambda *now: pytest.fail("nothing is left to send"))
    assert again.resumed == 90


def interrupt(place: int, done: int, total: int) -> None:
    if done == place:
        raise KeyboardInterrupt


def test_a_new_version_replaces_the_former_one(store: str, tmp_path: Path) -> None:
    """Items that are gone are gone, vectors are the new ones, and nothing of the former version is left."""
    before = run_with_ties(tmp_path / "a", num_items=60)
    after = run_with_ties(tmp_path / "b", num_items=52, seed=4)
    export_to(before.path, store)
    with closing(open_store(store)) as held:
        assert held.begin(StoreContent.of_run(before.path)) is None
    export_to(after.path, store)
    check_lists(store, Recommender.load(after.path))
    with closing(open_store(store)) as held:
        vector, seen = held.user(after.users.ids[5])
        np.testing.assert_array_equal(vector, after.user_vectors[5])
        known = after.known("train", "valid", "test")[5]
        assert sorted(seen) == sorted(after.items.raw(np.flatnonzero(known)).to_list())
        everything = held.propose(vector, 1000, [])
        assert sorted(everything.rows.tolist()) == list(range(52))
        assert held.begin(StoreContent.of_run(before.path)) == {"items": 0, "users": 0}


def test_added_items_are_there(store: str, tmp_path: Path) -> None:
    run = folded_run(tmp_path / "run")
    recommender = Recommender.load(run.path)
    users = run.users.ids.gather([3, 5, 9])
    recommender.add_items(pl.DataFrame({"user": users, "item": [1000] * 3})).save_added()
    export_to(run.path, store)
    check_lists(store, Recommender.load(run.path))
    batch = StoreContent.of_run(run.path).batch("items", 49, 61)
    assert batch.filter("cold")["id"].to_list() == [*run.items.ids.gather([50, 51, 52]).to_list(), 1000]
    assert batch.filter(pl.col("popularity") > 0)["row"].to_list() == [49, *range(53, 60)]


def test_an_unknown_user_is_refused(store: str, tmp_path: Path) -> None:
    run = run_with_ties(tmp_path / "run")
    export_to(run.path, store)
    with closing(open_store(store)) as held, pytest.raises(InputError, match="unknown user 12345"):
        held.user(12345)


def test_what_cannot_be_reached_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with_ties(tmp_path / "run")
    with pytest.raises(InputError, match="ftp://x: no such store, expected one of postgresql"):
        export_to(run.path, "ftp://x")
    pytest.importorskip("psycopg")
    with pytest.raises(InputError, match=r"^postgresql://127\.0\.0\.1:9/x: .*refused") as refused:
        export_to(run.path, "postgresql://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert shown_url("qdrant://h:1/?api_key=secret") == "qdrant://h:1/"
    assert shown_url("milvus:///a@b/c.db") == "milvus:///a@b/c.db"
    assert shown_url("bundle:a/b") == "bundle:a/b"
    if not missing("qdrant"):
        with pytest.raises(InputError, match=r"^qdrant://127\.0\.0\.1:9: .*refused"):
            export_to(run.path, "qdrant://127.0.0.1:9")
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(InputError, match=r"needs pip install 'gclrec\[pgvector\]'"):
        export_to(run.path, "postgresql://h/x")


def test_every_store_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "vector-databases.md").read_text(encoding="utf-8")
    for kind in STORES.values():
        assert kind.url in page
