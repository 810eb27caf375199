"""Draw what each augmentation does, from the code itself: ``python scripts/draw_augmentations.py``.

One small bipartite graph, before and after, for every name in ``VIEWS``, as PNG files in
``docs/images/augmentations``. The same version of the code draws the same pictures.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import networkx
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.perturbations import add_noise_, mask_dimensions, noise_directions
from gclrec.views.views import VIEWS, make_view, parse_augmentations, view_graph

OUT = Path(__file__).resolve().parent.parent / "docs" / "images" / "augmentations"
USER, ITEM, EDGE, GONE, NEW, INK = "#2f6690", "#e07a2f", "#4a5560", "#b4bcc4", "#1b9e5a", "#2b2f33"
EDGES = {
    0: (0, 1, 2),
    1: (0, 1),
    2: (0, 2, 3),
    3: (0, 1),
    4: (0, 2, 4),
    5: (0, 3, 5),
    6: (2, 4, 5),
    7: (4, 5, 6),
    8: (5, 6),
    9: (6, 7),
}
"""Which items each user has: item 0 is popular, item 7 is known by one user only."""


def toy_graph() -> BipartiteGraph:
    """Return the graph of the pictures."""
    pairs = [(user, item) for user, items in EDGES.items() for item in items]
    return BipartiteGraph(10, 8, torch.tensor(pairs).T.contiguous())


def places(graph: BipartiteGraph) -> dict[tuple[str, int], tuple[float, float]]:
    """Return where each node is drawn: users above, items below."""
    width = graph.num_users - 1
    where = {("user", n): (float(n), 1.0) for n in range(graph.num_users)}
    step = width / (graph.num_items - 1)
    return where | {("item", n): (n * step, 0.0) for n in range(graph.num_items)}


def draw_graph(axes: Axes, graph: BipartiteGraph, base: BipartiteGraph, title: str) -> None:
    """Draw a view: its edges dark, new ones green, dropped ones pale, nodes without edges hollow."""
    where = places(base)
    full, seen = base.to_networkx(), graph.to_networkx()
    lost = [edge for edge in full.edges if not seen.has_edge(*edge)]
    kept = [edge for edge in full.edges if seen.has_edge(*edge)]
    new = [edge for edge in seen.edges if not full.has_edge(*edge)]
    for edges, colour, style, width in (
        (lost, GONE, (0, (2, 2)), 1.0),
        (kept, EDGE, "solid", 1.4),
        (new, NEW, "solid", 1.9),
    ):
        networkx.draw_networkx_edges(
            full, where, edgelist=edges, edge_color=colour, style=style, width=width, ax=axes
        )
    draw_nodes(axes, seen, where)
    axes.set_title(title, fontsize=9.5, color=INK, loc="left", pad=6)


def draw_nodes(
    axes: Axes, graph: networkx.Graph, where: dict[tuple[str, int], tuple[float, float]], alpha: float = 1.0
) -> None:
    """Draw users as circles and items as squares, hollow where they have no edge."""
    for side, colour, shape in (("user", USER, "o"), ("item", ITEM, "s")):
        nodes = [node for node in graph if node[0] == side]
        fill = [colour if graph.degree(node) else "white" for node in nodes]
        networkx.draw_networkx_nodes(
            graph,
            where,
            nodelist=nodes,
            node_color=fill,
            edgecolors=colour,
            node_shape=shape,
            node_size=120 if side == "user" else 105,
            linewidths=1.4,
            alpha=alpha,
            ax=axes,
        )
    axes.set_axis_off()
    axes.set_xlim(-0.6, 9.6)
    axes.set_ylim(-0.28, 1.28)


def label_sides(axes: Axes) -> None:
    """Label the rows at the left."""
    for y, text, colour in ((1.0, "users", USER), (0.0, "items", ITEM)):
        axes.text(-0.75, y, text, ha="right", va="center", fontsize=8.5, color=colour)


def panels(count: int, *, height: float = 1.75) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels side by side."""
    figure, axes = plt.subplots(1, count, figsize=(8.4, height + 0.1), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.03, wspace=0.02)
    return figure, list(axes)


def before_and_after(name: str, strength: str, seed: int) -> Figure:
    """Draw a graph augmentation."""
    base = toy_graph()
    chain, _ = parse_augmentations(f"{name}:{strength}")
    view = view_graph(chain, base, generator=torch.Generator().manual_seed(seed))
    figure, (left, right) = panels(2)
    draw_graph(left, base, base, f"the graph: {base.num_edges} interactions")
    label_sides(left)
    kept = int(base.contains(*view.edge_index).sum())
    added = view.num_edges - kept
    text = f"{name}:{strength} keeps {kept}" + (f" and adds {added}" if added else "")
    draw_graph(right, view, base, text)
    return figure


def layer_edge_drop() -> Figure:
    """Draw a fresh edge drop for each of three layers."""
    base = toy_graph()
    chain, _ = parse_augmentations("layer_edge_drop:0.3")
    generator = torch.Generator().manual_seed(2)
    figure, axes = panels(3, height=1.55)
    for layer, panel in enumerate(axes, start=1):
        view = view_graph(chain, base, generator=generator)
        draw_graph(panel, view, base, f"layer {layer} keeps {view.num_edges} of {base.num_edges}")
    return figure


