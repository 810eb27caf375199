"""Compare training on a GPU with training on the CPU: ``python scripts/gpu_check.py``.

Every method takes a few steps on both, with the same start, batches and random numbers, which are drawn on
the CPU, and by the branches of the code that are meant for GPUs. Told of each are the largest relative
difference of a loss and of a gradient of the first step, and how often a step waits for the GPU: counted by
:mod:`host_waits`, and warned of by CUDA. Then whole epochs are timed, beside the memory traffic that their
propagations need at the bandwidth of a copy. The exit code is 1 where a difference is above its tolerance.
``--device cpu`` compares the CPU with itself, which checks this script alone.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from bench_common import show, train_graph
from bench_steps import config_of
from cyclopts import App
from host_waits import HostWaits
from torch import Generator, Tensor
from torch.overrides import TorchFunctionMode

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.settings.methods import METHODS
from gclrec.training.batches import Batch
from gclrec.training.build import inputs_of
from gclrec.training.prepare import prepare, requested
from gclrec.training.trainer import Trainer

app = App(name="gpu_check", help=__doc__, version_flags=[])

LOSS_TOLERANCE = 1e-3
"""Largest relative difference of a loss; steps of Adam enlarge differences of rounding."""

GRADIENT_TOLERANCE = 1e-3
"""Largest length of the difference of two gradients over the length of the CPU's."""

TRAINED = tuple(
    name for name, method in METHODS.items() if not ("baseline" in method.settings or method.recipes)
)
"""Methods that are trained by steps."""

_NEW = {"rand", "randn", "randint", "randperm", "multinomial", "bernoulli", "normal"}
_IN_PLACE = {"uniform_", "normal_", "bernoulli_", "random_", "exponential_"}


class SameDraws(TorchFunctionMode):
    """Draws all random numbers on the CPU, so that every device gets the same ones.

    In its block a generator of any device stands for one on the CPU with the same seed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[int, tuple[Generator, Generator]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Make one call, on the CPU if it draws."""
        given, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name not in _NEW | _IN_PLACE or not isinstance(given.get("generator"), Generator):
            return func(*args, **given)
        given["generator"] = self._twin(given["generator"])
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if name in _IN_PLACE:
            assert first is not None
            drawn = func(torch.empty_like(first, device="cpu"), *args[1:], **given)
            return first.copy_(drawn)
        device = given.get("device") if first is None else first.device
        if first is None:
            given["device"] = "cpu"
        drawn = func(*(each.cpu() if isinstance(each, Tensor) else each for each in args), **given)
        return drawn if device is None else drawn.to(device)

    def _twin(self, generator: Generator) -> Generator:
        if id(generator) not in self._of:
            twin = Generator().manual_seed(generator.initial_seed())
            self._of[id(generator)] = generator, twin  # which keeps the number from being used again
        return self._of[id(generator)][1]


@contextmanager
def branches_of_gpus() -> Iterator[None]:
    """Take the branches of the code that are meant for GPUs, on any device."""
    with ExitStack() as patched:
        for name, module in list(sys.modules.items()):
            if name.startswith("gclrec.") and hasattr(module, "on_cpu"):
                patched.enter_context(mock.patch.object(module, "on_cpu", return_value=False))
        yield


def small_trainer(method: str, dataset: str, device: torch.device) -> Trainer:
    """Return a trainer of a method at a size where every part of it has something to do."""
    settings: dict[str, Any] = {"dim": 16, "batch_size": 128}
    small = {"num_negatives": 32, "num_prototypes": 8, "queue_size": 64}
    settings |= {name: value for name, value in small.items() if name in METHODS[method].settings}
    config, load = requested(dataset, settings, method=method)
    data = prepare(config, load())
    graph, given = inputs_of(data.config, data.split.train, data.attributes, device)
    return Trainer(data.config, graph, **given)


def endless(trainer: Trainer) -> Iterator[tuple[Batch, ...]]:
    """Yield batches, pass after pass."""
    while True:
        yield from trainer.batches


def steps_of(trainer: Trainer, count: int) -> tuple[list[float], Tensor]:
    """Return the losses of some steps, and all gradients of the first one as one row on the CPU."""
    model = trainer.model
    model.train()
    model.objective.begin_epoch(1, model.encoder, model.graph)
    batches, views = endless(trainer), trainer.views()
    losses, gradient = [], torch.empty(0)
    for number in range(count):
        losses.append(float(trainer.step(next(batches), next(views))["total"]))
        if number == 0:
            found = [p.grad.flatten() for _, p in sorted(model.named_parameters()) if p.grad is not None]
            gradient = torch.cat(found).cpu().double()
    return losses, gradient


def waits_of(trainer: Trainer) -> tuple[int, int | None]:
    """Return how often a step waits for the GPU: as counted, and as CUDA warns (``None`` without CUDA)."""
    batches, views = endless(trainer), trainer.views()
    trainer.step(next(batches), next(views))  # what is made once is not a step's
    with HostWaits() as waits:
        trainer.step(next(batches), next(views))
    if trainer.model.graph.device.type != "cuda":
        return waits.counts.total(), None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            trainer.step(next(batches), next(views))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return waits.counts.total(), sum("synchroniz" in str(each.message) for each in warned)


