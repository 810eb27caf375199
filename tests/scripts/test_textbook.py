"""The gradient of every method's step: fast paths beside slow formulas, and beside the textbook's step."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from bench_steps import same_noise
from textbook import Shift, TextbookStep, covers, edge_drop, full_noise, info_nce, normalised, step_loss
from torch import Tensor

from gclrec.contrast import neighbours, prototypes
from gclrec.encoders import lightgcn
from gclrec.encoders.base import Perturbation
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.propagation import Adjacency, CSRMatrix
from gclrec.losses import ranking_losses
from gclrec.losses.base import whole_weight
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.training.batches import Batch
from gclrec.training.trainer import Trainer
from gclrec.views.views import View

TRAINED = [
    name for name, method in METHODS.items() if not {"baseline", "attributes"} & method.settings.keys()
]
"""Methods of ids alone; tests/contrast/test_clcrec.py has the formulas of the one with attributes."""
BY_THE_BOOK = [
    *("mf", "lightgcn", "sgl", "sgl_nd", "sgl_rw", "simgcl", "xsimgcl", "lightgcl"),
    *("bsl_lightgcn", "ccl", "directau", "two_tower"),
]
"""Methods whose whole step scripts/textbook.py writes out."""


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def made(method: str, graph: BipartiteGraph) -> tuple[Trainer, Batch, tuple[View, ...]]:
    """A small trainer in float64, far enough that every part of its loss is there, and its first batch."""
    small: dict[str, Any] = {"dim": 6, "batch_size": 24, "l2_weight": 0.03, "seed": 3}
    small |= {"num_negatives": 5} if METHODS[method].settings.get("negatives") == "shared" else {}
    small |= {"num_prototypes": 3} if "num_prototypes" in METHODS[method].settings else {}
    settings: dict[str, Any] = {**METHODS[method].settings, **small}
    trainer = Trainer(dataclasses.replace(TrainConfig(), **settings), graph)
    trainer.model.objective.begin_epoch(10, trainer.model.encoder, graph)
    return trainer, *next(iter(trainer.batches)), next(trainer.views())


def gradients(trainer: Trainer, batch: Batch, views: tuple[View, ...]) -> list[Tensor]:
    """The loss and its gradient at every parameter."""
    loss, _ = trainer.model.objective(
        batch, trainer.model.encoder, trainer.model.graph, views, generator=trainer.generator
    )
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert any(grad is not None and bool((grad != 0).any()) for grad in found)
    return [loss.detach(), *(grad for grad in found if grad is not None)]


# -- every fast path beside its slow formula -----------------------------------------------------


def dense(half: CSRMatrix) -> Tensor:
    matrix = torch.zeros(len(half.ptr) - 1, half.num_columns)
    row = torch.repeat_interleave(torch.arange(len(matrix)), half.ptr.diff().long())
    return matrix.index_put((row, half.to.long()), half.weight.double(), accumulate=True)


def slow_propagate(self: Adjacency, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    return dense(self.by_user) @ items, dense(self.by_item) @ users


def slow_polynomial(
    self: Adjacency, users: Tensor, items: Tensor, weights: Sequence[float]
) -> tuple[Tensor, Tensor]:
    *total, _ = slow_layered([self] * (len(weights) - 1), users, items, weights)
    return total[0], total[1]


def slow_layered(operators, users, items, weights, *, change=None):  # type: ignore[no-untyped-def]
    layers = [(users, items)]
    for layer, operator in enumerate(operators, start=1):
        users, items = operator.propagate(*layers[-1])
        if change is not None:
            users, items = slow_shifted(Perturbation(shift=change), layer, users, items)
        layers.append((users, items))
    total = [sum(w * rows[side] for w, rows in zip(weights, layers, strict=True)) for side in (0, 1)]
    return *total, tuple(layers)


def slow_of_items(operator: Adjacency, items: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    return slow_polynomial(operator, torch.zeros(operator.num_users, items.shape[1]), items, weights)


def slow_shifted(self: Perturbation, layer: int, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    if self.shift is None:
        return users, items
    shifted = users.detach().clone(), items.detach().clone()
    self.shift(layer, *shifted)
    return users + (shifted[0] - users.detach()), items + (shifted[1] - items.detach())


def slow_mean_log_sum_exp(a: Tensor, n: Tensor, hidden: Tensor | None = None) -> Tensor:
    logits = a @ n.T
    if hidden is not None:
        logits = logits.masked_fill(hidden == torch.arange(len(a)).unsqueeze(1), -torch.inf)
    return torch.logsumexp(logits, 1).mean()


def slow_log_sum_exp(
    a: Tensor, n: Tensor, log_weight: Tensor | None = None, seen: Tensor | None = None
) -> Tensor:
    logits = a @ n.T
    weight = whole_weight(log_weight, seen, logits)
    logits = logits if weight is None else logits + weight
    alone = logits.isneginf().all(1)
    return torch.logsumexp(logits.masked_fill(alone.unsqueeze(1), 0.0), 1).masked_fill(alone, -torch.inf)


@pytest.mark.parametrize("method", TRAINED)
def test_fast_paths_have_the_gradient_of_their_formulas(
    method: str, toy_graph: BipartiteGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every custom autograd function of the package is replaced by plain autograd: nothing changes."""
    fast = gradients(*made(method, toy_graph))
    prepared = made(method, toy_graph)
    for module in (sys.modules["gclrec.losses.info_nce"], neighbours, prototypes):
        monkeypatch.setattr(module, "mean_log_sum_exp", slow_mean_log_sum_exp)
    for module in (ranking_losses, neighbours):
        monkeypatch.setattr(module, "log_sum_exp", slow_log_sum_exp)
    monkeypatch.setattr(lightgcn, "layered", slow_layered)
    monkeypatch.setattr(lightgcn, "of_items", slow_of_items)
    monkeypatch.setattr(Perturbation, "shifted", slow_shifted)
    monkeypatch.setattr(Adjacency, "propagate", slow_propagate)
    monkeypatch.setattr(Adjacency, "polynomial", slow_polynomial)
    slow = gradients(*prepared)
    assert len(fast) == len(slow) > 1
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


