"""From whatever an encoder is given as a graph to one operator for each of its layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gclrec.encoders.embeddings import GraphLike
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import uncompiled
from gclrec.graph.propagation import Operator


class Operators:
    """Returns the operators of an encoder's layers; the last ``edge_index`` is not prepared again.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        num_layers: ``L``.
        degree_exponent: of the edges' weights, see :meth:`gclrec.graph.bipartite.BipartiteGraph.weighted`.
    """

    def __init__(self, num_users: int, num_items: int, num_layers: int, degree_exponent: float = 0.5) -> None:
        self.num_users = num_users
        self.num_items = num_items
        self.num_layers = num_layers
        self.degree_exponent = degree_exponent
        self._last: tuple[Tensor, int, Operator] | None = None

    @uncompiled
    def __call__(self, graph: GraphLike) -> list[Operator]:
        """Return the operator of each layer (at least one, so that the graph is always checked)."""
        if isinstance(graph, BipartiteGraph):
            return [graph.weighted(self.degree_exponent)] * max(self.num_layers, 1)
        if isinstance(graph, Tensor):
            return [self._of_edges(graph)] * max(self.num_layers, 1)
        _check(graph)
        if isinstance(graph, Sequence):
            if len(graph) != self.num_layers:
                raise ValueError(f"one operator for each of {self.num_layers} layers, got {len(graph)}")
            return list(graph)
        return [graph] * max(self.num_layers, 1)

    def _of_edges(self, edge_index: Tensor) -> Operator:
        if edge_index.is_inference():  # its changes are not counted
            return self._adjacency(edge_index)
        version = edge_index._version
        if self._last is None or self._last[0] is not edge_index or self._last[1] != version:
            with torch.inference_mode(False), torch.no_grad():  # what is kept serves training as well
                self._last = (edge_index, version, self._adjacency(edge_index))
        return self._last[2]

    def _adjacency(self, edge_index: Tensor) -> Operator:
        graph = BipartiteGraph(self.num_users, self.num_items, edge_index)
        return graph.weighted(self.degree_exponent)


def _check(graph: object) -> None:
    """Raise ``TypeError`` unless it is an operator or some."""
    for operator in graph if isinstance(graph, Sequence) else (graph,):
        if not hasattr(operator, "polynomial"):
            raise TypeError(
                "an encoder takes a BipartiteGraph, an edge_index (2, E) of torch, an operator or one "
                f"operator for each layer; got {type(graph).__name__}"
            )
