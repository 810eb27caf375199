"""``gclrec train`` and ``gclrec evaluate``: every choice of every flag, layering, interruption, bad input."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from gclrec.baselines import BASELINES
from gclrec.contrast.methods import METHODS
from gclrec.contrast.negatives import NEGATIVES
from gclrec.contrast.ranking_losses import LOSSES, SCORES
from gclrec.contrast.ssl import SSL
from gclrec.contrast.views import VIEWS
from gclrec.data.splits import SPLITS
from gclrec.data_command import Reading
from gclrec.encoders import ATTRIBUTE_USES, CONVOLUTIONS, ENCODERS, LAYER_WEIGHTS
from gclrec.evaluation.metrics import METRICS
from gclrec.recall.recommender import Recommender
from gclrec.training.checkpoint import load_state
from gclrec.training.config import TrainConfig
from gclrec.training.run import RunFolder

from .conftest import Outcome

Run = Callable[..., Outcome]
QUICK = ("--epochs", 2, "--dim", 8, "--batch-size", 128, "--num-layers", 2)


@pytest.fixture
def train(gclrec: Run, clicks: Path, tmp_path: Path) -> Run:
    """Return a function that trains on the small table, into ``tmp_path / "run"``."""

    def run(*flags: object) -> Outcome:
        return gclrec("train", "--dataset", clicks, "--run", tmp_path / "run", *QUICK, "--json", *flags)

    return run


ITEMS_FOR = {
    name: ("--item-attributes", "{items}") for name, entry in BASELINES.items() if entry.needs_attributes
}
CHOICES = [
    *(("--encoder", name) for name in ENCODERS),
    *(("--layer-weights", name) for name in LAYER_WEIGHTS),
    *(("--loss", name) for name in LOSSES),
    *(("--score", name) for name in SCORES),
    *(("--negatives", name) for name in NEGATIVES),
    *(
        ("--loss", loss, "--negatives", name)
        for loss, entry in LOSSES.items()
        for name in NEGATIVES
        if entry.needs_negatives and (loss, name) != ("bpr", "uniform")
    ),
    *(("--loss", loss, "--loss-score", score) for loss, entry in LOSSES.items() for score in entry.scores),
    *(
        ("--loss", loss, "--negatives", name, "--logq")
        for loss, entry in LOSSES.items()
        for name in NEGATIVES
        if entry.sums_exponentials
    ),
    ("--loss", "softmax", "--loss-temperature", 0.02),
    ("--loss", "bsl", "--loss-power", 0.9),
    ("--loss", "ccl", "--loss-margin", 0.8, "--negative-weight", 100),
    ("--loss", "directau", "--uniformity-weight", 2),
    ("--negatives", "uniform", "--num-negatives", 5),
    ("--negatives", "popularity", "--num-negatives", 5, "--popularity-alpha", 0.5),
    ("--negatives", "shared", "--num-negatives", 7),
    ("--negatives", "mixed", "--num-negatives", 7, "--loss", "softmax", "--aug", "none"),
    *(("--method", name, *ITEMS_FOR.get(name, ())) for name in METHODS),
    *(("--baseline", name, *ITEMS_FOR.get(name, ()), "--refit") for name in BASELINES),
    *(("--item-attributes", "{items}", "--attributes", use) for use in ATTRIBUTE_USES),
    ("--user-attributes", "{users}", "--attributes", "input", "--id-dropout", 0.3),
    ("--user-attributes", "{users}", "--item-attributes", "{items}", "--attributes", "input"),
    ("--item-attributes", "{items}", "--attributes", "nodes", "--attribute-min-count", 4),
    *(("--item-attributes", "{items}", "--attributes", "input", "--encoder", name) for name in CONVOLUTIONS),
    *(("--item-attributes", "{items}", "--attributes", "nodes", "--aug", name) for name in VIEWS),
    ("--method", "item_knn", "--neighbours", 3, "--shrink", 7.5),
    ("--method", "gf_cf", "--rank", 4, "--low-pass", 0.5),
    *(("--split", name) for name in SPLITS if name != "given"),
    *(("--aug", name) for name in VIEWS),
    *(("--ssl", name) for name in SSL),
    ("--ssl", "cross_layer", "--ssl-layer", 2, "--aug", "none"),
    *(("--select", f"{name}@10") for name in METRICS),
    ("--views-every", "epoch"),
    ("--views-every", "batch"),
    ("--device", "auto"),
    ("--device", "cpu"),
    ("--format", "table"),
    (
        "--user-column",
        "user_id",
        "--item-column",
        "item_id",
        "--time-column",
        "timestamp",
        "--weight-column",
        "rating",
    ),
    ("--min-rating", 3),
    ("--k-core", 4),
    ("--valid-share", 0.2, "--test-share", 0.3),
    ("--split", "cold_items", "--cold-share", 0.4, "--shots", 2),
    ("--split", "cold_users", "--shots", 3),
    ("--train-fraction", 0.5),
    ("--init-std", 0.01),
    ("--aug", "edge_drop:0.3,none", "--ssl-weight", 0.5, "--temperature", 0.1),
    ("--aug", "edge_drop", "--ssl-weight", 0),
    ("--learning-rate", 0.01, "--l2-weight", 0),
    ("--patience", 1),
    ("--refit",),
    ("--seed", 11),
    ("--eval-every", 2),
    ("--ks", 1, 3, "--select", "recall@3"),
    ("--metrics", "recall", "map"),
    ("--near-cold", 7),
]


@pytest.mark.parametrize("flags", CHOICES, ids=lambda flags: "_".join(map(str, flags)))
def test_every_choice_of_every_flag_trains(
    train: Run, tastes: dict[str, Path], tmp_path: Path, flags: tuple[object, ...]
) -> None:
    flags = tuple(part.format(**tastes) if isinstance(part, str) else part for part in flags)
    outcome = train(*flags)
    assert outcome.code == 0, outcome.err
    values = outcome.values
    assert values["run"] == str(tmp_path / "run")
    k = 3 if "--ks" in flags else 20
    assert 0.0 <= values["metrics"][f"test/all/recall@{k}"] <= 1.0
    assert values["seconds"] > 0
    config = RunFolder.open(tmp_path / "run").config()
    named = dict(zip(flags[::2], flags[1::2], strict=False))
    for flag, value in named.items():
        name = str(flag).removeprefix("--").replace("-", "_")
        if hasattr(config, name) and not isinstance(getattr(config, name), tuple):
            assert str(getattr(config, name)) == str(value) or float(getattr(config, name)) == float(value)


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
    """A setting nobody drives is broken: those of the table above, and those that other tests set."""
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
    }
    assert set(TrainConfig.__dataclass_fields__) <= driven | elsewhere


def test_the_final_table_and_the_next_command(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    outcome = gclrec("train", "--dataset", clicks, "--run", tmp_path / "run", *QUICK, "--aug-p", 0.3)
    assert outcome.code == 0
    for text in ("warm users", "cold items", "head items", "tail items", "recall@20", "chosen: epoch"):
        assert text in outcome.out
    assert f"next: gclrec export {tmp_path / 'run'}" in outcome.out
    assert "--user user-0 -k 10" in outcome.out  # an id of the data, ready to type
    assert outcome.err == ""  # quiet where nobody watches


def test_flags_over_config_over_method_over_defaults(train: Run, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(
        'method = "sgl"\ntemperature = 0.3\nlearning-rate = 0.02\nks = [5, 20]\nrefit = true\n'
    )
    assert train("--config", tmp_path / "my.toml", "--learning-rate", 0.04).code == 0
    config = RunFolder.open(tmp_path / "run").config()
    assert config.learning_rate == 0.04  # the flag
    assert (config.temperature, config.ks, config.refit) == (0.3, (5, 20), True)  # the file
    assert config.aug == METHODS["sgl"].settings["aug"]  # the method
    assert config.l2_weight == TrainConfig().l2_weight  # the default


def test_a_run_config_reproduces_the_run(train: Run, gclrec: Run, tmp_path: Path) -> None:
    first = train("--seed", 4)
    again = gclrec(
        "train", "--config", tmp_path / "run" / "config.toml", "--run", tmp_path / "again", "--json"
    )
    assert again.values["metrics"] == first.values["metrics"]


def test_tensorboard_writes_scalars(train: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert train("--tensorboard").code == 0
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_cosine_is_what_evaluation_index_and_recommendations_rank_by(
    train: Run, gclrec: Run, tmp_path: Path
) -> None:
    """The trained vectors differ in length; what is written, and so all that reads it, ranks by direction."""
    run = tmp_path / "run"
    flags = ("--encoder", "mf", "--aug", "none", "--learning-rate", 0.05)
    trained = train(*flags, "--score", "cosine")
    assert trained.code == 0, trained.err
    tensors, _ = load_state(run / "checkpoint" / "best.safetensors")
    users, items = tensors["encoder.users"], tensors["encoder.items"]
    cosine = torch.nn.functional.cosine_similarity(users[:, None], items, dim=2).numpy()
    assert (np.argmax(cosine, 1) != np.argmax((users @ items.T).numpy(), 1)).any()

    again = gclrec("evaluate", run, "--json")
    assert again.values["metrics"] == pytest.approx(trained.values["metrics"])
    assert gclrec("export", run, "--json").code == 0
    recommender = Recommender.load(run)
    np.testing.assert_allclose(np.linalg.norm(recommender.index.vectors, axis=1), 1.0, rtol=1e-5)
    names, rows = (ids.raw(np.arange(len(ids))).to_list() for ids in (recommender.users, recommender.items))
    for number, user in enumerate(names):
        answer = recommender.recommend(user, k=5, exclude_seen=False)
        best = np.argsort(-cosine[number], kind="stable")[:5]
        assert [item for item, _ in answer] == [rows[place] for place in best]
        assert [score for _, score in answer] == pytest.approx(cosine[number][best], abs=1e-5)


def test_evaluate_gives_the_same_figures_again(train: Run, gclrec: Run, tmp_path: Path) -> None:
    trained = train()
    scores = tmp_path / "scores.parquet"
    outcome = gclrec("evaluate", tmp_path / "run", "--json", "--per-user", scores)
    assert outcome.values["metrics"] == pytest.approx(trained.values["metrics"])
    other = gclrec(
        "evaluate", tmp_path / "run", "--ks", 7, "--metrics", "hit", "mrr", "--near-cold", 2, "--json"
    )
    assert {name.split("@")[1] for name in other.values["metrics"]} == {"7"}
    valid = gclrec("evaluate", tmp_path / "run", "--part", "valid", "--json").values["metrics"]
    best = max(RunFolder(tmp_path / "run").metrics(), key=lambda line: line["valid/all/recall@20"])
    assert valid["valid/all/recall@20"] == pytest.approx(best["valid/all/recall@20"])
    table = pl.read_parquet(scores)
    assert table["user"].str.starts_with("user-").all()
    assert table["recall@20"].mean() == pytest.approx(trained.values["metrics"]["test/all/recall@20"])
    stored = pl.read_parquet(tmp_path / "run" / "per_user.parquet")
    assert stored["recall@20"].to_list() == pytest.approx(table["recall@20"].to_list())


def test_evaluate_refuses_what_it_cannot_do(train: Run, gclrec: Run, tmp_path: Path) -> None:
    train("--refit")
    assert "refitted" in gclrec("evaluate", tmp_path / "run", "--part", "valid").error
    assert "--ks" in gclrec("evaluate", tmp_path / "run", "--ks", 0).error
    assert "charm" in gclrec("evaluate", tmp_path / "run", "--metrics", "charm").error
    items = tmp_path / "run" / "embeddings" / "items.parquet"
    items.write_bytes(items.read_bytes()[:-40])
    assert "items.parquet" in gclrec("evaluate", tmp_path / "run").error


def test_more_epochs_for_a_finished_run(train: Run, gclrec: Run, tmp_path: Path) -> None:
    train()
    outcome = gclrec("train", "--resume", tmp_path / "run", "--epochs", 5, "--json")
    assert outcome.values["epochs_trained"] == 5
    assert [line["epoch"] for line in RunFolder(tmp_path / "run").metrics()] == [1, 2, 3, 4, 5]
    assert "--resume" in gclrec("train", "--resume", tmp_path / "run", "--seed", 5).error


def test_kill_minus_nine_then_resume_changes_nothing(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    flags = ["--dataset", clicks, "--dim", 16, "--batch-size", 16, "--epochs", 12, "--device", "cpu"]
    whole = gclrec("train", *flags, "--run", tmp_path / "whole", "--json")

    command = [sys.executable, "-m", "gclrec.train", *map(str, flags), "--run", str(tmp_path / "killed")]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    lines = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (lines.exists() and len(lines.read_text().splitlines()) >= 3):
        assert time.monotonic() < deadline
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()

    resumed = gclrec("train", "--resume", tmp_path / "killed", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.values["metrics"] == whole.values["metrics"]
    assert resumed.values["epochs"] == whole.values["epochs"]


def test_interrupting_says_how_to_go_on(train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gclrec.train.fit", interrupted)
    outcome = train()
    assert outcome.code == 130
    assert f"gclrec train --resume {tmp_path / 'run'}" in outcome.err


BAD_FLAGS = {
    "--epochs 0": "--epochs",
    "--epochs many": "--epochs",
    "--learning-rate -1": "--learning-rate",
    "--temperature 0": "--temperature",
    "--aug edge_drip": "edge_drop",
    "--aug edge_drop:2": "edge_drop",
    "--encoder gcn": "lightgcn",
    "--attributes input": "has no attributes of users or items; give --item-attributes FILE",
    "--attributes input --item-attributes missing.csv": "missing.csv",
    "--attributes nodes --encoder sage": "try lightgcn",
    "--id-dropout 0.1": "--id-dropout: not used without --attributes",
    "--item-attributes items.csv": "--item-attributes: not used without --attributes",
    "--baseline content_knn": "clicks.csv has no attributes of items; give --item-attributes FILE",
    "--encoder gat --aug svd": "svd leaves no edges",
    "--baseline luck": "item_knn",
    "--neighbours 0": "--neighbours",
    "--ssl cross_layer --ssl-layer 3": "--ssl-layer",
    "--ssl byo": "cross_layer",
    "--loss triplet": "directau",
    "--loss ccl --loss-score dot": "--loss-score",
    "--loss directau --negatives shared": "--negatives",
    "--logq": "softmax",
    "--negatives in_batch --num-negatives 3": "--batch-size",
    "--score angle": "cosine",
    "--split sideways": "leave_one_out",
    "--split given": "given",
    "--method best": "sgl",
    "--k-core 1000": "1000-core",
    "--min-rating 9": "9",
    "--user-column nobody": "nobody",
    "--config missing.toml": "missing.toml",
    "--device cuda": "CUDA",
    "--no-such-flag 3": "--no-such-flag",
    "--resume nowhere": "--resume",
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_bad_flags_end_with_one_line_and_nothing_written(train: Run, tmp_path: Path, flags: str) -> None:
    if flags == "--device cuda":
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device here")
    assert BAD_FLAGS[flags] in train(*flags.split()).error
    assert list(tmp_path.iterdir()) == []


def test_data_that_is_not_there(gclrec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "gowalla" in gclrec("train", "--dataset", "gowala").error
    assert "missing.csv" in gclrec("train", "--dataset", "./missing.csv").error
    assert "flag" not in gclrec("train", "--dataset", "a", "--dataset", "b").error
    assert list(tmp_path.iterdir()) == []


def test_parts_in_files_of_their_own(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    table = pl.read_csv(clicks).with_row_index("place")
    for name, part in (
        ("test", table["place"] % 5 == 0),
        ("valid", table["place"] % 5 == 1),
        ("main", table["place"] % 5 > 1),
    ):
        table.filter(part).drop("place").write_csv(tmp_path / f"{name}.csv")
    parts = ("--test-file", tmp_path / "test.csv", "--valid-file", tmp_path / "valid.csv")
    outcome = gclrec(
        "train", "--dataset", tmp_path / "main.csv", *parts, "--run", tmp_path / "run", *QUICK, "--json"
    )
    assert outcome.code == 0, outcome.err
    run = RunFolder.open(tmp_path / "run")
    sizes = [len(getattr(run.split(), part)) for part in ("train", "valid", "test")]
    assert sizes == [504, 168, 168]
    assert run.config().split == "given"


def test_data_flags_mean_the_same_in_train_and_describe() -> None:
    described = {field.name: field.default for field in dataclasses.fields(Reading)}
    trained = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    assert described == {name: trained[name] for name in described}


def test_bad_config_files(train: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("epochs = = 3")
    assert "line 1" in train("--config", path).error
    path.write_text("speed = 3")
    assert "unknown setting 'speed'" in train("--config", path).error
    path.write_text('patience = "many"')
    assert "patience" in train("--config", path).error


def test_an_output_folder_that_cannot_be_written(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = gclrec("train", "--dataset", clicks, "--run", tmp_path / "file" / "run", *QUICK)
    assert "file" in outcome.error
    taken = gclrec("train", "--dataset", clicks, "--run", tmp_path / "file", *QUICK)
    assert "exists already" in taken.error


def test_a_full_disk_ends_with_one_line(train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert "No space left on device" in train().error
    assert list(tmp_path.iterdir()) == []


def test_help_is_quick_and_whole(gclrec: Run) -> None:
    began = time.perf_counter()
    command = [sys.executable, "-m", "gclrec.train", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert time.perf_counter() - began < 20  # a hang, not a benchmark
    for name in TrainConfig.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text
    assert "[default:" in text
