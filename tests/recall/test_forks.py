"""Recommenders in forked processes, which have none of the threads of their parent; pickles."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gclrec.common import forks
from gclrec.common.errors import InputError
from gclrec.recall.build_index import build_index
from gclrec.recall.recommender import Recommender

from .folded_run import folded_run

SECONDS = 60
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def in_a_fork(work: Callable[[], Any]) -> Any:
    """Return what a function returns in a forked process, or the error it raises there."""
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            found = work()
        except BaseException as error:
            found = error
        os.write(theirs, pickle.dumps(found))
        os._exit(0)
    os.close(theirs)
    try:
        assert select.select([ours], [], [], SECONDS)[0], "the forked process hangs"
        with os.fdopen(ours, "rb") as file:
            return pickle.loads(file.read())
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


@pytest.fixture(params=["int", "string"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Recommender:
    folded_run(tmp_path / "run", ids=request.param)
    return Recommender.load(tmp_path / "run")


def answers(recommender: Recommender) -> list[Any]:
    """Return what every kind of question is answered with, as plain values."""
    users, items = recommender.users.ids.to_list(), recommender.items.ids.to_list()
    new = pl.DataFrame({"client": ["x", "y", "x"], "item": items[3:6]})
    return [
        [recommender.recommend(user, 5) for user in users[2:5]],
        [recommender.recommend(str(users[2]), 5)],
        recommender.recommend_many(users[1:] * 9, 5).rows(),
        recommender.recommend_many(list(map(str, users[1:])), 5).rows(),
        [table.rows() for table in recommender.recommend_all(5, batch=7)],
        recommender.recommend_for(items[:4], 5),
        recommender.recommend_for(new, 5).rows(),
        recommender.similar_items(items[7], 5),
        recommender.within(items[5:50]).recommend_many(users[1:], 3).rows(),
        recommender.cold_only().recommend(users[2], 2),
    ]


@pytest.mark.filterwarnings("ignore::gclrec.InputWarning")
@pytest.mark.parametrize("asked_before", [False, True], ids=["at once", "after answers"])
def test_a_forked_process_answers_as_its_parent(loaded: Recommender, asked_before: bool) -> None:
    if asked_before:
        answers(loaded)
    child = in_a_fork(lambda: answers(loaded))
    assert child == answers(loaded)


@pytest.mark.parametrize("backend", ["hnsw", "ivfflat"])
def test_a_forked_process_searches_an_index(tmp_path: Path, backend: str) -> None:
    run = folded_run(tmp_path / "run", num_items=400)
    build_index(run.item_vectors, run.items, backend=backend).save(tmp_path / "run" / "index")
    loaded = Recommender.load(tmp_path / "run")
    users = loaded.users.ids.to_list()[1:]
    expected = loaded.recommend_many(users, 5).rows()
    assert in_a_fork(lambda: loaded.recommend_many(users, 5).rows()) == expected


def test_what_needs_the_threads_of_polars_says_so(loaded: Recommender, monkeypatch) -> None:
    """Adding items, loading and reading tables would wait for ever."""
    loaded.users.ids.sort()  # now Polars has threads here
    monkeypatch.setattr(forks, "_SECONDS", 0.5)
    run, new = loaded.run, {"user": loaded.users.ids[:1], "item": [10**6]}
    for work in (lambda: loaded.add_items(new), lambda: Recommender.load(run)):
        error = in_a_fork(work)
        assert isinstance(error, InputError)
        assert "start processes with multiprocessing's spawn, or do this before the fork" in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "end",
    [
        "sys.stdout.flush(); os._exit(0)",  # as multiprocessing ends what it forks
        pytest.param(
            "sys.exit()",
            marks=pytest.mark.skipif(
                pl.__version__.startswith("2.0."),
                reason="Polars 2.0 waits at exit for a thread that it starts when it is imported",
            ),
        ),
    ],
)
def test_a_process_forked_before_polars_was_used_loads(tmp_path: Path, end: str) -> None:
    """As a server does that forks first, and whose workers load."""
    run = folded_run(tmp_path / "run")
    code = f"""
import os, sys
from gclrec.recall.recommender import Recommender
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
print(len(Recommender.load({str(run.path)!r}).recommend({run.users.ids[2]}, 3)))
{end}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_pickles_answer_alike(loaded: Recommender) -> None:
    again = pickle.loads(pickle.dumps(loaded))
    users = loaded.users.ids.to_list()[1:]
    assert again.recommend_many(users, 5).equals(loaded.recommend_many(users, 5))
    items = loaded.items.ids.to_list()[:4]
    assert again.recommend_for(items, 5) == loaded.recommend_for(items, 5)
