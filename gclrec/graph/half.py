"""Propagation in half precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gclrec.graph.propagation import Adjacency, Composed, CSRMatrix


@dataclass(frozen=True, eq=False)
class HalfMatrix:
    """A matrix whose products read and write bfloat16, half the bytes; they are summed in single precision.

    Args:
        matrix: the matrix.
    """

    matrix: CSRMatrix

    @property
    def num_columns(self) -> int:
        """Number of columns ``C``."""
        return self.matrix.num_columns

    @property
    def transposed(self) -> HalfMatrix:
        """The transpose."""
        return HalfMatrix(self.matrix.transposed)

    def matmul(self, x: Tensor) -> Tensor:
        """Return the product with ``x (C, D)``, ``(R, D)``, of the type of ``x``; no gradient."""
        return self.matrix.matmul(x.bfloat16()).to(x.dtype)

    def rows(self, numbers: Tensor) -> HalfMatrix:
        """Return the matrix of some rows, ``(n, C)``."""
        return HalfMatrix(self.matrix.rows(numbers))


def in_half(operator: Adjacency | Composed) -> Composed:
    """Return an operator whose products read and write bfloat16, see :class:`HalfMatrix`.

    Example:
        >>> import torch
        >>> from gclrec.graph.bipartite import BipartiteGraph
        >>> graph = BipartiteGraph(2, 1, torch.tensor([[0, 1], [0, 0]]))
        >>> in_half(graph.adjacency).propagate(torch.ones(2, 1), torch.ones(1, 1))[1]
        tensor([[1.4141]])
    """

    def halved(matrix: Any) -> HalfMatrix:
        return HalfMatrix(matrix)

    back = operator.back if isinstance(operator, Composed) else None
    both = None if back is None else (halved(back[0]), halved(back[1]))
    return Composed(halved(operator.by_user), halved(operator.by_item), both)
