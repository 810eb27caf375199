"""``gclrec temperature``: the hardness curve of a run; and training with what it is about."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gclrec.runs.folder import RunFolder

from .conftest import Run


def test_the_table_marks_the_temperatures_of_the_run(train: Run, gclrec: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train("--loss", "softmax", "--loss-temperature", 0.13, "--temperature", 0.3).code == 0
    shown = gclrec("temperature", run)
    assert shown.code == 0, shown.err
    assert "0.13  (--loss-temperature)" in shown.out
    assert "0.3  (--temperature)" in shown.out
    values = gclrec("temperature", run, "--temperatures", 0.05, 1, "--json").values
    assert values["temperatures"] == [0.05, 0.13, 0.3, 1.0]
    assert values["own"] == {"loss_temperature": 0.13, "temperature": 0.3}
    for curve in values["hardest"].values():
        for share, column in curve.items():
            assert column == sorted(column, reverse=True)
            assert float(share) < column[-1] < column[0] <= 1.0
    assert gclrec("temperature", run, "--rows", 20, "--seed", 3, "--json").values != values


def test_a_learned_temperature_is_where_it_ended(train: Run, gclrec: Run, tmp_path: Path) -> None:
    flags = ("--loss", "softmax", "--loss-temperature", "learned:0.4", "--temperature", "learned")
    chosen = train(*flags, "--learning-rate", 0.05).values["epochs"]
    line = RunFolder(tmp_path / "run").metrics()[chosen - 1]
    own = gclrec("temperature", tmp_path / "run", "--json").values["own"]
    assert own == {name: line[f"temperature/{name}"] for name in ("loss_temperature", "temperature")}
    assert own["loss_temperature"] != pytest.approx(0.4, rel=1e-3)


def test_losses_without_a_temperature_have_none_to_mark(train: Run, gclrec: Run, tmp_path: Path) -> None:
    assert train("--aug", "none", "--score", "cosine").code == 0
    assert gclrec("temperature", tmp_path / "run", "--json").values["own"] == {}


def test_what_it_cannot_do_is_one_line(train: Run, gclrec: Run, tmp_path: Path) -> None:
    assert "no such run folder" in gclrec("temperature", tmp_path / "nowhere").error
    train("--baseline", "item_knn")
    run = tmp_path / "run"
    assert "no embeddings" in gclrec("temperature", run).error
    assert "--temperatures" in gclrec("temperature", run, "--temperatures", 0).error
    assert "--rows" in gclrec("temperature", run, "--rows", 1).error


def test_exposures_are_kept_in_the_run_and_strangers_are_counted(
    train: Run, gclrec: Run, shown: Path, tmp_path: Path
) -> None:
    table = pl.read_csv(shown)
    strange = pl.DataFrame({"user_id": ["nobody", "user-0"], "item_id": [1, 999]})
    path = tmp_path / "with strangers.csv"
    pl.concat([table, strange]).write_csv(path)
    outcome = train("--negatives", "exposed", "--exposed", path, "--refit")
    assert outcome.code == 0, outcome.err
    assert f"2 of {len(table) + 2} pairs left out" in outcome.err
    assert "'nobody'" in outcome.err
    kept = RunFolder(tmp_path / "run").exposed()
    assert len(kept) == len(table.unique())
    path.unlink()  # the run needs it no more
    again = gclrec("train", "--resume", tmp_path / "run", "--json")
    assert again.values["metrics"] == outcome.values["metrics"]
