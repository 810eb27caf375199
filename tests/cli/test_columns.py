"""Which columns are read: those named, those of the run, or a guess, reported where several columns fit."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from gclrec.recall.recommender import Recommender

from .conftest import QUICK, Run

NAMES = {"user_id": "kunde", "item_id": "artikel", "rating": "note", "timestamp": "wann"}


@pytest.fixture
def run(gclrec: Run, clicks: Path, tmp_path: Path) -> Path:
    """Return a run of a table whose columns cannot be guessed."""
    pl.read_csv(clicks).rename(NAMES).write_csv(tmp_path / "clicks.csv")
    flags = ("--user-column", "kunde", "--item-column", "artikel", "--time-column", "wann", "--aug", "none")
    where = ("--dataset", tmp_path / "clicks.csv", "--run", tmp_path / "run")
    assert gclrec("train", *where, *QUICK, *flags).code == 0
    return tmp_path / "run"


@pytest.mark.parametrize("suffix", ["csv", "parquet", "txt"])
def test_a_run_remembers_its_columns(gclrec: Run, run: Path, tmp_path: Path, suffix: str) -> None:
    """Files of users, of candidates and of new items are read by the names that training was given."""
    path = tmp_path / f"today.{suffix}"
    table = pl.DataFrame({"kunde": ["new", "new", "old"], "artikel": [3, 5, 6]})
    table.write_parquet(path) if suffix == "parquet" else table.write_csv(path, separator="\t")
    said = gclrec("recommend", run, "--users-file", path, "-k", 4, "--json")
    expected = Recommender.load(run).recommend_for(table.rename({"kunde": "user", "artikel": "item"}), 4)
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [item for line in lines for item in line["items"]] == expected["item"].to_list()

    few = gclrec("recommend", run, "--user", "user-3", "--candidates", path, "--json").values["items"]
    assert set(few) <= {3, 5, 6}

    news = table.with_columns(kunde=pl.lit("user-3"), artikel=pl.col("artikel") + 1000)
    news.write_parquet(path) if suffix == "parquet" else news.write_csv(path, separator="\t")
    assert gclrec("add-items", run, path, "--json").values["added"] == 3


def test_columns_can_be_named_when_asking(gclrec: Run, run: Path, tmp_path: Path) -> None:
    table = pl.DataFrame({"who": ["new", "new"], "what": [3, 5]})
    path = tmp_path / "today.csv"
    table.write_csv(path)
    assert "--user-column and --item-column" in gclrec("recommend", run, "--users-file", path).error
    named = ("--user-column", "who", "--item-column", "what")
    assert gclrec("recommend", run, "--users-file", path, *named, "--json").values["user"] == "new"
    few = ("--user", "user-3", "--candidates", path, "--item-column", "what")
    assert set(gclrec("recommend", run, *few, "--json").values["items"]) <= {3, 5}
    assert "no column 'thing'" in gclrec("recommend", run, *few[:-1], "thing").error
    assert "--user-column names" in gclrec("recommend", run, "--user", "user-3", *named).error
    assert "--time-column name" in gclrec("recommend", run, "--user", "user-3", "--time-column", "t").error


def test_a_choice_between_columns_is_reported(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    pl.read_csv(clicks).with_columns(user=pl.lit("x") + pl.col("item_id").cast(pl.String)).write_csv(path)
    where = ("--dataset", path, "--run", tmp_path / "run", *QUICK, "--aug", "none")
    told = f"note: {path}: read 'user' as user, not 'user_id'; name another with --user-column"
    assert told in gclrec("train", *where).err.splitlines()
    described = gclrec("data", "describe", path, "--json")
    assert described.err.splitlines().count(told) == 1
    assert described.values["columns"] == {
        "read": {"user": "user", "item": "item_id", "time": "timestamp", "weight": "rating"},
        "ignored": ["user_id"],
    }
    named = gclrec("data", "describe", path, "--user-column", "user_id")
    assert named.err == ""
    assert "user from user_id, item from item_id" in named.out


def test_columns_of_folders_are_reported(gclrec: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "set.inter").write_text("user_id:token\titem_id:token\tmood:token\n1\t2\tgood\n3\t4\tbad\n")
    told = gclrec("data", "describe", folder, "--json").values["columns"]
    assert told == {"read": {"user": "user_id", "item": "item_id"}, "ignored": ["mood"]}
    (tmp_path / "pairs.txt").write_text("1 2\n3 4\n")
    assert gclrec("data", "describe", tmp_path / "pairs.txt", "--json").values["columns"] is None


def test_a_table_without_a_header(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    names = ["item_id", "user_id", "rating", "timestamp"]
    pl.read_csv(clicks).select(names).write_csv(path, include_header=False)
    where = ("--dataset", path, "--no-header", "--user-column", "2", "--item-column", "1")
    columns = (*where, "--weight-column", "3", "--time-column", "4")
    assert gclrec("train", *columns, "--run", tmp_path / "run", *QUICK, "--aug", "none").code == 0
    assert gclrec("recommend", tmp_path / "run", "--user", "user-3", "--json").values["user"] == "user-3"
    described = gclrec("data", "describe", path, *columns[2:], "--json").values
    assert described["files"] == [str(path)]
    assert described["columns"]["read"] == {"user": "2", "item": "1", "time": "4", "weight": "3"}
    assert "names a column of item attributes" in gclrec("train", *where, "--item-id-column", "x").error
    assert "empty path" in gclrec("train", "--dataset", "", *QUICK).error
