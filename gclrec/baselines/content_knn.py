"""Content-based neighbours: items with the attributes of a user's items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.baselines.scorers import ranked_in_blocks
from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray
from gclrec.data.schema import AttributeTable, Column
from gclrec.graph.bipartite import BipartiteGraph

if TYPE_CHECKING:
    import scipy.sparse


@dataclass(frozen=True, eq=False)
class ContentKNN:
    """A fitted :func:`content_knn`.

    Args:
        profiles: ``(U, V)``, the sum of each user's items.
        items: ``(V, I)``, the items' content, of unit length.
    """

    profiles: scipy.sparse.csr_array
    items: scipy.sparse.csr_array
    vectors: None = None

    def top_k(
        self, users: npt.ArrayLike, k: int, seen: Ragged | None = None, among: IntArray | None = None
    ) -> Tensor:
        """Return the best items of some users; see :class:`~gclrec.baselines.scorers.Scorer`."""
        return ranked_in_blocks(self._scores, users, self.items.shape[1], k, seen, among)

    def _scores(self, users: Tensor) -> Tensor:
        product: Any = self.profiles[users.numpy()] @ self.items
        return torch.from_numpy(product.toarray())


def content_knn(graph: BipartiteGraph, items: AttributeTable) -> ContentKNN:
    r"""Rank by the cosine between the attributes of a user's items and those of an item.

    .. math:: s_{uj} = \Big\langle \sum_{i \in N(u)} c_i,\; c_j \Big\rangle \propto \cos(p_u, c_j)

    with the content :math:`c_i` of unit length: a field's values weigh :math:`\log(I / \mathrm{df})`, where
    :math:`\mathrm{df}` items have the value (TF-IDF, [1]), or are the numbers of a vector; every known field
    has the same length. Single numbers are left out. The item's interactions are not used, so cold items are
    ranked like all others: the baseline that a cold-start model has to beat.

    Args:
        graph: training interactions.
        items: attributes of the ``I`` items.

    Raises:
        InputError: no field can be compared.

    [1] Salton and Buckley, Information Processing and Management 1988,
    https://doi.org/10.1016/0306-4573(88)90021-0
    """
    import scipy.sparse

    blocks = [_unit(_weighted(column)) for column in items.columns if column.field.kind != "number"]
    if not blocks:
        raise InputError("content_knn: the item attributes are single numbers only, which it leaves out")
    content = _unit(scipy.sparse.csr_array(scipy.sparse.hstack(blocks))).astype(np.float32)
    ones = scipy.sparse.csr_array(graph.to_scipy(), dtype=np.float32)
    return ContentKNN(scipy.sparse.csr_array(ones @ content), scipy.sparse.csr_array(content.T))


def _weighted(column: Column) -> Any:
    """Return the values of a field as numbers, ``(I, width)``."""
    import scipy.sparse

    if column.numbers is not None:
        return scipy.sparse.csr_array(column.numbers.astype(np.float64))
    assert column.codes is not None
    count = len(column.missing)
    held = np.bincount(column.codes, minlength=column.field.width)
    weight = np.log(count / np.maximum(held, 1))[column.codes]
    return scipy.sparse.csr_array((weight, column.codes, column.ptr), shape=(count, column.field.width))


def _unit(rows: Any) -> Any:
    """Return rows of unit length; zero where they are zero."""
    import scipy.sparse

    length = np.sqrt(rows.multiply(rows).sum(axis=1))
    return scipy.sparse.diags_array(1.0 / np.where(length > 0, length, 1.0)) @ rows
