"""Propagation of items' vectors alone, of which users are made: each product has one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gclrec.graph.half import HalfMatrix
from gclrec.graph.propagation import Adjacency, Composed, CSRMatrix, Operator, Product, applied


def of_items(
    operator: Operator, items: Tensor, weights: Sequence[float], *, users: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\sum_l w_l \hat A^l (0, x_I)`, the polynomial of items alone.

    Each power maps items to one side only, so half of each product is left out, and two powers cost one
    propagation. The gradient is a chain of the same products in reverse.

    Where only some users are asked for, the last product that ends at the users is made for their rows
    alone, and so is the first one of the gradient.

    Args:
        operator: of the graph.
        items: ``(I, D)``; the users of layer 0 are zero.
        weights: :math:`w_0 .. w_L`.
        users: ``(n,)`` distinct users that are wanted; all if ``None``.

    Shapes:
        - **output:** users ``(U, D)`` or ``(n, D)``, the sum of odd powers, and items ``(I, D)``, that of
          even ones
    """
    if not isinstance(operator, Adjacency | Composed):
        nothing = items.new_zeros(operator.num_users, items.shape[1])
        every, sums = operator.polynomial(nothing, items, weights)
        return every if users is None else every.index_select(0, users), sums
    if len(items) != operator.num_items:
        raise ValueError(f"the graph has {operator.num_items} items, got rows for {len(items)}")
    return applied(_Outward, _Chain.of(operator, tuple(weights), users), items)


@dataclass(frozen=True, eq=False)
class _Chain:
    """What :func:`of_items` multiplies with.

    Args:
        adjacency: the operator.
        weights: of its powers.
        users: the users that are wanted; all if ``None``.
        last: the product that ends at them, and its transpose, where it is the last one.
    """

    adjacency: Adjacency | Composed
    weights: tuple[float, ...]
    users: Tensor | None = None
    last: tuple[Product, Product] | None = None

    @classmethod
    def of(cls, adjacency: Adjacency | Composed, weights: tuple[float, ...], users: Tensor | None) -> _Chain:
        matrix = adjacency.by_user
        if users is None or len(weights) % 2 or not isinstance(matrix, CSRMatrix | HalfMatrix):
            return cls(adjacency, weights, users)
        some = matrix.rows(users)
        return cls(adjacency, weights, users, (some, some.transposed))

    @property
    def transposed(self) -> _Chain:
        last = None if self.last is None else (self.last[1], self.last[0])
        return replace(self, adjacency=self.adjacency.transposed, last=last)

    def carried(self, x: Tensor) -> Tensor:
        """Return rows as they go from product to product: in half precision, if these are."""
        return x.bfloat16() if isinstance(self.adjacency.by_user, HalfMatrix) else x.contiguous()

    def wanted(self, users: Tensor) -> Tensor:
        return users if self.users is None else users.index_select(0, self.users)

    def spread(self, users: Tensor) -> Tensor:
        if self.users is None:
            return users
        every = users.new_zeros(self.adjacency.num_users, users.shape[1])
        return every.index_copy(0, self.users, users)


class _Outward(torch.autograd.Function):
    """:func:`of_items`: odd powers end at the users, even powers at the items."""

    @staticmethod
    def forward(ctx: Any, chain: _Chain, items: Tensor) -> tuple[Tensor, Tensor]:
        ctx.chain = chain
        weights, matrices = chain.weights, (chain.adjacency.by_item, chain.adjacency.by_user)
        users: Tensor | None = None
        sums = items * weights[0]
        x = chain.carried(items)
        for power, weight in enumerate(weights[1:], start=1):
            last = chain.last if power == len(weights) - 1 else None
            x = matrices[power % 2].matmul(x) if last is None else last[0].matmul(x)
            if power % 2 == 0:
                sums.add_(x, alpha=weight)
                continue
            rows = x if last is not None else chain.wanted(x)
            users = rows.to(items.dtype) * weight if users is None else users.add_(rows, alpha=weight)
        if users is None:
            count = chain.adjacency.num_users if chain.users is None else len(chain.users)
            users = items.new_zeros(count, items.shape[1])
        return users, sums

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        # Through the function of the transpose, so that second derivatives exist too.
        return None, _Inward.apply(ctx.chain.transposed, *grads)  # type: ignore[no-untyped-call]


class _Inward(torch.autograd.Function):
    """The transpose of :class:`_Outward`, from users and items to items."""

    @staticmethod
    def forward(ctx: Any, chain: _Chain, users: Tensor, items: Tensor) -> Tensor:
        ctx.chain = chain
        weights, matrices = chain.weights, (chain.adjacency.by_item, chain.adjacency.by_user)
        sides = items, users if chain.last is not None else chain.spread(users)
        last = len(weights) - 1
        carried = chain.carried(sides[last % 2] * weights[last])
        for power in range(last - 1, -1, -1):
            first = chain.last if power == last - 1 else None
            carried = matrices[power % 2].matmul(carried) if first is None else first[0].matmul(carried)
            if not weights[power]:
                continue
            if power % 2 == 0 or chain.last is None:
                carried.add_(sides[power % 2], alpha=weights[power])
            else:
                assert chain.users is not None
                carried.index_add_(0, chain.users, users.to(carried.dtype), alpha=weights[power])
        return carried.to(items.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        users, items = applied(_Outward, ctx.chain.transposed, *grads)
        return None, users, items
