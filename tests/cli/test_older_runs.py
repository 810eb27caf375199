"""Run folders made by version 0.1.0 still load, resume and serve, to the same figures.

``older_runs.zip`` holds three runs on a table of 60 users and 50 items and what that version answered:
``begun`` (2 of 4 epochs, MoCo), ``served`` (attributes, calibrated score, refit, index, an added item) and
``towers`` (two towers with attributes and histories).
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

ARCHIVE = Path(__file__).with_name("older_runs.zip")


@pytest.fixture
def older(tmp_path: Path) -> Path:
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def answered(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8").splitlines()[-1])


def test_a_run_that_was_begun_resumes_to_the_same_figures(gclrec: Run, older: Path) -> None:
    found = gclrec("train", "--resume", older / "begun", "--epochs", 4, "--json").values
    expected = answered(older, "full")
    assert found["epochs"] == expected["epochs"]
    assert found["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
    assert found["cases"] == expected["cases"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("recommend", ("recommend", "served", "--user", "user-1", "-k", 5)),
        ("fold_in", ("recommend", "served", "--items", 3, 5, "-k", 5)),
        ("similar", ("similar", "served", "--item", 3, "-k", 5)),
        ("towers", ("recommend", "towers", "--user", "user-1", "-k", 5)),
        ("towers_fold_in", ("recommend", "towers", "--items", 3, 5, "-k", 5)),
    ],
)
def test_a_run_serves_the_same_lists(gclrec: Run, older: Path, name: str, arguments: tuple[Any, ...]) -> None:
    command, run, *flags = arguments
    found, expected = gclrec(command, older / run, *flags, "--json").values, answered(older, name)
    assert found["items"] == expected["items"]
    assert found["scores"] == pytest.approx(expected["scores"], abs=1e-5)


@pytest.mark.parametrize("run", ["begun", "served", "towers"])
def test_a_run_is_evaluated_again_to_the_same_figures(gclrec: Run, older: Path, run: str) -> None:
    expected = json.loads((older / run / "result.json").read_text(encoding="utf-8"))["metrics"]
    found = gclrec("evaluate", older / run, "--json").values["metrics"]
    assert found == pytest.approx(expected, abs=1e-6)


def test_exports_and_added_items_go_on(gclrec: Run, older: Path) -> None:
    assert gclrec("export", older / "served").code == 0
    new = older / "more.csv"
    new.write_text("user_id,item_id\nuser-2,902\nuser-4,902\n", encoding="utf-8")
    assert gclrec("add-items", older / "served", new).code == 0
    found = gclrec("recommend", older / "served", "--user", "user-0", "-k", 52, "--json").values
    assert {900, 901, 902} <= set(found["items"])
