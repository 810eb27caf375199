"""Large batches: parts that share the passes through the encoder, and runs with a budget of steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gclrec.common.errors import InputError
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.ranking_losses import LOSSES
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.training.batches import Batch, PairBatches
from gclrec.training.fit import fit
from gclrec.training.prepare import TrainingData, config_of
from gclrec.training.recorder import continued_data, fit_run
from gclrec.training.trainer import Trainer
from gclrec.views.passes import Passes
from tests.encoders.content.test_content import BOTH

from .test_training import SMALL, checkerboard

TRAINED = [name for name, method in METHODS.items() if not ("baseline" in method.settings or method.recipes)]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


def after_one_step(trainer: Trainer, batch: tuple[Batch, ...], views: Any) -> dict[str, Tensor]:
    """Return the loss parts and all gradients of a step that leaves the parameters as they are."""
    trainer.optimizer.step = lambda: None  # type: ignore[assignment,method-assign]
    return {**trainer.step(batch, views), **gradients(trainer)}


@pytest.mark.parametrize("sample_edges", [1.0, 0.5])
@pytest.mark.parametrize("method", TRAINED)
def test_parts_that_share_passes_equal_parts_that_do_not(
    method: str, sample_edges: float, toy_graph: BipartiteGraph
) -> None:
    """The slow way encodes anew for each part; all losses and gradients are the same."""
    settings: dict[str, Any] = {**METHODS[method].settings, "dim": 6, "batch_size": 24, "micro_batch": 8}
    settings |= {"num_negatives": 5} if settings.get("negatives") == "shared" else {}
    settings |= {"l2_weight": 0.0} if settings.get("negatives") == "in_batch" else {"l2_weight": 0.03}
    settings |= {"num_prototypes": 3} if "num_prototypes" in settings else {}
    if "noise" in settings.get("aug", ""):  # drawn anew by every pass
        settings["aug"] = "edge_drop:0.2"
    if sample_edges < 1.0:
        if settings["encoder"] == "mf" or settings.get("aug", "") not in ("none", "edge_drop:0.2"):
            pytest.skip("no propagation, or several passes")
        settings["sample_edges"] = sample_edges
    given = {"attributes": BOTH} if "attributes" in settings else {}
    slow, fast = (Trainer(TrainConfig(**settings), toy_graph, **given) for _ in range(2))
    for trainer in (slow, fast):
        trainer.model.objective.begin_epoch(10, trainer.model.encoder, toy_graph)
    batch, views = next(iter(fast.batches)), next(fast.views())
    assert [len(part.users) for part in batch] == [8, 8, 8]
    found = after_one_step(fast, batch, views)

    batch, views = next(iter(slow.batches)), next(slow.views())
    state = slow.generator.get_state()
    expected: dict[str, Any] = {}
    for part in batch:
        if sample_edges < 1.0:  # the one sample that the fast way draws first
            slow.generator.set_state(state)
        passes = Passes(operator=slow.operator)
        objective = slow.model.objective
        loss, parts = objective(
            part, slow.model.encoder, toy_graph, views, generator=slow.generator, passes=passes
        )
        (loss / 3).backward()
        for name, value in {"total": loss.detach(), **parts}.items():
            expected[name] = expected.get(name, 0.0) + value.detach() / 3
    expected |= gradients(slow)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-12), name
    assert any((value != 0.0).any() for name, value in expected.items() if name.startswith("encoder."))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    "loss", [name for name, loss in LOSSES.items() if loss.needs_negatives and name != "none"]
)
def test_parts_equal_one_large_batch(loss: str, shared: bool, toy_graph: BipartiteGraph) -> None:
    """A loss that compares a pair with its own negatives does not notice the parts, nor does L2."""
    config = TrainConfig(loss=loss, aug="none", l2_weight=0.1, **(SMALL | {"batch_size": 24}))
    generator = torch.Generator().manual_seed(3)
    users, items = toy_graph.edge_index[:, torch.randperm(40, generator=generator)[:21]]
    negatives = torch.randint(10, (21, 4), generator=generator)
    if shared:
        negatives = torch.tensor([1, 4, 7])
    whole = Batch(users, items, negatives)
    parts = tuple(
        Batch(users[at], items[at], negatives if shared else negatives[at])
        for at in torch.arange(21).tensor_split(4)
    )
    one, several = (after_one_step(Trainer(config, toy_graph), batch, ()) for batch in ((whole,), parts))
    assert one.keys() == several.keys()
    for name, value in one.items():
        assert torch.allclose(several[name], value, rtol=1e-9, atol=1e-12), name
        assert (value != 0.0).any()


def test_any_run_of_steps_holds_every_pair_once_a_pass(toy_graph: BipartiteGraph) -> None:
    """The batches of a step depend on its number alone, wherever the run begins."""

    def keys(first: int, last: int) -> list[list[int]]:
        batches = PairBatches(toy_graph, 12, _none, torch.Generator(), most=5, seed=4)
        assert len(batches) == 4
        return [
            [int(u) * 10 + int(i) for part in batch for u, i in zip(part.users, part.positives, strict=True)]
            for batch in batches.between(first, last)
        ]

    steps = keys(0, 10)
    assert list(map(len, steps)) == [10] * 10  # even, though 40 is no multiple of 12
    every = sorted((toy_graph.edge_index[0] * 10 + toy_graph.edge_index[1]).tolist())
    assert sorted(chain(*steps[:4])) == sorted(chain(*steps[4:8])) == every
    assert steps[:4] != steps[4:8]
    assert keys(3, 7) == steps[3:7]


def _none(graph: object, users: Tensor, positives: Tensor, *, generator: object = None) -> tuple[Tensor]:
    return (users.new_empty(0),)


class Interrupt:
    """Ends the process, as far as a run can tell, after some epochs."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_checkpoint(self, checkpoint: Any) -> None:
        if checkpoint.progress.lines == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [3, 10])
