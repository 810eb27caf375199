"""A service of a small run, asked in the process of the tests."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("msgspec")
pytest.importorskip("starlette")

from gclrec.serving.app import create_app
from gclrec.serving.service import ServiceOptions
from gclrec.serving.structured_log import StructuredLog
from tests.recall.folded_run import FoldedRun, folded_run

from .client import Client


def attributes_of(run: FoldedRun) -> pl.DataFrame:
    """Return a title, genres and a year for each item but the last one."""
    ids = run.items.ids.head(len(run.items) - 1)
    return pl.DataFrame(
        {
            "id": ids,
            "title": [f"Film {row}" for row in range(len(ids))],
            "genres": [["comedy", "war"] if row % 3 == 0 else ["drama"] for row in range(len(ids))],
            "year": [1960 + row for row in range(len(ids))],
        }
    )


def options_of(made: FoldedRun, **more: object) -> ServiceOptions:
    """Return options with a table of attributes, and a watch that the tests do not wait for."""
    table = made.path.with_name("attributes.parquet")
    attributes_of(made).write_parquet(table)
    given = {
        "run": made.path,
        "state": made.path.with_name("state"),
        "item_attributes": table,
        "watch": 600.0,
    }
    return ServiceOptions(**given | more)


BOTH = pytest.mark.parametrize("run", ["int", "string"], indirect=True)
"""Once with whole numbers as ids and once with text."""


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> FoldedRun:
    """Return a run folder, with whole numbers as ids unless a test says otherwise."""
    made = folded_run(tmp_path / "run", ids=getattr(request, "param", "int"))
    (made.path / "config.toml").write_text('encoder = "lightgcn"\n')
    return made


@pytest.fixture
def log() -> io.BytesIO:
    return io.BytesIO()


@pytest.fixture
def client(run: FoldedRun, log: io.BytesIO) -> Iterator[Client]:
    with Client(create_app(options_of(run), log=StructuredLog(log))) as opened:
        yield opened
