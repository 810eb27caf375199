"""What one view costs: ``python scripts/benchmark.py views``, or this file by itself."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from cyclopts import App
from rich.console import Console
from rich.table import Table

from gclrec.data.catalog.loader import load
from gclrec.encoders import LightGCN
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.views import VIEWS, View, make_view, parse_augmentations

AT = dict.fromkeys(VIEWS, ("0.1", "0.5")) | {"none": ("0",), "noise": ("0.1",), "svd": ("5", "32")}
"""The strengths at which each augmentation is timed."""

ALLOWED = {"edge_drop": 2.0, "node_drop": 2.0, "edge_perturb:0.1": 4.0, "random_walk:0.5": 6.0}
"""Propagations that a view may cost, by name or by name and strength."""


def views(
    *,
    datasets: tuple[str, ...] = ("gowalla", "yelp2018"),
    names: tuple[str, ...] = tuple(VIEWS),
    dim: int = 64,
    num_layers: int = 3,
    repeats: int = 15,
    threads: int | None = None,
    seed: int = 0,
) -> None:
    """One view and its normalised adjacency, of every augmentation, beside one propagation.

    A view is made and a propagation is run in turn, so that a machine whose speed drifts treats both
    alike; the ratio is the median over the pairs. The last line is one JSON object.

    Args:
        datasets: catalogue names; the training part of each (or all of it) is the graph.
        names: augmentations to time.
        dim: embedding length.
        num_layers: layers of the encoder.
        repeats: timed calls of each.
        threads: PyTorch threads; all cores if not given.
        seed: of the views.
    """
    if threads:
        torch.set_num_threads(threads)
    result: dict[str, Any] = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "dim": dim,
        "num_layers": num_layers,
        "datasets": {},
    }
    console = Console(width=120)
    for dataset in datasets:
        data = load(dataset)
        graph = BipartiteGraph.from_interactions(data.parts.get("train", data.interactions))
        rows = time_views(graph, names, dim=dim, num_layers=num_layers, repeats=repeats, seed=seed)
        result["datasets"][dataset] = rows
        table = Table("view", "ms", "propagations", "allowed", "forward pass ms", "of a plain one")
        for row in rows:
            allowed = row["allowed"]
            table.add_row(
                row["view"],
                f"{row['view_ms']:.1f}",
                f"{row['propagations']:.2f}",
                ""
                if allowed is None
                else f"{allowed:g} {'ok' if row['propagations'] <= allowed else 'OVER'}",
                f"{row['forward_ms']:.1f}",
                f"{row['forward_ratio']:.2f}x",
            )
        console.print(f"{dataset}: {graph}, dim {dim}, {result['threads']} threads", table)
    print(json.dumps(result))


def time_views(
    graph: BipartiteGraph,
    names: tuple[str, ...],
    *,
    dim: int,
    num_layers: int,
    repeats: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return a row for each augmentation and strength."""
    generator = torch.Generator().manual_seed(seed)
    encoder = LightGCN(graph.num_users, graph.num_items, dim, num_layers, generator=generator)
    users, items = (x.detach() for x in encoder.layer_zero)
    rows = []
    for name in names:
        for strength in AT[name]:
            chain, _ = parse_augmentations(f"{name}:{strength}")

            def make(chain: Any = chain) -> View:
                view = make_view(chain, graph, generator=generator, num_layers=num_layers)
                if isinstance(view.graph, BipartiteGraph):
                    _ = view.graph.adjacency
                return view

            view_ms, _, propagations = in_turn(make, lambda: graph.adjacency.propagate(users, items), repeats)
            with torch.no_grad():
                view = make()
                forward_ms, _, forward_ratio = in_turn(
                    lambda view=view: view.encode(encoder), lambda: encoder(graph), repeats
                )
            key = f"{name}:{strength}"
            rows.append(
                {
                    "view": key,
                    "view_ms": view_ms,
                    "propagations": propagations,
                    "allowed": ALLOWED.get(key, ALLOWED.get(name)),
                    "forward_ms": forward_ms,
                    "forward_ratio": forward_ratio,
                }
            )
    return rows


def in_turn(
    one: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[float, float, float]:
    """Return the median milliseconds of two functions called in turn, and the median of their ratios."""
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        one()
        between = time.perf_counter()
        other()
        times.append((between - began, time.perf_counter() - between))
    times = times[2:]  # the first calls fill caches
    first, second = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    return first, second, statistics.median(a / b for a, b in times)


if __name__ == "__main__":
    App(name="bench_views", help=__doc__, version_flags=[], default_command=views)()
