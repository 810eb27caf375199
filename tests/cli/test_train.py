"""``gclrec train`` and ``gclrec evaluate``: what they print, layering, interruption, bad input."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from gclrec.cli.reading import Splitting
from gclrec.recall.recommender import Recommender
from gclrec.runs.checkpoint import load_state
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.training.prepare import config_of

from .conftest import QUICK, Run


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
    config = config_of(RunFolder.open(tmp_path / "run"))
    assert config.learning_rate == 0.04  # the flag
    assert (config.temperature, config.ks, config.refit) == (0.3, (5, 20), True)  # the file
    assert config.aug == METHODS["sgl"].settings["aug"]  # the method
    assert config.l2_weight == TrainConfig().l2_weight  # the default


def test_the_split_has_a_seed_of_its_own(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    """With --split-seed the seed moves the start only; without, both."""
    pairs = {}
    for name, flags in {"a": (1, 7), "b": (2, 7), "c": (7, None), "d": (1, None)}.items():
        seeds = ("--seed", flags[0], *(() if flags[1] is None else ("--split-seed", flags[1])))
        run = tmp_path / name
        values = gclrec("train", "--dataset", clicks, *QUICK, *seeds, "--run", run, "--json").values
        pairs[name] = RunFolder.open(run).split().test.user.tolist(), values["metrics"]
    assert pairs["a"][0] == pairs["b"][0] == pairs["c"][0] != pairs["d"][0]
    assert pairs["a"][1] != pairs["b"][1]


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


@pytest.mark.parametrize("method", ["buir", "selfcf"])
def test_a_method_with_a_score_of_its_own_is_evaluated_indexed_and_served_by_it(
    train: Run, gclrec: Run, tmp_path: Path, method: str
) -> None:
    """BUIR ranks by ``p(u) . i + u . p(i)``: by vectors of twice the length, wherever vectors are read."""
    run = tmp_path / "run"
    trained = train("--method", method, "--encoder", "mf", "--aug", "none", "--learning-rate", 0.05)
    assert trained.code == 0, trained.err
    assert [name for name in RunFolder(run).metrics()[0] if name.startswith("loss/")] == [
        "loss/total",
        "loss/l2",
        "loss/ssl",
    ]
    tensors, _ = load_state(run / "checkpoint" / "best.safetensors")
    users, items = tensors["encoder.users"], tensors["encoder.items"]
    weight, bias = (tensors[f"objective.contrast.predictor.{name}"] for name in ("weight", "bias"))
    score = (users @ weight.T + bias) @ items.T + users @ (items @ weight.T + bias).T

    again = gclrec("evaluate", run, "--json")
    assert again.values["metrics"] == pytest.approx(trained.values["metrics"])
    assert gclrec("export", run, "--json").code == 0
    recommender = Recommender.load(run)
    names, rows = (ids.raw(np.arange(len(ids))).to_list() for ids in (recommender.users, recommender.items))
    for number, user in enumerate(names):
        answer = recommender.recommend(user, k=5, exclude_seen=False)
        best = np.argsort(-score[number].numpy(), kind="stable")[:5]
        assert [item for item, _ in answer] == [rows[place] for place in best]
        assert [value for _, value in answer] == pytest.approx(score[number].numpy()[best], rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--aug edge_drop:0.3", True),
        ("--aug edge_drop,none --ssl moco", True),
        ("--aug edge_drop,noise", False),
        ("--aug none", False),
        ("--aug edge_drop --ssl none", False),
        ("--aug edge_drop --encoder lightgcn", False),
    ],
)
def test_views_that_the_encoder_ignores_are_reported(train: Run, flags: str, told: bool) -> None:
    outcome = train("--encoder", "mf", *flags.split()) if "--encoder" not in flags else train(*flags.split())
    assert outcome.code == 0, outcome.err
    assert ("mf looks at no graph, so --aug" in outcome.err) == told


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
    train("--loss", "bpr")
    outcome = gclrec("train", "--resume", tmp_path / "run", "--epochs", 5, "--json")
    assert outcome.values["epochs_trained"] == 5
    assert [line["epoch"] for line in RunFolder(tmp_path / "run").metrics()] == [1, 2, 3, 4, 5]
    assert "--resume" in gclrec("train", "--resume", tmp_path / "run", "--seed", 5).error


@pytest.mark.parametrize("flags", [("--refit",), ("--schedule", "cosine")])
def test_a_run_that_aims_at_its_end_keeps_it(gclrec: Run, train: Run, tmp_path: Path, flags) -> None:
    assert train(*flags).code == 0
    error = gclrec("train", "--resume", tmp_path / "run", "--epochs", 5).error
    assert "--resume: --epochs cannot change" in error


def test_kill_minus_nine_then_resume_changes_nothing(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    flags = ["--dataset", clicks, "--dim", 16, "--batch-size", 16, "--epochs", 12, "--device", "cpu"]
    whole = gclrec("train", *flags, "--run", tmp_path / "whole", "--json")

    command = [sys.executable, "-m", "gclrec.cli.train", *map(str, flags), "--run", str(tmp_path / "killed")]
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
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gclrec.cli.train.go_on", interrupted)
    outcome = train()
    assert outcome.code == 130
    assert f"gclrec train --resume {tmp_path / 'run'}" in outcome.err


def test_settings_that_do_not_suit_the_data_leave_nothing_behind(
    gclrec: Run, clicks: Path, tmp_path: Path
) -> None:
    """With one field of items there are no two halves of them; that is found when the encoder is there."""
    items = tmp_path / "items.csv"
    number = pl.read_csv(clicks)["item_id"].unique().sort()
    pl.DataFrame({"id": number, "kind": [f"k{n % 3}" for n in range(len(number))]}).write_csv(items)
    flags = ("--dataset", clicks, "--item-attributes", items, "--attributes", "input", *QUICK)
    halves = ("--ssl", "features", "--feature-views", "random")
    outcome = gclrec("train", *flags, *halves, "--run", tmp_path / "run")
    assert "one field (kind)" in outcome.error
    assert not (tmp_path / "run").exists()
    study = tmp_path / "study.toml"
    study.write_text("[variants.a]\nssl = 'features'\nfeature-views = 'random'\n[variants.b]\naug = 'none'\n")
    compared = gclrec("compare", *flags, "--config", study, "--seeds", 1, "--out", tmp_path / "out")
    assert "one field (kind)" in compared.error
    assert list((tmp_path / "out" / "runs").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not locked on Windows")
def test_two_processes_do_not_train_in_one_folder(train: Run, gclrec: Run, tmp_path: Path) -> None:
    assert train().code == 0
    with RunFolder.open(tmp_path / "run").held():
        files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
        outcome = gclrec("train", "--resume", tmp_path / "run", "--epochs", 3)
    assert outcome.code == 2
    assert "another process is training here" in outcome.error
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == files
    assert gclrec("train", "--resume", tmp_path / "run").code == 0


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
    assert config_of(run).split == "given"


def test_the_data_set_needs_no_flag(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    """A name in first place is ``--dataset``, over a file of settings as that is."""
    (tmp_path / "my.toml").write_text('dataset = "nothing"\nepochs = 1\n')
    where = ("--config", tmp_path / "my.toml", "--run", tmp_path / "run", "--dim", 8)
    assert gclrec("train", clicks, *where).code == 0
    assert config_of(RunFolder.open(tmp_path / "run")).dataset == str(clicks)
    assert "named twice" in gclrec("train", clicks, "--dataset", clicks).error
    assert "found 'more' where nothing more is taken" in gclrec("train", clicks, "more").error
    assert "--dataset cannot be given" in gclrec("train", clicks, "--resume", tmp_path / "run").error


def test_data_flags_mean_the_same_in_train_and_describe() -> None:
    described = {field.name: field.default for field in dataclasses.fields(Splitting)}
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
    assert taken.error.endswith("exists already; choose another folder")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("")
    early = gclrec("train", "--dataset", tmp_path / "missing.csv", "--run", tmp_path / "run")
    resume = f"exists already; choose another folder or resume its training: gclrec train --resume {tmp_path}"
    assert resume in early.error  # before the data is read


def test_a_full_disk_ends_with_one_line(train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert "No space left on device" in train().error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["data.io.parquet.coded_batches", "data.splits.per_user_label"])
def test_an_interrupt_before_the_training_leaves_nothing(
    gclrec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """While the ids of a table are read, and while it is split."""
    table = tmp_path / "clicks.parquet"
    pl.DataFrame({"user": ["a", "b"] * 9, "item": [f"i{n}" for n in range(18)]}).write_parquet(table)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"gclrec.{where}", interrupted)
    assert gclrec("train", "--dataset", table, "--run", tmp_path / "runs" / "one").code == 130
    assert [each.name for each in tmp_path.iterdir()] == ["clicks.parquet"]


def test_help_is_whole(gclrec: Run) -> None:
    command = [sys.executable, "-m", "gclrec.cli.train", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    for name in TrainConfig.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text
    assert "[default:" in text


def test_from_a_former_run(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    """Settings of the run hold unless given; the flag has a longer name, as in files of settings."""
    quick = ("--epochs", 11, "--dim", 8, "--score", "cosine", "--metrics", "recall")
    assert gclrec("train", clicks, "--run", tmp_path / "run", *quick).code == 0
    flags = ("--dataset", clicks, "--split", "temporal")
    outcome = gclrec("train", "--from", tmp_path / "run", *flags, "--run", tmp_path / "next", "--json")
    assert outcome.code == 0, outcome.err
    config = config_of(RunFolder.open(tmp_path / "next"))
    assert (config.epochs, config.dim, config.score, config.split) == (2, 8, "cosine", "temporal")
    assert config.start_from == str(tmp_path / "run")
    again = gclrec("train", "--start-from", tmp_path / "run", *flags, "--run", tmp_path / "same", "--json")
    assert again.values["metrics"] == outcome.values["metrics"]
    settings = tmp_path / "warm.toml"
    settings.write_text(f"start-from = '{tmp_path / 'run'}'\nepochs = 1\n")
    filed = gclrec("train", "--config", settings, *flags, "--run", tmp_path / "filed", "--json")
    assert filed.values["epochs_trained"] == 1
    error = gclrec("train", "--from", tmp_path / "run", "--dim", 4, "--run", tmp_path / "x").error
    assert "cannot start from it" in error
    assert not (tmp_path / "x").exists()
    assert "no run folder to start from" in gclrec("train", "--from", tmp_path / "nothing").error
