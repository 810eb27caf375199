"""What augmentations ask of their arguments."""

from __future__ import annotations

from gclrec.graph.bipartite import BipartiteGraph


def check_arguments(graph: BipartiteGraph, p: float) -> None:
    """Raise ``TypeError`` unless ``graph`` is one, and ``ValueError`` unless ``p`` lies in ``[0, 1)``."""
    if not isinstance(graph, BipartiteGraph):
        raise TypeError(
            f"an augmentation takes a BipartiteGraph, got {type(graph).__name__}; for an edge_index or a "
            "HeteroData there is gclrec.augment"
        )
    if not 0.0 <= p < 1.0:
        raise ValueError(f"p must lie in [0, 1), got {p}")
