"""Time building a graph from a table of millions of interactions, compared with reading the table."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from bench_common import alone, copy_bandwidth, forget_peak, peak_memory, show, timed, touch, use_threads

from gclrec.data.io.readers import read_interactions
from gclrec.graph.bipartite import BipartiteGraph

ALLOWED_TIME, ALLOWED_MEMORY = 4.0, 3.0
"""Bounds of building a graph: seconds as a multiple of reading, memory as a multiple of the edge list."""

IDS = ("integer", "text")
"""Kinds of ids."""


def build(
    *,
    rows: int = 5_000_000,
    dim: int = 64,
    repeats: int = 3,
    ids: tuple[str, ...] = IDS,
    threads: int | None = None,
    folder: Path | None = None,
    seed: int = 0,
) -> None:
    """Time reading synthetic interactions from Parquet, building a graph, and one propagation.

    Each figure comes from a process of its own. Its memory is the peak resident memory, less the memory
    resident after the imports; the edge list is two columns of 8-byte numbers. Reading is
    ``polars.read_parquet``; building is ``read_interactions`` and a ``BipartiteGraph`` with its normalised
    adjacency. The floor of a propagation is the memory traffic it needs (for each edge a row of the
    embeddings, an index and a weight; and the result) over the bandwidth of a copy.

    Args:
        rows: interactions, such as 50_000_000.
        dim: embedding length of the propagation.
        repeats: processes that read and that build; the fastest counts.
        ids: integer, text or both.
        threads: PyTorch threads; all cores if not given (polars takes all cores).
        folder: where the tables are written and kept; a temporary one if not given.
        seed: of the interactions.
    """
    use_threads(threads)
    count = torch.get_num_threads()
    edge_list = 16 * rows
    result: dict[str, Any] = {
        "benchmark": "build",
        "rows": rows,
        "dim": dim,
        "edge_list_mb": edge_list / 2**20,
    }
    table = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        place = Path(temporary) if folder is None else folder
        place.mkdir(parents=True, exist_ok=True)
        for kind in ids:
            path = place / f"interactions_{kind}_{rows}.parquet"
            if not path.exists():
                alone(write_interactions, path, rows, kind, seed)
            reads = [alone(measure_read, str(path), edge_list, count) for _ in range(repeats)]
            builds = [alone(measure_build, str(path), edge_list, count, dim) for _ in range(repeats)]
            read, made = (min(runs, key=lambda run: run["seconds"]) for runs in (reads, builds))
            ratio, memory = made["seconds"] / read["seconds"], made["peak"] / edge_list
            table += [
                (f"{kind} ids: read", f"{read['seconds']:.2f}", "", *_memory(read["peak"], edge_list)),
                (f"{kind} ids: build", f"{made['seconds']:.2f}", "", *_memory(made["peak"], edge_list)),
                (
                    f"{kind} ids: build of read",
                    f"{ratio:.1f}x",
                    _verdict(ratio, ALLOWED_TIME),
                    "",
                    _verdict(memory, ALLOWED_MEMORY),
                ),
                *((f"  {name}", f"{value:.2f}", "", "", "") for name, value in made["parts"].items()),
                (
                    f"{kind} ids: one propagation",
                    f"{made['propagation']:.3f}",
                    f"{made['floor'] / made['propagation']:.0%} of the bandwidth",
                    "",
                    "",
                ),
            ]
            result[kind] = {"read": read, "build": made, "time_ratio": ratio, "memory_ratio": memory}
            result[kind]["file_mb"] = path.stat().st_size / 2**20
    columns = (
        f"{rows:,} interactions",
        "s",
        f"at most {ALLOWED_TIME:g}x",
        "peak MB",
        "of the edge list",
    )
    show(f"edge list {edge_list / 2**20:,.0f} MB", columns, table, result)


def _memory(peak: int, edge_list: int) -> tuple[str, str]:
    return f"{peak / 2**20:,.0f}", f"{peak / edge_list:.2f}x"


def _verdict(ratio: float, allowed: float) -> str:
    return f"at most {allowed:g}x: {'ok' if ratio <= allowed else 'OVER'}"


def write_interactions(path: Path, rows: int, ids: str, seed: int) -> None:
    """Write distinct pairs in random order: 50 a user, popular items far more often than others."""
    random = np.random.default_rng(seed)
    users, items = max(rows // 50, 100), max(rows // 250, 1000)
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < rows:
        more = int(1.15 * (rows - len(keys))) + 100
        drawn = random.integers(0, users, more) << 32
        drawn |= (items * random.random(more) ** 2.5).astype(np.int64)
        keys = np.concatenate([keys, drawn])
        keys.sort()
        keys = keys[np.append(np.diff(keys) > 0, True)]
    random.shuffle(keys)
    keys = keys[:rows]
    numbers = {"user_id": 1000 + 3 * (keys >> 32), "item_id": 7 + 2 * (keys & (2**32 - 1))}
    frame = pl.DataFrame(numbers)
    if ids == "text":
        frame = frame.select(
            (pl.lit(name[0]) + pl.col(name).cast(pl.String)).alias(name) for name in frame.columns
        )
    frame.write_parquet(path)


def measure_read(path: str, edge_list: int, threads: int) -> dict[str, Any]:
    """Return seconds and memory of reading the table and nothing else."""
    use_threads(threads)
    touch(4 * edge_list)
    before = forget_peak()
    _, seconds = timed(lambda: pl.read_parquet(path))
    return {"seconds": seconds, "peak": peak_memory() - before}


def measure_build(path: str, edge_list: int, threads: int, dim: int) -> dict[str, Any]:
    """Return seconds and memory of building the graph, and one propagation beside its floor."""
    use_threads(threads)
    touch(4 * edge_list)
    before = forget_peak()
    began = time.perf_counter()
    pairs = read_interactions(path)
    numbered = time.perf_counter()
    graph = BipartiteGraph.from_interactions(pairs)
    arranged = time.perf_counter()
    adjacency = graph.adjacency
    done = time.perf_counter()
    found: dict[str, Any] = {"seconds": done - began, "peak": peak_memory() - before}
    found["parts"] = {
        "read and number": numbered - began,
        "arrange by user and by item": arranged - numbered,
        "normalise": done - arranged,
    }
    del pairs
    users, items = (torch.randn(n, dim) for n in (graph.num_users, graph.num_items))
    seconds = [timed(lambda: adjacency.propagate(users, items))[1] for _ in range(3)]
    # both directions: for each edge a row of floats, a 4-byte number and a weight; and the rows that result
    moved = 2 * graph.num_edges * (4 * dim + 8) + 4 * dim * (graph.num_users + graph.num_items)
    bandwidth = copy_bandwidth()
    found |= {"propagation": min(seconds), "floor": moved / bandwidth, "bytes_moved": moved}
    return found | {"bandwidth": bandwidth, "num_edges": graph.num_edges}