# -- and beside a step that is written without the package ---------------------------------------


def matrices(view: View, trainer: Trainer) -> list[Tensor]:
    """The matrix of each layer of a view: from its edges where it has any, else from its operators."""
    count, users, items = (
        trainer.config.num_layers,
        trainer.model.graph.num_users,
        trainer.model.graph.num_items,
    )
    if isinstance(view.graph, BipartiteGraph):
        return [normalised(view.graph.edge_index, users, items)] * count
    operators = view.graph if isinstance(view.graph, list) else [view.graph] * count
    eye = torch.eye(users + items)
    return [torch.cat(operator.propagate(eye[:users], eye[users:])) for operator in operators]


@pytest.mark.parametrize("method", BY_THE_BOOK)
def test_the_step_has_the_gradient_of_the_textbook(method: str, toy_graph: BipartiteGraph) -> None:
    trainer, batch, views = made(method, toy_graph)
    state = trainer.generator.get_state()
    loss, *ours = gradients(trainer, batch, views)
    trainer.generator.set_state(state)
    start = torch.cat([x.detach() for x in trainer.model.encoder.layer_zero]).requires_grad_()
    users = toy_graph.num_users
    layers = 0 if trainer.config.encoder == "mf" else trainer.config.num_layers
    adjacency = normalised(toy_graph.edge_index, users, toy_graph.num_items)
    shifts: list[Shift | None] = [same_noise(view, users) for view in views]
    seen = [matrices(view, trainer) for view in views]
    expected = step_loss(trainer.config, start, batch, [adjacency] * layers, seen, shifts, users)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-9, atol=0)
    (theirs,) = torch.autograd.grad(expected, start)
    torch.testing.assert_close(torch.cat(ours), theirs, rtol=1e-8, atol=1e-11)


# -- the textbook itself --------------------------------------------------------------------------


def test_normalised_is_the_formula(toy_graph: BipartiteGraph) -> None:
    user, item = toy_graph.edge_index
    ones = torch.zeros(22, 22)
    ones[user, item + 12] = 1.0
    ones += ones.T.clone()
    scale = torch.diag(ones.sum(1).clamp(min=1).rsqrt())
    torch.testing.assert_close(normalised(toy_graph.edge_index, 12, 10).to_dense(), scale @ ones @ scale)


def test_what_the_textbook_draws() -> None:
    edges = torch.arange(20_000).repeat(2, 1)
    kept = edge_drop(edges, 0.3, generator=torch.Generator().manual_seed(0))
    assert kept.shape[1] == pytest.approx(14_000, rel=0.02)
    x = torch.randn(50, 8)
    noise = full_noise(0.2, generator=torch.Generator().manual_seed(0))(1, x)
    torch.testing.assert_close(noise.norm(dim=1), torch.full((50,), 0.2))
    assert torch.equal(noise.sign(), x.sign())


def test_info_nce_of_equal_rows_is_log_b() -> None:
    assert float(info_nce(torch.ones(7, 3), torch.ones(7, 3), 0.2)) == pytest.approx(torch.tensor(7.0).log())


@pytest.mark.parametrize("method", ["lightgcn", "sgl", "simgcl", "xsimgcl"])
def test_a_textbook_step_learns(method: str, toy_graph: BipartiteGraph) -> None:
    trainer, batch, _ = made(method, toy_graph)
    assert covers(trainer.config)
    start = torch.cat([x.detach() for x in trainer.model.encoder.layer_zero])
    step = TextbookStep(trainer.config, toy_graph.edge_index, start, toy_graph.num_users)
    step(batch)
    first = step.views
    assert len(first) == {"lightgcn": 0, "xsimgcl": 1}.get(method, 2)
    assert not torch.equal(step.table, start)
    step(batch)
    if method == "sgl":  # a batch's views are drawn anew
        assert first[0]._nnz() != step.views[0]._nnz() or not torch.equal(
            first[0].indices(), step.views[0].indices()
        )


def test_what_the_textbook_does_not_cover() -> None:
    config = TrainConfig(aug="none")
    assert covers(config)
    others = (
        {"encoder": "mf"},
        {"ssl": "moco", "aug": "edge_drop"},
        {"aug": "node_drop"},
        {"user_vectors": "items"},
    )
    for settings in others:
        assert not covers(dataclasses.replace(config, **settings))
