"""The grid of recipes: every run is one that settings allow, and what a file holds is not made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from studies import recipe_grid

from gclrec.settings.sources import layered_config


def test_every_run_has_settings_and_stands_once() -> None:
    runs = [run for made_on_each in recipe_grid.rounds() for run in made_on_each]
    assert len({json.dumps(run, sort_keys=True) for run in runs}) == len(runs)
    for run in runs:
        config = recipe_grid.settings_of(run, "synthetic-60x40x600", 20_000)
        if "steps" in run:
            assert config.epochs * 10 == run["steps"]  # batches of 2,048
            usual = layered_config({}, method=run["method"])
            assert config.user_vectors == run.get("user_vectors", usual.user_vectors)
            assert run["temperature"] in (config.temperature, config.loss_temperature)


def test_rows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_grid, "STEPS", 2)
    monkeypatch.setattr(recipe_grid, "BASELINES", ("popularity", "item_knn"))
    file = tmp_path / "grid.json"
    grid = ["--sets", "synthetic-60x40x600", "--out", str(file), "--rounds", "2"]
    recipe_grid.main(grid)
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [row["run"]["method"] for row in rows] == ["popularity", "item_knn", "gcl_sparse", "gcl"]
    assert rows[1]["valid"]["recall"] > rows[0]["valid"]["recall"]
    assert all(row["users"] == 60 and 0 < row["density"] < 1 for row in rows)
    assert list(rows[2]["test"]) == ["0", "0.25", "0.5", "0.75", "1"]
    monkeypatch.setattr(recipe_grid, "fit", None)  # nothing is left to train
    recipe_grid.main(grid)
    assert json.loads(file.read_text(encoding="utf-8")) == rows
