"""Commands are run as a user runs them: arguments in, text and an exit code out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def values(self) -> dict[str, Any]:
        """The JSON object on the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def error(self) -> str:
        """The one line that bad input is answered with."""
        lines = [line for line in self.err.splitlines() if not line.startswith("note:")]
        assert self.code == 2, (self.code, self.err)
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0]


Run = Callable[..., Outcome]
QUICK = ("--epochs", 2, "--dim", 8, "--batch-size", 128, "--num-layers", 2)


@pytest.fixture
def gclrec(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return a function that runs ``gclrec ARGUMENTS`` in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = 0
        try:
            import_module("gclrec.__main__").main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return attribute tables of the users and items of ``clicks`` that tell their taste, with gaps."""
    folder = tmp_path_factory.mktemp("attributes")
    tables = {
        "users": pl.DataFrame(
            {
                "user_id": [f"user-{u}" for u in range(60)],
                "taste": [("even", "odd")[u % 2] if u % 7 else None for u in range(60)],
                "age": [20.5 + u % 9 for u in range(60)],
            }
        ),
        "items": pl.DataFrame(
            {
                "item_id": range(55),  # five that nobody has seen
                "tags": [f"{('even', 'odd')[i % 2]}|t{i % 5}" if i % 9 else None for i in range(55)],
                "price": [i / 4 for i in range(55)],
            }
        ),
    }
    for name, table in tables.items():
        table.write_csv(folder / f"{name}.csv")
    return {name: folder / f"{name}.csv" for name in tables}


@pytest.fixture(scope="session")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV of 60 users and 50 items in two tastes, with times and ratings."""
    random = np.random.default_rng(3)
    user = np.repeat(np.arange(60), 14)
    item = np.concatenate([random.choice(25, 14, replace=False) * 2 + u % 2 for u in range(60)])
    columns = {
        "user_id": [f"user-{u}" for u in user],
        "item_id": item,
        "rating": random.integers(1, 6, len(user)),
        "timestamp": random.integers(1_600_000_000, 1_700_000_000, len(user)),
    }
    path = tmp_path_factory.mktemp("data") / "clicks.csv"
    pl.DataFrame(columns).write_csv(path)
    return path


@pytest.fixture(scope="session")
def shown(clicks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV of pairs of the other taste, shown to every second user of ``clicks``."""
    random = np.random.default_rng(4)
    user = np.repeat(np.arange(0, 60, 2), 5)
    item = np.concatenate([random.choice(25, 5, replace=False) * 2 + 1 for _ in range(30)])
    known = set(pl.read_csv(clicks)["item_id"].to_list())
    kept = np.isin(item, list(known))
    path = tmp_path_factory.mktemp("data") / "shown.csv"
    pl.DataFrame({"user_id": [f"user-{u}" for u in user[kept]], "item_id": item[kept]}).write_csv(path)
    return path


@pytest.fixture
def train(gclrec: Run, clicks: Path, tmp_path: Path) -> Run:
    """Return a function that trains on the small table, into ``tmp_path / "run"``."""

    def run(*flags: object) -> Outcome:
        return gclrec("train", "--dataset", clicks, "--run", tmp_path / "run", *QUICK, "--json", *flags)

    return run
