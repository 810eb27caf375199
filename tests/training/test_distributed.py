"""Several processes that share the embedding dimensions compute what one process computes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from gclrec.api import fit, load_run, resume
from gclrec.cli.train import agreed, main
from gclrec.common.errors import InputError
from gclrec.data.interactions import Interactions
from gclrec.experiments.run_cells import fingerprint
from gclrec.runs.checkpoint import load_state, save_state
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.settings.sources import layered_config
from gclrec.training.distributed import Processes, check_divisible, joined
from gclrec.training.prepare import prepare, requested
from gclrec.training.trainer import Trainer, new_trainer

STEPS = 50
SMALL: dict[str, Any] = {"dim": 8, "batch_size": 64, "dataset": "synthetic-80x60x900", "learning_rate": 0.02}
PLAIN: dict[str, Any] = {"encoder": "lightgcn", "aug": "none"}
CASES: dict[str, dict[str, Any]] = {
    "user vectors from items": {**PLAIN, "user_vectors": "items", "degree_exponent": 0.3},
    "parts that share passes": {**PLAIN, "user_vectors": "items", "loss": "softmax", "micro_batch": 20},
    "mf, masks and heads": {"encoder": "mf", "aug": "feature_mask", "head_layers": 1},
    "a sum": {"ssl": "infonce+swav:0.5", "head_layers": 1, "num_prototypes": 5, "prototype_queue": 20},
    "a learned temperature": {"aug": "noise,svd", "temperature": "learned", "sample_edges": 0.5},
    "layers of their own": {
        "aug": "layer_edge_drop",
        "ssl": "infonce",
        "negatives": "queue",
        "loss": "softmax",
    },
}


@cache
def cases() -> dict[str, TrainConfig]:
    """Return the settings of every published model that can be divided, and of some others."""
    found = {name: layered_config(dict(SMALL), method=name) for name in METHODS if name != "auto"}
    found = {name: replace(config, refit=False) for name, config in found.items()}
    found |= {name: layered_config({**SMALL, **settings}) for name, settings in CASES.items()}
    for name, config in list(found.items()):
        try:
            check_divisible(config, 2)
        except InputError:
            del found[name]
    return found


@cache
def pairs() -> Interactions:
    config, load = requested(None, dict(SMALL))
    return prepare(config, load()).split.train


def trainer_of(config: TrainConfig, processes: Processes | None = None) -> Trainer:
    return new_trainer(config, pairs(), processes=processes)


def steps(trainer: Trainer, first: int, last: int) -> list[float]:
    """Return the loss of some steps."""
    model, views = trainer.model, trainer.views()
    model.train()
    model.objective.begin_epoch(1, model.encoder, model.graph)
    return [
        float(trainer.step(batch, next(views))["total"]) for batch in trainer.batches.between(first, last)
    ]


def joins(rank: int, count: int, port: int) -> dict[str, str]:
    return {
        **{"RANK": str(rank), "WORLD_SIZE": str(count)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def work(rank: int, count: int, port: int, names: list[str], out: Path) -> None:
    """Train every case with others; the first process writes losses and states."""
    torch.set_num_threads(1)
    os.environ.update(joins(rank, count, port))
    losses: dict[str, list[float]] = {}
    with joined() as processes:
        assert processes is not None
        for number, name in enumerate(names):
            config = cases()[name]
            trainer = trainer_of(config, processes)
            assert trainer.model.encoder.layer_zero[1].shape[1] == config.dim // count
            losses[name] = steps(trainer, 0, STEPS)
            state = trainer.state()
            if processes.first:
                save_state(out / f"{number}.safetensors", state, {})
            whole = trainer.whole()
            assert bool(state) == (whole is not None) == processes.first
            again = trainer_of(replace(config, seed=9), processes)  # to go on from the state alone
            again.load_state(state)
            losses[f"{name}, resumed"] = steps(again, STEPS, STEPS + 2)
            if whole is not None:
                assert whole.embeddings().users.shape[1] == config.dim
        with pytest.raises(SystemExit) if rank else pytest.raises(InputError, match="process 1: no data"):
            processes.each(lambda: fail_on(rank))
    if rank == 0:
        (out / "losses.json").write_text(json.dumps(losses))


def fail_on(rank: int) -> None:
    if rank:
        raise InputError("no data")


def forking() -> Any:
    """Return how processes are started: where it can be, forked from one that has imported everything."""
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    context.set_forkserver_preload([__name__])
    return context


def train_in(count: int, names: list[str], out: Path) -> dict[str, list[float]]:
    context, port = forking(), free_port()
    started = [context.Process(target=work, args=(rank, count, port, names, out)) for rank in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * count
    return json.loads((out / "losses.json").read_text())


@pytest.mark.parametrize(("count", "names"), [(2, list(cases())), (4, ["xsimgcl"])])
def test_losses_are_those_of_one_process(count: int, names: list[str], tmp_path: Path) -> None:
    found = train_in(count, names, tmp_path)
    assert {*CASES, "lightgcn", "sgl", "xsimgcl", "gcl_sparse"} <= {*names, *cases()}
    for number, name in enumerate(names):
        config = cases()[name]
        trainer = trainer_of(config)
        expected = steps(trainer, 0, STEPS)
        assert found[name] == pytest.approx(expected, rel=1e-6), name
        saved, _ = load_state(tmp_path / f"{number}.safetensors")
        own = trainer.state()
        assert saved.keys() == own.keys()
        for key, value in own.items():
            torch.testing.assert_close(saved[key], value, rtol=1e-3, atol=1e-5, msg=f"{name}, {key}")
        # One process goes on from what several left, as they do themselves.
        again = trainer_of(replace(config, seed=9))
        again.load_state(saved)
        resumed = steps(again, STEPS, STEPS + 2)
        assert found[f"{name}, resumed"] == pytest.approx(resumed, rel=1e-6), name


def start(rank: int, port: int, *flags: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gclrec.train", *map(str, flags)],
        env={**os.environ, **joins(rank, 2, port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_of_two_processes_and_one_that_goes_on_alone(tmp_path: Path) -> None:
    flags = [
        "--dataset",
        SMALL["dataset"],
        "--method",
        "xsimgcl",
        "--dim",
        8,
        "--score",
        "calibrated",
        "--refit",
    ]
    port = free_port()
    processes = [
        start(rank, port, *flags, "--epochs", 3, "--run", tmp_path / "two", "--json") for rank in (0, 1)
    ]
    (out, error), other = (process.communicate() for process in processes)
    assert [process.returncode for process in processes] == [0, 0], (error, other)
    assert other == ("", "")
    assert "2 processes share the 8 dimensions" in error
    one = fit(SMALL["dataset"], method="xsimgcl", dim=8, score="calibrated", refit=True, epochs=3)
    found = json.loads(out.splitlines()[-1])["metrics"]
    assert found.keys() == one.values["metrics"].keys()
    assert found == pytest.approx(one.values["metrics"], abs=1e-4)
    run = load_run(tmp_path / "two")
    assert run.embeddings.user_vectors == pytest.approx(one.embeddings.user_vectors, abs=1e-5)
    assert run.recommender().recommend(run.split.train.users.ids[0], k=3)


def command(rank: int, port: int, flags: list[str], out: Path) -> None:
    """Do what ``gclrec train`` does; what it prints goes to files."""
    os.environ.update(joins(rank, 2, port))
    for number, name in ((1, "out"), (2, "error")):
        os.dup2(os.open(out / f"{name}-{rank}", os.O_CREAT | os.O_WRONLY), number)
    sys.argv = ["gclrec train", *flags]
    main()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_a_process_that_dies_ends_the_others_and_one_process_goes_on(tmp_path: Path) -> None:
    run, context, port = RunFolder(tmp_path / "run"), forking(), free_port()
    flags = ["--dataset", SMALL["dataset"], *["--encoder", "lightgcn", "--aug", "none", "--dim", "8"]]
    flags += ["--epochs", "9999", "--run", str(run.path)]
    first, other = (context.Process(target=command, args=(rank, port, flags, tmp_path)) for rank in (0, 1))
    for process in (first, other):
        process.start()
    while not run.last_checkpoint.exists():
        assert first.is_alive()
        time.sleep(0.01)
    other.kill()
    for process in (first, other):
        process.join(60)
    assert (first.exitcode, other.exitcode) == (2, -signal.SIGKILL)
    error = (tmp_path / "error-0").read_text()
    assert error == "error: process 0: another process of this training has ended, or cannot be reached\n"
    assert f"stopped; continue with: gclrec train --resume {run.path}" in (tmp_path / "out-0").read_text()

    done = len(run.metrics())
    went_on = resume(run.path, epochs=done + 2)
    assert went_on.history["epoch"].to_list() == list(range(1, done + 3))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "auto"}, "--method: auto tries its recipes in one process"),
        ({"method": "item_knn"}, "--baseline: item_knn is fitted by one process"),
        ({"encoder": "egcf"}, "--encoder: egcf mixes dimensions, which 2 processes share; use lightgcn, mf"),
        ({"dim": 7}, "--dim: 2 processes cannot share 7 dimensions equally"),
        ({"device": "cuda"}, "--device: 2 processes train on CPUs"),
        ({"attributes": "input"}, "--attributes: input needs all dimensions"),
        ({"layer_weights": "learned"}, "--layer-weights: learned needs"),
        ({"loss": "softmax", "loss_temperature": "adaptive"}, "--loss-temperature: adaptive needs"),
        ({"ssl": "moco"}, "--ssl: moco needs whole tables, which 2 processes share; use none, infonce"),
        ({"ssl_negatives": "all"}, "--ssl-negatives: all needs whole tables"),
    ],
)
def test_what_cannot_be_divided_is_refused(settings: dict[str, Any], said: str) -> None:
    method = settings.pop("method", None)
    with pytest.raises(InputError) as error:
        check_divisible(layered_config({**SMALL, **settings}, method=method), 2)
    assert str(error.value).startswith(said)


def test_processes_that_cannot_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(InputError, match=r"WORLD_SIZE is 2, and the processes cannot join \(.*RANK"),
        joined(),
    ):
        pass


def test_a_first_process_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.training.distributed._JOINING", timedelta(seconds=0.3))
    for name, value in joins(1, 2, free_port()).items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(
            InputError, match=r"cannot join \(the first process cannot be reached at 127.0.0.1:\d+"
        ),
        joined(),
    ):
        pass


def test_other_data_than_that_of_the_first_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config, load = requested(None, dict(SMALL))
    data, other = (prepare(replace(config, split_seed=seed), load()) for seed in (0, 1))
    second = Processes(1, 2)
    monkeypatch.setattr(second, "each", lambda make: make())
    monkeypatch.setattr(second, "share", lambda _: (config, fingerprint(data.split)))
    assert agreed(second, lambda: data).config.device == "cpu"
    with pytest.raises(InputError, match="the data set is not that of the first process"):
        agreed(second, lambda: other)
