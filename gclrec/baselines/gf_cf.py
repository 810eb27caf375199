"""GF-CF: graph filters on the interaction matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.baselines.pure_svd import truncated_svd, unweighted
from gclrec.baselines.scorers import ranked_in_blocks
from gclrec.common.declaration import SEED, Setting, Span
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.propagation import CSRMatrix

if TYPE_CHECKING:
    import scipy.sparse


_RANK = Setting(
    "rank",
    "Singular vectors of gf_cf's low-pass filter (pure_svd takes dim).",
    low=1,
    high=65536,
    search=Span(16, 1024, log=True),
)
_LOW_PASS = Setting(
    "low_pass",
    "Weight of gf_cf's low-pass filter, beside 1 for its linear filter.",
    low=0,
    search=Span(0.0, 2.0),
)


@dataclass(frozen=True, eq=False)
class GraphFilter:
    """A fitted :func:`gf_cf`.

    Args:
        interactions: ``(U, I)`` ones, in SciPy's CSR form.
        by_user: ``(I, U)``, the transpose of the normalised matrix, in CSR form.
        by_item: the same matrix, in the form that multiplies ``(U, b)`` blocks.
        low: ``(U, q)`` users projected by the low-pass filter.
        back: ``(q, I)`` from there to scores, weighted.
    """

    interactions: scipy.sparse.csr_array
    by_user: scipy.sparse.csr_array
    by_item: CSRMatrix
    low: Tensor
    back: Tensor
    vectors: None = None

    def top_k(
        self, users: npt.ArrayLike, k: int, seen: Ragged | None = None, among: IntArray | None = None
    ) -> Tensor:
        """Return the best items of some users; see :class:`~gclrec.baselines.scorers.Scorer`."""
        return ranked_in_blocks(self._scores, users, self.back.shape[1], k, seen, among)

    def _scores(self, users: Tensor) -> Tensor:
        towards_users: Any = self.interactions[users.numpy()] @ self.by_user
        wide = torch.from_numpy(towards_users.toarray()).T.contiguous()
        return torch.addmm(self.by_item.matmul(wide).T, self.low[users], self.back)


def gf_cf(
    graph: BipartiteGraph,
    *,
    rank: Annotated[int, _RANK] = 256,
    low_pass: Annotated[float, _LOW_PASS] = 0.3,
    seed: Annotated[int, SEED] = 0,
) -> GraphFilter:
    r"""Fit a linear graph filter plus an ideal low-pass filter, without training (GF-CF, [1]).

    .. math:: s_u = r_u \left( R^\top R
        + \alpha\, D_I^{-1/2} V V^\top D_I^{1/2} \right), \qquad R = D_U^{-1/2} A D_I^{-1/2}

    with :math:`r_u` the row of the user in ``A`` and ``V`` the leading right singular vectors of ``R``.

    Args:
        graph: training interactions.
        rank: number of singular vectors.
        low_pass: :math:`\alpha`, weight of the ideal low-pass filter; 0 leaves the linear filter alone.
        seed: of the random start of the SVD.

    [1] Shen et al., CIKM 2021, https://arxiv.org/abs/2108.07567
    """
    import scipy.sparse

    adjacency = graph.adjacency
    leading = truncated_svd(adjacency, rank, seed=seed).item_vectors
    root = graph.degrees()[1].to(leading.dtype).sqrt()[:, None]
    into = torch.where(root > 0, leading / root.clamp_min(1.0), 0.0)
    half = adjacency.by_item
    arrays = tuple(x.numpy() for x in (half.weight, half.to, half.ptr))
    transposed = scipy.sparse.csr_array(arrays, shape=(graph.num_items, graph.num_users))
    return GraphFilter(
        interactions=scipy.sparse.csr_array(graph.to_scipy(), dtype=transposed.dtype),
        by_user=transposed,
        by_item=half,
        low=unweighted(adjacency).by_user.matmul(into.contiguous()),
        back=low_pass * (leading * root).T,
    )
