"""EASE: the closed-form linear model between items."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np

from gclrec.baselines.scorers import ItemScorer
from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import TooLargeError
from gclrec.common.memory import free_bytes
from gclrec.graph.bipartite import BipartiteGraph

_L2 = Setting(
    "ease_l2",
    "Weight of ease's L2 on the weights between items.",
    low=0,
    closed=False,
    search=Span(10.0, 3000.0, log=True),
)
_ROWS = 1024
"""Items whose weights are written at a time."""
_BYTES = 8
"""Of each pair of items while fitting: one matrix of float64, inverted in place."""


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
        TooLargeError: the matrix of all pairs of items does not fit into the memory that is free.

    [1] Steck, WWW 2019, https://arxiv.org/abs/1905.03375
    """
    import scipy.sparse
    from scipy.linalg import lapack

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
    blocks = [slice(start, start + _ROWS) for start in range(0, graph.num_items, _ROWS)]
    for rows in blocks:
        weights[rows] = (by_item[rows] @ ones).toarray()
    weights[np.diag_indices_from(weights)] += l2
    # LAPACK inverts in place what is stored by columns: the transpose, which is the same matrix.
    factor, _ = lapack.dpotrf(weights.T, lower=True, clean=False, overwrite_a=True)
    inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
    weights = inverse.T  # its upper triangle, as LAPACK counts the other way round
    scale = -1.0 / weights.diagonal()
    for rows in blocks:
        corner = np.triu(weights[rows, rows], 1)
        weights[rows, rows] = corner + corner.T
        weights[rows.stop :, rows] = weights[rows, rows.stop :].T
    weights *= scale
    return ItemScorer(ones, weights)
