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
