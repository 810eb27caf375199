"""Content-based neighbours: items with the attributes of a user's items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.baselines.scorers import ranked_in_blocks
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray
from gclrec.data.schema import AttributeTable
from gclrec.data.tf_idf import TfIdf
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

    with the content :math:`c_i` of unit length (:class:`~gclrec.data.tf_idf.TfIdf`). The item's interactions
    are not used, so cold items are ranked like all others: a baseline that a cold-start model has to beat.

    Args:
        graph: training interactions.
        items: attributes of the ``I`` items.

    Raises:
        InputError: no field can be compared.
    """
    import scipy.sparse

    content = TfIdf.fit(items, "content_knn")(items)
    ones = scipy.sparse.csr_array(graph.to_scipy(), dtype=np.float32)
    return ContentKNN(scipy.sparse.csr_array(ones @ content), scipy.sparse.csr_array(content.T))
