"""The user-item graph, its propagation and its augmentations."""

from gclrec.graph.augmentations import (
    AUGMENTATIONS,
    degree_edge_drop,
    edge_drop,
    edge_perturb,
    feature_mask,
    gca_edge_drop,
    node_drop,
    random_walk,
)
from gclrec.graph.bipartite import EDGE_TYPE, BipartiteGraph

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
