"""To add a component is one function and one line of a registry: the rest is derived from its signature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from reference import settings_page, typed_module
from rich.console import Console
from torch import nn

import gclrec
from gclrec.baselines import BASELINES, Baseline
from gclrec.baselines.popularity import popularity
from gclrec.common.declaration import Component, Setting, Span
from gclrec.common.errors import InputError
from gclrec.common.schedules import SCHEDULES
from gclrec.contrast import SSL, ContrastKind
from gclrec.contrast.base import Contrasted
from gclrec.data.catalog.loader import load
from gclrec.data.interactions import Dataset
from gclrec.data.splits import SPLITS
from gclrec.encoders import ENCODERS, MF, EncoderKind
from gclrec.encoders.init import STARTS
from gclrec.evaluation.metrics import METRICS
from gclrec.evaluation.scoring import SCORINGS, ScoringKind
from gclrec.losses.base import Loss
from gclrec.losses.ranking_losses import LOSSES
from gclrec.negatives.registry import NEGATIVES, NegativeSampler
from gclrec.negatives.sampler import Negatives
from gclrec.settings.config import TrainConfig, derive
from gclrec.settings.registries import REGISTRIES
from gclrec.settings.search_space import search_space
from gclrec.settings.validation import validate
from gclrec.training.build import split_of
from gclrec.training.trainer import Trainer
from gclrec.views.views import VIEWS, ViewKind

KNOB = Setting("toy_knob", "How strongly the toy acts.", low=0, high=9, search=Span(0.5, 4.0))
Knob = Annotated[float, KNOB]
TOLD: list[float] = []
"""The values of the knob that components have been given."""


def toy_loss(user, positive, negatives, log_weight=None, seen=None, *, strength: Knob = 1.0):  # type: ignore[no-untyped-def]
    TOLD.append(strength)
    return strength * (user * (negatives.mean(-2) - positive)).sum(1).mean()


def toy_negatives(graph, users, positives, *, strength: Knob = 1.0, generator=None):  # type: ignore[no-untyped-def]
    TOLD.append(strength)
    return Negatives(torch.arange(graph.num_items))


class ToyContrast(nn.Module):
    def __init__(self, encoder: Any, graph: Any, *, generator: Any = None, strength: Knob = 1.0) -> None:
        super().__init__()
        TOLD.append(strength)

    def forward(self, step: Any) -> Contrasted:
        main = step.encode()
        return Contrasted(main, main.users.square().mean())


class ToyEncoder(MF):
    def __init__(
        self, num_users: int, num_items: int, dim: int = 64, *, strength: Knob = 1.0, **more: Any
    ) -> None:
        super().__init__(num_users, num_items, 8, **more)
        TOLD.append(strength)


def toy_baseline(graph: Any, *, strength: Knob = 1.0) -> Any:
    TOLD.append(strength)
    return popularity(graph)


def toy_split(dataset: Dataset, draws: Any, *, strength: Knob = 1.0) -> Any:
    TOLD.append(strength)
    return SPLITS["random"](dataset, draws)


def toy_start(encoder: Any, graph: Any, generator: Any, *, strength: Knob = 1.0) -> None:
    TOLD.append(strength)


def toy_schedule(done: float, *, strength: Knob = 1.0) -> float:
    TOLD.append(strength)
    return 0.5


def toy_score(embeddings: Any, exponent: float, *, strength: Knob = 1.0) -> Any:
    TOLD.append(strength)
    return embeddings


@dataclass(frozen=True)
class Case:
    entries: Mapping[str, Any]
    entry: Any
    searched: bool = True


CASES = {
    "loss": Case(LOSSES, Loss(toy_loss, "a toy")),
    "negatives": Case(NEGATIVES, NegativeSampler(toy_negatives, "a toy")),
    "ssl": Case(SSL, ContrastKind(ToyContrast, "a toy", views=0)),
    "encoder": Case(ENCODERS, EncoderKind(ToyEncoder, "a toy")),
    "baseline": Case(BASELINES, Baseline(toy_baseline, "a toy")),
    "split": Case(SPLITS, Component(toy_split, "a toy"), searched=False),
    "init": Case(STARTS, Component(toy_start, "a toy"), searched=False),
    "score": Case(SCORINGS, ScoringKind(toy_score, "a toy", (1.0, 1.0)), searched=False),
    "schedule": Case(SCHEDULES, Component(toy_schedule, "a toy"), searched=False),
}


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> type[TrainConfig]:
    """Return the class of all settings once a toy is in one of the registries."""
    case = CASES[request.param]
    monkeypatch.setitem(case.entries, "toy", case.entry)
    TOLD.clear()
    return derive()


def help_of(config: type[TrainConfig], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    from gclrec.cli import train

    monkeypatch.setattr(train, "TrainConfig", config)
    train.app(["--help"], console=Console(width=4000))
    return capsys.readouterr().out


@pytest.mark.parametrize(("choice", "derived"), [(choice, choice) for choice in CASES], indirect=["derived"])
def test_a_component_brings_its_setting(
    choice: str,
    derived: type[TrainConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Flag, help, default, range, arguments, span, and the pages: all are derived from the declaration."""
    assert derived().toy_knob == 1.0
    told = help_of(derived, monkeypatch, capsys)
    assert "--toy-knob" in told
    assert "How strongly the toy acts. [default: 1.0]" in told
    (line,) = (line for line in told.splitlines() if f"--{choice} " in line)
    assert "toy" in line

    config = validate(derived(**{choice: "toy", "toy_knob": 2.5}))
    assert config.arguments(choice)["strength"] == 2.5
    with pytest.raises(InputError, match=r"^--toy-knob: must be in \[0, 9\], got -1"):
        validate(derived(**{choice: "toy", "toy_knob": -1.0}))
    with pytest.raises(InputError, match=r"^--toy-knob: expected a number, got 'much'"):
        validate(derived(**{choice: "toy", "toy_knob": "much"}))
    with pytest.raises(InputError, match=f"^--{choice}: 'toyy' is not one of .*toy"):
        validate(derived(**{choice: "toyy"}))
    if not REGISTRIES[choice].lenient and choice != "split":
        with pytest.raises(InputError, match=f"^--toy-knob: .*has no use for it; give --{choice} toy"):
            validate(derived(toy_knob=2.5))
    if CASES[choice].searched:
        assert search_space(derived(**{choice: "toy"}))[1]["toy_knob"] == Span(0.5, 4.0)

    page = settings_page(derived)
    assert f"| `--toy-knob` | float | `1.0` | in [0, 9] | 0.5 to 4 | {choice} `toy` | How strongly" in page
    more = ", `--attributes`" if choice == "encoder" else ""  # a map of them suits every encoder
    assert f"| `toy` | a toy | `--toy-knob`{more} |" in page
    assert "    toy_knob: float\n" in typed_module(derived)


