"""The settings of the records are settings that ``gclrec train --config`` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gclrec.data.catalog.entries import CATALOG
from gclrec.settings.sources import layered_config

RECORDS = sorted((Path(__file__).parents[2] / "scripts" / "records").glob("*.toml"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_made_of_settings(path: Path) -> None:
    config = layered_config({}, config=path)
    assert config.dataset in CATALOG
    # What a default may change is named, so that the record stays what it is.
    assert (config.epochs, config.steps, config.batch_size, config.valid_users) == (4, None, 2048, 0)
    assert config.refit, "test is read after training on all of train"
    assert f"gclrec train --config scripts/records/{path.name}" in path.read_text(encoding="utf-8")


def test_there_are_records() -> None:
    assert RECORDS
