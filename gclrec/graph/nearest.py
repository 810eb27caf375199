"""Nearest rows of a matrix of ones by cosine: nodes of one side by the neighbours that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gclrec.data.interactions import Float64Array, IntArray

if TYPE_CHECKING:
    import scipy.sparse


_ROWS = 1024
"""Rows that are compared with all others at a time."""


def nearest_rows(
    matrix: scipy.sparse.csr_array, count: int, *, shrink: float = 0.0
) -> tuple[IntArray, IntArray, Float64Array]:
    r"""Return the rows that are nearest to each row of a matrix of ones.

    .. math:: \cos(a, b) = \frac{|A \cap B|}{\sqrt{|A|\,|B|} + \beta}

    A row is not near itself, nor to a row with which it shares nothing; equal cosines stand by row number.

    Args:
        matrix: ``(R, C)``, in SciPy's CSR form.
        count: rows wanted of each, at most.
        shrink: :math:`\beta`; the larger, the less a few shared columns count.

    Returns:
        ``(n,)`` each: the near rows, the rows that they are near to (ascending), and their cosines; of each
        row the nearest stand first.
    """
    columns: Any = matrix.T.tocsr()
    degrees = np.diff(matrix.indptr).astype(np.float64)
    starts = range(0, max(matrix.shape[0], 1), _ROWS)
    blocks = [np.arange(start, min(start + _ROWS, matrix.shape[0])) for start in starts]
    parts = [_nearest(matrix[rows] @ columns, rows, degrees, count, shrink) for rows in blocks]
    near, target, cosine = (np.concatenate(column) for column in zip(*parts, strict=True))
    return near, target, cosine


def nearest_table(matrix: scipy.sparse.csr_array, count: int) -> tuple[IntArray, IntArray]:
    """Return the nearest rows of each row of ``matrix (R, C)`` as a table.

    Returns:
        ``(R, count)`` row numbers, nearest first and filled up with the row's own, and ``(R,)`` how many are
        others.
    """
    near, target, _ = nearest_rows(matrix, count)
    rows = np.arange(matrix.shape[0])
    found = np.bincount(target, minlength=len(rows))
    table = np.repeat(rows[:, None], count, axis=1)
    table[target, np.arange(len(target)) - (np.cumsum(found) - found)[target]] = near
    return table, found


def _nearest(
    shared: Any, rows: IntArray, degrees: Float64Array, count: int, shrink: float
) -> tuple[IntArray, IntArray, Float64Array]:
    """Return near rows, the rows that they are near to, and cosines, from the numbers of shared columns."""
    shared.sort_indices()
    row = np.repeat(np.arange(len(rows)), np.diff(shared.indptr))
    item = shared.indices.astype(np.int64)
    other = item != rows[row]
    row, item, number = row[other], item[other], shared.data[other]
    cosine = number / (np.sqrt(degrees[rows[row]] * degrees[item]) + shrink)
    kept = largest_of_rows(row, cosine, count)
    return item[kept], rows[row[kept]], cosine[kept]


def largest_of_rows(row: IntArray, value: Float64Array, count: int) -> IntArray:
    """Return the places of the ``count`` largest values of each row, largest first.

    Args:
        row: ``(n,)`` the row of each value, ascending.
        value: ``(n,)`` the values; equal ones stay in their order.
        count: values wanted of each row, at most.
    """
    order = np.lexsort((-value, row))  # stable
    begin = np.searchsorted(row, row)
    kept: IntArray = order[np.arange(len(row)) - begin < count]
    return kept
