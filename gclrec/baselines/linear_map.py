"""A linear map from the attributes of an item to its interactions, fitted in closed form."""

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
from gclrec.data.interactions import IntArray
from gclrec.data.schema import AttributeTable
from gclrec.data.tf_idf import TfIdf
from gclrec.encoders.content.attribute_map import ridge
from gclrec.graph.bipartite import BipartiteGraph

if TYPE_CHECKING:
    import scipy.sparse

_USERS = 1024
"""Users whose equations are solved at a time."""

_L2 = Setting(
    "map_l2",
    "L2 of linear_map: small fits the items of training, large comes close to content_knn.",
    low=1e-9,
    search=Span(1.0, 100.0, log=True),
)


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A fitted :func:`linear_map`.

    Args:
        interactions: ``(U, I)`` ones, in SciPy's CSR form.
        content: ``(I, V)`` the items' content.
        warm: ``(I,)`` whether an item has an interaction: the map is fitted to these.
        l2: what keeps the map small.
    """

    interactions: scipy.sparse.csr_array
    content: scipy.sparse.csr_array
    warm: npt.NDArray[np.bool_]
    l2: float
    vectors: None = None

    def top_k(
        self, users: npt.ArrayLike, k: int, seen: Ragged | None = None, among: IntArray | None = None
    ) -> Tensor:
        """Return the best items of some users; see :class:`~gclrec.baselines.scorers.Scorer`."""
        rows = torch.as_tensor(users, dtype=torch.int64)
        lists = [
            ranked_in_blocks(
                self._scorer(rows[block]),
                torch.arange(len(block)),
                len(self.warm),
                k,
                None if seen is None else seen.take(block),
                among,
            )
            for block in torch.arange(len(rows)).split(_USERS)
        ]
        return torch.cat(lists) if lists else torch.empty(0, k, dtype=torch.int64)

    def _scorer(self, users: Tensor) -> Any:
        """Return the scores of some of these users, whose maps are fitted once."""
        known = self.content[np.flatnonzero(self.warm)]
        wanted = (known.T @ self.interactions[users.numpy()][:, self.warm].T).toarray()
        maps = ridge(known, wanted, self.l2)
        return lambda block: torch.from_numpy(np.ascontiguousarray((self.content @ maps[:, block.numpy()]).T))


def linear_map(
    graph: BipartiteGraph, items: AttributeTable, *, l2: Annotated[float, _L2] = 10.0
) -> LinearMap:
    r"""Rank by a linear function of an item's attributes for each user, fitted to all items of training.

    .. math:: s_{uj} = w_u^\top c_j, \qquad
        w_u = \Big( \sum_{i} c_i c_i^\top + \lambda I \Big)^{-1} \sum_{i \in N(u)} c_i

    with the content :math:`c_i` of unit length (:class:`~gclrec.data.tf_idf.TfIdf`) and the first sum over
    all items with an interaction. It is the ridge regression from attributes to columns of the interaction
    matrix ([1] maps to low-rank factors of it, [2] to the whole): what users have in common with all items is
    taken out of what :func:`~gclrec.baselines.content_knn.content_knn` sums, to which it tends as
    :math:`\lambda` grows. The equations are solved by conjugate gradients.

    Args:
        graph: training interactions.
        items: attributes of the ``I`` items.
        l2: :math:`\lambda`.

    Raises:
        InputError: no field can be compared.

    [1] Gantner et al., ICDM 2010, https://doi.org/10.1109/ICDM.2010.129
    [2] Sedhain et al., AAAI 2017, https://doi.org/10.1609/aaai.v31i1.10758
    """
    import scipy.sparse

    ones = scipy.sparse.csr_array(graph.to_scipy(), dtype=np.float32)
    return LinearMap(ones, TfIdf.fit(items, "linear_map")(items), graph.degrees()[1].cpu().numpy() > 0, l2)
