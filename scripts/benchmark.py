"""Timings side by side in one run: ``python scripts/benchmark.py propagation [--dataset gowalla]``.

Every figure is the median of repeated calls that are taken in turn, so that a machine whose speed
drifts treats all alike. The last line is one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from bench_views import views
from cyclopts import App
from rich.console import Console
from rich.table import Table
from torch import Tensor

from gclrec.contrast.methods import METHODS
from gclrec.data.catalog import load
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.training.config import TrainConfig
from gclrec.training.memory import keep_freed_memory
from gclrec.training.trainer import Trainer

app = App(name="benchmark", help=__doc__, version_flags=[])
app.command(views)


def medians(contestants: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each function, called in turn after two warm-up rounds."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(repeats + 2):
        for name, function in contestants.items():
            began = time.perf_counter()
            function()
            if round_number >= 2:
                times[name].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


@app.command
def propagation(
    *, dataset: str = "gowalla", dim: int = 64, repeats: int = 15, threads: int | None = None
) -> None:
    """One propagation, and one with its gradient: ours beside COO, CSR and PyG's message passing.

    Args:
        dataset: catalogue name; its training part (or all of it) is the graph.
        dim: embedding length.
        repeats: timed calls of each.
        threads: PyTorch threads; all cores if not given.
    """
    if threads:
        torch.set_num_threads(threads)
    data = load(dataset)
    graph = BipartiteGraph.from_interactions(data.parts.get("train", data.interactions))
    adjacency = graph.adjacency
    num_nodes = graph.num_users + graph.num_items
    user, item = graph.edge_index
    both = torch.stack([torch.cat([user, item + graph.num_users]), torch.cat([item + graph.num_users, user])])
    degree = torch.cat(graph.degrees()).clamp(min=1).float()
    weight = (degree[both[0]] * degree[both[1]]).rsqrt()
    coo = torch.sparse_coo_tensor(both, weight, (num_nodes, num_nodes)).coalesce()
    csr = coo.to_sparse_csr()
    x = torch.randn(num_nodes, dim, requires_grad=True)
    upstream = torch.randn(num_nodes, dim)

    from torch_geometric.nn import LGConv

    conv = LGConv(normalize=False)

    def ours(y: Tensor) -> Tensor:
        return torch.cat(adjacency.propagate(*y.split([graph.num_users, graph.num_items])))

    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "gclrec": ours,
        "COO": lambda y: torch.sparse.mm(coo, y),
        "CSR": lambda y: csr @ y,
        "PyG MessagePassing": lambda y: conv(y, both, weight),
    }
    expected = coo @ x.detach()
    for name, form in forms.items():
        torch.testing.assert_close(form(x).detach(), expected, rtol=1e-4, atol=1e-4, msg=f"{name} is wrong")

    with torch.no_grad():
        forward = medians({name: lambda form=form: form(x) for name, form in forms.items()}, repeats)
    both_ways = medians(
        {name: lambda form=form: torch.autograd.grad(form(x), x, upstream) for name, form in forms.items()},
        repeats,
    )
    table = Table("one propagation", "forward ms", "forward+backward ms", "of ours")
    for name in forms:
        ratio = both_ways[name] / both_ways["gclrec"]
        table.add_row(name, f"{forward[name]:.1f}", f"{both_ways[name]:.1f}", f"{ratio:.1f}x")
    title = f"{dataset}: {num_nodes:,} nodes, {2 * graph.num_edges:,} directed edges, dim {dim}"
    Console().print(title, machine(), table)
    print(
        json.dumps({"dataset": dataset, "dim": dim, "forward_ms": forward, "both_ms": both_ways, **machine()})
    )


@app.command
def step(
    *,
    dataset: str = "gowalla",
    methods: tuple[str, ...] = ("lightgcn", "sgl", "sgl_nd", "xsimgcl", "simgcl"),
    repeats: int = 12,
    threads: int | None = None,
) -> None:
    """One training step (views, forward, backward, Adam) of each method, and its ratio to the first.

    Args:
        dataset: catalogue name; its training part (or all of it) is the graph.
        methods: names in METHODS.
        repeats: timed steps of each.
        threads: PyTorch threads; all cores if not given.
    """
    if threads:
        torch.set_num_threads(threads)
    data = load(dataset)
    graph = BipartiteGraph.from_interactions(data.parts.get("train", data.interactions))

    keep_freed_memory()

    def stepper(method: str) -> Callable[[], object]:
        settings: dict[str, Any] = dict(METHODS[method].settings)
        trainer = Trainer(dataclasses.replace(TrainConfig(), **settings), graph)
        batches, views = iter(trainer.batches), trainer.views()
        return lambda: trainer.step(next(batches), next(views))

    times = medians({method: stepper(method) for method in methods}, repeats)
    count = len(Trainer(TrainConfig(aug="none"), graph).batches)
    table = Table("one step", "ms", f"of {methods[0]}", f"s an epoch of {count} steps")
    for method, milliseconds in times.items():
        ratio, seconds = milliseconds / times[methods[0]], milliseconds * count / 1e3
        table.add_row(method, f"{milliseconds:.1f}", f"{ratio:.2f}x", f"{seconds:.1f}")
    Console().print(f"{dataset}: {graph}", machine(), table)
    print(json.dumps({"dataset": dataset, "step_ms": times, "steps_an_epoch": count, **machine()}))


if __name__ == "__main__":
    app()
