"""``gclrec recommend`` and ``similar``: answers by raw id, files for everybody, one line for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gclrec.recall.build_index import build_index
from gclrec.recall.recommender import Recommender
from gclrec.runs.reading import PARTS
from tests.recall.fake_run import FakeRun, write_run
from tests.recall.folded_run import folded_run

from .conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture(params=["int", "string"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> FakeRun:
    return write_run(tmp_path / "run", ids=request.param)


def test_one_user(gclrec: Run, run: FakeRun) -> None:
    user = run.users.ids[4]
    outcome = gclrec("recommend", run.path, f"--user={user}", "-k", 3, "--json")
    assert outcome.code == 0
    expected = run.ranked(4, *PARTS)[:3]
    assert outcome.values["user"] == user
    assert outcome.values["items"] == run.items.raw(expected).to_list()
    np.testing.assert_allclose(
        outcome.values["scores"], run.item_vectors[expected] @ run.user_vectors[4], rtol=1e-5
    )
    shown = gclrec("recommend", run.path, f"--user={user}", "-k", 3)
    for item in outcome.values["items"]:
        assert str(item) in shown.out
    assert f"user {user}" in shown.out


def test_the_parts_that_count_as_seen(gclrec: Run, run: FakeRun) -> None:
    """For evaluations of one's own, the test items must stay in."""
    user = f"--user={run.users.ids[4]}"
    for parts in (("train", "valid"), ("train",), PARTS):
        outcome = gclrec("recommend", run.path, user, "-k", 5, "--seen", ",".join(parts), "--json")
        assert outcome.values["items"] == run.items.raw(run.ranked(4, *parts)[:5]).to_list()
    wrong = gclrec("recommend", run.path, user, "--seen", "train,tests").error
    assert "unknown part 'tests' of the split, expected some of train, valid, test" in wrong


@pytest.mark.parametrize("repeat", [False, True])
def test_several_users(gclrec: Run, run: FakeRun, repeat: bool) -> None:
    users = [run.users.ids[row] for row in range(1, 30) if not str(run.users.ids[row]).startswith("-")][:3]
    flags = [flag for user in users for flag in ("--user", user)] if repeat else ["--user", *users]
    outcome = gclrec("recommend", run.path, *flags, "--json")
    assert outcome.code == 0
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [line["user"] for line in lines] == users
    assert all(len(line["items"]) == len(line["scores"]) == 10 for line in lines)


def test_a_user_who_has_everything(gclrec: Run, run: FakeRun) -> None:
    everything = f"--user={run.users.ids[0]}"
    outcome = gclrec("recommend", run.path, everything, "--json")
    assert outcome.values == {"user": run.users.ids[0], "items": [], "scores": []}
    assert "has every item already" in gclrec("recommend", run.path, everything).out
    again = gclrec("recommend", run.path, everything, "-k", 60, "--no-exclude-seen", "--json")
    assert len(again.values["items"]) == 60


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_all_users(gclrec: Run, run: FakeRun, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"recs.{suffix}"
    outcome = gclrec("recommend", run.path, "--all", "--out", out, "-k", 4, "--json")
    assert outcome.code == 0
    table = pl.read_parquet(out) if suffix == "parquet" else pl.read_csv(out)
    expected = pl.concat(Recommender.load(run.path).recommend_all(4))
    assert table.columns == ["user", "item", "rank", "score"]
    assert table["item"].to_list() == expected["item"].to_list()
    assert table["user"].to_list() == expected["user"].to_list()
    assert (outcome.values["users"], outcome.values["rows"]) == (30, len(table))
    full = run.users.ids[0]
    note = f"note: 1 user has every item that may be recommended already, such as {full!r}; left out"
    assert outcome.err.splitlines()[0] == note
    assert full not in table["user"].to_list()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, "run"])


@pytest.mark.parametrize("count", [1, 4, 30])
def test_shards_are_the_whole(gclrec: Run, run: FakeRun, tmp_path: Path, count: int) -> None:
    """Each user is answered by one shard, and the shards in order are the table of all users."""
    tables = []
    for number in range(1, count + 1):
        out = tmp_path / f"{number}.parquet"
        flags = ("-k", 4, "--shard", f"{number}/{count}", "--out", out, "--json")
        told = gclrec("recommend", run.path, "--all", *flags).values
        tables.append(pl.read_parquet(out))
        assert told["users"] in (30 // count, -(-30 // count))
    whole = pl.concat(Recommender.load(run.path).recommend_all(4))
    assert_frame_equal(pl.concat(tables), whole)  # blocks of another size may round scores otherwise


def test_some_users_to_a_file(gclrec: Run, run: FakeRun, tmp_path: Path) -> None:
    out = tmp_path / "recs.parquet"
    assert gclrec("recommend", run.path, f"--user={run.users.ids[7]}", "--out", out).code == 0
    assert pl.read_parquet(out)["user"].unique().to_list() == [run.users.ids[7]]


def test_uses_the_index_by_default(gclrec: Run, run: FakeRun) -> None:
    user = f"--user={run.users.ids[5]}"
    before = gclrec("recommend", run.path, user, "--json").values
    build_index(run.item_vectors, run.items, backend="ivfflat").save(run.path / "index")
    found = gclrec("recommend", run.path, user, "--json").values
    assert set(found["items"]) & set(before["items"])
    assert gclrec("recommend", run.path, user, "--exact", "--json").values == before
    path = run.path / "index" / "items.faiss"
    path.write_bytes(path.read_bytes()[:100])
    said = gclrec("recommend", run.path, user).error
    assert f"{path}: cut off" in said
    assert said.endswith(f"; export again: gclrec export {run.path}")
    assert gclrec("recommend", run.path, user, "--exact", "--json").values == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "give one of --user ID"),
        (("--user", "u3", "--all", "--out", "x.csv"), "give one of --user ID"),
        (("--all",), "--all needs --out"),
        (("--all", "--out", "x.csv", "--shard", "3"), "--shard: found '3', expected I/N such as 1/4"),
        (("--user", "u3", "--shard", "1/2"), "--shard: found '1/2', expected I/N such as 1/4, beside --all"),
        (
            ("--all", "--out", "x.csv", "--shard", "3/2"),
            "--shard: found part 3 of 2, expected part 1 to N of N",
        ),
        (("--all", "--out", "x.csv", "--shard", "0/2"), "--shard: found part 0 of 2"),
        (("--all", "--out", "recs.txt"), "expected .parquet or .csv"),
        (("--all", "--out", "nowhere/recs.csv"), "no such folder"),
        (("--user", "nobody"), "unknown user 'nobody'"),
        (("--user", "nobody", "--out", "x.csv"), "unknown user 'nobody'"),
        (("--user", "u3", "-k", 0), "k must be from 1 to 60"),
        (("--user", "u3", "-k", 61), "k must be from 1 to 60"),
        (("--all", "--out", "x.csv", "-k", 61), "k must be from 1 to 60"),
        (("--user", "u3", "-k", "ten"), "ten"),
    ],
)
def test_bad_input(
    gclrec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[object, ...], said: str
) -> None:
    run = write_run(tmp_path / "run", ids="string")
    monkeypatch.chdir(tmp_path)
    outcome = gclrec("recommend", run.path, *flags)
    assert said in outcome.error
    assert outcome.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["embeddings/items.parquet", "split/train.parquet"])
