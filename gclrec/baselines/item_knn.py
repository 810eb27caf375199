"""Item-based nearest neighbours by shared users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.baselines.scorers import ranked_in_blocks
from gclrec.common.declaration import Setting, Span
from gclrec.common.ragged import Ragged
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.nearest import nearest_rows

if TYPE_CHECKING:
    import scipy.sparse


_NEIGHBOURS = Setting(
    "neighbours", "Nearest items that item_knn keeps of each item.", low=1, search=Span(20, 1000, log=True)
)
_SHRINK = Setting(
    "shrink",
    "Added to the denominator of item_knn's cosine, against items with few shared users.",
    low=0,
    search=Span(1.0, 1000.0, log=True),
)


@dataclass(frozen=True, eq=False)
class ItemKNN:
    """A fitted :func:`item_knn`.

    Args:
        interactions: ``(U, I)`` ones, in SciPy's CSR form.
        similarity: ``(I, I)``; column ``j`` holds the cosines of the nearest items of ``j``.
    """

    interactions: scipy.sparse.csr_array
    similarity: scipy.sparse.csr_array
    vectors: None = None

    def top_k(self, users: npt.ArrayLike, k: int, seen: Ragged | None = None) -> Tensor:
        """Return the best items of some users; see :class:`~gclrec.baselines.scorers.Scorer`."""
        return ranked_in_blocks(self._scores, users, self.similarity.shape[1], k, seen)

    def _scores(self, users: Tensor) -> Tensor:
        product: Any = self.interactions[users.numpy()] @ self.similarity
        return torch.from_numpy(product.toarray())


def item_knn(
    graph: BipartiteGraph,
    *,
    neighbours: Annotated[int, _NEIGHBOURS] = 200,
    shrink: Annotated[float, _SHRINK] = 100.0,
) -> ItemKNN:
    r"""Fit item-based nearest neighbours ([1]) by the cosine between columns of the interaction matrix.

    .. math:: s_{uj} = \sum_{i \in N(u) \cap K(j)} \cos(i, j), \qquad
        \cos(i, j) = \frac{|U_i \cap U_j|}{\sqrt{|U_i|\,|U_j|} + \beta}

    where :math:`U_i` are the users of item ``i`` and :math:`K(j)` the other items of largest positive cosine
    with ``j``; ties go to the smaller item number.

    Args:
        graph: training interactions.
        neighbours: size of :math:`K(j)`, at most.
        shrink: :math:`\beta`; larger values trust few shared users less; 0 is the plain cosine.

    [1] Sarwar et al., WWW 2001, https://doi.org/10.1145/371920.372071
    """
    import scipy.sparse

    ones = scipy.sparse.csr_array(graph.to_scipy(), dtype=np.float32)
    near, target, cosine = nearest_rows(scipy.sparse.csr_array(ones.T), neighbours, shrink=shrink)
    shape = (graph.num_items, graph.num_items)
    return ItemKNN(ones, scipy.sparse.csr_array((cosine.astype(np.float32), (near, target)), shape=shape))
