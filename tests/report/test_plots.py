"""Plots: files of the asked kind, with the panels that the data has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gclrec.common.errors import InputError
from gclrec.data.interactions import Dataset
from gclrec.data.synthetic import make_synthetic
from gclrec.report import plots
from gclrec.report.plots import PLOT_FORMATS, plot_dataset

BEGINNINGS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture(scope="module")
def made() -> Dataset:
    return make_synthetic(60, 80, 700)


@pytest.mark.parametrize("suffix", PLOT_FORMATS)
def test_every_format(made: Dataset, tmp_path: Path, suffix: str) -> None:
    path, again = (plot_dataset(made, tmp_path / f"{name}{suffix}") for name in ("plot", "again"))
    assert path.read_bytes().startswith(BEGINNINGS[suffix])
    assert path.read_bytes() == again.read_bytes()


def test_panels_follow_the_data(made: Dataset, tmp_path: Path) -> None:
    bare = replace(made, interactions=replace(made.interactions, time=None))
    rated = replace(
        bare, interactions=replace(bare.interactions, weight=(bare.interactions.item % 5).astype(np.float32))
    )
    weighed = replace(
        bare, interactions=replace(bare.interactions, weight=np.arange(1, 701).astype(np.float32) ** 2)
    )
    numbered = replace(made, interactions=replace(made.interactions, time=np.arange(700.0)))
    expected = {
        "bare": (bare, ["each user and item"], ["over time", ">ratings<"]),
        "ordered": (replace(made, time_is_order=True), ["each user and item"], ["over time"]),
        "rated": (rated, ["each user and item", "ratings"], ["over time"]),
        "weighed": (weighed, ["ratings"], ["over time"]),
        "numbered": (numbered, ["over time"], []),
        "timed": (
            made,
            ["over time", "synthetic data, made in code", "60 users, 80 items, 700 interactions"],
            [],
        ),
    }
    for name, (dataset, there, not_there) in expected.items():
        svg = plot_dataset(dataset, tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        assert all(f"<!-- {text}" in svg or text in svg for text in there), name
        assert not any(text in svg for text in not_there), name


def test_the_curve_keeps_every_step() -> None:
    ordered = np.array([9, 9, 9, 4, 4, 1])
    rank, degree = plots._corners(ordered)
    assert rank.tolist() == [1, 3, 4, 5, 6]
    assert np.array_equal(np.interp(np.arange(1, 7), rank, degree), ordered)


def test_other_suffixes_are_reported(made: Dataset, tmp_path: Path) -> None:
    for name, message in (
        ("plot.xyz", "cannot draw .xyz; use .png"),
        ("plot", "cannot draw without a suffix"),
    ):
        with pytest.raises(InputError, match=message):
            plot_dataset(made, tmp_path / name)
    assert not list(tmp_path.iterdir())
