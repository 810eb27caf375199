r"""Operators made from another one: with some nodes left out, or with further nodes beside it.

The weight of an edge, :math:`(d_u d_i)^{-a}` with mostly :math:`a = 1/2`, is a factor of its user times a
factor of its item. So an operator gets the weights of other degrees by scaling rows before and after its
product, and none of its arrays is made again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gclrec.graph.csr import degree_scale
from gclrec.graph.low_rank import LowRank
from gclrec.graph.propagation import Adjacency, Composed, CSRMatrix, Operator, Product


@dataclass(frozen=True, eq=False)
class Links:
    """Edges between the nodes of one side and further nodes, such as the values of their attributes.

    Args:
        by_node: a row for each node; weight 1 for an edge, 0 for a hidden one.
        by_value: its transpose, a row for each further node.
    """

    by_node: CSRMatrix
    by_value: CSRMatrix

    def degrees(self) -> tuple[Tensor, Tensor]:
        """Return the number of edges of each node and of each further node."""
        return _row_sums(self.by_node), _row_sums(self.by_value)

    def weighted(self, node_scale: Tensor, value_scale: Tensor) -> tuple[CSRMatrix, CSRMatrix]:
        """Return both directions with the weight of each edge times the factors of its two ends."""

        def scaled(matrix: CSRMatrix, row: Tensor, column: Tensor) -> CSRMatrix:
            of_row = torch.repeat_interleave(row, matrix.ptr.diff())
            weight = matrix.weight * of_row * column.index_select(0, matrix.to)
            return CSRMatrix(matrix.ptr, matrix.to, weight, matrix.num_columns)

        return (scaled(self.by_node, node_scale, value_scale), scaled(self.by_value, value_scale, node_scale))


def operator_degrees(operator: Operator) -> tuple[Tensor, Tensor] | None:
    """Return the number of edges of each user ``(U,)`` and item ``(I,)``; ``None`` for low-rank operators."""
    if not isinstance(operator, Adjacency):
        return None

    def counted(matrix: CSRMatrix) -> Tensor:
        before = torch.zeros(len(matrix.to) + 1, dtype=torch.int64, device=matrix.to.device)
        torch.cumsum(matrix.weight > 0, 0, out=before[1:])
        return before.index_select(0, matrix.ptr).diff()

    return counted(operator.by_user), counted(operator.by_item)


def without_nodes(
    operator: Operator,
    users: Tensor | None,
    items: Tensor | None,
    degrees: tuple[Tensor, Tensor],
    exponent: float = 0.5,
) -> tuple[Operator, tuple[Tensor, Tensor]]:
    """Return an operator without the edges of some nodes, weighted by the degrees left, and these degrees.

    Args:
        operator: a weighted adjacency, or its low-rank form: that has no edges, so the rows and columns
            of the nodes become zero.
        users: ``(U,)`` bool, true for users to leave out; ``None`` for none.
        items: ``(I,)`` bool, true for items to leave out; ``None`` for none.
        degrees: of users and items, before.
        exponent: ``a`` of the weights ``(d_u d_i)^-a``.

    Raises:
        TypeError: the operator is neither of these nor made from them.
    """
    counts = [degree.to(torch.get_default_dtype()) for degree in degrees]
    stays = [
        torch.ones_like(count) if out is None else (~out).to(count.dtype)
        for count, out in zip(counts, (users, items), strict=True)
    ]
    scales, lefts = list(stays), [count * stay for count, stay in zip(counts, stays, strict=True)]
    if isinstance(operator, Adjacency):
        # The edges left are counted by a product with unit weights: the weighted one, scaled back.
        for side, matrix in enumerate((operator.by_user, operator.by_item)):
            column = (counts[1 - side] ** exponent * stays[1 - side])[:, None]
            left = (matrix.matmul(column)[:, 0] * counts[side] ** exponent).round_() * stays[side]
            lefts[side] = left
            change = (counts[side] / left.clamp(min=1.0)) ** exponent
            scales[side] = torch.where(left > 0, stays[side] * change, 0.0)
    user, item = (scale[:, None] for scale in scales)
    there, back = _products(operator)
    return Composed(_Scaled(there, item, user), _Scaled(back, user, item)), (lefts[0], lefts[1])


def with_nodes(
    operator: Operator,
    user_links: Links | None,
    item_links: Links | None,
    degrees: tuple[Tensor, Tensor],
    exponent: float = 0.5,
) -> Operator:
    """Return an operator over users, items and further nodes, weighted by the degrees in this larger graph.

    Further nodes of items stand behind the users, the side that items have edges to, and further nodes of
    users behind the items. So the larger graph is bipartite too.

    Args:
        operator: a weighted adjacency over users and items.
        user_links: edges between users and further nodes, ``V_U`` of them.
        item_links: edges between items and further nodes, ``V_I`` of them.
        degrees: of users and items in ``operator``.
        exponent: ``a`` of all weights ``(d_a d_b)^-a``, those of ``operator`` too.

    Returns:
        An operator over ``U + V_I`` rows on the side of the users and ``I + V_U`` on that of the items.

    Raises:
        TypeError: the operator is neither of a graph nor made from such a one.
    """
    counts = [degree.to(torch.get_default_dtype()) for degree in degrees]
    totals, values = list(counts), [counts[0].new_empty(0), counts[0].new_empty(0)]
    for side, links in enumerate((user_links, item_links)):
        if links is not None:
            nodes, values[side] = links.degrees()
            totals[side] = totals[side] + nodes
    scales = [degree_scale(total, exponent) for total in totals]
    changes = [(count**exponent * scale)[:, None] for count, scale in zip(counts, scales, strict=True)]
    (user_there, user_back), (item_there, item_back) = (
        (None, None) if links is None else links.weighted(scale, degree_scale(value, exponent))
        for links, scale, value in zip((user_links, item_links), scales, values, strict=True)
    )
    there, back = _products(operator)
    return Composed(
        _Blocks(_Scaled(there, changes[1], changes[0]), user_there, item_back),
        _Blocks(_Scaled(back, changes[0], changes[1]), item_there, user_back),
    )


@dataclass(frozen=True, eq=False)
class _Scaled:
    """A product between two scalings of rows, ``diag(after) M diag(before)``."""

    matrix: Product
    before: Tensor
    after: Tensor

    @property
    def num_columns(self) -> int:
        return self.matrix.num_columns

    def matmul(self, x: Tensor) -> Tensor:
        return self.matrix.matmul(x * self.before.to(x.dtype)).mul_(self.after.to(x.dtype))


@dataclass(frozen=True, eq=False)
class _Factors:
    """One direction of a low-rank operator."""

    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def num_columns(self) -> int:
        return len(self.right)

    def matmul(self, x: Tensor) -> Tensor:
        return (self.left * self.values).to(x.dtype) @ (self.right.to(x.dtype).T @ x)


@dataclass(frozen=True, eq=False)
class _Blocks:
    r"""The product with :math:`\begin{pmatrix} M & A \\ B & 0 \end{pmatrix}`; A or B may be missing."""

    matrix: Product
    right: CSRMatrix | None
    below: CSRMatrix | None

    @property
    def num_columns(self) -> int:
        return self.matrix.num_columns + (0 if self.right is None else self.right.num_columns)

    def matmul(self, x: Tensor) -> Tensor:
        count = self.matrix.num_columns
        first, rest = x[:count].contiguous(), x[count:].contiguous()
        out = self.matrix.matmul(first)
        if self.right is not None:
            out = out.add_(self.right.matmul(rest))
        return out if self.below is None else torch.cat([out, self.below.matmul(first)])


def _products(operator: Operator) -> tuple[Product, Product]:
    if isinstance(operator, LowRank):
        users, items = operator.user_vectors, operator.item_vectors
        return _Factors(users, operator.values, items), _Factors(items, operator.values, users)
    if isinstance(operator, Adjacency | Composed):
        return operator.by_user, operator.by_item
    raise TypeError(f"an operator of type {type(operator).__name__} cannot be taken apart")


def _row_sums(matrix: CSRMatrix) -> Tensor:
    return matrix.matmul(torch.ones(matrix.num_columns, 1, device=matrix.weight.device))[:, 0].round_()