@pytest.mark.parametrize(
    ("choice", "derived"),
    [(choice, choice) for choice in CASES if choice not in ("baseline", "split")],
    indirect=["derived"],
)
def test_a_component_is_trained_with_its_setting(
    choice: str, derived: type[TrainConfig], toy_graph: Any
) -> None:
    config = validate(derived(**{choice: "toy", "toy_knob": 2.5, "dim": 8, "batch_size": 20}))
    trainer = Trainer(config, toy_graph)
    assert np.isfinite(trainer.run_epoch(1)["total"])
    trainer.model.embeddings()
    trainer.model.fold_in()
    assert set(TOLD) == {2.5}


@pytest.mark.parametrize("derived", ["split"], indirect=True)
def test_a_split_is_made_with_its_setting(derived: type[TrainConfig]) -> None:
    dataset = load("synthetic-20x15x150")
    assert len(split_of(derived(split="toy", toy_knob=2.5), dataset).test)
    assert TOLD == [2.5]


@pytest.mark.parametrize("name", ["view", "metric"])
def test_views_and_metrics_are_names(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They have a strength and a cut-off, which all of their kind share."""
    if name == "view":
        monkeypatch.setitem(VIEWS, "toy", ViewKind(lambda draft, p, generator: draft, "nothing"))
        good, bad, setting = "toy:0.3", "toy:7", "aug"
    else:
        monkeypatch.setitem(METRICS, "toy", lambda hits, relevant, k: hits[:, :k].any(1).astype(float))
        good, bad, setting = ("recall", "toy"), ("recall", "toyy"), "metrics"
    config = derive()
    assert validate(config(**{setting: good}))
    with pytest.raises(InputError, match="toy"):
        validate(config(**{setting: bad}))
    (line,) = (line for line in help_of(config, monkeypatch, capsys).splitlines() if f"--{setting} " in line)
    assert "toy" in line
    assert ", toy" in settings_page(config) or "`toy`" in settings_page(config)


def test_what_to_write_where_is_true() -> None:
    """Every file in CONTRIBUTING's table is there, and holds the registry that it is said to hold."""
    root = Path(gclrec.__file__).parent
    text = (root.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (an? [^|]*) \| ([^|]*) \| ([^|]*) \|$", text, flags=re.MULTILINE)
    assert len(rows) >= len(CASES) + 4
    for what, where, line in rows:
        files = [root / name for name in re.findall(r"`([a-z_/]+\.[a-z]+)`", f"{where} {line}")]
        assert all(file.exists() for file in files), what
        for registry in re.findall(r"`([A-Z]{3,})`", line):
            held = [file for file in files if re.search(rf"^{registry}\b", file.read_text(), re.MULTILINE)]
            assert held, f"{what}: {registry} is in none of {files}"
