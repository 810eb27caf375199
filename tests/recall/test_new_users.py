"""New users of a run folder: answers in raw ids, by the textbook; bad tables are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.common.ragged import Ragged
from gclrec.recall.recommender import Recommender

from .folded_run import FoldedRun, folded_run, ranked


@pytest.fixture(params=["int", "string"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> FoldedRun:
    return folded_run(tmp_path / "run", ids=request.param)


def test_one_new_user(run: FoldedRun) -> None:
    recommender = Recommender.load(run.path)
    history = [3, 7, 20]
    raw = run.items.raw(history).to_list()
    found = recommender.recommend_for(items=raw, k=5)
    vector = run.fold_in.new_users(Ragged.from_lists([history]))[0]
    expected = ranked(run, vector, history)[:5]
    assert [item for item, _ in found] == run.items.raw(expected).to_list()
    np.testing.assert_allclose([s for _, s in found], run.item_vectors[expected] @ vector, rtol=1e-4)
    assert recommender.recommend_for([*raw, raw[0]], 5) == found  # an item counts once
    assert recommender.recommend_for([str(item) for item in raw], 5) == found
    assert recommender.recommend_for(pl.Series(raw), 5) == found
    everything = recommender.recommend_for(raw, 60, exclude_seen=False)
    assert [item for item, _ in everything] == run.items.raw(ranked(run, vector, [])).to_list()


def test_a_table_of_users(run: FoldedRun) -> None:
    """New users as each alone; users of the run with what they were trained on as well."""
    recommender = Recommender.load(run.path)
    fresh = {"zoe": [3, 7, 20], "adam": [8], "known": [5, 6]}
    labels = {name: f"{name}!" for name in fresh}
    back = 9
    labels["known"] = str(run.users.ids[back])
    table = pl.DataFrame(
        [(labels[name], run.items.ids[i]) for name, items in fresh.items() for i in items],
        schema=["user", "item"],
        orient="row",
    )
    found = recommender.recommend_for(table, 60)
    assert found.columns == ["user", "item", "rank", "score"]
    assert found["user"].unique(maintain_order=True).to_list() == list(labels.values())
    for name in ("zoe", "adam"):
        one = recommender.recommend_for(run.items.raw(fresh[name]), 60)
        theirs = found.filter(pl.col("user") == labels[name])
        assert theirs["item"].to_list() == [item for item, _ in one]
        assert theirs["rank"].to_list() == list(range(1, len(one) + 1))

    trained = run.histories[back]
    whole = np.union1d(trained, fresh["known"])
    start = run.encoder.users.detach().numpy()[[back]]
    vector = run.fold_in.new_users(Ragged.from_lists([whole]), start=start)[0]
    without = set(np.flatnonzero(run.known("train", "valid", "test")[back])) | set(fresh["known"])
    theirs = found.filter(pl.col("user") == labels["known"])
    assert theirs["item"].to_list() == run.items.raw(ranked(run, vector, list(without))).to_list()


def test_a_known_user_without_new_items_gets_the_same_list(run: FoldedRun) -> None:
    recommender = Recommender.load(run.path)
    trained = run.histories[9][:1]
    table = pl.DataFrame({"user": [run.users.ids[9]], "item": run.items.raw(trained)})
    assert (
        recommender.recommend_for(table, 7)["item"].to_list()
        == recommender.recommend_many([run.users.ids[9]], 7)["item"].to_list()
    )


def test_many_users_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folded_run(tmp_path / "run")
    recommender = Recommender.load(run.path)
    random = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "user": [f"n{n}" for n in range(50) for _ in range(4)],
            "item": run.items.raw(random.integers(0, 50, 200)),
        }
    )
    whole = recommender.recommend_for(table, 5)
    monkeypatch.setattr("gclrec.recall.recommender._BATCH", 7)
    assert recommender.recommend_for(table, 5).drop("score").equals(whole.drop("score"))
    assert whole["user"].n_unique() == 50


def test_unknown_items_of_a_history(run: FoldedRun) -> None:
    recommender = Recommender.load(run.path)
    good = run.items.ids[3]
    with pytest.raises(InputError, match="2 unknown items, such as 'x1'; `skip_unknown=True`"):
        recommender.recommend_for([good, "x1", "x2", "x2"], 5)
    with pytest.warns(InputWarning, match="2 unknown items, such as 'x1'; left out"):
        assert recommender.recommend_for([good, "x1", "x2"], 5, skip_unknown=True) == (
            recommender.recommend_for([good], 5)
        )
    for empty in ([], pl.Series([], dtype=pl.String)):
        with pytest.raises(InputError, match="found none, expected at least one id"):
            recommender.recommend_for(empty, 5)
    with pytest.raises(InputError, match="found the text"):
        recommender.recommend_for("tea", 5)
    with pytest.raises(InputError, match="none of the 2 items was seen in training"):
        recommender.recommend_for(run.items.raw([50, 51]), 5)
    with pytest.raises(InputError, match="k must be from 1 to 60"):
        recommender.recommend_for([good], 61)


def test_bad_tables_of_users(run: FoldedRun) -> None:
    recommender = Recommender.load(run.path)
    ids = run.items.ids.cast(pl.String)
    table = pl.DataFrame({"user": ["a", "a", "b", "c"], "item": [ids[3], "x1", ids[50], ids[4]]})
    with pytest.raises(InputError, match="1 unknown item, such as 'x1'"):
        recommender.recommend_for(table, 5)
    with pytest.raises(InputError, match="1 user without any item that training has seen, such as 'b'"):
        recommender.recommend_for(table.filter(pl.col("item") != "x1"), 5)
    with pytest.warns(InputWarning) as notes:
        found = recommender.recommend_for(table, 5, skip_unknown=True)
    assert len(notes) == 2
    assert found["user"].unique(maintain_order=True).to_list() == ["a", "c"]
    with pytest.warns(InputWarning):
        nobody = recommender.recommend_for(table[2:3], 5, skip_unknown=True)
    assert nobody.is_empty()
    assert nobody.columns == ["user", "item", "rank", "score"]
    with pytest.raises(InputError, match="no column 'item', found user, thing"):
        recommender.recommend_for(table.rename({"item": "thing"}), 5)
    with pytest.raises(InputError, match="found no row"):
        recommender.recommend_for(table.clear(), 5)
