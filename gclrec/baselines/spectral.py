"""Baselines from the interaction matrix as a whole: its column sums, its SVD, and a graph filter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from torch import Generator, Tensor

from gclrec.baselines.scorers import VectorScorer, ranked_in_blocks
from gclrec.encoders.embeddings import Embeddings
from gclrec.evaluation.ranking import Seen
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.low_rank import LowRank
from gclrec.graph.propagation import Adjacency, Half

if TYPE_CHECKING:
    import scipy.sparse

_OVERSAMPLE = 32
_ITERATIONS = 6


def popularity(graph: BipartiteGraph) -> VectorScorer:
    """Rank items by their number of training interactions, the same for every user.

    The vectors have one dimension: 1 for a user, the number of interactions for an item.

    Args:
        graph: training interactions.
    """
    _, degrees = graph.degrees()
    ones = torch.ones(graph.num_users, 1, device=graph.device)
    return VectorScorer(Embeddings(ones, degrees.to(torch.float32)[:, None]))


def pure_svd(graph: BipartiteGraph, *, dim: int = 64, seed: int = 0) -> VectorScorer:
    r"""Fit the truncated SVD of the interaction matrix (PureSVD, [1]).

    .. math:: A \approx P \,\mathrm{diag}(s)\, Q^\top, \qquad x_u = r_u Q, \quad x_i = q_i

    with :math:`r_u` the row of the user in ``A``, so that the scores are those of the best approximation of
    its rank.

    Args:
        graph: training interactions.
        dim: number of singular directions; at most ``min(U, I)`` of them are kept.
        seed: of the random start.

    [1] Cremonesi, Koren, Turrin, RecSys 2010, https://doi.org/10.1145/1864708.1864721
    """
    counts = _unweighted(graph.adjacency)
    items = truncated_svd(counts, dim, seed=seed).item_vectors.contiguous()
    return VectorScorer(Embeddings(counts.by_user.matmul(items), items))


@dataclass(frozen=True, eq=False)
class GraphFilter:
    """A fitted :func:`gf_cf`.

    Args:
        interactions: ``(U, I)`` ones, in SciPy's CSR form.
        by_user: ``(I, U)``, the transpose of the normalised matrix, likewise.
        by_item: the same matrix, as what multiplies ``(U, b)`` blocks.
        low: ``(U, q)`` users seen through the low-pass filter.
        back: ``(q, I)`` from there to scores, weighted.
    """

    interactions: scipy.sparse.csr_array
    by_user: scipy.sparse.csr_array
    by_item: Half
    low: Tensor
    back: Tensor
    vectors: None = None

    def top_k(self, users: npt.ArrayLike, k: int, seen: Seen | None = None) -> Tensor:
        """Return the best items of some users; see :class:`~gclrec.baselines.scorers.Scorer`."""
        return ranked_in_blocks(self._scores, users, self.back.shape[1], k, seen)

    def _scores(self, users: Tensor) -> Tensor:
        towards_users: Any = self.interactions[users.numpy()] @ self.by_user
        wide = torch.from_numpy(towards_users.toarray()).T.contiguous()
        return torch.addmm(self.by_item.matmul(wide).T, self.low[users], self.back)


def gf_cf(graph: BipartiteGraph, *, rank: int = 256, low_pass: float = 0.3, seed: int = 0) -> GraphFilter:
    r"""Fit a linear graph filter plus an ideal low-pass filter; there is nothing to train (GF-CF, [2]).

    .. math:: s_u = r_u \left( R^\top R
        + \alpha\, D_I^{-1/2} V V^\top D_I^{1/2} \right), \qquad R = D_U^{-1/2} A D_I^{-1/2}

    with :math:`r_u` the row of the user in ``A`` and ``V`` the leading right singular vectors of ``R``.

    Args:
        graph: training interactions.
        rank: number of singular vectors.
        low_pass: :math:`\alpha`, weight of the ideal low-pass filter; 0 leaves the linear filter alone.
        seed: of the random start of the SVD.

    [2] Shen et al., CIKM 2021, https://arxiv.org/abs/2108.07567
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
        low=_unweighted(adjacency).by_user.matmul(into.contiguous()),
        back=low_pass * (leading * root).T,
    )


def truncated_svd(matrix: Adjacency, rank: int, *, seed: int = 0) -> LowRank:
    """Return the leading singular directions of a matrix, by a fixed number of subspace iterations ([3]).

    Unlike :meth:`gclrec.graph.low_rank.LowRank.of` it does not go on until every direction stands still:
    of several hundred, the last ones lie too close together for that to end soon, or to matter.

    Args:
        matrix: its ``by_user`` half is what is decomposed, ``(U, I)``.
        rank: at most ``min(U, I)`` directions are kept.
        seed: of the random start.

    [3] Halko, Martinsson, Tropp, SIAM Review 2011, https://arxiv.org/abs/0909.4061
    """
    smaller = min(matrix.num_users, matrix.num_items)
    rank, width = min(rank, smaller), min(rank + _OVERSAMPLE, smaller)
    weight = matrix.by_user.weight
    basis = torch.randn(matrix.num_items, width, generator=Generator().manual_seed(seed)).to(weight)
    for _ in range(_ITERATIONS):
        seen = matrix.by_item.matmul(matrix.by_user.matmul(basis).contiguous())
        basis = torch.linalg.qr(seen).Q.contiguous()
    found = LowRank(weight.new_empty(0, 0), weight.new_zeros(width), basis).refined(matrix)
    return LowRank(found.user_vectors[:, :rank], found.values[:rank], found.item_vectors[:, :rank])


def _unweighted(adjacency: Adjacency) -> Adjacency:
    """Return the same pattern with ones for weights."""
    by_user, by_item = (
        replace(half, weight=torch.ones_like(half.weight)) for half in (adjacency.by_user, adjacency.by_item)
    )
    return Adjacency(by_user, by_item)
