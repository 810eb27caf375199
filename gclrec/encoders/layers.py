"""What encoders with layers share: how layers are combined, and an operator for each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gclrec.common.declaration import Setting
from gclrec.common.errors import SettingError, check_choice
from gclrec.encoders.base import GraphLike
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import uncompiled
from gclrec.graph.propagation import Operator

LAYER_WEIGHTS = ("mean", "mean_without_0", "last", "learned")
"""How layers 0..L are combined: LightGCN's mean, SimGCL's mean of 1..L, the last alone, or a learned mix."""

LAYER_WEIGHTING = Setting(
    "layer_weights", f"One of {', '.join(LAYER_WEIGHTS)}.", choices=LAYER_WEIGHTS, lenient=True
)


def fixed_weights(name: str, num_layers: int) -> list[float] | None:
    """Return ``w_0 .. w_L`` of a name in :data:`LAYER_WEIGHTS`, or ``None`` when they are learned."""
    return {
        "mean": [1.0 / (num_layers + 1)] * (num_layers + 1),
        "mean_without_0": [0.0] + [1.0 / max(num_layers, 1)] * num_layers,
        "last": [0.0] * num_layers + [1.0],
    }.get(name)


def check_layers(name: str, num_layers: int) -> None:
    """Raise a :class:`SettingError` unless the name is known and suits the number of layers."""
    check_choice("layer_weights", name, LAYER_WEIGHTS)
    least = int(name == "mean_without_0")
    if num_layers < least:
        raise SettingError("num_layers", f"must be at least {least}, got {num_layers}")


class LayerOperators:
    """Turns whatever an encoder accepts as a graph into one operator for each of its layers.

    The last ``edge_index`` is not prepared again.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        num_layers: ``L``.
        degree_exponent: of the edge weights, see :meth:`gclrec.graph.bipartite.BipartiteGraph.weighted`.
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
        _check_operators(graph)
        if isinstance(graph, Sequence):
            if len(graph) != self.num_layers:
                raise ValueError(f"one operator for each of {self.num_layers} layers, got {len(graph)}")
            return list(graph)
        return [graph] * max(self.num_layers, 1)

    def _of_edges(self, edge_index: Tensor) -> Operator:
        if edge_index.is_inference():  # in-place changes of such a tensor are not counted
            return self._adjacency(edge_index)
        version = edge_index._version
        if self._last is None or self._last[0] is not edge_index or self._last[1] != version:
            with torch.inference_mode(False), torch.no_grad():  # so that training can use it later
                self._last = (edge_index, version, self._adjacency(edge_index))
        return self._last[2]

    def _adjacency(self, edge_index: Tensor) -> Operator:
        graph = BipartiteGraph(self.num_users, self.num_items, edge_index)
        return graph.weighted(self.degree_exponent)


def _check_operators(graph: object) -> None:
    for operator in graph if isinstance(graph, Sequence) else (graph,):
        if not hasattr(operator, "polynomial"):
            raise TypeError(
                "an encoder takes a BipartiteGraph, an edge_index (2, E) of torch, an operator or one "
                f"operator for each layer; got {type(graph).__name__}"
            )
