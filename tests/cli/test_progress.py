"""Progress of a long run without a terminal, and how a run ends on a signal."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from gclrec.cli.signals import Terminated, signals_raise
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.progress import Bars, Lines, _validation, progress_of
from gclrec.training.recorder import fit_run
from tests.training.test_training import SMALL, checkerboard

from .conftest import Run


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def record(valid: float) -> dict[str, object]:
    return {"phase": "select", "loss/total": 0.5, "valid/all/recall@10": valid, "valid/all/ndcg@10": 0.0}


def test_long_epochs_have_lines_of_their_own(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(clock=clock)
    lines.on_phase_start("select", 3, 9)
    for done in (10, 20, 30, 40, 100):
        clock.now += 20
        lines.on_batch_end(done, 100, {"total": 0.7})
    clock.now += 5
    lines.on_epoch_end(record(0.25), 3)
    lines.on_phase_start("refit", 1, 3)
    clock.now += 31
    lines.on_epoch_end({"phase": "refit", "loss/total": 0.4}, 3)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 3/9: batch 20/100, loss 0.7000, 160 s left",
        "epoch 3/9: batch 40/100, loss 0.7000, 120 s left",
        "epoch 3/9: loss 0.5000, valid/all/recall@10 0.2500, 105 s",
        "refit on train + valid, epoch 1/3: loss 0.4000, 31 s",
    ]


def test_short_epochs_share_a_line_and_short_runs_have_none(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Lines(clock=clock)
    lines.on_run_start(1, 2, "none, seed 0")
    lines.on_phase_start("select", 1, 9)
    for _ in range(2):
        clock.now += 14
        lines.on_epoch_end(record(0.1), 1)
    assert capsys.readouterr().err == ""
    for _ in range(4):
        clock.now += 14
        lines.on_epoch_end(record(0.1), 1)
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in told] == [
        "run 1/2 (none, seed 0), epoch 3/9",
        "run 1/2 (none, seed 0), epoch 6/9",
    ]


@pytest.mark.parametrize("method", [{}, {"baseline": "item_knn"}])
@pytest.mark.parametrize("select", ["ndcg@5", "head_items/recall@1"])
def test_what_chooses_the_epoch_stands_first(tmp_path: Path, method: dict[str, str], select: str) -> None:
    """So the line that progress prints is about that."""
    config = TrainConfig(**{**SMALL, **method, "epochs": 1, "select": select})
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), checkerboard())
    fit_run(folder)
    record = folder.metrics()[0]
    names = [name for name in record if name.startswith("valid/")]
    assert names[0] == ("valid/all/ndcg@5" if select == "ndcg@5" else f"valid/{select}")
    assert len(names) == len(set(names)) > 4
    assert _validation(record) == [f"{names[0]} {record[names[0]]:.4f}"]


def test_bars_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress_of(), Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(progress_of(), Bars)


def test_lines_go_with_a_real_run(
    gclrec: Run, clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event of a run is understood; stdout stays one JSON object."""
    monkeypatch.setattr("gclrec.training.progress.QUIET_SECONDS", 0.0)
    flags = ("--dim", 8, "--epochs", 2, "--batch-size", 16, "--aug", "none", "--refit")
    outcome = gclrec("train", "--dataset", clicks, "--run", tmp_path / "run", *flags, "--json")
    assert len(outcome.out.splitlines()) == 1
    told = [line for line in outcome.err.splitlines() if "epoch 2/2: loss" in line]
    assert "valid/all/" in told[0]
    assert any("batch 10/" in line for line in outcome.err.splitlines())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_sigterm_says_how_to_go_on(clicks: Path, tmp_path: Path, gclrec: Run) -> None:
    run = tmp_path / "run"
    flags = ["--dataset", clicks, "--dim", 16, "--batch-size", 16, "--epochs", 500, "--device", "cpu"]
    command = [sys.executable, "-m", "gclrec.cli.train", *map(str, flags), "--run", str(run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, **pipes)
    lines, deadline = run / "metrics.jsonl", time.monotonic() + 60
    while not (lines.exists() and lines.read_text().count("\n") >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None, "ended before it could be stopped"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"stopped; continue with: gclrec train --resume {run}" in out
    assert err.splitlines()[-1] == "terminated"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_handlers_are_left_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals_raise(), pytest.raises(Terminated):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before

    def mine(*_: object) -> None:
        """Somebody else's handler."""

    signal.signal(signal.SIGTERM, mine)
    try:
        with signals_raise():
            assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_commands_run_in_other_threads(gclrec: Run) -> None:
    codes = []
    thread = threading.Thread(target=lambda: codes.append(gclrec("methods").code))
    thread.start()
    thread.join()
    assert codes == [0]


def test_threads_that_train_have_lines_and_bars_of_their_own(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Lines(clock=clock)
    bars = Bars(Console(file=io.StringIO()))

    def train(number: int) -> None:
        for shown in (lines, bars):
            shown.on_run_start(number, 2, f"seed={number}")
            shown.on_phase_start("select", 1, 9)
        ready.wait()
        clock.now += 31
        for shown in (lines, bars):
            shown.on_batch_end(100, 100, {"total": 0.5})
            shown.on_epoch_end(record(0.25), 1)

    ready = threading.Barrier(2)
    threads = [threading.Thread(target=train, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drawn = {(task.description, task.completed) for task in bars._progress.tasks[1:] if task.visible}
    said = capsys.readouterr().err
    assert all(f"run {number}/2 (seed={number}), epoch 1/9: loss 0.5000" in said for number in (1, 2))
    assert drawn == {("seed=1: epochs", 1), ("seed=2: epochs", 1), ("batches", 100)}
