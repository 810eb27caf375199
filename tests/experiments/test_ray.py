"""Trainings in a Ray cluster of two machines, which the tests start here: the same tables."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import gclrec
from gclrec.common.errors import InputError, TooLargeError
from gclrec.experiments.parallel import Workers, workers_of
from gclrec.experiments.ray_cluster import cluster_at
from gclrec.recall.recommender import Recommender
from gclrec.runs.folder import RunFolder
from tests.recall.fake_run import write_run

from .test_parallel import DATA, SMALL, new_run

ray = pytest.importorskip("ray", reason="needs the extra ray, which is none of test")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start a head without CPUs and two machines with one each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # else it waits for all that runs beside it
        few = {"object_store_memory": 80 << 20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **few})
        for _ in range(2):
            cluster.add_node(num_cpus=1, num_gpus=1, memory=1 << 30, object_store_memory=80 << 20)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def workers(address: str) -> Iterator[Workers]:
    with workers_of(2, (), cluster_at(address, "cuda")) as made:  # GPUs are declared; none is used
        assert made is not None
        yield made


def test_tables_are_those_of_one_job(address: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"variants": {"none": {"aug": "none"}, "knn": {"method": "item_knn"}}, "seeds": 1}
    gclrec.compare(DATA, folder=tmp_path / "one", **given, **SMALL)
    before = signal.getsignal(signal.SIGTERM)
    gclrec.compare(DATA, folder=tmp_path / "ray", jobs=2, ray=address, **given, **SMALL)
    assert signal.getsignal(signal.SIGTERM) == before
    assert not ray.is_initialized()
    for name in ("table.csv", "table.md", "table.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()


def test_a_search_is_that_of_one_job(address: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"method": "mf", **SMALL, "space": {"learning_rate": "0.001..0.1"}, "trials": 1}
    one = gclrec.tune(DATA, **given)
    there = gclrec.tune(DATA, ray=address, folder=tmp_path / "ray", **given)
    assert there.trials.drop("seconds").equals(one.trials.drop("seconds"))


def test_memory_and_gpus_are_declared_and_a_killed_process_is_told(workers: Workers, tmp_path: Path) -> None:
    """What no machine has is refused; what one has is taken from it while a training runs."""
    run = new_run(tmp_path / "run", epochs=99)
    with pytest.raises(TooLargeError, match=r"the largest machine of the cluster has 1.0 GiB"):
        workers._place.provide(2e9, 2)
    workers._place.provide(6e8, 2)
    total, free, gpus = ray.cluster_resources()["memory"], [], []

    class Kill:
        def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:
            until = time.monotonic() + 10
            while not free or (free[-1] > total - 6e8 and time.monotonic() < until):
                free.append(ray.available_resources()["memory"])
                gpus.append(ray.available_resources()["GPU"])
            if record["epoch"] == 2:
                (process,) = workers._processes
                process.kill()

    with pytest.raises(InputError, match=r"its process was ended by SIGKILL"):
        workers.run(run.path, [Kill()])
    assert free[-1] <= total - 6e8
    assert gpus[-1] == 1.0
    assert len(RunFolder(run.path).metrics()) in (1, 2)


def test_what_waits_for_a_machine_can_be_stopped(workers: Workers, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", epochs=1)
    workers._place._resources["num_cpus"] = 2  # no machine has two
    raised: list[BaseException] = []

    def train() -> None:
        try:
            workers.run(run.path)
        except InputError as error:
            raised.append(error)

    waiting = threading.Thread(target=train)
    waiting.start()
    while not workers._processes:
        time.sleep(0.01)
    workers.stop()
    waiting.join(20)
    assert not waiting.is_alive()
    assert "SIGKILL" in str(raised[0])


def test_batches_of_users_on_the_cluster(address: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    expected = pl.concat(Recommender.load(run.path).recommend_all(4))
    ray.init(address, log_to_driver=False, logging_level="error")
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        users = ray.data.read_parquet(str(run.path / "embeddings" / "users.parquet"), columns=["id"])
        how = {"fn_constructor_args": (str(run.path),), "fn_constructor_kwargs": {"k": 4}}
        found = users.map_batches(gclrec.BatchRecommender, batch_size=8, concurrency=1, **how)
        table = pl.from_pandas(found.to_pandas())
    finally:
        ray.shutdown()
    assert_frame_equal(table.sort("user", "rank"), expected.sort("user", "rank"))


def test_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="`ray`: there is no cluster at 'nowhere'"):
        gclrec.compare(DATA, augs=["none", "noise"], ray="nowhere", **SMALL)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'gclrec\[ray\]'"):
        gclrec.tune(DATA, method="mf", ray="auto", **SMALL)