def test_a_budget_of_steps_resumes_to_the_same_numbers(tmp_path: Path, after: int) -> None:
    """Rounds end within passes; the refit takes as many steps as the chosen round has seen."""
    torch.set_default_dtype(torch.float32)
    config = replace(
        TrainConfig(), **SMALL, steps=50, micro_batch=6, sample_edges=0.7, refit=True, score="calibrated"
    )
    data = TrainingData(config, checkerboard())
    whole = fit(config, data.split)
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), data.split)
    with pytest.raises(KeyboardInterrupt):
        fit_run(folder, callbacks=[Interrupt(after)])
    found = fit_run(RunFolder.open(tmp_path / "run"))
    assert found.evaluation.values == whole.evaluation.values
    rounds = [record["epoch"] for record in folder.metrics() if record["phase"] == "select"]
    assert rounds == list(range(1, 9))
    assert [r["loss/total"] for r in found.history] == [r["loss/total"] for r in whole.history]
    assert config_of(folder).steps == 50
    with pytest.raises(InputError, match="--epochs cannot change in a run with --steps"):
        continued_data(folder, 9)


def test_steps_and_schedule_of_a_budget(toy_graph: BipartiteGraph) -> None:
    config = replace(TrainConfig(), **SMALL, steps=21, schedule="linear", learning_rate=0.1, warmup=2.0)
    trainer = Trainer(config, toy_graph)
    rates: list[float] = []
    trainer.optimizer.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
    counts = []
    for epoch in range(1, 9):
        trainer.run_epoch(epoch)
        counts.append(len(rates))
    assert counts == [21 * n // 8 for n in range(1, 9)]
    assert rates == pytest.approx(
        [0.1 * (n + 1) / 6 for n in range(5)] + [0.1 * (1 - n / 16) for n in range(16)]
    )


def test_validation_and_test_rank_a_sample_of_users() -> None:
    """The same users in every round; the standard error is that of a sample without replacement."""
    torch.set_default_dtype(torch.float32)
    split = checkerboard(60, 16)
    assert split.sampled("valid", 60) is split.sampled("valid", None) is split
    few = split.sampled("valid", 20)
    assert len(np.unique(few.valid.user)) == 20
    assert few.train is split.train
    assert few.test is split.test
    assert np.array_equal(few.valid.user, split.sampled("valid", 20).valid.user)

    config = TrainConfig(epochs=2, valid_users=20, test_users=15, score="calibrated", **SMALL)
    result = fit(config, split)
    figure = "all/recall@5"
    for record in result.history:
        p = record[f"valid/{figure}"]  # one pair a user: a hit or not
        assert record["valid_users"] == 20
        assert record[f"valid_error/{figure}"] == pytest.approx((p * (1 - p) / 19 * (1 - 20 / 60)) ** 0.5)
    assert result.values["test_users"] == {"ranked": 15, "of": 60}
    assert result.evaluation.cases["all"] == len(result.evaluation.per_user) == 15
    p = result.evaluation.values[figure]
    assert result.values["errors"][f"test/{figure}"] == pytest.approx(
        (p * (1 - p) / 14 * (1 - 15 / 60)) ** 0.5
    )
    every = fit(replace(config, valid_users=0, test_users=None), split)
    assert "valid_users" not in every.history[0]
    assert "test_users" not in every.values
