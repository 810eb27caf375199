"""PureSVD, and the truncated SVD of a sparse matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Generator

from gclrec.baselines.scorers import VectorScorer
from gclrec.common.declaration import SEED
from gclrec.encoders.base import DIM, Embeddings
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.low_rank import LowRank
from gclrec.graph.propagation import Adjacency

_OVERSAMPLE = 32
_ITERATIONS = 6


def pure_svd(
    graph: BipartiteGraph, *, dim: Annotated[int, DIM] = 64, seed: Annotated[int, SEED] = 0
) -> VectorScorer:
    r"""Fit the truncated SVD of the interaction matrix (PureSVD, [1]).

    .. math:: A \approx P \,\mathrm{diag}(s)\, Q^\top, \qquad x_u = r_u Q, \quad x_i = q_i

    with :math:`r_u` the row of the user in ``A``, so that the scores are those of the best approximation of
    rank ``dim``.

    Args:
        graph: training interactions.
        dim: number of singular directions; at most ``min(U, I)`` of them are kept.
        seed: of the random start.

    [1] Cremonesi, Koren, Turrin, RecSys 2010, https://doi.org/10.1145/1864708.1864721
    """
    counts = unweighted(graph.adjacency)
    items = truncated_svd(counts, dim, seed=seed).item_vectors.contiguous()
    return VectorScorer(Embeddings(counts.by_user.matmul(items), items))


def truncated_svd(matrix: Adjacency, rank: int, *, seed: int = 0) -> LowRank:
    """Return the leading singular directions of a matrix by a fixed number of subspace iterations ([1]).

    :meth:`gclrec.graph.low_rank.LowRank.of` iterates until every direction has converged. Of several hundred,
    the last ones lie too close together for that to end soon, or to matter.

    Args:
        matrix: its ``by_user`` half is what is decomposed, ``(U, I)``.
        rank: at most ``min(U, I)`` directions are kept.
        seed: of the random start.

    [1] Halko, Martinsson, Tropp, SIAM Review 2011, https://arxiv.org/abs/0909.4061
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


def unweighted(adjacency: Adjacency) -> Adjacency:
    """Return the same pattern with ones for weights."""
    by_user, by_item = (
        replace(half, weight=torch.ones_like(half.weight)) for half in (adjacency.by_user, adjacency.by_item)
    )
    return Adjacency(by_user, by_item)
