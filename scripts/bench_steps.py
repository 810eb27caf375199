"""Time a training step, compared with the textbook's and PyG's, and a whole epoch."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bench_common import alone, forget_peak, in_turn, peak_memory, show, timed, train_graph, use_threads
from textbook import Shift, TextbookStep, covers, normalised, step_loss
from torch import Tensor

from gclrec.common.memory import keep_freed_memory
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.training.batches import Batch
from gclrec.training.trainer import Trainer
from gclrec.views.views import View

TOLERANCE = 1e-4
"""Largest relative error of a gradient in single precision."""

PYG_FORMS = ("CSR", "edge_index")
"""Forms of the graph that PyG's class takes (it converts a COO matrix into CSR again at each product)."""


def config_of(method: str, **settings: Any) -> TrainConfig:
    """Return the settings of ``METHOD`` or ``METHOD/epoch``, whose views are drawn for an epoch.

    Further settings apply unless the method sets them itself.
    """
    name, _, every = method.partition("/")
    values: dict[str, Any] = settings | dict(METHODS[name].settings) | {"views_every": every or "batch"}
    return dataclasses.replace(TrainConfig(), **values)


def step(
    *,
    dataset: str = "gowalla",
    methods: tuple[str, ...] = ("lightgcn", "sgl", "sgl/epoch", "simgcl", "xsimgcl"),
    dim: int = 64,
    num_layers: int = 3,
    batch_size: int = 2048,
    repeats: int = 12,
    warm: int = 60,
    threads: int | None = None,
    textbook: bool = True,
    pyg: bool = True,
) -> None:
    """Time one training step of each method: ours, the textbook's, and PyG's own LightGCN class.

    The textbook step (scripts/textbook.py) has the adjacency in coordinate form, autograd through every
    layer, PyTorch's Adam, views and noise made from scratch and the whole matrix of every InfoNCE. All have
    the same graph, threads and batches (ours, since a Python loop that draws negatives would only slow the
    others down) and are called in turn. Before that, each gradient is compared with ours on one batch.

    Args:
        dataset: catalogue name; its training part (or all of it) is the graph.
        methods: names in METHODS; behind a name, /epoch draws the views once an epoch, as SGL's paper does,
            and not for every batch.
        dim: embedding length.
        num_layers: layers of the encoder.
        batch_size: training pairs in a batch.
        repeats: timed steps of each.
        warm: steps of each of our methods before, until freed memory has settled.
        threads: PyTorch threads; all cores if not given.
        textbook: time the textbook's steps too.
        pyg: time PyG's class too, beside lightgcn.
    """
    use_threads(threads)
    keep_freed_memory()
    graph = train_graph(dataset)
    contestants: dict[str, Callable[[], object]] = {}
    errors: dict[str, float] = {}
    extra: dict[str, float] = {}
    shape = {"dim": dim, "num_layers": num_layers, "batch_size": batch_size}
    for method in methods:
        config = config_of(method, **shape)
        trainer = Trainer(config, graph)
        contestants[method] = _ours(trainer)
        if textbook and covers(config):
            slow = TextbookStep(config, graph.edge_index, _table(trainer), graph.num_users)
            errors[f"{method} textbook"] = textbook_error(trainer, slow)
            contestants[f"{method} textbook"] = _on(trainer, slow)
            if config.views_every == "epoch":
                extra[f"{method} textbook"] = timed(slow.new_views)[1] * 1e3
        if pyg and method == "lightgcn":
            for form in PYG_FORMS:
                other = PygStep(config, graph, _table(trainer), form)
                errors[f"{method} PyG {form}"] = pyg_error(trainer, other)
                contestants[f"{method} PyG {form}"] = _on(trainer, other)
    if wrong := {name: error for name, error in errors.items() if not error <= TOLERANCE}:
        raise SystemExit(f"gradients differ by more than {TOLERANCE:g}: {wrong}")
    for method in methods:
        for _ in range(warm):
            contestants[method]()
    times = in_turn(contestants, repeats)
    count = len(Trainer(config_of(methods[0], **shape), graph).batches)
    rows, seconds = [], {}
    for name, milliseconds in times.items():
        ours = name.split()[0]
        seconds[name] = (milliseconds * count + extra.get(name, 0.0)) / 1e3
        error = f"{errors[name]:.0e}" if name in errors else ""
        rows.append(
            (
                name,
                f"{milliseconds:.1f}",
                "" if name == ours else f"{seconds[name] / seconds[ours]:.1f}x",
                f"{milliseconds / times[methods[0]]:.2f}x",
                f"{seconds[name]:.1f}",
                error,
            )
        )
    columns = ("step", "ms", "of ours", f"of {methods[0]}", "s an epoch", "gradient error")
    result = {
        "benchmark": "step",
        "dataset": dataset,
        **shape,
        "step_ms": times,
        "epoch_s": seconds,
        "steps_an_epoch": count,
        "gradient_error": errors,
    }
    show(f"{dataset}: {graph}, {shape}, {count} steps an epoch", columns, rows, result)


