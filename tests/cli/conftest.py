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