def differences(method: str, dataset: str, device: torch.device, steps: int) -> dict[str, Any]:
    """Return how far a device is from the CPU, and how often its steps wait."""
    with branches_of_gpus():
        expected, reference = steps_of(small_trainer(method, dataset, torch.device("cpu")), steps)
        with SameDraws():
            losses, gradient = steps_of(small_trainer(method, dataset, device), steps)
        counted, warned = waits_of(small_trainer(method, dataset, device))
    gaps = [abs(a - b) / max(abs(b), 1e-6) for a, b in zip(losses, expected, strict=True)]
    error = float((gradient - reference).norm() / reference.norm())
    return {"loss": max(gaps), "gradient": error, "counted_waits": counted, "warned_waits": warned}


def bandwidth(device: torch.device, num_bytes: int = 2**30) -> float:
    """Return the bytes a second that a copy on a device reads and writes, the best of seven."""
    source = torch.ones(num_bytes // 4, device=device)
    target = torch.empty_like(source)

    def copied() -> float:
        began = time.perf_counter()
        target.copy_(source)
        wait(device)
        return time.perf_counter() - began

    return 2 * num_bytes / min(copied() for _ in range(7))


def wait(device: torch.device) -> None:
    """Wait until a device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def epoch_of(method: str, graph: BipartiteGraph, dim: int, bytes_a_second: float) -> dict[str, float]:
    """Return seconds of an epoch, the least that its propagations take, and memory.

    The floor counts the passes of the encoder over the whole graph, forwards and backwards: for each edge and
    direction a row of embeddings and 8 bytes, and each result once. A view or a second pass adds to it.
    """
    trainer = Trainer(config_of(method, dim=dim), graph)
    trainer.step(next(iter(trainer.batches)), next(trainer.views()))
    wait(graph.device)
    began = time.perf_counter()
    trainer.run_epoch(1)
    wait(graph.device)
    seconds = time.perf_counter() - began
    moved = 2 * graph.num_edges * (4 * dim + 8) + 4 * dim * (graph.num_users + graph.num_items)
    steps = trainer.steps_before(2)
    floor = 2 * trainer.config.num_layers * moved * steps / bytes_a_second
    peak = torch.cuda.max_memory_allocated(graph.device) / 2**20 if graph.device.type == "cuda" else 0.0
    return {"seconds": seconds, "steps": steps, "floor": floor, "peak_mb": peak}


@app.default
def check(
    *,
    device: str = "cuda",
    methods: tuple[str, ...] = TRAINED,
    steps: int = 5,
    small: str = "synthetic-300x200x6000",
    dataset: str = "yelp2018",
    timed: tuple[str, ...] = ("lightgcn", "sgl", "xsimgcl", "gcl_sparse"),
    dim: int = 64,
) -> None:
    """Compare methods on both devices and time epochs.

    Args:
        device: what is compared with the CPU.
        methods: names in METHODS.
        steps: of each comparison.
        small: data set of the comparisons.
        dataset: data set of the epochs; its training part is the graph.
        timed: methods whose epochs are timed.
        dim: embedding length of the epochs.
    """
    where = torch.device(device)
    if where.type == "cuda" and not torch.cuda.is_available():
        sys.exit("error: --device: no CUDA device is available here; cpu checks this script alone")
    torch.backends.cuda.matmul.allow_tf32 = False
    found = {method: differences(method, small, where, steps) for method in methods}
    wrong = [
        name
        for name, each in found.items()
        if not (each["loss"] <= LOSS_TOLERANCE and each["gradient"] <= GRADIENT_TOLERANCE)
    ]
    rows = [
        (
            name,
            f"{each['loss']:.0e}",
            f"{each['gradient']:.0e}",
            str(each["counted_waits"]),
            "" if each["warned_waits"] is None else str(each["warned_waits"]),
            "differs" if name in wrong else "",
        )
        for name, each in found.items()
    ]
    header = ("method", "loss differs by", "gradient", "waits counted", "waits warned of", "")
    show(f"{device} beside the CPU, {steps} steps on {small}", header, rows, {"check": found, "wrong": wrong})
    epochs: dict[str, dict[str, float]] = {}
    if timed:
        graph, speed = (
            train_graph(dataset).to(where),
            bandwidth(where, 2**30 if where.type == "cuda" else 2**26),
        )
        epochs = {method: epoch_of(method, graph, dim, speed) for method in timed}
        lines = [
            (
                name,
                f"{each['seconds']:.2f}",
                f"{each['floor']:.2f}",
                f"{each['seconds'] / each['steps'] * 1e3:.1f}",
                f"{each['peak_mb']:,.0f}",
            )
            for name, each in epochs.items()
        ]
        header = ("epoch", "s", "floor of propagations, s", "ms a step", "peak MB")
        show(f"{dataset}, dim {dim}, {speed / 1e9:,.0f} GB/s", header, lines, {"epochs": epochs})
    print(json.dumps({"device": device, "wrong": wrong, "methods": found, "epochs": epochs}))
    sys.exit(int(bool(wrong)))


if __name__ == "__main__":
    app()
