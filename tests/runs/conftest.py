"""A small run folder for the tests of its readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recall.fake_run import FakeRun, write_run


@pytest.fixture(params=["int", "string"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> FakeRun:
    """Return a small run folder, once with whole numbers as ids and once with text."""
    return write_run(tmp_path / "run", ids=request.param)
