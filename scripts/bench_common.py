"""What all benchmarks share: timing in turn, the machine, processes of their own, tables and JSON."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from gclrec.data.catalog.loader import load
from gclrec.data.interactions import Dataset
from gclrec.graph.bipartite import BipartiteGraph

T = TypeVar("T")


def use_threads(threads: int | None) -> None:
    """Set PyTorch's threads, if a number is given."""
    if threads:
        torch.set_num_threads(threads)


def machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def train_graph(dataset: str | Dataset) -> BipartiteGraph:
    """Return the graph of a data set's training part, or of all of it where there are no parts."""
    data = load(dataset) if isinstance(dataset, str) else dataset
    return BipartiteGraph.from_interactions(data.parts.get("train", data.interactions))


def in_turn(contestants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each function, called in turn after a warm-up round.

    In turn, so that a machine whose speed drifts treats all alike. Each is called twice in its turn, and the
    second call is timed, as in training, where a step follows a step of the same method.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(repeats + 1):
        for name, function in contestants.items():
            function()
            began = time.perf_counter()
            function()
            if round_number > 0:
                times[name].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def timed(function: Callable[[], T]) -> tuple[T, float]:
    """Return what a function gives and the seconds that it takes."""
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began


def alone(function: Callable[..., T], *arguments: Any) -> T:
    """Return what a function gives in a fresh process, whose memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def forget_peak() -> int:
    """Forget the largest resident memory so far, where the system can; return the bytes now resident."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    return _status("VmRSS")


def peak_memory() -> int:
    """Return the largest resident memory of this process, in bytes, since :func:`forget_peak`."""
    return _status("VmHWM")


def _status(field: str) -> int:
    path = Path("/proc/self/status")
    if path.exists():
        line = next(line for line in path.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def touch(num_bytes: int) -> None:
    """Write to so much memory and give it back.

    The host of a virtual machine may take far longer over the first touch of a page than over all that
    comes later; the first to be measured would pay for that.
    """
    np.full(num_bytes // 8, 1)


def copy_bandwidth(num_bytes: int = 2**28, repeats: int = 7) -> float:
    """Return the bytes a second that a copy reads and writes, the best of some."""
    source = torch.ones(num_bytes // 4)
    target = torch.empty_like(source)
    seconds = [timed(lambda: target.copy_(source))[1] for _ in range(repeats)]
    return 2 * num_bytes / min(seconds)


def show(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], result: Mapping[str, Any]
) -> None:
    """Print a table and, last, one line of JSON."""
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(title, machine(), table)
    print(json.dumps({**result, **machine()}))
