"""Vectors of nodes without interactions, by a linear map of their attributes, fitted in closed form."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.data.schema import AttributeTable
from gclrec.data.tf_idf import TfIdf

if TYPE_CHECKING:
    import scipy.sparse

MAP_L2 = 1.0
"""Penalty of a map where no validation has chosen one."""


class PredictsVectors(Protocol):
    """What gives vectors to the nodes of one side that have attributes and no interaction."""

    def __call__(self, vectors: Tensor, l2: float = MAP_L2) -> Tensor:
        """Return the vectors ``(N, D)`` with those of nodes without interactions filled in."""

    @abstractmethod
    def encode(self, table: AttributeTable, vectors: Tensor, l2: float = MAP_L2) -> Tensor:
        """Return the vectors of further nodes, as those of the ``N`` nodes with ``vectors`` would get them.

        Raises:
            ValueError: the table has another schema.
        """


class AttributeMap:
    r"""A ridge regression from the attributes of nodes to their vectors.

    .. math:: \hat x_n = W^\top c_n, \qquad
        W = \Big( \sum_{i} c_i c_i^\top + \lambda I \Big)^{-1} \sum_{i} c_i x_i^\top

    with the attributes :math:`c_n` of unit length (:class:`~gclrec.data.tf_idf.TfIdf`) and the sums over the
    nodes that have an interaction. The vectors may be those of any model; attributes have no part in its
    training ([1]).

    Args:
        table: attributes of ``N`` nodes.
        degrees: ``(N,)`` their training interactions; those without any get their vectors from the map.

    Raises:
        InputError: no attribute can be used.

    Example:
        >>> import polars as pl
        >>> from gclrec.data.schema import Schema
        >>> films = pl.DataFrame({"id": range(4), "genre": ["war", "war", "love", "love"]})
        >>> table = Schema.fit(films).encode(films)
        >>> filled = AttributeMap(table, torch.tensor([9, 0, 9, 0]))(torch.eye(4)[:, :3], l2=1e-6)
        >>> filled[1].round(decimals=3).tolist(), filled[3].round(decimals=3).tolist()
        ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0])

    [1] Gantner et al., ICDM 2010, https://doi.org/10.1109/ICDM.2010.129
    """

    def __init__(self, table: AttributeTable, degrees: Tensor) -> None:
        self.tf_idf = TfIdf.fit(table, "attributes map")
        self.cold = (degrees == 0).cpu()
        self.rows = self.tf_idf(table)
        self.known = self.rows[np.flatnonzero(~self.cold.numpy())]

    def __call__(self, vectors: Tensor, l2: float = MAP_L2) -> Tensor:
        """Return the vectors ``(N, D)`` with those of nodes without interactions filled in.

        Args:
            vectors: ``(N, D)``; those of nodes with interactions are what the map is fitted to.
            l2: penalty, above 0.
        """
        cold = self.cold.to(vectors.device)
        if not bool(cold.any()):
            return vectors
        filled = vectors.clone()
        filled[cold] = self._mapped(self.rows[np.flatnonzero(self.cold.numpy())], vectors, l2)
        return filled

    def encode(self, table: AttributeTable, vectors: Tensor, l2: float = MAP_L2) -> Tensor:
        """Return the vectors of further nodes, as those of the table would get them.

        Args:
            table: encoded by the same schema.
            vectors: ``(N, D)`` of the nodes that the map is made for.
            l2: penalty.

        Raises:
            ValueError: the table has another schema.
        """
        return self._mapped(self.tf_idf(table), vectors, l2)

    def _mapped(self, rows: scipy.sparse.csr_array, vectors: Tensor, l2: float) -> Tensor:
        wanted = vectors[~self.cold.to(vectors.device)].detach().cpu().float().numpy()
        weights = ridge(self.known, self.known.T @ wanted, l2)
        found: npt.NDArray[Any] = rows @ weights
        return torch.from_numpy(found).to(vectors)


def ridge(
    rows: scipy.sparse.csr_array, wanted: npt.NDArray[Any], l2: float, *, tolerance: float = 1e-4
) -> npt.NDArray[Any]:
    """Solve ``(rows' rows + l2) x = wanted`` for several right sides by conjugate gradients.

    Args:
        rows: ``(N, V)``.
        wanted: ``(V, B)``.
        l2: above 0.
        tolerance: of the length of the residual of each side, relative to that of the side.

    Returns:
        ``(V, B)`` in the type of ``wanted``.
    """
    transposed = rows.T.tocsr()
    found, left = np.zeros_like(wanted), wanted.copy()
    step, size = left.copy(), (left * left).sum(axis=0)
    enough = tolerance**2 * size
    for _ in range(len(wanted)):
        if (size <= enough).all():
            break
        ahead = transposed @ (rows @ step) + l2 * step
        curve = (step * ahead).sum(axis=0)
        share = np.divide(size, curve, out=np.zeros_like(size), where=curve > 0)
        found += share * step
        left -= share * ahead
        before, size = size, (left * left).sum(axis=0)
        step = left + np.divide(size, before, out=np.zeros_like(size), where=before > 0) * step
    return found
