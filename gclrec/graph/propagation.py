r"""The sparse product at the heart of every graph encoder, with a backward pass of its own.

The normalised adjacency of a user-item graph,

.. math:: \hat A = D^{-1/2} A D^{-1/2}, \qquad
    A = \begin{pmatrix} 0 & R \\ R^\top & 0 \end{pmatrix},

is symmetric, so the gradient of ``A_hat x`` is ``A_hat`` times the incoming gradient: forward and
backward are the same product. It is kept as two matrices in compressed rows, ``R`` by user and its transpose
by item. On a CPU a product is one ``embedding_bag`` (it gathers, weights and sums the rows of each bag
without a temporary of the size of the edges), which is several times faster than PyTorch's own CSR product;
on a GPU it is the CSR product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias, cast

import scipy.sparse
import torch
from torch import Tensor
from torch.nn import functional

from gclrec.common.devices import on_cpu


class Operator(Protocol):
    """A linear operator over users and items, symmetric on average; encoders apply it once a layer."""

    @property
    def num_users(self) -> int:
        """Number of users ``U``."""

    @property
    def num_items(self) -> int:
        """Number of items ``I``."""

    @property
    def transposed(self) -> Operator:
        """The transpose, through which gradients go; itself if the operator is symmetric."""

    def propagate(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the operator once to users ``(U, D)`` and items ``(I, D)``."""

    def polynomial(self, users: Tensor, items: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Apply the sum of the operator's powers 0, 1, ..., weighted, to users and items."""


@dataclass(frozen=True, eq=False)
class CSRMatrix:
    """A sparse matrix in compressed rows: one direction of a bipartite graph.

    Args:
        ptr: ``(R + 1,)`` where the entries of each row begin, int32 where it fits.
        to: ``(E,)`` columns, the same type.
        weight: ``(E,)`` values; 0 for an edge that a view has dropped.
        num_columns: ``C``.
    """

    ptr: Tensor
    to: Tensor
    weight: Tensor
    num_columns: int

    def matmul(self, x: Tensor) -> Tensor:
        """Return the product with ``x (C, D)``, ``(R, D)``; no gradient."""
        weight = self._half_weight if x.dtype == torch.bfloat16 else self.weight.to(x.dtype)
        if not on_cpu(x.device):
            shape = (len(self.ptr) - 1, self.num_columns)
            matrix = torch.sparse_csr_tensor(
                self.ptr, self.to, weight, shape, device=x.device, check_invariants=False
            )
            return matrix @ x
        return functional.embedding_bag(
            self.to, x, self.ptr, mode="sum", per_sample_weights=weight, include_last_offset=True
        )

    @cached_property
    def _half_weight(self) -> Tensor:
        return self.weight.bfloat16()

    def rows(self, numbers: Tensor) -> CSRMatrix:
        """Return the matrix of some rows, ``(n, C)``."""
        begin = self.ptr.index_select(0, numbers)
        counts = self.ptr.index_select(0, numbers + 1) - begin
        ptr = torch.zeros(len(numbers) + 1, dtype=self.ptr.dtype, device=self.ptr.device)
        torch.cumsum(counts, 0, dtype=ptr.dtype, out=ptr[1:])
        places = (begin - ptr[:-1]).repeat_interleave(counts)
        places += torch.arange(len(places), dtype=places.dtype, device=places.device)
        return CSRMatrix(
            ptr, self.to.index_select(0, places), self.weight.index_select(0, places), self.num_columns
        )

    @property
    def transposed(self) -> CSRMatrix:
        """The transpose, ``(C, R)``; on a CPU made by SciPy, which does not compare."""
        shape = len(self.ptr) - 1, self.num_columns
        if on_cpu(self.ptr.device):
            parts = (x.numpy() for x in (self.weight, self.to, self.ptr))
            turned = scipy.sparse.csr_array(tuple(parts), shape=shape, copy=False).tocsc()
            ptr, to, weight = (torch.from_numpy(x) for x in (turned.indptr, turned.indices, turned.data))
            return CSRMatrix(ptr, to, weight, shape[0])
        order = torch.argsort(self.to, stable=True)
        row = torch.arange(shape[0], dtype=self.to.dtype, device=self.to.device)
        row = row.repeat_interleave(self.ptr.diff(), output_size=len(self.to))
        ptr = torch.zeros(shape[1] + 1, dtype=self.ptr.dtype, device=self.ptr.device)
        torch.cumsum(torch.bincount(self.to, minlength=shape[1]), 0, dtype=ptr.dtype, out=ptr[1:])
        return CSRMatrix(ptr, row.index_select(0, order), self.weight.index_select(0, order), shape[0])


@dataclass(frozen=True, eq=False)
class Adjacency:
    """The symmetrically normalised adjacency of a user-item graph.

    Made by :attr:`gclrec.graph.bipartite.BipartiteGraph.adjacency`.

    Args:
        by_user: ``R (U, I)``, which sends item rows to users.
        by_item: its transpose, ``(I, U)``.
    """

    by_user: CSRMatrix
    by_item: CSRMatrix

    @property
    def num_users(self) -> int:
        """Number of users ``U``."""
        return self.by_item.num_columns

    @property
    def num_items(self) -> int:
        """Number of items ``I``."""
        return self.by_user.num_columns

    @property
    def transposed(self) -> Adjacency:
        """Itself."""
        return self

    def propagate(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return one propagation step, :math:`(R\,x_I,\; R^\top x_U)`.

        .. math:: x_u' = \sum_{i \in N(u)} \frac{x_i}{\sqrt{|N(u)|\,|N(i)|}}

        and the same for items (LightGCN, https://arxiv.org/abs/2002.02126, equation 3).

        Shapes:
            - **users:** ``(U, D)``; **items:** ``(I, D)``
            - **output:** users ``(U, D)`` and items ``(I, D)``; zero for a node without edges
        """
        return self.polynomial(users, items, (0.0, 1.0))

    def polynomial(self, users: Tensor, items: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\sum_l w_l \hat A^l x` for fixed weights, in ``len(weights) - 1`` products.

        By Horner's rule, so no layer is kept for the backward pass, which is the same polynomial of the
        incoming gradient.

        Shapes:
            - **users:** ``(U, D)``; **items:** ``(I, D)``
            - **output:** users ``(U, D)`` and items ``(I, D)``
        """
        _check(self, users, items)
        return applied(_Polynomial, self, tuple(weights), users, items)


Change: TypeAlias = Callable[[int, Tensor, Tensor], None]
"""Changes the rows of a layer in place: its number, users ``(U, D)``, items ``(I, D)``."""


def layered(
    operators: Sequence[Operator],
    users: Tensor,
    items: Tensor,
    weights: Sequence[float],
    *,
    change: Change | None = None,
) -> tuple[Tensor, Tensor, tuple[tuple[Tensor, Tensor], ...]]:
    r"""Return the weighted sum of layers that may be perturbed, and the layers themselves.

    .. math:: x^{(l)} = A_l\, x^{(l-1)} + \delta_l, \qquad y = \sum_{l=0}^{L} w_l\, x^{(l)}

    The perturbation :math:`\delta_l` is a constant for the gradient, which is a chain of the same products in
    reverse; the gradients of the sum and of single layers are added on the way. No layer is kept for it.

    Args:
        operators: :math:`A_1 .. A_L`.
        users: ``(U, D)`` of layer 0.
        items: ``(I, D)`` of layer 0.
        weights: :math:`w_0 .. w_L`.
        change: adds :math:`\delta_l`; called for the layers 1 to ``L``.

    Returns:
        Users and items of the sum, and those of each layer, layer 0 first.
    """
    flat = _Layered.apply(tuple(operators), tuple(weights), change, users, items)  # type: ignore[no-untyped-call]
    rows = cast("tuple[Tensor, ...]", flat)
    later = tuple(zip(rows[2::2], rows[3::2], strict=True))
    return rows[0], rows[1], ((users, items), *later)


class Product(Protocol):
    """One direction of a symmetric operator: anything that multiplies like a matrix."""

    @property
    def num_columns(self) -> int:
        """Number of columns of the matrix."""

    def matmul(self, x: Tensor) -> Tensor:
        """Return the product with ``x (C, D)``; no gradient."""


@dataclass(frozen=True, eq=False)
class Composed:
    """Like :class:`Adjacency`, for any two products.

    Args:
        by_user: ``(U, I)``, which sends item rows to users.
        by_item: ``(I, U)``, which sends user rows to items.
        back: the transposes of ``by_item`` and of ``by_user``; ``None`` if they are each other's.
    """

    by_user: Product
    by_item: Product
    back: tuple[Product, Product] | None = None

    @property
    def transposed(self) -> Composed:
        """The transpose."""
        return self if self.back is None else Composed(*self.back, (self.by_user, self.by_item))

    @property
    def num_users(self) -> int:
        """Number of users ``U``."""
        return self.by_item.num_columns

    @property
    def num_items(self) -> int:
        """Number of items ``I``."""
        return self.by_user.num_columns

    def propagate(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Adjacency.propagate`."""
        return self.polynomial(users, items, (0.0, 1.0))

    def polynomial(self, users: Tensor, items: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
        """See :meth:`Adjacency.polynomial`."""
        _check(self, users, items)
        return applied(_Polynomial, self, tuple(weights), users, items)


def _check(adjacency: Operator, users: Tensor, items: Tensor) -> None:
    expected = (adjacency.num_users, adjacency.num_items)
    if (len(users), len(items)) != expected:
        raise ValueError(
            f"the graph has {expected[0]} users and {expected[1]} items, "
            f"got rows for {len(users)} users and {len(items)} items"
        )


def applied(function: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
    """Call an autograd function of two results, whose ``apply`` carries no types."""
    return cast("tuple[Tensor, Tensor]", function.apply(*arguments))


def _product(adjacency: Adjacency | Composed, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    return adjacency.by_user.matmul(items.contiguous()), adjacency.by_item.matmul(users.contiguous())


class _Polynomial(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, adjacency: Adjacency | Composed, weights: tuple[float, ...], users: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.adjacency, ctx.weights = adjacency, weights
        users, items = users.contiguous(), items.contiguous()
        if len(weights) == 1:
            return users * weights[0], items * weights[0]
        # The last weight multiplies the result of the first product, in place, since x must stay as it is.
        sum_u, sum_i = _product(adjacency, users, items)
        if weights[-1] != 1.0:
            sum_u, sum_i = sum_u.mul_(weights[-1]), sum_i.mul_(weights[-1])
        for weight in reversed(weights[1:-1]):
            if weight:
                sum_u, sum_i = sum_u.add_(users, alpha=weight), sum_i.add_(items, alpha=weight)
            sum_u, sum_i = _product(adjacency, sum_u, sum_i)
        if weights[0]:
            sum_u, sum_i = sum_u.add_(users, alpha=weights[0]), sum_i.add_(items, alpha=weights[0])
        return sum_u, sum_i

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor, Tensor]:
        # Through the function itself, so that second derivatives exist too.
        grad_users, grad_items = applied(_Polynomial, ctx.adjacency.transposed, ctx.weights, *grads)
        return None, None, grad_users, grad_items


class _Layered(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        operators: tuple[Operator, ...],
        weights: tuple[float, ...],
        change: Change | None,
        users: Tensor,
        items: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.operators, ctx.weights = operators, weights
        ctx.shapes = users.shape, items.shape
        ctx.set_materialize_grads(False)
        sum_u, sum_i = users * weights[0], items * weights[0]
        rows: list[Tensor] = []
        for layer, operator in enumerate(operators, start=1):
            users, items = operator.propagate(users, items)
            if change is not None:
                change(layer, users, items)
            if weight := weights[layer]:
                sum_u, sum_i = sum_u.add_(users, alpha=weight), sum_i.add_(items, alpha=weight)
            rows += users, items
        return sum_u, sum_i, *rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        # All steps are differentiable themselves, so that second derivatives exist too.
        whole, layers = grads[:2], (None, None, *grads[2:])
        given = next((grad for grad in grads if grad is not None), None)
        if given is None:
            return (None,) * 5
        carried: list[Tensor] | None = None
        for layer in range(len(ctx.operators), -1, -1):
            if carried is not None:
                carried = list(ctx.operators[layer].transposed.propagate(*carried))
            for side in (0, 1):
                for grad, weight in ((whole[side], ctx.weights[layer]), (layers[2 * layer + side], 1.0)):
                    if grad is not None and weight:
                        if carried is None:
                            carried = [given.new_zeros(shape) for shape in ctx.shapes]
                        carried[side].add_(grad, alpha=weight)
        return None, None, None, *(carried or (None, None))
