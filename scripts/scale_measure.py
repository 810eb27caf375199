"""What steps of real trainers take on random bipartite graphs: seconds, memory, and bytes exchanged."""

from __future__ import annotations

import math
import multiprocessing
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.distributed as dist
from bench_common import forget_peak, peak_memory

from gclrec.common.memory import keep_freed_memory
from gclrec.data.catalog.loader import load
from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.settings.config import TrainConfig
from gclrec.settings.sources import layered_config
from gclrec.training.distributed import Processes, joined
from gclrec.training.trainer import Trainer, new_trainer

_WARM = 1
"""Steps before those that are timed: the first one builds what later ones reuse."""


LAYERS = {"gcl_sparse": 2, "lightgcn": 3}
"""The methods that are modelled, and their layers."""


@dataclass(frozen=True)
class Case:
    """A training: its data, its settings and the number of its processes.

    Args:
        method: ``gcl_sparse`` or ``lightgcn``.
        pairs: training pairs ``E``.
        users: ``U``.
        items: ``I``.
        dim: ``D``.
        batch: pairs of a batch ``B``.
        part: most pairs of a part of a batch, the setting ``micro_batch``.
        processes: ``P``.
        layers: ``L``; those of the method if ``None``.
        degree: mean number of pairs of the user of a pair, sum d^2 / sum d over the users; that of a random
            graph, ``E / U + 1``, if ``None``.
        data: a data set of the catalogue whose training pairs are measured; random ones if ``None``.
        piles: whether gradients of the parts of a batch pile up, as they did when version 0.2.0 was measured.
    """

    method: str
    pairs: int
    users: int
    items: int
    dim: int = 64
    batch: int = 2048
    part: int = 4096
    processes: int = 1
    layers: int | None = None
    degree: float | None = None
    data: str | None = None
    piles: bool = False

    @property
    def num_layers(self) -> int:
        """``L``."""
        return LAYERS[self.method] if self.layers is None else self.layers

    @property
    def taken(self) -> float:
        """Pairs of a step: the batches of a pass are alike."""
        return self.pairs / -(-self.pairs // self.batch)

    @property
    def parts(self) -> int:
        """Parts of a batch."""
        return math.ceil(self.taken / self.part)

    @property
    def config(self) -> TrainConfig:
        """The settings of the training."""
        return layered_config(
            {
                **{"dim": self.dim, "batch_size": self.batch, "micro_batch": self.part},
                **{"num_layers": self.num_layers, "epochs": 1},
            },
            method=self.method,
        )


@dataclass(frozen=True)
class Taken:
    """What a training took.

    Args:
        seconds: of processor time, the least of some steps.
        wall: seconds by the clock, likewise.
        peak: largest resident bytes of the process, from before the graph is made to the last step.
        idle: resident bytes before the graph was made, the pairs included.
        received: bytes that a process receives from the others in a step.
        calls: exchanges in a step.
    """

    seconds: float
    wall: float
    peak: int
    idle: int
    received: int = 0
    calls: int = 0


def random_pairs(case: Case, seed: int = 0) -> Interactions:
    """Return distinct pairs, all equally likely."""
    draws = np.random.default_rng(seed)
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < case.pairs:
        more = draws.integers(case.users * case.items, size=case.pairs - len(keys) + case.pairs // 20)
        keys = np.unique(np.concatenate([keys, more]))
    keys = draws.permutation(keys)[: case.pairs]
    users, items = (
        Vocabulary(pl.Series("id", np.arange(count, dtype=np.int64))) for count in (case.users, case.items)
    )
    return Interactions(users, items, keys // case.items, keys % case.items)


def of_catalogue(name: str, method: str, **settings: Any) -> Case:
    """Return a training on the training pairs of a data set of the catalogue."""
    pairs = train_pairs(name)
    degree = pairs.user_degrees().astype(float)
    counts = len(pairs), pairs.num_users, pairs.num_items
    mean = float((degree**2).sum() / degree.sum())
    return Case(method, *counts, degree=mean, data=name, **settings)


def train_pairs(name: str) -> Interactions:
    """Return the training part of a data set of the catalogue, or all of it where there are no parts."""
    data = load(name)
    return data.parts.get("train", data.interactions)


def measure(case: Case, steps: int = 4) -> Taken:
    """Take some steps in new processes of one thread each, and return what the first of them took."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    context.set_forkserver_preload([__name__])
    mine, theirs = context.Pipe(duplex=False)
    started = [
        context.Process(target=_member, args=(rank, port, case, steps, theirs))
        for rank in range(case.processes)
    ]
    for process in started:
        process.start()
    theirs.close()
    try:
        taken: Taken = mine.recv()
    finally:
        for process in started:
            process.join()
    return taken


def _member(rank: int, port: int, case: Case, steps: int, out: Connection) -> None:
    """Be one of the processes of a training; the first one sends what it took."""
    os.environ |= {
        **{"RANK": str(rank), "WORLD_SIZE": str(case.processes)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
    }
    with joined() as processes:
        taken = _measured(case, steps, processes)
        if rank == 0:
            out.send(taken)


def _measured(case: Case, steps: int, processes: Processes | None = None) -> Taken:
    torch.set_num_threads(1)
    pairs = random_pairs(case) if case.data is None else train_pairs(case.data)
    keep_freed_memory()
    idle = forget_peak()
    trainer = new_trainer(case.config, pairs, processes=processes)
    with counted() as exchanged:
        spent = step_seconds(trainer, steps)
    steps += _WARM
    return Taken(*spent, peak_memory(), idle, exchanged["bytes"] // steps, exchanged["calls"] // steps)


def step_seconds(trainer: Trainer, steps: int) -> tuple[float, float]:
    """Return the least seconds of some steps, of processor time and by the clock.

    The least, since other work on the machine can only add to them.
    """
    views = trainer.views()
    trainer.model.train()
    trainer.model.objective.begin_epoch(1, trainer.model.encoder, trainer.model.graph)
    taken: list[tuple[float, float]] = []
    before = time.process_time(), time.perf_counter()
    for batch in trainer.batches.between(0, steps + _WARM):
        trainer.step(batch, next(views))
        now = time.process_time(), time.perf_counter()
        taken.append((now[0] - before[0], now[1] - before[1]))
        before = now
    processor, clock = zip(*taken[_WARM:], strict=True)
    return min(processor), min(clock)


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count calls of the exchanges of a step, and the bytes that this process receives by them."""
    found = {"bytes": 0, "calls": 0}
    gather, reduce = dist.all_gather, dist.all_reduce

    def gathering(parts: list[torch.Tensor], own: torch.Tensor, **options: Any) -> Any:
        found["bytes"] += sum(part.nbytes for part in parts) - own.nbytes
        found["calls"] += 1
        return gather(parts, own, **options)

    def reducing(own: torch.Tensor, **options: Any) -> Any:
        found["bytes"] += own.nbytes * (dist.get_world_size(options.get("group")) - 1)
        found["calls"] += 1
        return reduce(own, **options)

    dist.all_gather, dist.all_reduce = gathering, reducing  # type: ignore[assignment]
    try:
        yield found
    finally:
        dist.all_gather, dist.all_reduce = gather, reduce


SIZES = (
    Case("gcl_sparse", 300_000, 30_000, 20_000),
    Case("gcl_sparse", 1_000_000, 60_000, 40_000),
    Case("gcl_sparse", 1_000_000, 60_000, 40_000, dim=16),
    Case("gcl_sparse", 1_000_000, 60_000, 40_000, dim=128),
    Case("gcl_sparse", 1_000_000, 300_000, 20_000),
    Case("gcl_sparse", 1_000_000, 60_000, 40_000, batch=16_384),
    Case("gcl_sparse", 300_000, 30_000, 20_000, dim=128, batch=8192, part=2048),
    Case("gcl_sparse", 300_000, 30_000, 20_000, dim=32, batch=32_768),
    Case("gcl_sparse", 300_000, 30_000, 20_000, batch=65_536, part=1024),
    Case("gcl_sparse", 300_000, 30_000, 20_000, dim=32, batch=131_072, part=1024),
    Case("gcl_sparse", 300_000, 30_000, 20_000, dim=128, batch=8192),
    Case("gcl_sparse", 1_000_000, 10_000, 10_000, batch=8192),
    Case("gcl_sparse", 2_000_000, 20_000, 10_000, dim=32, batch=4096),
    Case("gcl_sparse", 2_000_000, 500_000, 100_000, dim=128),
    Case("gcl_sparse", 3_000_000, 100_000, 50_000),
    Case("gcl_sparse", 3_000_000, 100_000, 50_000, dim=16, batch=8192),
    Case("gcl_sparse", 3_000_000, 600_000, 100_000, dim=32, batch=4096),
    Case("gcl_sparse", 3_000_000, 1_000_000, 200_000, batch=8192),
)
"""Sizes and shapes that the constants are fitted to, for one of the methods."""


def cases() -> list[Case]:
    """Return what the constants are fitted to: each size with each method."""
    return [replace(size, method=method) for size in SIZES for method in LAYERS]


def checks() -> list[Case]:
    """Return what else predictions are checked with: two processes, few dimensions, real data."""
    others = [replace(SIZES[number], processes=2) for number in (1, 5, 16)] + [replace(SIZES[1], dim=4)]
    found = [replace(size, method=method) for size in others for method in LAYERS]
    return found + [of_catalogue("gowalla", method) for method in LAYERS]
