"""The study of days: recall by hand, folded-in lists that hold what came since, days that are kept."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from studies import ten_days

FIRST = date(2020, 1, 5)
QUICK = {"loss": "bpr", "epochs": 10, "dim": 4, "batch_size": 256, "test_share": 0.0, "metrics": ("recall",)}


def events(path: Path) -> pl.DataFrame:
    """Return clicks of two tastes over nine days; user 39 and item 59 appear after the first model."""
    random = np.random.default_rng(2)
    day = np.repeat(np.arange(9), 150)
    user = random.integers(0, 39, len(day)) + (day > 5) * (random.random(len(day)) < 0.1)
    item = random.integers(0, 29, len(day)) * 2 + user % 2 + 2 * (day > 5) * (random.random(len(day)) < 0.1)
    seconds = (day + 1 + (date(2020, 1, 1) - date(1970, 1, 1)).days) * 86400 - 5
    table = pl.DataFrame({"user": user, "item": item.astype(int), "rating": 5, "timestamp": seconds})
    table.write_csv(path, separator="\t")
    return ten_days.read_events(path, 1)


def test_recall_is_that_of_the_books() -> None:
    asked = pl.DataFrame({"user": [1, 1, 2, 3], "item": [5, 6, 5, 9]})
    lists = pl.DataFrame({"user": [1, 1, 2], "item": [5, 7, 8]})
    assert ten_days.recall(lists, asked).tolist() == [0.5, 0.0, 0.0]


def test_every_way_answers_every_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = events(tmp_path / "events.tsv")
    assert table["day"].max() - table["day"].min() == timedelta(days=8)
    rows = ten_days.study(table, FIRST, 2, 1, tmp_path, QUICK)
    assert [(row["day"], row["way"]) for row in rows] == [
        (day, way) for day in range(3) for way in ten_days.WAYS
    ]
    first = [row["recall"] for row in rows[:4]]
    assert len(set(first)) == 1  # all begin with the same model
    assert len({row["recall"] for row in rows[8:]}) > 1
    assert all(row["pairs"] > rows[0]["pairs"] for row in rows[4:])
    monkeypatch.setattr(ten_days.gclrec, "fit", None)  # nothing is left to train
    assert ten_days.study(table, FIRST, 2, 1, tmp_path, QUICK) == rows
    assert ten_days.table_of(rows).count("\n") == 5
