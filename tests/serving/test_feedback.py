"""Feedback: durable, counted in the next answer by every worker, and read by training."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from gclrec import Recommender
from gclrec.data.io.readers import read_dataset
from gclrec.serving.app import create_app
from gclrec.serving.feedback import Event, Follower, append_events
from tests.recall.folded_run import FoldedRun

from .client import Client
from .conftest import BOTH, options_of
from .test_lists import same, table_of

AWKWARD = ['a,b "c"', "ünï", "=1+1", "x" * 300]


def told(*pairs: tuple[object, object]) -> dict:
    return {"interactions": [{"user": user, "item": item} for user, item in pairs]}


@BOTH
def test_feedback_counts_in_the_next_answer(client: Client, run: FoldedRun) -> None:
    """As in Python: a user of the run with further items, and a new user with only these."""
    recommender, ids = Recommender.load(run.path), run.items.ids.to_list()
    new = 10**12 if isinstance(ids[0], int) else "someone new"
    known = run.known("train", "valid", "test")[2]
    fresh = [ids[row] for row in range(60) if not known[row]][:2]
    pairs = [(run.users.ids[2], fresh[0]), (new, ids[3]), (run.users.ids[2], fresh[1]), (new, ids[4])]
    answer = client.post("/v1/feedback", told(*pairs, (new, 10**15)))
    assert answer.json == {"accepted": 5, "unknown_items": 1}
    frame = pl.DataFrame(pairs, schema=["user", "item"], orient="row")
    expected = table_of(recommender.recommend_for(frame, 6))
    answers = client.post("/v1/recommend", {"users": [run.users.ids[2], new], "k": 6}).json["results"]
    for each in answers:
        assert each["source"] == "feedback"
        same(each, expected[each["user"]])
    assert not set(fresh) & set(answers[0]["items"])
    details = client.get(f"/v1/users/{run.users.ids[2]}").json
    assert (details["feedback"], details["items"][:2]) == (2, fresh[::-1])
    assert client.get(f"/v1/users/{new}").json["trained"] is False


@BOTH
def test_other_workers_and_restarts_see_it(run: FoldedRun) -> None:
    user, item = run.users.ids[1], run.items.ids[7]
    with Client(create_app(options_of(run))) as one, Client(create_app(options_of(run))) as two:
        assert two.post("/v1/recommend", {"user": user}).json["source"] == "trained"
        one.post("/v1/feedback", told((user, item)))
        answers = [each.post("/v1/recommend", {"user": user, "k": 60}).json for each in (one, two)]
        assert answers[0] == answers[1]
        assert answers[1]["source"] == "feedback"
        assert item not in answers[1]["items"]
    with Client(create_app(options_of(run))) as three:
        assert three.post("/v1/recommend", {"user": user, "k": 60}).json == answers[0]


def test_a_run_without_fold_in_leaves_out_what_it_is_told(run: FoldedRun) -> None:
    shutil.rmtree(run.path / "fold_in")
    user, recommender = run.users.ids[2], Recommender.load(run.path)
    with Client(create_app(options_of(run))) as client:
        best, second = recommender.recommend(user, 2)
        client.post("/v1/feedback", told((user, best.item), (10**12, best.item)))
        answer = client.post("/v1/recommend", {"user": user, "k": 1}).json
        assert (answer["items"], answer["source"]) == ([second.item], "feedback")
        assert client.post("/v1/recommend", {"user": 10**12}).status == 404
        folded = client.post("/v1/recommend-for", {"items": [best.item]})
        assert (folded.status, folded.json["detail"]) == (404, "none of the items was seen in training")
        assert client.get("/v1/run").json["explains"] is False


def test_training_reads_the_log(tmp_path: Path) -> None:
    events = [Event(user, "i1", 1.5 + place) for place, user in enumerate(AWKWARD)]
    append_events(tmp_path / "log", events[:3])
    append_events(tmp_path / "log", events[3:])
    frame = read_dataset(tmp_path / "log").interactions.to_frame().sort("time")
    assert frame["user"].to_list() == AWKWARD
    assert frame["item"].to_list() == ["i1"] * 4
    assert frame["time"].to_list() == [1.5, 2.5, 3.5, 4.5]
    follower = Follower(tmp_path / "log")
    assert follower.fresh() == events
    assert follower.fresh() == []


def test_half_a_line_is_not_read_and_is_cut_off(tmp_path: Path) -> None:
    append_events(tmp_path, [Event("1", "2", 3.0)])
    path = next(tmp_path.glob("*.csv"))
    follower = Follower(tmp_path)
    assert len(follower.fresh()) == 1
    with path.open("ab") as file:
        file.write(b"4,5")
    assert follower.fresh() == []
    append_events(tmp_path, [Event("6", "7", 8.0)])
    assert path.read_bytes() == b"user,item,time\n1,2,3.000\n6,7,8.000\n"
    assert follower.fresh() == [Event("6", "7", 8.0)]
    with path.open("ab") as file:
        file.write(b"nonsense\n9,9,9\n")
    assert follower.fresh() == [Event("9", "9", 9.0)]
    assert follower.damaged == 1


def test_old_files_may_be_removed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append_events(log, [Event("1", "2", 3.0), Event("4", "5", 6.0)])
    follower = Follower(log)
    assert len(follower.fresh()) == 2
    next(log.glob("*.csv")).unlink()
    assert follower.fresh() == []
    append_events(log, [Event("7", "8", 9.0)])
    assert follower.fresh() == [Event("7", "8", 9.0)]
    assert follower.fresh() == []


def test_rows_that_are_taken_back_are_no_harm(tmp_path: Path) -> None:
    """A failed append may have been read before it was cut off; what follows is read all the same."""
    append_events(tmp_path, [Event("1", "2", 3.0)])
    path = next(tmp_path.glob("*.csv"))
    follower, size = Follower(tmp_path), path.stat().st_size
    with path.open("ab") as file:
        file.write(b"4,5,6.0\n4,5,7.0\n")
    assert len(follower.fresh()) == 3
    os.truncate(path, size)
    append_events(tmp_path, [Event("7", "8", 9.0)])
    assert follower.fresh()[-1] == Event("7", "8", 9.0)


def test_a_new_day_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower, events = Follower(tmp_path / "log"), [Event(str(day), "2", 3.0) for day in range(3)]
    assert follower.fresh() == []
    for day, event in enumerate(events):
        monkeypatch.setattr("gclrec.serving.feedback.time.strftime", lambda *_, day=day: f"2026-11-3{day}")
        append_events(tmp_path / "log", [event])
        assert follower.fresh() == [event]
    assert len(list((tmp_path / "log").glob("*.csv"))) == 3


def test_a_full_disk_keeps_nothing_and_says_so(
    client: Client, run: FoldedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, item = run.users.ids[1], run.items.ids[7]
    client.post("/v1/feedback", told((user, item)))
    log = next(client.service.options.log.glob("*.csv"))
    before = log.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = client.post("/v1/feedback", told((user, run.items.ids[8])))
    assert (answer.status, answer.json["type"]) == (507, "urn:gclrec:no-space")
    assert log.read_bytes() == before


@BOTH
def test_ids_that_training_could_not_read_are_refused(client: Client, run: FoldedRun) -> None:
    item = run.items.ids[0]
    for user in ("line\nbreak", "", "x" * 1001):
        assert client.post("/v1/feedback", told((user, item))).json["pointer"] == "/interactions/0/user"
    if isinstance(item, int):
        answer = client.post("/v1/feedback", told((1, item), ("alice", item)))
        assert answer.json["detail"] == "user ids are whole numbers, found 'alice'"
        assert answer.json["pointer"] == "/interactions/1/user"
        assert client.post("/v1/feedback", told(("12", item))).status == 200
    assert client.post("/v1/feedback", {"interactions": []}).status == 422
