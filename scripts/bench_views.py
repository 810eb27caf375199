"""Time making one view with each augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from bench_common import in_turn, show, train_graph, use_threads

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
    """Time one view of every augmentation, with its normalised adjacency, compared with one propagation.

    Args:
        datasets: catalogue names; the training part of each (or all of it) is the graph.
        names: augmentations to time.
        dim: embedding length.
        num_layers: layers of the encoder.
        repeats: timed calls of each.
        threads: PyTorch threads; all cores if not given.
        seed: of the views.
    """
    use_threads(threads)
    found = {
        dataset: time_views(train_graph(dataset), names, dim, num_layers, repeats, seed)
        for dataset in datasets
    }
    rows = [
        (
            dataset,
            row["view"],
            f"{row['view_ms']:.1f}",
            f"{row['propagations']:.1f}",
            "" if row["allowed"] is None else f"{row['allowed']:g}",
            f"{row['forward_ms']:.1f}",
            f"{row['forward_ratio']:.2f}x",
        )
        for dataset, timed_views in found.items()
        for row in timed_views
    ]
    columns = ("data set", "view", "ms", "propagations", "allowed", "forward pass ms", "of a plain one")
    result = {"benchmark": "views", "dim": dim, "num_layers": num_layers, "datasets": found}
    show(f"views, dim {dim}", columns, rows, result)


def time_views(
    graph: BipartiteGraph, names: tuple[str, ...], dim: int, num_layers: int, repeats: int, seed: int
) -> list[dict[str, Any]]:
    """Return a row for each augmentation and strength."""
    generator = torch.Generator().manual_seed(seed)
    encoder = LightGCN(graph.num_users, graph.num_items, dim, num_layers, generator=generator)
    users, items = (x.detach() for x in encoder.layer_zero)

    def both(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
        """Return the milliseconds of a function, and how many times as long it takes as the other."""
        times = in_turn({"one": one, "other": other}, repeats)
        return times["one"], times["one"] / times["other"]

    rows = []
    for name in names:
        for strength in AT[name]:
            key = f"{name}:{strength}"
            chain, _ = parse_augmentations(key)

            def make(chain: Any = chain) -> View:
                view = make_view(chain, graph, generator=generator, num_layers=num_layers)
                if isinstance(view.graph, BipartiteGraph):
                    _ = view.graph.adjacency
                return view

            view_ms, propagations = both(make, lambda: graph.adjacency.propagate(users, items))
            with torch.no_grad():
                view = make()
                forward_ms, forward_ratio = both(
                    lambda view=view: view.encode(encoder), lambda: encoder(graph)
                )
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
