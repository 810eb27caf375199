"""The user-item graph, its propagation and its augmentations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.graph.augmentations import (
        AUGMENTATIONS,
        degree_edge_drop,
        edge_drop,
        edge_perturb,
        feature_mask,
        gca_edge_drop,
        node_drop,
    )
    from gclrec.graph.bipartite import EDGE_TYPE, BipartiteGraph
    from gclrec.graph.random_walk import random_walk

__all__ = [
    "AUGMENTATIONS",
    "EDGE_TYPE",
    "BipartiteGraph",
    "degree_edge_drop",
    "edge_drop",
    "edge_perturb",
    "feature_mask",
    "gca_edge_drop",
    "node_drop",
    "random_walk",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AUGMENTATIONS": "gclrec.graph.augmentations",
        "BipartiteGraph": "gclrec.graph.bipartite",
        "EDGE_TYPE": "gclrec.graph.bipartite",
        "degree_edge_drop": "gclrec.graph.augmentations",
        "edge_drop": "gclrec.graph.augmentations",
        "edge_perturb": "gclrec.graph.augmentations",
        "feature_mask": "gclrec.graph.augmentations",
        "gca_edge_drop": "gclrec.graph.augmentations",
        "node_drop": "gclrec.graph.augmentations",
        "random_walk": "gclrec.graph.random_walk",
    },
)