def svd() -> Figure:
    """Draw the low-rank operator: every user reaches every item, by weight."""
    base = toy_graph()
    chain, _ = parse_augmentations("svd:3")
    operator = make_view(chain, base, num_layers=3).graph
    identity = torch.eye(base.num_items)
    weights = operator.propagate(torch.zeros(base.num_users, base.num_items), identity)[0]
    where, graph = places(base), base.to_networkx()
    figure, (left, right) = panels(2)
    draw_graph(left, base, base, "the graph: 0 or 1 for each pair")
    label_sides(left)
    for user in range(base.num_users):
        for item in range(base.num_items):
            weight = float(weights[user, item])
            (x0, y0), (x1, y1) = where["user", user], where["item", item]
            there = graph.has_edge(("user", user), ("item", item))
            right.plot(
                (x0, x1),
                (y0, y1),
                color=EDGE if there else NEW,
                lw=0.4 + 5.0 * max(weight, 0.0),
                alpha=min(max(3.0 * weight, 0.0), 1.0),
                zorder=0,
                solid_capstyle="round",
            )
    draw_nodes(right, graph, where)
    right.set_title(
        "svd:3 gives every pair a weight (line width)", fontsize=9.5, color=INK, loc="left", pad=6
    )
    return figure


def noise() -> Figure:
    """Draw embeddings in the plane and where noise may move them."""
    figure, (left, right) = panels(2, height=2.6)
    generator = torch.Generator().manual_seed(4)
    x = torch.tensor([[0.75, 0.45], [-0.5, 0.62], [-0.62, -0.4], [0.42, -0.66]])
    for panel, title in ((left, "embeddings of four nodes"), (right, "noise:0.3, drawn 60 times")):
        panel.axhline(0, color=GONE, lw=1)
        panel.axvline(0, color=GONE, lw=1)
        panel.set_aspect("equal")
        panel.set_axis_off()
        panel.set_xlim(-1.55, 1.55)
        panel.set_ylim(-1.02, 1.02)
        panel.set_title(title, fontsize=9.5, color=INK, loc="left", pad=6)
    for point, colour in zip(x, (USER, ITEM, USER, ITEM), strict=True):
        arrow = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
        for panel in (left, right):
            panel.annotate("", xy=point.tolist(), xytext=(0, 0), arrowprops=arrow)
        noisy = add_noise_(point.repeat(60, 1), 0.3, noise_directions(60, 2, generator=generator))
        right.scatter(*noisy.T, s=7, color=colour, alpha=0.55, linewidths=0)
    return figure


def feature_mask() -> Figure:
    """Draw attributes of a few nodes as rows of cells, some of them hidden."""
    figure, (left, right) = panels(2, height=2.0)
    generator = torch.Generator().manual_seed(5)
    values = 0.25 + 0.75 * torch.rand(7, 12, generator=generator)
    masked = mask_dimensions(values, 0.25, generator=generator)
    colours = mpl.colormaps["Blues"]
    for panel, cells, title in (
        (left, values, "attributes, or embedding dimensions, of seven nodes"),
        (right, masked, f"feature_mask:0.25 hides {int((masked == 0).sum())} of {masked.numel()}"),
    ):
        for row, numbers in enumerate(cells.tolist()):
            for column, number in enumerate(numbers):
                hidden = number == 0.0
                panel.add_patch(
                    Rectangle(
                        (column, -row),
                        0.9,
                        0.86,
                        facecolor="white" if hidden else colours(0.15 + 0.7 * number),
                        edgecolor=GONE if hidden else "none",
                        linestyle="dashed" if hidden else "solid",
                        linewidth=1.0,
                    )
                )
        panel.set_xlim(-0.2, 12.1)
        panel.set_ylim(-6.2, 1.0)
        panel.set_axis_off()
        panel.set_title(title, fontsize=9.5, color=INK, loc="left", pad=4)
    return figure


DRAWINGS: dict[str, Callable[[], Figure]] = {
    "none": lambda: before_and_after("none", "0", 0),
    "edge_drop": lambda: before_and_after("edge_drop", "0.3", 6),
    "node_drop": lambda: before_and_after("node_drop", "0.3", 3),
    "edge_perturb": lambda: before_and_after("edge_perturb", "0.25", 2),
    "random_walk": lambda: before_and_after("random_walk", "0.5", 1),
    "feature_mask": feature_mask,
    "degree_edge_drop": lambda: before_and_after("degree_edge_drop", "0.4", 2),
    "gca_edge_drop": lambda: before_and_after("gca_edge_drop", "0.4", 1),
    "layer_edge_drop": layer_edge_drop,
    "noise": noise,
    "svd": svd,
}


def main() -> None:
    """Write one picture for every view."""
    mpl.use("Agg")
    OUT.mkdir(parents=True, exist_ok=True)
    missing = set(VIEWS) ^ set(DRAWINGS)
    if missing:
        raise SystemExit(f"without a picture, or without a view: {', '.join(sorted(missing))}")
    for name, draw in DRAWINGS.items():
        figure = draw()
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=110)
        plt.close(figure)
        # A palette of 64 colours is plenty here, and a fifth of the size.
        Image.open(buffer).convert("RGB").quantize(64).save(OUT / f"{name}.png", optimize=True)
        print(OUT / f"{name}.png")


if __name__ == "__main__":
    main()
