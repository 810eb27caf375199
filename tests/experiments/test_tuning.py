"""The search itself, on made-up trainings whose best settings are known."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gclrec.common.declaration import Options, Span
from gclrec.common.errors import InputError
from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.data.splits import Split
from gclrec.experiments.search import (
    Search,
    Train,
    Trial,
    best_of,
    importance_of,
    new_study,
    run_trials,
    selection_only,
    trials_of,
)
from gclrec.experiments.tuning import Tuning
from gclrec.settings.config import TrainConfig
from gclrec.training.prepare import TrainingData

EPOCHS = 8
KILLED = """
import os

from tests.experiments.test_tuning import SEARCH, THREE, Path, Tuning, data, run_trials, train


class Kill:
    def on_epoch_end(self, record, best_epoch):
        if len(study.trials) == 2:
            os._exit(9)


with Tuning(SEARCH, Path({folder!r})).study(data()) as study:
    run_trials(THREE, study, train, callbacks=[Kill()])
"""
SPACE = {
    "learning_rate": Span(1e-4, 1.0, log=True),
    "l2_weight": Span(1e-6, 1e-2, log=True),
    "num_layers": Span(1, 4),
    "layer_weights": Options(("mean", "mean_without_0")),
}
SEARCH = Search(TrainConfig(epochs=EPOCHS, learning_rate=0.5), SPACE, prune_after=2)
THREE = replace(SEARCH, trials=3)
Make = Callable[..., list[Trial]]


class Recorder:
    """Callback that notes the numbers of trials and their epochs."""

    def __init__(self) -> None:
        self.numbers: list[tuple[int, int]] = []
        self.epochs: list[int] = []

    def on_run_start(self, number: int, runs: int, name: str) -> None:
        assert "learning_rate" in name
        self.numbers.append((number, runs))

    def on_epoch_end(self, record: dict[str, Any], best_epoch: int | None) -> None:
        self.epochs.append(record["epoch"])


def quality(config: TrainConfig) -> float:
    """Best at a learning rate of 0.01; the others hardly matter."""
    return float(np.exp(-(np.log10(config.learning_rate / 0.01) ** 2))) + 1e-3 * config.num_layers


def train(config: TrainConfig, callbacks: Sequence[Any]) -> None:
    """Stand in for a training whose figure rises from epoch to epoch."""
    for epoch in range(1, config.epochs + 1):
        figure = quality(config) * epoch / config.epochs
        for callback in callbacks:
            callback.on_epoch_end({"epoch": epoch, "valid/all/recall@20": figure}, epoch)


def data(search: Search = SEARCH) -> TrainingData:
    users = Vocabulary.of([0, 1, 2, 3])
    parts = [Interactions(users, users, np.array([k, 0]), np.array([k, k + 1])) for k in range(3)]
    return TrainingData(search.config, Split(*parts, name="random"))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes trials in ``tmp_path / NAME`` and returns them."""

    def run(count: int, name: str = "a", *, search: Search = SEARCH, train: Train = train) -> list[Trial]:
        with Tuning(search, tmp_path / name).study(data(search)) as study:
            run_trials(replace(search, trials=count), study, train)
            return trials_of(study)

    return run


