"""``gclrec tune``: trials, going on, the same trials again, and and that the test part is never read."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gclrec.common.files import read_toml
from gclrec.common.locks import holding
from gclrec.experiments import search
from gclrec.runs.folder import RunFolder
from gclrec.settings.methods import METHODS
from gclrec.training import results
from gclrec.training.trainer import Trainer

from .choices import ITEMS_FOR
from .conftest import Outcome

Run = Callable[..., Outcome]
FILES = {".lock", "start", "tuning.json", "study.db", "trials.csv", "best.toml"}


@pytest.fixture
def tune(gclrec: Run, clicks: Path, tmp_path: Path) -> Run:
    """Return a function that tunes on the small table, into ``tmp_path / "out"`` if not told otherwise."""

    def run(*flags: object) -> Outcome:
        usual = {"--dataset": clicks, "--out": tmp_path / "out", "--trials": 3, "--epochs": 2}
        usual |= {"--dim": 8, "--batch-size": 128}
        if flags[:2] == ("--method", "pure_svd"):
            del usual["--dim"]  # it is what is searched
        kept = [part for flag, value in usual.items() if flag not in flags for part in (flag, value)]
        return gclrec("tune", *kept, "--json", *flags)

    return run


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Whether trials are the same but for the clock."""
    return [{**t, "seconds": 0} for t in one] == [{**t, "seconds": 0} for t in other]


def test_trials_best_settings_and_what_comes_next(tune: Run, gclrec: Run, tmp_path: Path) -> None:
    outcome = tune("--method", "sgl")
    assert outcome.code == 0, outcome.err
    out, values = tmp_path / "out", outcome.values
    assert {path.name for path in out.iterdir()} == FILES
    trials = values["trials"]
    assert [trial["number"] for trial in trials] == [1, 2, 3]
    first = trials[0]["settings"]
    assert first.keys() == {
        *("learning_rate", "l2_weight", "num_layers", "degree_exponent"),
        *("ssl_weight", "temperature", "aug_p"),
    }
    assert (first["aug_p"], first["ssl_weight"], first["temperature"]) == (0.1, 0.1, 0.2)
    best = max(trials, key=lambda trial: trial["value"])
    assert values["best"] == best["number"]
    assert pl.read_csv(out / "trials.csv")["value"].to_list() == [trial["value"] for trial in trials]
    assert f"gclrec train --config {out / 'best.toml'}" in " ".join(outcome.err.split())
    assert f"{best['value']:.4f}" in outcome.err

    settings = read_toml(out / "best.toml")
    assert {name: settings[name] for name in best["settings"]} == best["settings"]
    trained = gclrec("train", "--config", out / "best.toml", "--run", tmp_path / "run", "--json")
    assert trained.code == 0, trained.err
    lines = RunFolder.open(tmp_path / "run").metrics()
    assert max(line["valid/all/recall@20"] for line in lines) == best["value"]


def test_more_trials_are_added_and_the_same_command_gives_the_same(tune: Run, tmp_path: Path) -> None:
    tune("--method", "item_knn")
    more = tune("--method", "item_knn", "--trials", 12)
    assert "going on in" in more.err
    once = tune("--method", "item_knn", "--trials", 12, "--out", tmp_path / "once").values
    assert len(once["trials"]) == 12
    assert same(more.values["trials"], once["trials"])
    assert same(tune("--method", "item_knn", "--trials", 2).values["trials"], once["trials"])
    other = tune("--method", "item_knn", "--seed", 1, "--out", tmp_path / "other").values
    assert other["trials"][1]["settings"] != once["trials"][1]["settings"]


