"""EASE: the closed-form linear model between items."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from gclrec.baselines.scorers import ItemScorer
from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import InputError, TooLargeError
from gclrec.common.memory import free_bytes
from gclrec.graph.bipartite import BipartiteGraph

_L2 = Setting(
    "ease_l2",
    "Weight of ease's L2 on the weights between items.",
    low=0,
    closed=False,
    search=Span(10.0, 3000.0, log=True),
)
_COLUMNS = 1024
"""Items whose weights are solved for at a time."""
_BYTES = 16
"""Of each pair of items while fitting: a matrix of float64 and its factor."""


def ease(graph: BipartiteGraph, *, l2: Annotated[float, _L2] = 250.0) -> ItemScorer:
    r"""Fit the weights between items that reconstruct the interactions best, in closed form (EASE, [1]).

    .. math:: \min_B \lVert A - A B \rVert_F^2 + \lambda \lVert B \rVert_F^2,\; \mathrm{diag}(B) = 0
        \quad\Rightarrow\quad B_{ij} = -\frac{P_{ij}}{P_{jj}}\; (i \ne j), \qquad
        P = (A^\top A + \lambda I)^{-1}

    Time grows with the cube of the number of items, memory with its square.

    Args:
        graph: training interactions.
        l2: :math:`\lambda`.

    Raises:
        InputError: ``l2`` is so small that the equations cannot be solved.
        TooLargeError: two matrices of all pairs of items do not fit into the memory that is free.

    [1] Steck, WWW 2019, https://arxiv.org/abs/1905.03375
    """
    import scipy.sparse

    needed, free = _BYTES * graph.num_items**2, free_bytes()
    if needed > free:
        size, most = f"{graph.num_items:,} items", math.isqrt(int(free // _BYTES))
        raise TooLargeError(
            f"ease: the weights between {size} take {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB "
            f"are free, enough for {most:,} items; take rp3beta or ials, or leave out rare items"
        )
    ones = scipy.sparse.csr_array(graph.to_scipy(), dtype=np.float64)
    weights = np.empty((graph.num_items, graph.num_items))
    by_item: Any = ones.T.tocsr()
    for start in range(0, graph.num_items, _COLUMNS):
        rows = slice(start, start + _COLUMNS)
        weights[rows] = (by_item[rows] @ ones).toarray()
    weights[np.diag_indices_from(weights)] += l2
    _invert(torch.from_numpy(weights), l2)
    weights *= -1.0 / weights.diagonal()
    np.fill_diagonal(weights, 0.0)
    return ItemScorer(ones, weights)


def _invert(matrix: Tensor, l2: float) -> None:
    """Invert a symmetric matrix in place, by its Cholesky factor.

    Of the inverse, the block from item ``s`` on follows from the same block of the factor. So the columns of
    one block after the other are solved for, and its rows are their mirror image.
    """
    # Not SciPy's LAPACK: potrf of its OpenBLAS 0.3.30 crashes on two threads from about 16,000 rows on.
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        raise InputError(
            f"ease: an l2 of {l2:g} is too small for these interactions to be solved; take 1 or more"
        )
    for start in range(0, len(matrix), _COLUMNS):
        lower = factor[start:, start:]
        columns = torch.eye(len(lower), min(_COLUMNS, len(lower)), dtype=matrix.dtype)
        columns = torch.linalg.solve_triangular(lower, columns, upper=False)
        columns = torch.linalg.solve_triangular(lower.mT, columns, upper=True)
        matrix[start:, start : start + _COLUMNS] = columns
        matrix[start : start + _COLUMNS, start:] = columns.mT
