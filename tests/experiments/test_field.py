"""A comparison against the field: every variant is tuned alike on validation, and goes on where it was."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import gclrec
from gclrec.common.errors import InputError, InputWarning
from gclrec.common.files import read_toml
from gclrec.experiments.field import FIELD, tuned_rows
from gclrec.settings.methods import METHODS

QUICK: dict[str, Any] = {"epochs": 1, "dim": 4, "batch_size": 256, "num_layers": 1, "seeds": 2, "trials": 3}


class Events:
    """Callback that notes what is run."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def on_run_start(self, number: int, runs: int, name: str) -> None:
        self.runs.append(name)


@pytest.fixture(autouse=True)
def _small_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.studies.FIELD", ("popularity", "item_knn", "ease"))


def test_the_field_is_made_of_methods() -> None:
    assert set(FIELD) <= METHODS.keys()
    assert len(set(FIELD)) == len(FIELD)


def test_every_variant_is_tuned_alike_and_the_runs_have_the_best_settings(
    clicks: Path, tmp_path: Path
) -> None:
    events = Events()
    how: dict[str, Any] = {"folder": tmp_path / "out", "against_field": True, "refit": True, **QUICK}
    found = gclrec.compare(clicks, methods=["mf"], callbacks=[events], **how)
    assert found.plan.variants == ("mf", "popularity", "item_knn", "ease")
    assert found.plan.against == "mf"
    assert {name: len(tuning.done) for name, tuning in found.tunings.items()} == {
        "mf": 3,
        "item_knn": 3,
        "ease": 3,
    }
    assert [name.partition(":")[0] for name in events.runs[:9]] == ["mf"] * 3 + ["item_knn"] * 3 + [
        "ease"
    ] * 3
    for name, tuning in found.tunings.items():
        values = [trial.value or 0.0 for trial in tuning.done]
        assert tuning.winner is not None
        assert tuning.winner.value == max(values)
        assert tuning.search.config.dim == 4
        assert "num_layers" not in tuning.search.space  # it is given, so it is held
        for seed in (0, 1):
            config = found.runs[f"{name}__seed={seed}"].config
            assert {key: getattr(config, key) for key in tuning.best} == tuning.best
            assert config.refit
    gains = [tuning.winner.number for tuning in found.tunings.values() if tuning.winner]
    assert any(number > 1 for number in gains)  # or nothing would have been shown

    heads, rows = tuned_rows(found.tunings)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert [row[:2] for row in rows] == [["mf", "3"], ["item_knn", "3"], ["ease", "3"]]
    assert all(cell in page and cell in text for row in rows for cell in (heads[4], row[4], row[5]))

    events.runs.clear()
    again = gclrec.compare(clicks, methods=["mf"], callbacks=[events], **how)
    assert [name for name in events.runs if ":" in name] == []  # no trial is made twice
    assert again.table.equals(found.table)
    with pytest.raises(InputError, match="--trials"):
        gclrec.compare(clicks, methods=["mf"], **{**how, "trials": 0})
    with pytest.raises(InputError, match="--epochs 1, now 2"):
        gclrec.compare(clicks, methods=["mf"], **{**how, "epochs": 2})


def test_an_interrupted_comparison_goes_on(clicks: Path, tmp_path: Path) -> None:
    class Stop(Events):
        def on_run_start(self, number: int, runs: int, name: str) -> None:
            if name.startswith("ease") and number == 2:
                raise KeyboardInterrupt

    how: dict[str, Any] = {"against_field": True, **QUICK, "seeds": 1}
    with pytest.raises(KeyboardInterrupt):
        gclrec.compare(clicks, methods=["popularity"], folder=tmp_path / "out", callbacks=[Stop()], **how)
    after = gclrec.compare(clicks, methods=["popularity"], folder=tmp_path / "out", **how)
    whole = gclrec.compare(clicks, methods=["popularity"], **how)
    assert after.table.equals(whole.table)
    assert (
        read_toml(tmp_path / "out" / "tuning" / "ease" / "best.toml")["ease_l2"]
        == whole.tunings["ease"].best["ease_l2"]
    )


def test_without_other_variants_the_settings_of_all_runs_are_compared(clicks: Path) -> None:
    """What a variant sets itself is held, as what is given for all runs is."""
    found = gclrec.compare(
        clicks, against_field=True, aug="none", temperature=0.3, **{**QUICK, "seeds": 1, "trials": 1}
    )
    assert found.plan.variants == ("none", "popularity", "item_knn", "ease")
    held = gclrec.compare(
        clicks,
        variants={"mine": {"method": "item_knn", "shrink": 3}},
        against_field=True,
        **{**QUICK, "seeds": 1, "trials": 2},
    )
    assert held.plan.against == "mine"
    assert held.tunings["mine"].search.space.keys() == {"neighbours"}
    assert held.tunings["item_knn"].search.space.keys() == {"neighbours", "shrink"}
    assert held.runs["mine__seed=0"].config.shrink == 3


def test_a_method_that_the_data_is_too_large_for_is_left_out(
    clicks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("gclrec.baselines.ease"), "free_bytes", lambda: 8.0)
    with pytest.warns(InputWarning, match="ease is left out of the field: .* GiB"):
        found = gclrec.compare(clicks, against_field=True, methods=["item_knn"], **{**QUICK, "seeds": 1})
    assert found.plan.variants == ("item_knn", "popularity")
    assert set(found.table["variant"]) == {"item_knn", "popularity"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": {"shrink": [1, 2]}}, "--grid: --against-field"),
        ({"train_fractions": [1.0, 0.5]}, "--train-fractions: --against-field"),
        ({"valid_share": 0.0}, "--valid-share: 0 leaves no validation pairs"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    clicks: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        gclrec.compare(clicks, against_field=True, folder=tmp_path / "out", **QUICK, **arguments)
    assert not (tmp_path / "out").exists()
