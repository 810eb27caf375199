"""Timings side by side in one run: ``python scripts/benchmark.py propagation [--dataset gowalla]``.

Every figure is the median of repeated calls that are made in turn, so that a change of the machine's
speed affects all equally. The last line is one JSON object.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from bench_build import build
from bench_common import in_turn, show, train_graph, use_threads
from bench_evaluate import evaluation
from bench_quality import time_to_quality
from bench_scale import scale
from bench_serve import serve
from bench_steps import against, epoch, step
from bench_stores import stores
from bench_views import views
from cyclopts import App, Parameter
from torch import Tensor

app = App(
    name="benchmark", help=__doc__, version_flags=[], default_parameter=Parameter(consume_multiple=True)
)
for command in (step, against, epoch, views, evaluation, build, time_to_quality, scale, stores, serve):
    app.command(command, name=command.__name__.replace("_", "-").replace("evaluation", "evaluate"))


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
    use_threads(threads)
    graph = train_graph(dataset)
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
        forward = in_turn({name: lambda form=form: form(x) for name, form in forms.items()}, repeats)
    both_ways = in_turn(
        {name: lambda form=form: torch.autograd.grad(form(x), x, upstream) for name, form in forms.items()},
        repeats,
    )
    rows = [
        (
            name,
            f"{forward[name]:.1f}",
            f"{both_ways[name]:.1f}",
            f"{both_ways[name] / both_ways['gclrec']:.1f}x",
        )
        for name in forms
    ]
    title = f"{dataset}: {num_nodes:,} nodes, {2 * graph.num_edges:,} directed edges, dim {dim}"
    columns = ("one propagation", "forward ms", "forward+backward ms", "of ours")
    result = {"benchmark": "propagation", "dataset": dataset, "dim": dim}
    show(title, columns, rows, {**result, "forward_ms": forward, "both_ms": both_ways})


if __name__ == "__main__":
    app()
