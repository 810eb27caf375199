"""Least squares of one side of a factorisation while the other side stands still."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.common.errors import DivergenceError
from gclrec.common.ragged import Ragged

_NUMBERS = 2**22
"""Numbers in the largest array while solving, about."""


@dataclass(frozen=True, eq=False)
class LeastSquares:
    r"""Gives a node the vector that explains best what it interacted with, and what not.

    .. math:: x = \Big( \sum_{i \in N} y_i y_i^\top + \alpha\, Y^\top Y + \lambda\, (|N| + b)^{\nu}
        I \Big)^{-1} \sum_{i \in N} y_i

    Args:
        gram: ``(D, D)``, :math:`\alpha Y^\top Y` over all ``M`` nodes of the other side.
        base: :math:`b = \alpha M`, what the pairs of a node without interactions weigh.
        l2: :math:`\lambda`.
        exponent: :math:`\nu`.
    """

    gram: Tensor
    base: float
    l2: float
    exponent: float

    def __call__(self, lists: Ragged, others: Tensor) -> Tensor:
        """Return ``(N, D)`` vectors of nodes; zeros for those without interactions.

        Args:
            lists: the rows of ``others`` that each of ``N`` nodes interacted with.
            others: ``(M, D)`` vectors of the other side.

        Raises:
            DivergenceError: the equations cannot be solved in single precision.
        """
        # In the basis of the eigenvectors of the Gram matrix, it and the penalty are diagonal.
        values, basis = torch.linalg.eigh(self.gram.double())
        values, basis = values.clamp_min(0.0), basis.to(others.dtype)
        padded = torch.cat([others @ basis, others.new_zeros(1, len(basis))])
        found = others.new_zeros(len(lists), len(basis))
        for nodes in _blocks(lists.lengths, len(basis)):
            part = lists.take(nodes)
            lengths = part.lengths[:, None]
            table = np.full((len(nodes), lengths.max()), len(others))
            table[np.arange(table.shape[1]) < lengths] = part.values
            penalty = torch.from_numpy(self.l2 * (lengths + self.base) ** self.exponent)
            solved = _solved(padded[torch.from_numpy(table)], (values + penalty).to(others.dtype))
            found[torch.from_numpy(nodes)] = solved
        vectors: Tensor = found @ basis.T
        return vectors


def _solved(near: Tensor, diagonal: Tensor) -> Tensor:
    r"""Return :math:`(\mathrm{diag}(m) + Y^\top Y)^{-1} Y^\top 1` for each node of a block.

    With fewer rows than columns a smaller system gives it (Woodbury):
    :math:`M^{-1} Y^\top (I + Y M^{-1} Y^\top)^{-1} 1`.

    Args:
        near: ``(b, L, D)``, the ``Y`` of each node, with zeros below.
        diagonal: ``(b, D)``, the ``m``.
    """
    few = near.shape[1] < near.shape[2]
    if few:
        scaled = near / diagonal[:, None, :]
        system, right = scaled @ near.mT, near.new_ones(near.shape[:2])
        system.diagonal(dim1=1, dim2=2).add_(1.0)
    else:
        system, right = near.mT @ near, near.sum(dim=1)
        system.diagonal(dim1=1, dim2=2).add_(diagonal)
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed.any():
        raise DivergenceError("ials: its equations are singular in single precision; give a larger L2")
    solution = torch.cholesky_solve(right[..., None], factor)[..., 0]
    return (solution[:, None, :] @ scaled)[:, 0] if few else solution


def _blocks(lengths: npt.NDArray[np.int64], dim: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield nodes with interactions in blocks of similar length, the longest first."""
    order = np.argsort(-lengths, kind="stable")
    start, many, stop = 0, int((lengths >= dim).sum()), int((lengths > 0).sum())
    while start < stop:
        size = max(1, _NUMBERS // (dim * max(int(lengths[order[start]]), dim)))
        end = min(start + size, many if start < many else stop)
        yield order[start:end]
        start = end
