"""Several trainings at once: the same tables, and what fails or is killed costs nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import gclrec
from gclrec.common.errors import InputError, InputWarning, TooLargeError
from gclrec.experiments.parallel import Workers
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.callbacks import StopTraining
from gclrec.training.prepare import TrainingData, prepare, requested
from gclrec.training.recorder import RunRecorder, creating_run, fit_run

DATA = "synthetic-60x40x600"
SMALL: dict[str, Any] = {"epochs": 2, "dim": 4, "ks": (5,), "select": "recall@5"}


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.stop()


@pytest.fixture
def shared(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let comparisons and searches with two jobs use the processes that run already."""
    ways = {1: None, 2: workers}
    monkeypatch.setattr("gclrec.studies.workers_of", lambda jobs, *_: nullcontext(ways[jobs]))


def data_of(**settings: Any) -> TrainingData:
    config, load = requested(DATA, {**SMALL, **settings})
    return prepare(config, load())


def new_run(path: Path, **settings: Any) -> RunFolder:
    with creating_run(path, data_of(**settings)) as run:
        return RunFolder(run.path)


class Heard:
    """Callback that notes what it hears."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []
        self.threads: set[int] = set()

    def on_run_start(self, number: int, runs: int, name: str) -> None:
        self.events.append(("run", name))
        self.threads.add(threading.get_ident())

    def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:
        self.events.append(("epoch", str(record["epoch"])))


@pytest.mark.usefixtures("shared")
def test_tables_are_the_same_whatever_the_number_of_jobs(tmp_path: Path) -> None:
    """One run fails; the others are made, and the same command makes what is missing."""
    variants: dict[str, Any] = {"none": {"aug": "none"}, "knn": {"method": "item_knn"}}
    given = {"seeds": 2, **SMALL}
    gclrec.compare(DATA, variants=variants, folder=tmp_path / "one", **given)
    heard = Heard()
    diverging = variants | {"diverging": {"aug": "none", "learning_rate": 1e30}}
    with (
        pytest.warns(InputWarning, match=r"diverging__seed=0 failed: epoch \d: the loss is no longer finite"),
        pytest.raises(InputError, match=r"2 of 6 failed \(diverging__seed=.*those that are done are kept"),
    ):
        gclrec.compare(DATA, variants=diverging, folder=tmp_path / "two", jobs=2, callbacks=[heard], **given)
    done = {path.parent.name for path in (tmp_path / "two" / "runs").glob("*/result.json")}
    assert done == {"none__seed=0", "none__seed=1", "knn__seed=0", "knn__seed=1"}
    assert len([event for event in heard.events if event[0] == "run"]) == 6
    assert heard.events.count(("epoch", "2")) >= 2
    assert threading.get_ident() not in heard.threads

    gclrec.compare(DATA, variants=variants, folder=tmp_path / "two", **given)
    for name in ("table.csv", "table.md", "table.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for name in done:
        files = [tmp_path / place / "runs" / name / "per_user.parquet" for place in ("one", "two")]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.usefixtures("shared")
def test_a_search_with_several_jobs(tmp_path: Path) -> None:
    """The first trials are drawn from the seed alone, so they are those of one job; both go on alike."""
    given: dict[str, Any] = {"method": "mf", **SMALL, "space": {"learning_rate": "0.001..0.1"}}
    given |= {"l2_weight": 1e-4}
    one = gclrec.tune(DATA, trials=4, folder=tmp_path / "one", **given)
    gclrec.tune(DATA, trials=3, folder=tmp_path / "two", jobs=2, **given)
    two = gclrec.tune(DATA, trials=4, folder=tmp_path / "two", **given)
    kept = ["number", "value", "learning_rate"]
    assert two.trials.select(kept).equals(one.trials.select(kept))


def test_a_callback_ends_a_training_early(workers: Workers, tmp_path: Path) -> None:
    data, heard = data_of(epochs=5), Heard()

    class Stop:
        def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:
            if record["epoch"] == 2:
                raise StopTraining

    workers.training_in(new_run(tmp_path / "start").path)(data.config, [Stop(), heard])
    assert heard.events == [("epoch", "1"), ("epoch", "2")]


def test_a_process_that_is_killed_is_replaced(workers: Workers, tmp_path: Path) -> None:
    whole = new_run(tmp_path / "whole", epochs=3)
    fit_run(whole)
    run = new_run(tmp_path / "run", epochs=3)

    class Kill:
        def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:
            if record["epoch"] == 2:
                (process,) = workers._processes - set(workers._idle.queue)
                process.kill()

    with pytest.raises(InputError, match=r"its process was ended by SIGKILL; there may not be enough memory"):
        workers.run(run.path, [Kill()])
    assert run.last_checkpoint.exists()
    workers.run(run.path)
    last, other = (folder.metrics()[-1] for folder in (whole, run))
    assert {name: last[name] for name in last if not name.endswith(("seconds", "mb"))} == {
        name: other[name] for name in other if not name.endswith(("seconds", "mb"))
    }


def test_errors_of_callbacks_come_back(workers: Workers, tmp_path: Path) -> None:
    """The process is idle afterwards, and takes the next training."""
    run = new_run(tmp_path / "run")

    class Break:
        def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        workers.run(run.path, [Break()])
    workers.run(run.path)
    assert (run.path / "result.json").is_file()


def test_more_than_the_memory_holds_is_refused(workers: Workers, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    workers.check_memory([(run.path, None)])
    before = workers._place._free
    try:
        workers._place._free = 1
        with pytest.raises(
            TooLargeError, match=r"2 trainings at once need about .* each and 0.0 GiB are free"
        ):
            workers.check_memory([(run.path, TrainConfig.from_dict(run.settings(), source="run"))])
    finally:
        workers._place._free = before


def test_memory_is_checked_before_large_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left behind but what says that a comparison was begun."""
    asked: list[tuple[str, ...]] = []

    def check(self: Workers, trainings: Any) -> None:
        asked.append(tuple(path.name for path, _ in trainings))
        raise TooLargeError("too large")

    monkeypatch.setattr(Workers, "check_memory", check)
    for module in ("run_cells", "tuning"):
        monkeypatch.setattr(f"gclrec.experiments.{module}.WORTH", 100)
    with pytest.raises(TooLargeError):
        gclrec.compare(DATA, augs=["none", "edge_drop"], folder=tmp_path / "out", jobs=2, seeds=2, **SMALL)
    assert asked.pop() == ("none__seed=0", "edge_drop__seed=0")[::-1]
    assert list((tmp_path / "out" / "runs").iterdir()) == []
    with pytest.raises(TooLargeError):
        gclrec.tune(DATA, method="lightgcn", trials=2, jobs=2, epochs=2)
    assert asked == [("start",)]