def plain(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [(t.number, t.state, t.value, t.epoch, t.epochs, dict(t.settings)) for t in trials]


def test_it_finds_what_is_best_and_cuts_short_what_is_not(make: Make) -> None:
    trials = make(30)
    assert trials[0].settings == SEARCH.start
    best = best_of(trials)
    assert best is not None
    assert best.value == max(trial.value or 0 for trial in trials if trial.state == "complete")
    assert 0.004 < best.settings["learning_rate"] < 0.025
    cut = [trial for trial in trials if trial.state == "pruned"]
    assert cut
    assert all(SEARCH.prune_after <= trial.epochs < EPOCHS for trial in cut)
    assert all(trial.epochs == EPOCHS for trial in trials if trial.state == "complete")
    assert [trial.state for trial in trials[:5]] == ["complete"] * 5
    whole = sorted(t.value or 0 for t in trials[:5])
    assert all((t.value or 0) / t.epochs < whole[-1] / EPOCHS for t in cut)


def test_in_pieces_it_makes_the_same_trials_as_in_one_go(make: Make) -> None:
    """Stopped in every third training, in the middle of a trial."""
    calls = 0

    class Interruption:
        def on_epoch_end(self, record: dict[str, Any], best_epoch: int | None) -> None:
            if calls % 3 == 0 and record["epoch"] == 2:
                raise KeyboardInterrupt

    def fragile(config: TrainConfig, callbacks: Sequence[Any]) -> None:
        nonlocal calls
        calls += 1
        train(config, [Interruption(), *callbacks])

    whole = plain(make(14))
    for _ in range(30):
        try:
            pieces = plain(make(14, "b", train=fragile))
        except KeyboardInterrupt:
            continue
        break
    assert calls > 14 + 5
    assert pieces == whole
    assert plain(make(6, "c")) == whole[:6]
    assert plain(make(14, "c")) == whole


def test_a_training_of_ones_own_can_be_searched() -> None:
    """Anything that calls the callbacks, in memory."""

    def train(config: TrainConfig, callbacks: Sequence[Any]) -> None:
        for epoch in range(1, config.epochs + 1):
            record = {"epoch": epoch, "valid/all/recall@20": epoch - abs(config.low_pass - 0.7)}
            for callback in callbacks:
                callback.on_epoch_end(record, epoch)

    search = Search(TrainConfig(epochs=3), {"low_pass": Span(0.0, 1.0)}, prune_after=1)
    study = new_study(search)
    run_trials(replace(search, trials=15), study, train)
    best = best_of(trials_of(study))
    assert best is not None
    assert abs(best.settings["low_pass"] - 0.7) < 0.2


def test_the_seed_decides(make: Make) -> None:
    other = replace(SEARCH, config=replace(SEARCH.config, seed=1))
    one, two = make(3), make(3, "b", search=other)
    assert one[0].settings == two[0].settings
    assert one[1].settings != two[1].settings
    settings = [tuple(trial.settings.values()) for trial in make(12)]
    assert len(set(settings)) == 12


def test_importance_names_what_decides(tmp_path: Path, make: Make) -> None:
    search = Search(TrainConfig(epochs=1, learning_rate=0.5), SPACE, prune_after=1)
    make(30, search=search)
    with Tuning(search, tmp_path / "a").study(data(search)) as study:
        shares = importance_of(study)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["learning_rate"] > 0.5
    make(3, "b")
    with Tuning(SEARCH, tmp_path / "b").study(data()) as study:
        assert importance_of(study) == {}


def test_a_start_outside_the_space_is_drawn_there(make: Make) -> None:
    search = Search(TrainConfig(epochs=EPOCHS, learning_rate=5.0), SPACE, prune_after=2)
    (first,) = make(1, search=search)
    assert 1e-4 <= first.settings["learning_rate"] <= 1.0
    assert first.settings["num_layers"] == 3


def test_callbacks_get_the_numbers_and_the_epochs(tmp_path: Path) -> None:
    recorder = Recorder()
    for count in (2, 3):
        with Tuning(SEARCH, tmp_path).study(data()) as study:
            run_trials(replace(SEARCH, trials=count), study, train, callbacks=[recorder])
    assert recorder.numbers == [(1, 2), (2, 2), (3, 3)]
    assert recorder.epochs == [*range(1, EPOCHS + 1)] * 3


def test_killed_at_any_moment_it_goes_on_to_the_same_trials(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder as it is before each statement to the database, from the first table on, is gone on with."""
    folder, connect, moments = tmp_path / "a", sqlite3.connect, []

    def connected(*arguments: Any, **others: Any) -> sqlite3.Connection:
        def copied(statement: str) -> None:
            moments.append(shutil.copytree(folder, tmp_path / f"moment-{len(moments)}").name)

        connection = connect(*arguments, **others)
        connection.set_trace_callback(copied)
        return connection

    with monkeypatch.context() as patched:
        patched.setattr("gclrec.experiments.tuning.sqlite3.connect", connected)
        whole = plain(make(3))
    assert len(moments) > 150
    assert (tmp_path / moments[0] / "start").is_dir()
    for moment in (*moments[:60:10], *moments[60::40]):
        assert plain(make(3, moment)) == whole


def test_a_killed_process_leaves_no_lock_and_no_wait(tmp_path: Path) -> None:
    """The process ends in the second trial without a word; the next one goes on at once."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(folder=str(tmp_path / "a")), encoding="utf-8")
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, str(script)], check=False, env=environment)
    assert done.returncode == 9
    began = time.perf_counter()
    with Tuning(SEARCH, tmp_path / "a").study(data()) as study:
        assert len(trials_of(study)) == 1
        run_trials(THREE, study, train)
        pieces = plain(trials_of(study))
    assert time.perf_counter() - began < 10
    study = new_study(SEARCH)
    run_trials(THREE, study, train)
    assert plain(trials_of(study)) == pieces


def test_the_earliest_of_equal_trials_is_best() -> None:
    def trial(number: int, value: float, state: str = "complete") -> Trial:
        return Trial(number, state, value, 1, 1, 0.0, {})

    best = best_of([trial(1, 0.1), trial(2, 0.3), trial(3, 0.3), trial(4, 0.9, "pruned")])
    assert best is not None
    assert best.number == 2
    assert best_of([trial(1, 0.1, "diverged")]) is None


def test_no_test_pair_is_left_to_choose_by() -> None:
    split = data().split
    left = selection_only(split)
    assert len(left.test) == 0
    assert (left.train, left.valid) == (split.train, split.valid)
    with pytest.raises(InputError, match="nothing to tune by"):
        selection_only(split.refit())
