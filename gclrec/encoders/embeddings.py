"""What encoders return, and what they accept as a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.propagation import Operator

GraphLike: TypeAlias = "BipartiteGraph | Operator | Sequence[Operator] | Tensor"
"""A graph, an operator over users and items (or one for each layer), or a plain ``edge_index (2, E)``."""

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


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What a view does to embeddings while an encoder runs.

    Args:
        on_input: from layer 0's users ``(U, D)`` and items ``(I, D)`` to new ones, with their gradient.
        shift: ``shift(layer, users, items)`` adds a constant to the output of a layer from 1 on, in place;
            the gradient passes as if nothing had been added.
    """

    on_input: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    shift: Callable[[int, Tensor, Tensor], None] | None = None

    def shifted(self, layer: int, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's rows, shifted; the rows given are not changed."""
        if self.shift is None:
            return users, items
        return cast("tuple[Tensor, Tensor]", _Shifted.apply(self.shift, layer, users, items))  # type: ignore[no-untyped-call]


class _Shifted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ARG004
        shift: Callable[[int, Tensor, Tensor], None],
        layer: int,
        users: Tensor,
        items: Tensor,
    ) -> tuple[Tensor, Tensor]:
        users, items = users.clone(), items.clone()
        shift(layer, users, items)
        return users, items

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor, Tensor]:  # noqa: ARG004
        return None, None, grads[0], grads[1]
