"""The search itself, on made-up learning curves whose best settings are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gclrec.common.declaration import Options, Span
from gclrec.common.errors import InputError
from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.data.splits import Split
from gclrec.experiments.tuning import (
    Curve,
    Trial,
    Tuning,
    TuningFolder,
    best_of,
    importance,
    run_trials,
    selection_only,
    trials_of,
)
from gclrec.settings.config import TrainConfig
from gclrec.training.callbacks import Callbacks

EPOCHS = 8
SPACE = {
    "learning_rate": Span(1e-4, 1.0, log=True),
    "l2_weight": Span(1e-6, 1e-2, log=True),
    "num_layers": Span(1, 4),
    "layer_weights": Options(("mean", "mean_without_0")),
}
TUNING = Tuning(TrainConfig(epochs=EPOCHS, learning_rate=0.5), SPACE, prune_after=2)
Search = Callable[..., list[Trial]]


class Told:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.numbers: list[tuple[int, int]] = []

    def trial(self, number: int, count: int, settings: Mapping[str, Any]) -> object:
        self.numbers.append((number, count))
        return object()


def quality(config: TrainConfig) -> float:
    """Best at a learning rate of 0.01; the others hardly matter."""
    return float(np.exp(-(np.log10(config.learning_rate / 0.01) ** 2))) + 1e-3 * config.num_layers


def curve(config: TrainConfig, events: Callbacks) -> Iterator[Mapping[str, Any]]:
    for epoch in range(1, config.epochs + 1):
        yield {"epoch": epoch, "valid/all/recall@20": quality(config) * epoch / config.epochs}


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """Return a function that makes trials in ``tmp_path / NAME`` and returns them."""

    def run(count: int, name: str = "a", *, tuning: Tuning = TUNING, curve: Curve = curve) -> list[Trial]:
        folder = TuningFolder(tmp_path / name)
        folder.path.mkdir(exist_ok=True)
        with folder.locked():
            study = folder.study(tuning)
            run_trials(tuning, study, count, curve, Told())
            return trials_of(study)

    return run


def plain(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [(t.number, t.state, t.value, t.epoch, t.epochs, dict(t.settings)) for t in trials]


def test_it_finds_what_is_best_and_cuts_short_what_is_not(search: Search) -> None:
    trials = search(30)
    assert trials[0].settings == TUNING.start
    best = best_of(trials)
    assert best is not None
    assert best.value == max(trial.value or 0 for trial in trials if trial.state == "complete")
    assert 0.004 < best.settings["learning_rate"] < 0.025
    cut = [trial for trial in trials if trial.state == "pruned"]
    assert cut
    assert all(TUNING.prune_after <= trial.epochs < EPOCHS for trial in cut)
    assert all(trial.epochs == EPOCHS for trial in trials if trial.state == "complete")
    assert [trial.state for trial in trials[:5]] == ["complete"] * 5
    whole = sorted(t.value or 0 for t in trials[:5])
    assert all((t.value or 0) / t.epochs < whole[-1] / EPOCHS for t in cut)


def test_in_pieces_it_makes_the_same_trials_as_in_one_go(search: Search) -> None:
    """Stopped at every third call of the curve, in the middle of a trial."""
    calls = 0

    def fragile(config: TrainConfig, events: Callbacks) -> Iterator[Mapping[str, Any]]:
        nonlocal calls
        calls += 1
        for record in curve(config, events):
            if calls % 3 == 0 and record["epoch"] == 2:
                raise KeyboardInterrupt
            yield record

    whole = plain(search(14))
    for _ in range(30):
        try:
            pieces = plain(search(14, "b", curve=fragile))
        except KeyboardInterrupt:
            continue
        break
    assert calls > 14 + 5
    assert pieces == whole
    assert plain(search(6, "c")) == whole[:6]
    assert plain(search(14, "c")) == whole


def test_the_seed_decides(search: Search) -> None:
    other = Tuning(TrainConfig(epochs=EPOCHS, learning_rate=0.5, seed=1), SPACE, prune_after=2)
    one, two = search(3), search(3, "b", tuning=other)
    assert one[0].settings == two[0].settings
    assert one[1].settings != two[1].settings
    settings = [tuple(trial.settings.values()) for trial in search(12)]
    assert len(set(settings)) == 12


def test_importance_names_what_decides(tmp_path: Path, search: Search) -> None:
    tuning = Tuning(TrainConfig(epochs=1, learning_rate=0.5), SPACE, prune_after=1)
    search(30, tuning=tuning)
    shares = importance(TuningFolder(tmp_path / "a").study(tuning))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["learning_rate"] > 0.5
    search(3, "b")
    assert importance(TuningFolder(tmp_path / "b").study(TUNING)) == {}


def test_a_start_outside_the_space_is_drawn_there(search: Search) -> None:
    tuning = Tuning(TrainConfig(epochs=EPOCHS, learning_rate=5.0), SPACE, prune_after=2)
    (first,) = search(1, tuning=tuning)
    assert 1e-4 <= first.settings["learning_rate"] <= 1.0
    assert first.settings["num_layers"] == 3


def test_who_listens_hears_the_numbers_and_the_epochs(tmp_path: Path) -> None:
    told = Told()
    folder = TuningFolder(tmp_path)
    with folder.locked():
        run_trials(TUNING, folder.study(TUNING), 2, curve, told)
        run_trials(TUNING, folder.study(TUNING), 3, curve, told)
    assert told.numbers == [(1, 2), (2, 2), (3, 3)]


def test_the_earliest_of_equal_trials_is_best() -> None:
    def trial(number: int, value: float, state: str = "complete") -> Trial:
        return Trial(number, state, value, 1, 1, 0.0, {})

    best = best_of([trial(1, 0.1), trial(2, 0.3), trial(3, 0.3), trial(4, 0.9, "pruned")])
    assert best is not None
    assert best.number == 2
    assert best_of([trial(1, 0.1, "diverged")]) is None


def test_no_test_pair_is_left_to_choose_by() -> None:
    users = Vocabulary.of([0, 1, 2, 3])
    parts = [Interactions(users, users, np.array([k, 0]), np.array([k, k + 1])) for k in range(3)]
    split = Split(*parts, name="random")
    left = selection_only(split)
    assert len(left.test) == 0
    assert (left.train, left.valid) == (split.train, split.valid)
    with pytest.raises(InputError, match="nothing to tune by"):
        selection_only(split.refit())
