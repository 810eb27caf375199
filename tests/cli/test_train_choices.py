"""``gclrec train``: every choice of every flag trains, and what cannot be is refused in one line."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.prepare import config_of, given_config
from gclrec.views.views import VIEWS

from .choices import BAD_FLAGS, CHOICES, SHOWN
from .conftest import QUICK, Run


@pytest.mark.parametrize("flags", CHOICES, ids=lambda flags: "_".join(map(str, flags)))
def test_every_choice_of_every_flag_trains(
    train: Run, shown: Path, tastes: dict[str, Path], tmp_path: Path, flags: tuple[object, ...]
) -> None:
    files = {SHOWN: shown, "ITEMS": tastes["items"], "USERS": tastes["users"]}
    flags = tuple(files.get(str(part), part) for part in flags)
    outcome = train(*flags)
    assert outcome.code == 0, outcome.err
    values = outcome.values
    assert values["run"] == str(tmp_path / "run")
    k = 3 if "--ks" in flags else 20
    assert 0.0 <= values["metrics"][f"test/all/recall@{k}"] <= 1.0
    assert values["seconds"] > 0
    config = given_config(RunFolder.open(tmp_path / "run"))
    given: dict[str, list[str]] = {}
    for part in map(str, flags):
        if part.startswith("--"):
            given[part.removeprefix("--").replace("-", "_")] = []
        else:
            given[list(given)[-1]].append(part)
    for name, values in given.items():
        found = getattr(config, name, None)
        if not values:
            assert found is True
        elif isinstance(found, tuple):
            assert [str(each) for each in found] == values
        elif hasattr(config, name):
            (value,) = values
            assert str(found) == value or float(found) == float(value)


PAIRS = [f"{a}+{b},{b}+{a}" for a, b in itertools.combinations_with_replacement(VIEWS, 2)]


@pytest.mark.parametrize("aug", PAIRS)
def test_every_composition_of_two_trains(gclrec: Run, tmp_path: Path, aug: str) -> None:
    data = ("--dataset", "synthetic-120x90x1500", "--run", tmp_path / "run")
    outcome = gclrec("train", *data, *QUICK, "--aug", aug, "--metrics", "recall", "--json")
    assert outcome.code == 0, outcome.err
    first, second = RunFolder(tmp_path / "run").metrics()
    assert ("loss/ssl" in first) == (aug != "none+none,none+none")
    assert math.isfinite(first["loss/total"])
    assert second["loss/total"] < first["loss/total"]


def test_every_setting_is_driven_by_a_test() -> None:
    """Every setting is used by the table above or by another test."""
    driven = {str(part).removeprefix("--").replace("-", "_") for flags in CHOICES for part in flags}
    elsewhere = {
        "dataset",
        "epochs",
        "dim",
        "batch_size",
        "num_layers",
        "aug_p",
        "tensorboard",
        "test_file",
        "valid_file",
        "no_header",
        "start_from",  # in test_train
        "steps",  # below
    }
    assert set(TrainConfig.__dataclass_fields__) <= driven | elsewhere


def test_a_budget_of_steps_trains(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    """Eight rounds of two steps, in batches of the smallest size that a budget gives."""
    outcome = gclrec("train", clicks, "--run", tmp_path / "run", "--steps", 16, "--dim", 8, "--json")
    assert outcome.code == 0, outcome.err
    folder = RunFolder.open(tmp_path / "run")
    assert [line["epoch"] for line in folder.metrics()] == list(range(1, 9))
    assert (config_of(folder).steps, config_of(folder).batch_size) == (16, 2048)


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_bad_flags_end_with_one_line_and_nothing_written(train: Run, tmp_path: Path, flags: str) -> None:
    if flags == "--device cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    assert BAD_FLAGS[flags] in train(*flags.split()).error
    assert list(tmp_path.iterdir()) == []
