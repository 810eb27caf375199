"""Training from Python: any table in, the command's numbers out, nothing on disk unless asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import gclrec
from gclrec.__main__ import main
from gclrec.common.errors import InputError
from gclrec.data.interactions import Interactions
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.progress import Lines

QUICK: dict[str, Any] = {"epochs": 2, "dim": 8, "batch_size": 128, "num_layers": 2, "loss": "bpr"}
FLAGS = ("--epochs", 2, "--dim", 8, "--batch-size", 128, "--num-layers", 2, "--loss", "bpr")
TABLES: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "lazy": lambda frame: frame.lazy(),
    "pandas": lambda frame: _pandas(frame),
    "dict": lambda frame: frame.to_dict(as_series=False),
    "interactions": lambda frame: Interactions.from_frame(
        frame.select(user="user_id", item="item_id", time="timestamp", weight="rating")
    ),
}


def _pandas(frame: pl.DataFrame) -> Any:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(frame.to_dict(as_series=False))
    table.index = np.random.default_rng(0).permutation(len(table))  # labels mean nothing
    return table


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_gives_what_the_command_gives(
    clicks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    flags = (clicks, *FLAGS, "--split", "temporal", "--run", tmp_path / "run", "--json")
    main(["train", *map(str, flags)])
    told = json.loads(capsys.readouterr().out)
    run = gclrec.fit(TABLES[kind](pl.read_csv(clicks)), split="temporal", **QUICK)
    assert {f"test/{name}": value for name, value in run.figures.items()} == told["metrics"]
    assert run.values["geometry"] == told["geometry"]
    written = gclrec.load_run(tmp_path / "run")
    for side in ("user_vectors", "item_vectors"):
        assert np.array_equal(getattr(run.embeddings, side), getattr(written.embeddings, side))
    assert run.embeddings.users == written.embeddings.users
    changed = {"dataset": "in-memory"}
    assert run.config == TrainConfig.from_dict(written.config.to_dict() | changed, source="test")


def test_nothing_is_written_without_a_folder(
    clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a file is written")

    for name in ("write_bytes", "write_text", "mkdir"):
        monkeypatch.setattr(Path, name, refused)
    monkeypatch.setattr(RunFolder, "create", refused)
    monkeypatch.chdir(tmp_path)
    run = gclrec.fit(clicks, refit=True, score="calibrated", **QUICK)
    assert run.folder is None
    assert run.recommender().recommend("user-3", 5)
    assert capfd.readouterr() == ("", "")  # silent where nobody watches
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "settings",
    [
        {"refit": True, "score": "calibrated", "split": "random"},
        {"baseline": "pure_svd"},
        {"baseline": "item_knn"},
        {"aug": "none", "train_fraction": 0.5, "refit": True},
        {"encoder": "two_tower", "history": "mean", "aug": "none"},
    ],
    ids=["calibrated", "vectors", "no-vectors", "sparse", "histories"],
)
def test_a_saved_run_is_the_run_of_a_folder(clicks: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """File by file, byte by byte, but for seconds and memory."""
    saved = gclrec.fit(clicks, **QUICK, **settings)
    made = gclrec.fit(clicks, folder=tmp_path / "made", **QUICK, **settings)
    saved.save(tmp_path / "saved")
    files = [
        {path.relative_to(tmp_path / name): path for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("made", "saved")
    ]
    assert files[0].keys() == files[1].keys()
    for name, path in files[0].items():
        if name.name == "last.safetensors":  # the time of settling is in it
            continue
        if str(name) in ("metrics.jsonl", "result.json", "report.html", "checksums.json"):  # times
            continue
        assert path.read_bytes() == files[1][name].read_bytes(), name
    assert timeless(made.history).equals(timeless(saved.history))
    assert made.metrics == saved.metrics
    assert made.values.keys() == saved.values.keys()
    with pytest.raises(InputError, match="in a folder already"):
        saved.save(tmp_path / "again")


def timeless(history: pl.DataFrame) -> pl.DataFrame:
    return history.drop("train_seconds", "eval_seconds", "peak_rss_mb")


def test_a_saved_run_can_be_gone_on_with(clicks: Path, tmp_path: Path) -> None:
    longer = gclrec.fit(clicks, **(QUICK | {"epochs": 4}))
    saved = gclrec.fit(clicks, **QUICK)
    assert saved.result.last is not None
    saved.save(tmp_path / "run")
    assert saved.result.last is None  # the folder has the optimiser's state now
    resumed = gclrec.resume(tmp_path / "run", epochs=4)
    assert resumed.metrics == longer.metrics
    assert timeless(resumed.history).equals(timeless(longer.history))
    with pytest.raises(InputError, match="no such run folder"):
        gclrec.resume(tmp_path / "nothing")


def test_a_loaded_run_is_the_run(clicks: Path, tmp_path: Path) -> None:
    run = gclrec.fit(clicks, folder=tmp_path / "run", **QUICK)
    assert run.result.last is None
    loaded = gclrec.load_run(tmp_path / "run")
    assert loaded.config == run.config
    assert loaded.metrics == run.metrics
    assert loaded.cases == run.cases
    assert loaded.history.equals(run.history)
    assert (loaded.split.test.pair_keys == run.split.test.pair_keys).all()
    assert str(loaded) == str(run)
    for part, ks in (("test", (5, 20)), ("valid", (20,))):
        found = [each.evaluate(part, ks=ks).values for each in (run, loaded)]
        assert found[0] == pytest.approx(found[1])
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(InputError, match="training did not finish"):
        _ = gclrec.load_run(tmp_path / "run").metrics


@pytest.mark.parametrize(
    "settings",
    [
        {"aug": "none", "score": "cosine"},
        {"encoder": "mf", "aug": "none", "refit": True},
        {"encoder": "two_tower", "history": "attention", "aug": "none"},
    ],
    ids=["lightgcn", "mf", "histories"],
)
def test_a_run_in_memory_recommends_as_one_in_a_folder(
    clicks: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    run = gclrec.fit(clicks, **QUICK, **settings)
    inside = run.recommender()
    run.save(tmp_path / "run")
    outside = gclrec.load_run(tmp_path / "run").recommender()
    items = run.split.train.items.ids
    history = pl.DataFrame({"user": ["user-1", "new", "new"], "item": [items[3], items[5], items[8]]})
    for ask in (
        lambda each: each.recommend("user-1", 5),
        lambda each: each.recommend_for(items[:3].to_list(), 5),
        lambda each: each.recommend_for(history, 5).rows(),
        lambda each: each.similar_items(items[4], 5),
    ):
        one, other = ask(inside), ask(outside)
        assert [row[:-1] for row in one] == [row[:-1] for row in other]
        assert [row[-1] for row in one] == pytest.approx([row[-1] for row in other], abs=1e-5)


def test_attributes_are_tables_too(clicks: Path, tastes: dict[str, Path], tmp_path: Path) -> None:
    frames = {f"{side}_attributes": pl.read_csv(tastes[f"{side}s"]) for side in ("user", "item")}
    asked: dict[str, Any] = {"attributes": "input", **QUICK}
    from_frames = gclrec.fit(pl.read_csv(clicks), **frames, **asked)
    paths = {name: tmp_path / f"{name}.parquet" for name in frames}
    for name, frame in frames.items():
        frame.write_parquet(paths[name])
    from_files = gclrec.fit(clicks, **paths, **asked)
    assert from_frames.metrics == from_files.metrics
    assert gclrec.fit(pl.read_csv(clicks), **frames, **QUICK).config.attributes == "map"


def test_a_pyg_graph_with_features() -> None:
    from torch_geometric.data import HeteroData

    generator = torch.Generator().manual_seed(0)
    data = HeteroData()
    data["reader"].num_nodes, data["book"].x = 30, torch.randn(20, 3, generator=generator)
    keys = torch.randperm(600, generator=generator)[:240]
    data["reader", "read", "book"].edge_index = torch.stack([keys // 20, keys % 20])
    data["book", "rev_read", "reader"].edge_index = torch.stack([keys % 20, keys // 20])
    run = gclrec.fit(data, attributes="input", **QUICK)
    assert run.embeddings.users.ids.to_list() == list(range(30))
    assert run.split.train.num_items == 20
    assert len(run.recommender().recommend(3, 4)) == 4


def test_settings_go_before_config_before_method(tmp_path: Path, clicks: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text('method = "sgl"\ntemperature = 0.3\nlearning-rate = 0.02\n')
    for config in (path, {"method": "sgl", "temperature": 0.3, "learning-rate": 0.02}):
        made = gclrec.fit(clicks, config=config, learning_rate=0.04, **QUICK).config
        assert made.learning_rate == 0.04
        assert made.temperature == 0.3
        assert made.aug == gclrec.fit(clicks, method="sgl", **QUICK).config.aug != TrainConfig().aug


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'"),
        ({"epochs": 0}, "epochs"),
        ({"loss": "bqr"}, "loss: 'bqr' is not one of"),
        ({"method": "nothing"}, "method: 'nothing' is not one of"),
        ({"config": {"speed": 3}}, "config: unknown setting 'speed'"),
        ({"tensorboard": True}, "tensorboard: its files go into a run folder"),
        ({"user_column": "who"}, "no column 'who'"),
        ({"test_file": "x.csv"}, "test-file: is about data in files"),
        ({"loss": "none", "ssl": "none"}, "loss"),
    ],
)
def test_wrong_settings_are_named(clicks: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        gclrec.fit(pl.read_csv(clicks), **(QUICK | settings))


def test_columns_are_named_as_in_a_file(clicks: Path) -> None:
    strange = pl.read_csv(clicks).rename({"user_id": "who", "item_id": "what"})
    with pytest.raises(InputError, match="cannot guess the user and item columns"):
        gclrec.fit(strange, **QUICK)
    run = gclrec.fit(strange, user_column="who", item_column="what", **QUICK)
    assert run.metrics == gclrec.fit(pl.read_csv(clicks), **QUICK).metrics


class Noted:
    """Notes the events that it hears of, and stops after some epochs."""

    def __init__(self, stop: int = 99) -> None:
        self.events: list[str] = []
        self.stop = stop

    def on_phase_start(self, phase: str, epoch: int, epochs: int) -> None:
        self.events.append(f"{phase} {epoch}/{epochs}")

    def on_epoch_end(self, record: dict[str, Any], best_epoch: int | None) -> None:
        self.events.append(f"epoch {record['epoch']}")
        if record["phase"] == "select" and record["epoch"] == self.stop:
            raise gclrec.StopTraining

    def on_end(self, result: Any) -> None:
        self.events.append(f"end {result.epoch}")


def test_callbacks_are_called_and_may_stop(clicks: Path, tmp_path: Path) -> None:
    noted, other = Noted(), Noted(stop=3)
    run = gclrec.fit(clicks, callbacks=[noted], patience=0, **QUICK)
    assert noted.events == ["select 1/2", "epoch 1", "epoch 2", f"end {run.values['epochs']}"]
    asked = QUICK | {"epochs": 9, "refit": True}
    stopped = gclrec.fit(clicks, folder=tmp_path / "run", callbacks=[other], **asked)
    assert stopped.values["epochs_trained"] == 3
    best = stopped.values["epochs"]
    assert other.events[:5] == ["select 1/9", "epoch 1", "epoch 2", "epoch 3", f"refit 1/{best}"]
    assert other.events[-1] == f"end {best}"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs_trained"] == 3


def test_an_error_of_a_callback_ends_the_run(clicks: Path) -> None:
    class Broken:
        def on_epoch_end(self, *_: object) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gclrec.fit(clicks, callbacks=[Broken()], **QUICK)


def test_progress_is_shown_when_asked_for(
    clicks: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gclrec.training.progress.QUIET_SECONDS", 0.0)
    gclrec.fit(clicks, progress=True, **QUICK)
    told = capfd.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told if "valid/all" in line] == ["epoch 1/2", "epoch 2/2"]
    noted = Noted()
    gclrec.fit(clicks, progress=noted, **QUICK)
    assert noted.events[0] == "select 1/2"
    monkeypatch.setattr("gclrec.training.progress.in_notebook", lambda: True)
    monkeypatch.setattr("gclrec.training.progress.progress_of", Lines)  # bars leave nothing to read
    gclrec.fit(clicks, **QUICK)
    assert "epoch 2/2" in capfd.readouterr().err
    gclrec.fit(clicks, progress=False, **QUICK)
    assert capfd.readouterr().err == ""


def test_a_run_prints_its_figures(clicks: Path) -> None:
    run = gclrec.fit(clicks, **QUICK)
    text = repr(run)
    assert "recall@20" in text
    row = next(line for line in text.splitlines() if "head items" in line)
    assert f"{run.metrics['head_items']['recall@20']:.4f}" in row
    assert run.history["epoch"].to_list() == [1, 2]


def test_settings_that_do_not_suit_the_data_leave_no_folder(clicks: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no attributes"):
        gclrec.fit(clicks, attributes="input", folder=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="exists already"):
        gclrec.fit(clicks, folder=tmp_path / "run", **QUICK)


def test_what_does_not_fit_is_refused_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From ``WORTH`` pairs on a few steps are taken first; nothing is left behind."""
    data, where = "synthetic-60x40x600", tmp_path / "run"
    monkeypatch.setattr("gclrec.training.estimate.available_bytes", lambda: 1000.0)
    gclrec.fit(data, **QUICK)
    monkeypatch.setattr("gclrec.api.WORTH", 100)
    with pytest.raises(InputError, match="GiB of memory and"):
        gclrec.fit(data, folder=where, **QUICK)
    assert not where.exists()
    assert gclrec.fit(data, folder=where, force=True, **QUICK).metrics
