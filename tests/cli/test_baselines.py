"""Baselines as methods: the same run folder, figures and commands as a trained model, where they apply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gclrec.baselines import BASELINES
from gclrec.runs.folder import RunFolder
from gclrec.training.prepare import config_of

from .choices import ITEMS_FOR
from .conftest import Outcome

Run = Callable[..., Outcome]
WITH_VECTORS = ("popularity", "group_popularity", "pure_svd", "ials")


def attributes_for(method: str, tastes: dict[str, Path]) -> tuple[object, ...]:
    return tuple(tastes.get(part.lower(), part) for part in ITEMS_FOR.get(method, ()))


@pytest.fixture
def fit(gclrec: Run, clicks: Path, tastes: dict[str, Path], tmp_path: Path) -> Run:
    """Return a function that fits a method to the small table, into ``tmp_path / "run"``."""

    def run(method: str, *flags: object) -> Outcome:
        where = ("--dataset", clicks, "--run", tmp_path / "run")
        where = (*where, *attributes_for(method, tastes))
        return gclrec("train", "--method", method, *where, "--dim", 4, "--rank", 4, *flags)

    return run


@pytest.mark.parametrize("name", BASELINES)
def test_the_table_the_folder_and_what_to_type_next(fit: Run, tmp_path: Path, name: str) -> None:
    outcome = fit(name)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "run"
    for text in ("warm users", "tail items", "recall@20", f"{name}, fitted to train;", f"run folder: {run}"):
        assert text in outcome.out
    assert (f"next: gclrec export {run}" in outcome.out) == (name in WITH_VECTORS)
    assert outcome.err == ""
    assert config_of(RunFolder.open(run)).baseline == name
    (line,) = RunFolder(run).metrics()
    assert {"phase", "epoch", "train_seconds", "eval_seconds", "valid/all/recall@20"} <= line.keys()
    assert ("geometry/items/effective_rank" in line) == (name in WITH_VECTORS)
    assert (run / "embeddings").is_dir() == (name in WITH_VECTORS)
    assert (run / "per_user.parquet").is_file()


@pytest.mark.parametrize("name", BASELINES)
def test_evaluate_and_resume_give_the_same_figures_again(
    fit: Run, gclrec: Run, tmp_path: Path, name: str
) -> None:
    first = fit(name, "--refit", "--json").values
    assert [line["phase"] for line in RunFolder(tmp_path / "run").metrics()] == ["select", "refit"]
    again = gclrec("evaluate", tmp_path / "run", "--json").values["metrics"]
    assert again == pytest.approx(first["metrics"])
    resumed = gclrec("train", "--resume", tmp_path / "run", "--json").values
    assert resumed["metrics"] == first["metrics"]
    assert resumed["epochs_trained"] == 1


@pytest.mark.parametrize("name", BASELINES)
def test_serving_where_there_are_vectors_and_one_line_where_not(
    fit: Run, gclrec: Run, tmp_path: Path, name: str
) -> None:
    assert fit(name).code == 0
    run = tmp_path / "run"
    outcomes = [
        gclrec("export", run),
        gclrec("recommend", run, "--user", "user-3"),
        gclrec("similar", run, "--item", 4),
    ]
    for outcome in outcomes:
        if name in WITH_VECTORS:
            assert outcome.code == 0, outcome.err
        else:
            assert "ranks without vectors" in outcome.error


def test_refit_uses_the_validation_pairs(fit: Run, tmp_path: Path) -> None:
    fit("popularity", "--refit")
    split = RunFolder(tmp_path / "run").split()
    degrees = pl.read_parquet(tmp_path / "run" / "embeddings" / "items.parquet")["degree"]
    assert degrees.sum() == len(split.train) + len(split.valid)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("item_knn", ("--neighbours", 1)),
        ("item_knn", ("--shrink", 0)),
        ("gf_cf", ("--low-pass", 0)),
        ("gf_cf", ("--rank", 1)),
        ("pure_svd", ("--dim", 1)),
        ("rp3beta", ("--neighbours", 1)),
        ("rp3beta", ("--walk-exponent", 0.1)),
        ("rp3beta", ("--popularity-damping", 1.5)),
        ("ease", ("--ease-l2", 1)),
        ("ials", ("--dim", 1)),
        ("ials", ("--unobserved-weight", 1)),
        ("ials", ("--ials-l2", 0.1)),
        ("ials", ("--l2-exponent", 0)),
        ("ials", ("--iterations", 1)),
        ("ials", ("--start-scale", 10, "--iterations", 1)),
    ],
)
def test_every_setting_of_a_baseline_matters(
    fit: Run, gclrec: Run, clicks: Path, tmp_path: Path, name: str, flags: tuple[object, ...]
) -> None:
    usual = fit(name, "--json").values["metrics"]
    where = ("--dataset", clicks, "--run", tmp_path / "other")
    for flag in ("--dim", "--rank"):
        flags = flags if flag in flags else (*flags, flag, 4)
    other = gclrec("train", "--method", name, *where, *flags, "--json").values["metrics"]
    assert usual != other


def test_baselines_separate_two_tastes_and_popularity_does_not(
    gclrec: Run, clicks: Path, tastes: dict[str, Path], tmp_path: Path
) -> None:
    """Each user of the table draws from one half of the items: whoever sees that gains a factor."""
    found = {}
    for name in BASELINES:
        where = ("--dataset", clicks, "--run", tmp_path / name, "--json", *attributes_for(name, tastes))
        values = gclrec("train", "--method", name, *where, "--dim", 2, "--rank", 2).values
        found[name] = values["metrics"]["test/all/recall@10"]
    assert all(found[name] > 1.4 * found["popularity"] for name in found.keys() - {"popularity"}), found


def test_default_name_of_the_run(
    gclrec: Run, clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = gclrec("train", "--dataset", clicks, "--method", "popularity", "--json")
    assert outcome.values["run"] == "runs/clicks.csv-popularity-1"