def test_what_cannot_be_done_in_other_processes_is_refused() -> None:
    class Keeps:
        def on_best(self, tensors: Any, epoch: int, phase: str) -> None: ...

    with pytest.raises(InputError, match="a callback has on_best"):
        gclrec.compare(DATA, augs=["none", "noise"], jobs=2, callbacks=[Keeps()], **SMALL)
    with pytest.raises(InputError, match="must be at least 1, got 0"):
        gclrec.tune(DATA, method="mf", jobs=0, **SMALL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_an_interrupt_ends_all_processes_and_leaves_runs_to_go_on_with(tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = f"--dataset {DATA} --augs none,edge_drop --seeds 1 --epochs 9999 --dim 4 --jobs 2".split()
    command = [sys.executable, "-m", "gclrec", "compare", *flags, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(list(out.glob("runs/*/checkpoint/last.safetensors"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, error = process.communicate()
    assert process.returncode == 130
    assert [line for line in error.splitlines() if not line.startswith("note:")] == ["interrupted"]
    assert "stopped; the same command goes on where it was" in said
    for path in (out / "runs").iterdir():
        with RunFolder(path).held():  # nobody trains there any more
            assert RunRecorder(RunFolder(path)).checkpoint() is not None


def test_threads_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, Any] = {}
    monkeypatch.setattr("torch.get_num_threads", lambda: 9)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **how: started.update(how["env"]))
    Workers(2)._started()
    assert started["OMP_NUM_THREADS"] == started["POLARS_MAX_THREADS"] == "4"
