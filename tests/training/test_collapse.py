"""A collapsing run warns once; a healthy one does not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from gclrec.common.errors import CollapseWarning
from gclrec.data.splits import Split
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.objective import Objective
from gclrec.training.recorder import fit_run
from gclrec.training.trainer import Trainer

from .test_training import pairs_of

SETTINGS = {"dim": 8, "aug": "none", "num_layers": 1, "batch_size": 32, "ks": (5,), "select": "recall@5"}


def connected() -> Split:
    """Return random pairs that hang together; each user has one validation and one test item."""
    random = np.random.default_rng(3)
    item = np.concatenate([random.choice(16, 8, replace=False) for _ in range(24)])
    every, place = pairs_of(24, 16, np.repeat(np.arange(24), 8), item), np.arange(24 * 8) % 8
    return Split(every.select(place > 1), every.select(place == 0), every.select(place == 1), name="random")


class AlignmentOnly(Objective):
    """Pull positives together: no negatives, no stop-gradient, so one point is the best answer."""

    def forward(self, batch, encoder, graph, views=(), *, generator=None, passes=None):
        users, items = (torch.nn.functional.normalize(x, dim=1) for x in encoder(graph))
        loss = (users[batch.users] - items[batch.positives]).square().sum(1).mean()
        return loss, {"alignment": loss.detach()}


@pytest.fixture
def collapsing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Trainer.__init__

    def patched(self, *arguments, **more):
        before(self, *arguments, **more)
        self.model.objective = AlignmentOnly()

    monkeypatch.setattr(Trainer, "__init__", patched)


@pytest.mark.usefixtures("collapsing")
@pytest.mark.parametrize("refit", [False, True])
def test_a_collapsing_run_says_so_once(tmp_path: Path, refit: bool) -> None:
    config = TrainConfig(epochs=40, learning_rate=0.1, refit=refit, **SETTINGS)
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), connected())
    with pytest.warns(CollapseWarning) as caught:
        result = fit_run(folder)
    told = [str(w.message) for w in caught if w.category is CollapseWarning]
    assert len(told) == 1
    assert "epoch" in told[0]
    assert "vectors of users have collapsed" in told[0]
    assert result.values["geometry"]["users/mean_cosine"] > 0.95
    lines = folder.metrics()
    assert lines[0]["geometry/users/mean_cosine"] < lines[39]["geometry/users/mean_cosine"]

    with warnings.catch_warnings():  # told already: a finished run that is opened again stays quiet
        warnings.simplefilter("error", CollapseWarning)
        fit_run(folder)


def test_a_healthy_run_says_nothing(tmp_path: Path) -> None:
    config = TrainConfig(epochs=8, **{**SETTINGS, "aug": "edge_drop:0.1"})
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), connected())
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        result = fit_run(folder)
    assert result.values["geometry"]["users/effective_rank"] > 2
    for name in ("alignment", "users/uniformity", "items/collapsed_dimensions", "items/norm_head"):
        assert f"geometry/{name}" in folder.metrics()[0]


@pytest.mark.filterwarnings(
    "ignore::gclrec.common.errors.CollapseWarning"
)  # at this speed it comes close at first
@pytest.mark.parametrize("target", ["momentum", "history"])
def test_bootstrapping_does_not_collapse(tmp_path: Path, target: str) -> None:
    """As long and as fast as the collapsing run; but a predictor, and targets without gradient."""
    own = {"loss": "none", "ssl": "byol", "ssl_target": target, "momentum": 0.9, "ssl_weight": 1.0}
    config = TrainConfig(epochs=40, learning_rate=0.1, **SETTINGS, **own)
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), connected())
    fit_run(folder)
    last = folder.metrics()[-1]
    assert last["loss/ssl"] < folder.metrics()[0]["loss/ssl"]
    for side in ("users", "items"):
        assert last[f"geometry/{side}/mean_cosine"] < 0.95
        assert last[f"geometry/{side}/effective_rank"] > 3


@pytest.mark.usefixtures("collapsing")
def test_the_command_line_shows_one_warning_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gclrec.cli.train import main

    split = connected()
    pairs = {"user": split.train.user, "item": split.train.item}
    pl.DataFrame(pairs).write_csv(tmp_path / "pairs.csv")
    flags = "--aug none --num-layers 1 --epochs 40 --dim 8 --learning-rate 0.1 --batch-size 32 --split random"
    main(["--dataset", str(tmp_path / "pairs.csv"), *flags.split(), "--run", str(tmp_path / "run")])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(told) == 1
    assert "have collapsed" in told[0]
