"""Regressions that give a new node its vector, from its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gclrec.common.ragged import Ragged
from gclrec.runs.embeddings import FloatArray

if TYPE_CHECKING:  # torch is imported by what needs it
    from gclrec.baselines.least_squares import LeastSquares

RIDGE = 0.3
"""Weight of the penalty, relative to the mean variance of what a node receives."""

_BLOCK = 65536  # rows whose copies in double precision are held at a time


@dataclass(frozen=True, eq=False)
class Ridge:
    r"""Predicts layer 0 of a node from what it receives, by centred ridge regression.

    .. math:: \hat x^{(0)} = \mu + (r - \bar r) W, \qquad
        W = \Big( R^\top R + \lambda \tfrac{\mathrm{tr}(R^\top R)}{D} I \Big)^{-1} R^\top X

    where ``R`` and ``X`` are the centred rows of the training nodes that have neighbours.

    Args:
        centre: ``(D,)`` mean of what these nodes receive.
        matrix: ``(D, D)`` the regression matrix ``W``.
        mean: ``(D,)`` mean of their layer 0.
    """

    centre: FloatArray
    matrix: FloatArray
    mean: FloatArray

    @classmethod
    def fit(cls, received: npt.NDArray[Any], start: npt.NDArray[Any]) -> Ridge:
        """Fit to ``(N, D)`` rows of what nodes receive and of their layer 0; zeros if there is no node.

        Sums are in double precision, over blocks of rows.
        """
        dim = start.shape[1]
        if not len(start):
            return cls(*(np.zeros(shape, dtype=np.float32) for shape in (dim, (dim, dim), dim)))
        centre, mean = (part.mean(axis=0, dtype=np.float64) for part in (received, start))
        square, product = np.zeros((dim, dim)), np.zeros((dim, dim))
        for begin in range(0, len(start), _BLOCK):
            rows = received[begin : begin + _BLOCK] - centre
            square += rows.T @ rows
            product += rows.T @ (start[begin : begin + _BLOCK] - mean)
        penalty = RIDGE * max(np.trace(square) / dim, 1e-12)
        matrix = np.linalg.solve(square + penalty * np.eye(dim), product)
        return cls(*(part.astype(np.float32) for part in (centre, matrix, mean)))

    def __call__(self, received: FloatArray) -> FloatArray:
        """Return the predicted layer 0 of nodes that receive ``(N, D)``."""
        predicted = (received - self.centre) @ self.matrix + self.mean
        return predicted.astype(np.float32)


def solver_of(gram: FloatArray, numbers: Sequence[Any]) -> LeastSquares:
    """Return the least squares of a side from its Gram matrix and its numbers, as a fold-in keeps them."""
    import torch

    from gclrec.baselines.least_squares import LeastSquares

    return LeastSquares(torch.from_numpy(gram), *map(float, numbers))


def solved(solver: LeastSquares, lists: Ragged, others: FloatArray) -> FloatArray:
    """Return the vectors of nodes by what they interacted with, whatever the order of the lists."""
    import torch

    ordered = Ragged.from_pairs(lists.owners(), lists.values, len(lists), distinct=True)
    found: FloatArray = solver(ordered, torch.from_numpy(others)).numpy()
    return found
