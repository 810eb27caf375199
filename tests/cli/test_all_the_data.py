"""A run that holds nothing out for a test: what is trained on, and what is printed in place of figures."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gclrec.runs.folder import RunFolder

from .conftest import Run

ALL = 60 * 14
SPLITS = ("random", "temporal", "leave_one_out", "cold_items", "cold_users")


@pytest.mark.parametrize("split", SPLITS)
def test_refit_without_a_test_part_trains_on_everything(train: Run, tmp_path: Path, split: str) -> None:
    run = tmp_path / "run"
    outcome = train("--test-share", 0, "--refit", "--split", split, "--aug", "none")
    assert outcome.code == 0, outcome.err
    assert "leaves no test pairs" in outcome.err
    assert "no test figures" in outcome.err
    assert outcome.values["metrics"] == {}
    held = RunFolder(run).split()
    assert len(held.test) == 0
    assert len(held.valid) > 0
    assert pl.read_parquet(run / "embeddings" / "users.parquet")["degree"].sum() == ALL
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "the split has no test pairs" in page
    assert "Recall by popularity" not in page


def test_nothing_held_out_at_all(train: Run, gclrec: Run, tmp_path: Path) -> None:
    """Neither test nor validation: the last epoch stands, and the run is served as any other."""
    run = tmp_path / "run"
    outcome = train("--test-share", 0, "--valid-share", 0, "--aug", "none", "--loss", "bpr")
    assert outcome.code == 0, outcome.err
    assert "there was nothing to validate on" in outcome.err
    assert pl.read_parquet(run / "embeddings" / "users.parquet")["degree"].sum() == ALL
    assert gclrec("export", run, "--backend", "exact").code == 0
    assert len(gclrec("recommend", run, "--user", "user-3", "--json").values["items"]) == 10
    error = gclrec("evaluate", run).error
    assert error == f"error: {run}: its split has no test pairs to evaluate on"
    assert gclrec("train", "--resume", run, "--epochs", 3, "--json").values["epochs_trained"] == 3


@pytest.mark.parametrize("method", ["popularity", "pure_svd", "ials"])
def test_baselines_too(gclrec: Run, clicks: Path, tmp_path: Path, method: str) -> None:
    where = ("--dataset", clicks, "--run", tmp_path / "run", "--method", method, "--dim", 4)
    outcome = gclrec("train", *where, "--test-share", 0, "--refit")
    assert outcome.code == 0, outcome.err
    assert "no test figures" in outcome.out
    assert "no test pairs" in gclrec("evaluate", tmp_path / "run").error


def test_evaluate_names_the_part_that_there_is(train: Run, gclrec: Run, tmp_path: Path) -> None:
    assert train("--test-share", 0, "--aug", "none").code == 0
    assert gclrec("evaluate", tmp_path / "run").error.endswith("; --part valid has some")
    assert gclrec("evaluate", tmp_path / "run", "--part", "valid").code == 0


def test_the_other_commands(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    """Describe shows the empty part, tune needs none, and a comparison says at once that it does."""
    none = ("--test-share", 0)
    parts = gclrec("data", "describe", clicks, "--split", "random", *none, "--json").values["split"]["parts"]
    assert parts["test"]["interactions"] == 0
    where = ("--dataset", clicks, "--out", tmp_path / "out", "--epochs", 1, "--dim", 8)
    assert "--test-share" in gclrec("compare", *where, *none).error
    assert list(tmp_path.iterdir()) == []
    tuned = gclrec("tune", *where, *none, "--method", "lightgcn", "--trials", 1)
    assert tuned.code == 0, tuned.err


def test_a_published_test_part_stays_one(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    table = pl.read_csv(clicks)
    table[:700].write_csv(tmp_path / "main.csv")
    table[700:].write_csv(tmp_path / "test.csv")
    where = ("--dataset", tmp_path / "main.csv", "--test-file", tmp_path / "test.csv")
    error = gclrec("train", *where, "--run", tmp_path / "run", "--test-share", 0).error
    assert "split 'given' has a published test part" in error
    assert "split 'random' divides all pairs" in error


@pytest.mark.parametrize("shares", [(0, 0.1), (0.2, 0), (0, 0)])
def test_leave_one_out_holds_out_what_is_asked_for(
    gclrec: Run, clicks: Path, shares: tuple[float, float]
) -> None:
    flags = ("--split", "leave_one_out", "--test-share", shares[0], "--valid-share", shares[1])
    parts = gclrec("data", "describe", clicks, *flags, "--json").values["split"]["parts"]
    sizes = {name: part["interactions"] for name, part in parts.items()}
    expected = {"test": 60 * (shares[0] > 0), "valid": 60 * (shares[1] > 0)}
    assert sizes == expected | {"train": ALL - sum(expected.values())}


def test_splits_by_time_are_offered_where_times_are_known(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    where = ("--dataset", clicks, "--epochs", 1, "--dim", 8, "--aug", "none")
    assert "--split temporal (or" in gclrec("train", *where, "--run", tmp_path / "a").out
    assert "--split temporal" not in gclrec("train", *where, "--run", tmp_path / "b", "--split", "random").out
    pl.read_csv(clicks).drop("timestamp").write_csv(tmp_path / "timeless.csv")
    where = ("--dataset", tmp_path / "timeless.csv", *where[2:])
    assert "--split temporal" not in gclrec("train", *where, "--run", tmp_path / "c").out