def _table(trainer: Trainer) -> Tensor:
    return torch.cat([x.detach() for x in trainer.model.encoder.layer_zero])


def _endless(trainer: Trainer) -> Iterator[tuple[Batch, ...]]:
    while True:
        yield from trainer.batches


def _ours(trainer: Trainer) -> Callable[[], object]:
    batches, views = _endless(trainer), trainer.views()
    trainer.model.objective.begin_epoch(1, trainer.model.encoder, trainer.model.graph)
    return lambda: trainer.step(next(batches), next(views))


def _on(trainer: Trainer, take: Callable[[Batch], object]) -> Callable[[], object]:
    batches = _endless(trainer)
    return lambda: take(*next(batches))


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the length of the difference of two gradients over the length of the second."""
    return float((found - expected).norm() / expected.norm())


def our_gradient(trainer: Trainer, batch: Batch, views: tuple[View, ...]) -> Tensor:
    """Return the gradient of our step at layer 0, ``(U + I, D)``."""
    loss, _ = trainer.model.objective(
        batch, trainer.model.encoder, trainer.model.graph, views, generator=trainer.generator
    )
    return torch.cat(torch.autograd.grad(loss, list(trainer.model.encoder.layer_zero)))


def textbook_error(trainer: Trainer, slow: TextbookStep) -> float:
    """Return the relative error of our gradient on one batch, the views and the noise being the same."""
    (batch,), views = next(iter(trainer.batches)), next(trainer.views())
    state = trainer.generator.get_state()
    ours = our_gradient(trainer, batch, views)
    trainer.generator.set_state(state)
    matrices = [
        [normalised(view.graph.edge_index, slow.num_users, slow.num_items)] * trainer.config.num_layers
        for view in views
        if isinstance(view.graph, BipartiteGraph)
    ]
    loss = step_loss(
        trainer.config,
        slow.table,
        batch,
        [slow.adjacency] * trainer.config.num_layers,
        matrices,
        [same_noise(view, slow.num_users) for view in views],
        slow.num_users,
    )
    return relative_error(ours, torch.autograd.grad(loss, slow.table)[0])


def same_noise(view: View, num_users: int) -> Shift | None:
    """Return what a view adds to each layer, drawn as the view draws it; ``None`` for nothing."""
    perturb = view.perturb
    if perturb is None or perturb.shift is None:
        return None
    change = perturb.shift

    def shift(layer: int, x: Tensor) -> Tensor:
        users, items = x[:num_users].clone(), x[num_users:].clone()
        change(layer, users, items)
        return torch.cat([users, items]) - x

    return shift


class PygStep:
    """A step with ``torch_geometric.nn.LightGCN`` and its own loss.

    Args:
        config: the settings.
        graph: the training graph.
        start: ``(U + I, D)`` layer 0.
        form: one of :data:`PYG_FORMS`; all are normalised beforehand.
    """

    def __init__(self, config: TrainConfig, graph: BipartiteGraph, start: Tensor, form: str) -> None:
        from torch_geometric.nn import LightGCN

        self.config, self.num_users = config, graph.num_users
        self.model = LightGCN(len(start), start.shape[1], config.num_layers, normalize=False)
        with torch.no_grad():
            self.model.embedding.weight.copy_(start)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        coo = normalised(graph.edge_index, graph.num_users, graph.num_items)
        self.weight = None if form != "edge_index" else coo.values()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch calls its CSR matrices a beta
            self.adjacency = coo.indices() if form == "edge_index" else coo.to_sparse_csr()

    def loss(self, batch: Batch) -> Tensor:
        """Return BPR and L2, as in its ``recommendation_loss``."""
        users, positives = batch.users, batch.positives + self.num_users
        negatives = batch.negatives.squeeze(1) + self.num_users
        pairs = torch.stack([torch.cat([users, users]), torch.cat([positives, negatives])])
        above, below = self.model(self.adjacency, pairs, self.weight).chunk(2)
        nodes = torch.cat([users, positives, negatives])
        return self.model.recommendation_loss(above, below, nodes, lambda_reg=self.config.l2_weight / 2)

    def __call__(self, batch: Batch) -> None:
        """Take one step."""
        loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def pyg_error(trainer: Trainer, other: PygStep) -> float:
    """Return the relative error of our gradient on one batch."""
    (batch,) = next(iter(trainer.batches))
    ours = our_gradient(trainer, batch, next(trainer.views()))
    (theirs,) = torch.autograd.grad(other.loss(batch), other.model.embedding.weight)
    return relative_error(ours, theirs)


def epoch(
    *,
    dataset: str = "gowalla",
    methods: tuple[str, ...] = ("lightgcn", "sgl", "simgcl", "xsimgcl", "bsl_lightgcn"),
    dim: int = 64,
    batch_size: int = 2048,
    threads: int | None = None,
) -> None:
    """Measure one whole epoch of each method, in its own process: seconds and peak memory.

    Args:
        dataset: catalogue name; its training part (or all of it) is the graph.
        methods: names in METHODS; /epoch behind a name as for step.
        dim: embedding length.
        batch_size: training pairs in a batch.
        threads: PyTorch threads; all cores if not given.
    """
    use_threads(threads)
    found = {
        method: alone(one_epoch, dataset, method, dim, batch_size, torch.get_num_threads())
        for method in methods
    }
    rows = [
        (
            method,
            f"{values['epoch_s']:.1f}",
            f"{values['epoch_s'] / found[methods[0]]['epoch_s']:.2f}x",
            f"{values['step_ms']:.1f}",
            f"{values['peak_mb']:,.0f}",
            f"{values['loss']:.4f}",
        )
        for method, values in found.items()
    ]
    columns = ("epoch", "s", f"of {methods[0]}", "ms a step", "peak MB", "mean loss")
    result = {"benchmark": "epoch", "dataset": dataset, "dim": dim, "batch_size": batch_size, **found}
    show(f"{dataset}, dim {dim}, batches of {batch_size}", columns, rows, result)


def against(
    other: Path,
    /,
    *,
    dataset: str = "gowalla",
    methods: tuple[str, ...] = ("lightgcn", "sgl", "simgcl", "xsimgcl"),
    rounds: int = 5,
    repeats: int = 12,
    threads: int | None = None,
) -> None:
    """Compare steps of this checkout with those of another one, in separate processes that run in turn.

    The figure is the median of the rounds' ratios: the drift of the machine from round to round cancels.

    Args:
        other: root of the other checkout.
        dataset: as for step.
        methods: as for step.
        rounds: processes of each checkout.
        repeats: timed steps of each method in a process.
        threads: as for step.
    """
    roots = Path(__file__).resolve().parents[1], other.resolve()
    options = ["--dataset", dataset, "--repeats", str(repeats), "--no-textbook", "--no-pyg"]
    options += ["--methods", *methods, *(["--threads", str(threads)] if threads else [])]
    found: tuple[list[dict[str, float]], ...] = ([], [])
    for _ in range(rounds):
        for root, times in zip(roots, found, strict=True):
            command = [sys.executable, str(root / "scripts" / "benchmark.py"), "step", *options]
            environment = {**os.environ, "PYTHONPATH": str(root)}
            run = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            times.append(json.loads(run.stdout.splitlines()[-1])["step_ms"])
    ours, theirs = found
    ratios = {
        method: statistics.median(a[method] / b[method] for a, b in zip(ours, theirs, strict=True))
        for method in methods
    }
    rows = [
        (method, *(f"{statistics.median(x[method] for x in times):.1f}" for times in (ours, theirs)), ratio)
        for method, ratio in ((method, f"{ratio:.2f}x") for method, ratio in ratios.items())
    ]
    result = {"benchmark": "against", "dataset": dataset, "other": str(other), "ratios": ratios}
    show(f"steps on {dataset}", ("step", "ms here", f"ms in {other}", "ratio"), rows, result)


def one_epoch(dataset: str, method: str, dim: int, batch_size: int, threads: int) -> dict[str, float]:
    """Train one epoch; return its seconds and the peak memory of the process, imports included."""
    use_threads(threads)
    keep_freed_memory()
    forget_peak()
    trainer = Trainer(config_of(method, dim=dim, batch_size=batch_size), train_graph(dataset))
    trainer.step(next(iter(trainer.batches)), next(trainer.views()))  # what is made once is not an epoch's
    losses, seconds = timed(lambda: trainer.run_epoch(1))
    if not math.isfinite(losses["total"]):
        raise SystemExit(f"{method}: the loss is {losses['total']}")
    return {
        "epoch_s": seconds,
        "step_ms": seconds / len(trainer.batches) * 1e3,
        "peak_mb": peak_memory() / 2**20,
        "loss": losses["total"],
    }
