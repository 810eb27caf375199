"""The settings of the records are settings that ``gclrec train --config`` takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gclrec.common.files import read_toml
from gclrec.data.catalog.entries import CATALOG
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import method_settings
from gclrec.settings.validation import validate

RECORDS = sorted((Path(__file__).parents[2] / "scripts" / "records").glob("*.toml"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_made_of_settings(path: Path) -> None:
    settings = dict(read_toml(path))
    method = str(settings.pop("method"))
    config = validate(dataclasses.replace(TrainConfig(), **{**method_settings(method), **settings}))
    assert config.dataset in CATALOG
    assert config.refit, "test is read after training on all of train"
    assert f"gclrec train --config scripts/records/{path.name}" in path.read_text(encoding="utf-8")


def test_there_are_records() -> None:
    assert RECORDS
