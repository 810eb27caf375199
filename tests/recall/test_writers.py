"""Several writers and readers of one run folder: no item is lost, and readers find what belongs together."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.api import export_index
from gclrec.common.errors import InputError, InputWarning
from gclrec.recall.recommender import Recommender

from .folded_run import FoldedRun, folded_run

pytest.importorskip("fcntl")


@pytest.fixture
def run(tmp_path: Path) -> FoldedRun:
    return folded_run(tmp_path / "run", ids="string")


def news(run: FoldedRun, *names: str) -> pl.DataFrame:
    users = [run.users.ids[n % len(run.users)] for n in range(3, 3 + 2 * len(names))]
    return pl.DataFrame({"user": users, "item": [name for name in names for _ in range(2)]})


def added(run: FoldedRun) -> list[str]:
    found = Recommender.load(run.path).added
    return [] if found is None else found.ids.to_list()


def test_threads_save_at_once(run: FoldedRun) -> None:
    bases = [Recommender.load(run.path).add_items(news(run, f"n{n}", f"m{n}")) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Recommender.save_added, bases * 3))
    names = [f"{letter}{n}" for n in range(4) for letter in "mn"]
    assert sorted(added(run)) == sorted(names)
    assert len(Recommender.load(run.path).recommend(run.users.ids[0], 10, exclude_seen=False)) == 10
    left = {path.name for path in run.path.iterdir()}
    assert left == {".lock", "added", "embeddings", "fold_in", "split"}


def test_what_others_saved_meanwhile_stays(run: FoldedRun) -> None:
    Recommender.load(run.path).add_items(news(run, "a")).save_added()
    slow = Recommender.load(run.path).add_items(news(run, "b", "c"))
    Recommender.load(run.path).add_items(news(run, "c", "d")).save_added()
    theirs = Recommender.load(run.path)
    slow.save_added()
    now = Recommender.load(run.path)
    assert added(run) == ["a", "c", "d", "b"]
    assert np.array_equal(now.index.vectors[: len(theirs.items)], theirs.index.vectors)
    Recommender.load(run.path, with_added=False).add_items(news(run, "e")).save_added()
    assert added(run) == ["e"]
    slow.save_added()
    assert added(run) == ["e", "b", "c"]


def test_an_index_with_replaced_items_is_left_out_with_a_note(run: FoldedRun) -> None:
    Recommender.load(run.path).add_items(news(run, "a", "b")).save_added()
    export_index(run.path, backend="hnsw")
    Recommender.load(run.path, with_added=False).add_items(news(run, "c")).save_added()
    with pytest.warns(InputWarning, match=r"holds added items that were replaced.*gclrec export"):
        found = Recommender.load(run.path)
    assert found.index.backend == "exact"
    assert "c" in found.items.ids
    assert "a" not in found.items.ids
    export_index(run.path, backend="hnsw")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Recommender.load(run.path).index.backend == "hnsw"


def test_readers_while_writers_replace(run: FoldedRun) -> None:
    """Whatever a reader loads fits together: no error, no note, the same items in vectors and index."""
    user = run.users.ids[0]
    Recommender.load(run.path).add_items(news(run, "a")).save_added()
    export_index(run.path, backend="exact")
    stop = threading.Event()
    failed: list[BaseException] = []
    loads: list[int] = []

    def until_stopped(work: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            failed.append(error)

    def read() -> None:
        one = Recommender.load(run.path)
        assert len(one.index) == len(one.items)
        assert len(one.recommend(user, 5, exclude_seen=False)) == 5
        loads.append(len(one.items))

    batches = iter(range(1_000))

    def write() -> None:
        name = f"n{next(batches)}"
        Recommender.load(run.path).add_items(news(run, name)).save_added()
        export_index(run.path, backend="exact")

    def replace() -> None:
        Recommender.load(run.path, with_added=False).add_items(news(run, "z")).save_added()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        writer = threading.Thread(target=lambda: [write() or replace() for _ in range(4)])
        readers = [threading.Thread(target=until_stopped, args=(read,)) for _ in range(2)]
        for thread in [writer, *readers]:
            thread.start()
        writer.join()
        stop.set()
        for thread in readers:
            thread.join()
    assert not failed
    assert loads


def test_items_replaced_while_an_index_is_built(run: FoldedRun) -> None:
    Recommender.load(run.path).add_items(news(run, "a")).save_added()
    export_index(run.path, backend="exact")

    def meanwhile(_: str) -> None:
        Recommender.load(run.path, with_added=False).add_items(news(run, "b")).save_added()

    with pytest.raises(InputError, match="were replaced meanwhile; export again"):
        export_index(run.path, backend="exact", progress=meanwhile)
    assert (run.path / "index").is_dir()