def test_a_damaged_run(gclrec: Run, run: FakeRun, name: str) -> None:
    path = run.path / name
    path.write_bytes(path.read_bytes()[:50])
    assert str(path) in gclrec("recommend", run.path, f"--user={run.users.ids[3]}").error


def test_no_run(gclrec: Run, tmp_path: Path) -> None:
    assert "no such run folder" in gclrec("recommend", tmp_path / "nowhere", "--user", 1).error
    assert "no such run folder" in gclrec("similar", tmp_path / "nowhere", "--item", 1).error


def test_similar(gclrec: Run, run: FakeRun) -> None:
    item = run.items.ids[9]
    outcome = gclrec("similar", run.path, f"--item={item}", "-k", 4, "--json")
    expected = Recommender.load(run.path).similar_items(item, 4)
    assert outcome.values["item"] == item
    assert outcome.values["items"] == [other for other, _ in expected]
    assert outcome.values["scores"] == [score for _, score in expected]
    shown = gclrec("similar", run.path, f"--item={item}", "-k", 4)
    assert shown.code == 0
    assert all(str(other) in shown.out for other, _ in expected)
    assert "unknown item 'nothing'" in gclrec("similar", run.path, "--item", "nothing").error
    assert "k must be from 1 to 60" in gclrec("similar", run.path, f"--item={item}", "-k", 0).error


def test_explanations_add_up(gclrec: Run, tmp_path: Path) -> None:
    """On the screen, as JSON, and as columns of files; for known, returning and new users."""
    run = folded_run(tmp_path / "run", ids="string")
    user, other, *items = run.users.ids[5], run.users.ids[6], *run.items.ids.gather([3, 9]).to_list()
    histories = tmp_path / "histories.csv"
    pl.DataFrame({"user": ["new", user], "item": items}).write_csv(histories)
    asked = {
        "user": ("--user", user, other),
        "items": ("--items", *items, "nothing", "--skip-unknown"),
        "file": ("--users-file", histories),
    }
    for flags in asked.values():
        outcome = gclrec("recommend", run.path, *flags, "-k", 3, "--explain", 2, "--json")
        for line in map(json.loads, outcome.out.splitlines()):
            parts = zip(line["because"], line["others"], line["own"], line["scores"], strict=True)
            for because, others, own, score in parts:
                assert len(because) in (1, 2)
                total = sum(part["contribution"] for part in because) + others + own
                assert total == pytest.approx(score, abs=1e-5)
        named = line["because"][0][0]["item"]
        shown = gclrec("recommend", run.path, *flags, "-k", 3, "--explain", 2)
        assert f"{named} {line['because'][0][0]['contribution']:.4f}, " in shown.out
        assert gclrec("recommend", run.path, *flags, "-k", 3, "--json").out.count("because") == 0
    for flags in (("--all",), ("--user", user), ("--users-file", histories)):
        for suffix in ("csv", "parquet"):
            out = tmp_path / f"recs.{suffix}"
            assert gclrec("recommend", run.path, *flags, "--explain", 2, "--out", out).code == 0
            table = pl.read_csv(out) if suffix == "csv" else pl.read_parquet(out)
            whole = pl.sum_horizontal(pl.selectors.starts_with("contribution_"), "others", "own")
            assert table.select((whole - pl.col("score")).abs().max()).item() < 1e-5
            assert table["because_1"].null_count() == 0 or flags == ("--all",)  # one user has no item


def test_what_cannot_be_explained(gclrec: Run, tmp_path: Path) -> None:
    free = folded_run(tmp_path / "run", None, ids="string")
    user = free.users.ids[5]
    error = gclrec("recommend", free.path, "--user", user, "--explain", 2).error
    assert "users are no sums over their items" in error
    assert "--explain: found 0" in gclrec("recommend", free.path, "--user", user, "--explain", 0).error
    new = gclrec("recommend", free.path, "--items", free.items.ids[3], "-k", 2, "--explain", 1, "--json")
    assert new.code == 0
    assert new.values["own"] != [0, 0]
