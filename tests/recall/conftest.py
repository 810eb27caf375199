"""Run folders for the tests of recall, and short timings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gclrec.recall.build_index import BACKENDS, build_index
from gclrec.recall.index import Index

from .catalogue import ITEMS, QUERIES, VECTORS, numbered
from .fake_run import FakeRun, write_run


@pytest.fixture(scope="session", autouse=True)
def _short_timings() -> Iterator[None]:
    """Measure speed for a moment only: the tests do not compare speeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gclrec.recall.build_index._TIMED_SECONDS", 0.005)
        yield


@pytest.fixture(params=["int", "string"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> FakeRun:
    """Return a small run folder, once with whole numbers as ids and once with text."""
    return write_run(tmp_path / "run", ids=request.param)


@pytest.fixture(scope="session")
def built(_short_timings: None) -> dict[str, Index]:
    """Every backend on the same items, built once."""
    return {
        name: build_index(VECTORS, numbered(ITEMS), backend=name, queries=QUERIES, seed=3)
        for name in BACKENDS
    }


@pytest.fixture(params=BACKENDS)
def index(request: pytest.FixtureRequest, built: dict[str, Index]) -> Index:
    """Return an index of each backend in turn."""
    return built[request.param]
