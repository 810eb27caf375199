"""Statistics of augmented graphs, for choosing the strength of an augmentation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator

from gclrec.data.statistics import degree_figures
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.views import parse_augmentations, view_graph

DEGREES = (5, 20, 100)
"""Items are grouped by their interactions: up to 5, 6 to 20, 21 to 100, and more."""

_NOT_SHOWN = ("noise", "feature_mask", "svd")


def view_statistics(
    graph: BipartiteGraph, augmentations: str, p: float = 0.1, *, generator: Generator | None = None
) -> dict[str, Any]:
    """Return statistics of two views, drawn as for one batch, ready for JSON.

    Args:
        graph: the training interactions.
        augmentations: as for training: ``edge_drop:0.2+feature_mask,random_walk``.
        p: strength of every augmentation that names none.
        generator: source of randomness; the global one if ``None``.

    Returns:
        ``graph`` and ``views`` (a list of two), each with ``interactions``, ``isolated_users``,
        ``isolated_items``, ``components`` (not counting isolated nodes), ``largest_component`` (its number of
        nodes), ``user_degrees`` and ``item_degrees`` (quantiles, mean, Gini index). A view also has
        ``steps``, ``kept`` and ``added`` (interactions), ``kept_share``, ``kept_share_by_item_degree`` and
        ``untold``: the steps that these figures do not show. ``overlap`` is the Jaccard index of the two
        views' interactions: 1 when they are the same, 0 when they share none. For ``layer_edge_drop`` one
        layer is described.

    Raises:
        InputError: an augmentation is not known, or its strength is out of range.
    """
    chains = parse_augmentations(augmentations, p)
    views = [view_graph(chain, graph, generator=generator) for chain in chains]
    described = []
    for chain, view in zip(chains, views, strict=True):
        kept = int(graph.contains(*view.edge_index).sum())
        described.append(
            {
                "steps": [str(step) for step in chain],
                **_figures(view),
                "kept": kept,
                "added": view.num_edges - kept,
                "kept_share": kept / max(graph.num_edges, 1),
                "kept_share_by_item_degree": _kept_by_degree(graph, view),
                "untold": [str(step) for step in chain if step.name in _NOT_SHOWN],
            }
        )
    both = int(views[0].contains(*views[1].edge_index).sum())
    either = views[0].num_edges + views[1].num_edges - both
    return {"graph": _figures(graph), "views": described, "overlap": both / either if either else 1.0}


def _figures(graph: BipartiteGraph) -> dict[str, Any]:
    users, items = graph.degrees()
    isolated = int((users == 0).sum()), int((items == 0).sum())
    count, *labels = graph.components()
    sizes = torch.bincount(torch.cat(labels), minlength=1)
    return {
        "interactions": graph.num_edges,
        "isolated_users": isolated[0],
        "isolated_items": isolated[1],
        "components": count - sum(isolated),
        "largest_component": int(sizes.max()) if graph.num_edges else 0,
        "user_degrees": degree_figures(users.cpu().numpy()),
        "item_degrees": degree_figures(items.cpu().numpy()),
    }


def _kept_by_degree(graph: BipartiteGraph, view: BipartiteGraph) -> dict[str, float | None]:
    """Return the share of interactions kept, by the number of interactions of their items."""
    degree = graph.degrees()[1]
    item = graph.edge_index[1]
    kept = view.contains(*graph.edge_index)
    group = torch.bucketize(degree, torch.tensor(DEGREES, device=degree.device))[item]
    bounds = (0, *DEGREES)
    names = [f"{low + 1}-{high}" for low, high in zip(bounds, DEGREES, strict=False)] + [
        f"over {DEGREES[-1]}"
    ]
    return {
        name: float(kept[group == number].double().mean()) if bool((group == number).any()) else None
        for number, name in enumerate(names)
    }
