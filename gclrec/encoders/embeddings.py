"""What encoders return, and what they accept as a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.propagation import Operator

GraphLike: TypeAlias = "BipartiteGraph | Operator | Sequence[Operator] | Tensor"
"""A graph, an operator over users and items (or one for each layer), or a plain ``edge_index (2, E)``."""

Perturbation: TypeAlias = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""What a view does to a layer: number (0 is the input), users ``(U, D)``, items ``(I, D)`` to new ones."""

Hidden: TypeAlias = "tuple[Tensor | None, Tensor | None]"
"""Attributes that read as missing, bool users ``(U, F)`` and items ``(I, F)``; ``None`` for none."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Users' and items' embeddings; unpacks as ``users, items = embeddings``.

    Args:
        users: ``(U, D)`` final embeddings.
        items: ``(I, D)`` final embeddings.
        layers: each layer's output as ``(users, items)``, layer 0 first; empty unless asked for.
    """

    users: Tensor
    items: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...] = ()

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.users, self.items))
