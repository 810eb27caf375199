"""Helpers of all benchmarks: interleaved timing, separate processes, tables and JSON."""

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
    """Return processor, cores, threads and PyTorch version."""
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

    A change of the machine's speed then affects all equally. Each is called twice in its turn and the second
    call is timed, since in training a step follows a step of the same method.
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
    """Return the result of a function and the seconds that it took."""
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began


def alone(function: Callable[..., T], *arguments: Any) -> T:
    """Return the result of a function that runs in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def forget_peak() -> int:
    """Reset the peak of resident memory, if the system can; return the bytes resident now."""
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
    """Write to ``num_bytes`` of memory and free it.

    In a virtual machine the first access to a page can be far slower than later ones, which would slow down
    whatever is measured first.
    """
    np.full(num_bytes // 8, 1)


def copy_bandwidth(num_bytes: int = 2**28, repeats: int = 7) -> float:
    """Return the bytes per second that a copy reads and writes, the best of ``repeats``."""
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