def test_the_same_command_goes_on_without_a_batch_size(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    flags = ("--dataset", clicks, "--method", "mf", "--epochs", 1, "--dim", 4, "--out", tmp_path / "out")
    assert gclrec("tune", *flags, "--trials", 1).code == 0
    again = gclrec("tune", *flags, "--trials", 2, "--json")
    assert len(again.values["trials"]) == 2


@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_search_goes_on_to_the_same_trials(
    tune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """Stopped in the third trial, by hand or so hard that nothing can be tidied up."""
    whole = tune("--trials", 4, "--out", tmp_path / "whole").values["trials"]
    run_epoch, calls = Trainer.run_epoch, []

    def stopped(self: Trainer, *arguments: Any) -> dict[str, float]:
        calls.append(arguments[0])
        if len(calls) == 6:
            raise KeyboardInterrupt
        return run_epoch(self, *arguments)

    monkeypatch.setattr(Trainer, "run_epoch", stopped)
    outcome = tune("--trials", 4)
    assert outcome.code == 130
    assert "the same command goes on" in outcome.err
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == FILES
    assert pl.read_csv(out / "trials.csv").height == 2
    if killed:
        with contextlib.closing(sqlite3.connect(out / "study.db")) as study, study:
            ended = study.execute("UPDATE trials SET state = 'RUNNING' WHERE state = 'FAIL'")
            assert ended.rowcount == 1  # as it would be had nothing been tidied up
    assert same(tune("--trials", 4).values["trials"], whole)


@pytest.mark.parametrize("method", ["mf", "item_knn"])
def test_the_test_part_is_never_looked_at(
    tune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """All that is ranked for are the validation pairs, and no test pair is at hand anywhere."""
    looked: dict[str, list[Any]] = {"valid": [], "test": []}

    def evaluate(ranker: Any, split: Any, part: str, config: Any, **how: Any) -> Any:
        looked[part].append(getattr(split, part).pair_keys.tolist())
        return evaluate_on(ranker, split, part, config, **how)

    def fit(config: Any, split: Any, **others: Any) -> Any:
        assert len(split.test) == 0
        assert len(split.train) == len(RunFolder(tmp_path / "out" / "start").split().train)
        return train(config, split, **others)

    train, evaluate_on = search.fit, results.evaluate_on
    monkeypatch.setattr(search, "fit", fit)
    monkeypatch.setattr(results, "evaluate_on", evaluate)
    assert tune("--method", method).code == 0
    split = RunFolder(tmp_path / "out" / "start").split()
    assert len(split.test) > 0
    assert len(looked["valid"]) == 3 * (2 if method == "mf" else 1)
    assert all(keys == split.valid.pair_keys.tolist() for keys in looked["valid"])
    assert looked["test"] == [[]] * 3


UNTUNED = ("auto", "popularity", "content_knn")


@pytest.mark.parametrize("method", [name for name in METHODS if name not in UNTUNED])
def test_every_method_can_be_tuned(tune: Run, tastes: dict[str, Path], method: str) -> None:
    tables = tuple(tastes.get(part.lower(), part) for part in ITEMS_FOR.get(method, ()))
    outcome = tune("--method", method, "--trials", 2, *tables)
    assert outcome.code == 0, outcome.err
    assert [trial["state"] for trial in outcome.values["trials"]] == ["complete"] * 2


def test_attributes_and_shown_pairs_reach_the_trials(
    tune: Run, tastes: dict[str, Path], shown: Path, tmp_path: Path
) -> None:
    outcome = tune(
        "--item-attributes", tastes["items"], "--attributes", "input", "--space", "id-dropout=0,0.2"
    )
    assert outcome.code == 0, outcome.err
    assert "id_dropout" in outcome.values["trials"][0]["settings"]
    flags = ("--negatives", "exposed", "--exposed", shown, "--exposed-share", 0.4)
    outcome = tune(*flags, "--out", tmp_path / "shown")
    assert outcome.code == 0, outcome.err


def test_poor_trials_are_cut_short_and_leave_nothing(
    tune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--trials", 9, "--epochs", 4, "--aug", "none")
    values = tune(*flags).values
    states = [trial["state"] for trial in values["trials"]]
    assert states[:5] == ["complete"] * 5
    assert "pruned" in states
    assert all(trial["epochs"] < 4 for trial in values["trials"] if trial["state"] == "pruned")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    whole = tune(*flags, "--prune-after", 4, "--out", tmp_path / "whole").values
    assert {trial["state"] for trial in whole["trials"]} == {"complete"}
    assert all(trial["epochs"] == 4 for trial in whole["trials"])


def test_a_best_value_at_the_end_of_its_range_is_reported(tune: Run, tmp_path: Path) -> None:
    narrow = ("--learning-rate", 0.01, "--l2-weight", 0, "--aug", "none", "--num-layers", 1, "--trials", 1)
    assert "init-std in 0.1..0.5; --space" in tune(*narrow, "--space", "init-std=0.1..0.5").err
    assert "end of its" not in tune(*narrow, "--space", "init-std=0.01..0.5", "--out", tmp_path / "b").err


def test_patience_ends_a_trial(tune: Run) -> None:
    trials = tune("--epochs", 9, "--patience", 1, "--prune-after", 9, "--method", "ccl").values["trials"]
    assert {trial["state"] for trial in trials} == {"complete"}
    assert any(trial["epochs"] == trial["epoch"] + 1 < 9 for trial in trials)


def test_diverging_trials_do_not_end_the_search(tune: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(self: Trainer, *arguments: Any) -> dict[str, float]:
        if self.config.learning_rate != 5e-3:
            raise FloatingPointError("the loss is no longer finite")
        return run_epoch(self, *arguments)

    run_epoch = Trainer.run_epoch
    monkeypatch.setattr(Trainer, "run_epoch", diverging)
    outcome = tune("--aug", "none")
    assert [trial["state"] for trial in outcome.values["trials"]] == ["complete", "diverged", "diverged"]
    assert outcome.values["best"] == 1
    assert "1 complete, 2 diverged" in outcome.err


def test_no_trial_that_comes_to_its_end_is_reported(
    tune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(self: Trainer, *arguments: Any) -> dict[str, float]:
        raise FloatingPointError("the loss is no longer finite")

    monkeypatch.setattr(Trainer, "run_epoch", diverging)
    outcome = tune()
    assert outcome.code == 0
    assert "no trial came to its end" in outcome.err
    assert outcome.values["best"] is None
    assert not (tmp_path / "out" / "best.toml").exists()


def test_settings_from_a_file_are_held(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(
        f'dataset = "{clicks}"\nmethod = "sgl"\ntrials = 2\nspace = ["dim=4,8"]\nepochs = 1\n'
        "temperature = 0.4\nnum_layers = 1\n"
    )
    outcome = gclrec(
        "tune", "--config", tmp_path / "t.toml", "--out", tmp_path / "out", "--l2-weight", 0, "--json"
    )
    assert outcome.code == 0, outcome.err
    trials = outcome.values["trials"]
    assert trials[0]["settings"].keys() == {"learning_rate", "degree_exponent", "ssl_weight", "aug_p", "dim"}
    best = read_toml(tmp_path / "out" / "best.toml")
    assert (best["temperature"], best["num_layers"], best["l2_weight"]) == (0.4, 1, 0)


BAD_FLAGS = {
    "--method best": "sgl",
    "--method popularity": "nothing to tune",
    "--trials 0": "--trials",
    "--prune-after 0": "--prune-after",
    "--space dim": "NAME=LOW..HIGH",
    "--space epochs=1..3": "is given by --epochs",
    "--space rank=1..3": "changes nothing",
    "--space temperature=0..1": "--temperature",
    "--refit": "--refit",
    "--tensorboard": "--tensorboard",
    "--given seed": "--given",
    "--config missing.toml": "missing.toml",
    "--temperature 0": "--temperature",
    "--split sideways": "leave_one_out",
    "--split temporal --valid-share 0": "--valid-share",
    "--split temporal --valid-share 0.0001": "nothing to tune by",
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_bad_flags_end_with_one_line_and_nothing_written(tune: Run, tmp_path: Path, flags: str) -> None:
    assert BAD_FLAGS[flags] in tune(*flags.split()).error
    assert not (tmp_path / "out").exists()


def test_other_settings_are_refused(tune: Run, tmp_path: Path) -> None:
    assert tune("--aug", "none").code == 0
    assert "--dim 8, now 4" in tune("--aug", "none", "--dim", 4).error
    assert "--aug none, now edge_drop" in tune().error
    assert "--split random, now temporal" in tune("--aug", "none", "--split", "temporal").error
    assert "--space" in tune("--aug", "none", "--space", "init-std=0.1,0.2").error
    assert "--prune-after 1, now 2" in tune("--aug", "none", "--prune-after", 2).error
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    assert "holds no tuning" in tune("--out", tmp_path / "other").error


def test_a_damaged_study_is_named(tune: Run, tmp_path: Path) -> None:
    tune("--aug", "none")
    (tmp_path / "out" / "study.db").write_text("nonsense\n" * 1000)
    assert "study.db: damaged" in tune("--aug", "none").error


def test_a_journal_of_before_is_refused(tune: Run, tmp_path: Path) -> None:
    tune("--aug", "none")
    (tmp_path / "out" / "study.db").rename(tmp_path / "out" / "study.jsonl")
    assert "study.jsonl: trials of gclrec 0.1.0 cannot be added to" in tune("--aug", "none").error


def test_a_folder_half_made_is_made_anew(tune: Run, tmp_path: Path) -> None:
    """Killed while the data was written: only a temporary folder is there; or before the study was begun."""
    whole = tune("--aug", "none", "--out", tmp_path / "whole").values["trials"]
    (tmp_path / "out" / ".start.x1y2").mkdir(parents=True)
    assert same(tune("--aug", "none").values["trials"], whole)
    for name in ("study.db", "tuning.json", "trials.csv", "best.toml"):
        (tmp_path / "out" / name).unlink()
    assert same(tune("--aug", "none").values["trials"], whole)


def test_two_at_a_time_are_refused(tune: Run, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    tune("--aug", "none")
    with holding(tmp_path / "out", "searching"):
        assert "another process is searching here" in tune("--aug", "none").error


def test_without_optuna_it_says_what_to_install(tune: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert 'pip install "gclrec[tune]"' in tune().error


@pytest.mark.parametrize("budget", [("--epochs", 1), ("--steps", 3)])
def test_a_batch_size_that_follows_from_the_data_goes_on(
    gclrec: Run, clicks: Path, tmp_path: Path, budget: tuple[object, ...]
) -> None:
    flags = ("tune", "--dataset", clicks, "--out", tmp_path / "out", "--method", "mf", "--dim", 4, *budget)
    first = gclrec(*flags, "--trials", 1, "--json").values
    assert first
    more = gclrec(*flags, "--trials", 2, "--json").values
    assert len(more["trials"]) == 2
