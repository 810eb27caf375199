"""From whatever an encoder is given as a graph to one operator for each of its layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gclrec.encoders.embeddings import GraphLike
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.propagation import Operator


class Operators:
    """Returns the operators of an encoder's layers; the last ``edge_index`` is not prepared again.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        num_layers: ``L``.
    """

    def __init__(self, num_users: int, num_items: int, num_layers: int) -> None:
        self.num_users = num_users
        self.num_items = num_items
        self.num_layers = num_layers
        self._last: tuple[Tensor, int, Operator] | None = None

    def __call__(self, graph: GraphLike) -> list[Operator]:
        """Return the operator of each layer (at least one, so that the graph is always checked)."""
        if isinstance(graph, BipartiteGraph):
            return [graph.adjacency] * max(self.num_layers, 1)
        if isinstance(graph, Tensor):
            if self._last is None or self._last[0] is not graph or self._last[1] != graph._version:
                adjacency = BipartiteGraph(self.num_users, self.num_items, graph).adjacency
                self._last = (graph, graph._version, adjacency)
            return [self._last[2]] * max(self.num_layers, 1)
        if isinstance(graph, Sequence):
            if len(graph) != self.num_layers:
                raise ValueError(f"one operator for each of {self.num_layers} layers, got {len(graph)}")
            return list(graph)
        return [graph] * max(self.num_layers, 1)
