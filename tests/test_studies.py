"""gclrec.compare and gclrec.tune: many runs from Python, in memory or in a folder, as from the commands."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import gclrec
from gclrec.__main__ import main
from gclrec.common.errors import InputError
from gclrec.common.files import read_toml
from gclrec.experiments.tuning import Tuning
from gclrec.settings.config import TrainConfig
from gclrec.studies import Comparison, axis_texts

QUICK: dict[str, Any] = {"epochs": 2, "dim": 8, "batch_size": 128, "num_layers": 1}
TRIALS: dict[str, Any] = {"method": "item_knn", "trials": 3}


class Recorder:
    """Callback that notes events."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def on_comparison_start(self, comparison: Comparison) -> None:
        self.events.append(len(comparison.plan.cells))

    def on_tuning_start(self, tuning: Tuning, dataset: object) -> None:
        self.events.append(tuning.search.trials)

    def on_run_start(self, number: int, runs: int, name: str) -> None:
        self.events.append((number, runs, name))

    def on_epoch_end(self, record: dict[str, Any], best_epoch: int | None) -> None:
        self.events.append(record["epoch"])


def test_a_table_is_compared_as_the_command_does(
    clicks: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = gclrec.compare(pl.read_csv(clicks), augs=["none", "edge_drop"], seeds=2, **QUICK)
    assert capfd.readouterr() == ("", "")  # silent
    assert found.table.to_dicts() == found.findings.table.to_dicts()
    assert len(found.runs) == 4
    run = found.runs["edge_drop__seed=1"]
    row = found.table.filter(variant="edge_drop", metric="recall@20", group="all").row(0, named=True)
    both = [found.runs[f"edge_drop__seed={seed}"].metrics["all"]["recall@20"] for seed in (0, 1)]
    assert run.config.seed == 1
    assert row["mean"] == pytest.approx(sum(both) / 2)
    text = str(found)
    assert text.startswith("# edge_drop against none")
    assert f"{row['mean']:.4f}" in text
    assert found.sentences[0] in text
    found.report(tmp_path / "page.html")
    assert "</html>" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert found.files == {}

    flags = ("--dataset", clicks, "--out", tmp_path / "out", "--augs", "none,edge_drop", "--seeds", 2)
    quick = [part for name, value in QUICK.items() for part in (f"--{name.replace('_', '-')}", value)]
    main(["compare", *map(str, (*flags, *quick)), "--json"])
    assert json.loads(capfd.readouterr().out)["table"] == found.table.to_dicts()


def test_without_a_folder_the_runs_go_with_the_object(clicks: Path) -> None:
    found = gclrec.compare(clicks, augs=["none", "noise"], seeds=1, **QUICK)
    path = found.folder.path
    assert path.is_dir()
    del found
    gc.collect()
    assert not path.exists()


def test_a_comparison_in_a_folder_is_gone_on_with(clicks: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    how: dict[str, Any] = {"folder": tmp_path / "out", "callbacks": [recorder], **QUICK}
    gclrec.compare(clicks, augs=["none", "noise"], seeds=1, **how)
    assert recorder.events == [2, (1, 2, "none__seed=0"), 1, 2, (2, 2, "noise__seed=0"), 1, 2]
    recorder.events.clear()
    more = gclrec.compare(clicks, augs=["none", "noise"], methods=["popularity"], seeds=1, **how)
    assert recorder.events[:4] == [
        3,
        (1, 3, "none__seed=0"),
        (2, 3, "noise__seed=0"),
        (3, 3, "popularity__seed=0"),
    ]
    assert set(more.files) == {"csv", "parquet", "markdown", "report"}
    assert all(path.is_file() for path in more.files.values())
    with pytest.raises(InputError, match="--epochs 2, now 3"):
        gclrec.compare(clicks, augs=["none", "noise"], folder=tmp_path / "out", **{**QUICK, "epochs": 3})


def test_variants_grid_and_settings_of_methods(clicks: Path) -> None:
    """What is given goes before a method's own settings, and a variant's before both."""
    found = gclrec.compare(
        clicks,
        methods=["xsimgcl"],
        variants={"bare": {"method": "xsimgcl", "ssl": "none"}, "wide": {"dim": 16}},
        grid={"temperature": [0.1, 0.3]},
        seeds=1,
        against="bare",
        claim="ndcg@20",
        **QUICK,
    )
    assert found.plan.variants == ("xsimgcl", "bare", "wide")
    assert (found.plan.against, found.plan.claim) == ("bare", "ndcg@20")
    configs = {cell.name: cell.config for cell in found.plan.cells}
    assert len(configs) == 2 + 1 + 2
    assert configs["xsimgcl__temperature=0.1__seed=0"].num_layers == 1
    assert configs["bare__seed=0"].layer_weights == "mean_without_0"
    assert configs["wide__temperature=0.3__seed=0"].dim == 16


def test_attributes_in_memory_reach_every_run(clicks: Path, tastes: dict[str, Path]) -> None:
    items = pl.read_csv(tastes["items"])
    found = gclrec.compare(
        clicks, augs=["none", "noise"], seeds=1, item_attributes=items, attributes="input", **QUICK
    )
    assert all((run.folder.path / "attributes").is_dir() for run in found.runs.values() if run.folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"augs": ["none"]}, "two variants"),
        ({"augs": ["none", "edge_drip"]}, "edge_drip"),
        ({"seeds": 0}, "--seeds"),
        ({"dims": 8}, "unknown setting 'dims'; did you mean 'dim'"),
        ({"grid": {"seed": [1, 2]}}, "nothing to choose"),
        ({"baseline": "item_knn"}, "--methods"),
    ],
)
def test_what_cannot_be_compared(clicks: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gclrec.compare(clicks, **arguments)


def test_tuning_in_memory_and_in_a_folder_is_the_same(
    clicks: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table, recorder = pl.read_csv(clicks), Recorder()
    tuning = gclrec.tune(table, callbacks=[recorder], **TRIALS)
    assert capfd.readouterr() == ("", "")
    assert recorder.events[0] == 3
    assert [event[:2] for event in recorder.events if isinstance(event, tuple)] == [(1, 3), (2, 3), (3, 3)]
    trials = tuning.trials
    assert trials.columns[:6] == ["number", "state", "value", "epoch", "epochs", "seconds"]
    best = trials.sort("value", descending=True).row(0, named=True)
    assert {name: best[name] for name in tuning.best} == tuning.best
    assert tuning.winner is not None
    assert f"best {best['value']:.4f}" in repr(tuning)
    run = gclrec.fit(table, method="item_knn", **tuning.best)
    assert run.history["valid/all/recall@20"].to_list() == [best["value"]]
    assert tuning.config.baseline == "item_knn"

    kept = gclrec.tune(table, folder=tmp_path / "out", **{**TRIALS, "trials": 2})
    more = gclrec.tune(table, folder=tmp_path / "out", **TRIALS)
    assert more.trials.drop("seconds").equals(trials.drop("seconds"))
    assert kept.trials.drop("seconds").equals(trials.drop("seconds").head(2))
    assert read_toml(more.files["best settings"])["neighbours"] == tuning.best["neighbours"]


def test_the_strength_of_a_view_is_part_of_the_best_settings(clicks: Path) -> None:
    """``aug_p`` counts only where the augmentation does not name its strength itself."""
    tuning = gclrec.tune(clicks, method="sgl", trials=2, space={"aug_p": "0.3..0.4"}, **QUICK)
    assert tuning.best["aug"] == "edge_drop"
    assert TrainConfig().aug_p != tuning.best["aug_p"]
    assert tuning.winner is not None
    run = gclrec.fit(clicks, method="sgl", **QUICK, **tuning.best)
    assert run.history["valid/all/recall@20"].max() == tuning.winner.value


def test_what_is_given_is_held(clicks: Path) -> None:
    tuning = gclrec.tune(clicks, method="sgl", trials=1, temperature=0.4, prune_after=1, **QUICK)
    assert "temperature" not in tuning.search.space
    assert "num_layers" not in tuning.search.space
    assert tuning.config.temperature == 0.4
    with pytest.raises(InputError, match="is given by --temperature"):
        gclrec.tune(clicks, method="sgl", temperature=0.4, space={"temperature": [0.1, 0.2]})
    with pytest.raises(InputError, match="--trials"):
        gclrec.tune(clicks, trials=0)


def test_without_a_complete_trial_there_are_no_best_settings(
    clicks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gclrec.training.trainer import Trainer

    def diverging(*arguments: object) -> dict[str, float]:
        raise FloatingPointError("the loss is not finite")

    monkeypatch.setattr(Trainer, "run_epoch", diverging)
    tuning = gclrec.tune(clicks, trials=1, **QUICK)
    assert tuning.trials["state"].to_list() == ["diverged"]
    assert "no complete trial" in repr(tuning)
    with pytest.raises(InputError, match="no best settings"):
        tuning.best  # noqa: B018


def test_progress_tells_the_run(
    clicks: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gclrec.training.progress.QUIET_SECONDS", 0.0)
    gclrec.tune(clicks, progress=True, **TRIALS)
    assert "run 3/3 (neighbours " in capfd.readouterr().err
    gclrec.compare(clicks, augs=["none", "noise"], seeds=1, progress=True, **QUICK)
    assert "run 2/2 (noise__seed=0), epoch 2/2" in capfd.readouterr().err


def test_axes() -> None:
    assert axis_texts(["dim=8"]) == ["dim=8"]
    assert axis_texts({"dim": 8, "logq": [True, False]}) == ["dim=8", "logq=true,false"]
