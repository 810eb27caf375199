"""iALS: matrix factorisation of all pairs by alternating least squares."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from torch import Generator, Tensor

from gclrec.baselines.least_squares import LeastSquares
from gclrec.baselines.scorers import VectorScorer
from gclrec.common.declaration import SEED, Setting, Span
from gclrec.common.ragged import Ragged
from gclrec.encoders.base import DIM, Embeddings
from gclrec.graph.bipartite import BipartiteGraph

_UNOBSERVED = Setting(
    "unobserved_weight",
    "Weight of a pair without interaction in ials, beside 1 for one with.",
    low=0,
    closed=False,
    search=Span(0.003, 1.0, log=True),
)
_L2 = Setting("ials_l2", "Weight of L2 in ials.", low=0, closed=False, search=Span(0.0003, 0.1, log=True))
_L2_EXPONENT = Setting(
    "l2_exponent",
    "Power of a node's weight of pairs in the L2 of ials: 0 for all nodes alike, 1 by what they weigh.",
    low=0,
    high=2,
    search=Span(0.0, 1.0),
)
_ITERATIONS = Setting("iterations", "Rounds of ials: users, then items.", low=1, high=10000)
_START_SCALE = Setting("start_scale", "Length of ials' vectors at the start.", low=0, closed=False)


def ials(
    graph: BipartiteGraph,
    *,
    dim: Annotated[int, DIM] = 64,
    unobserved: Annotated[float, _UNOBSERVED] = 0.03,
    l2: Annotated[float, _L2] = 0.01,
    l2_exponent: Annotated[float, _L2_EXPONENT] = 1.0,
    iterations: Annotated[int, _ITERATIONS] = 16,
    start_scale: Annotated[float, _START_SCALE] = 0.1,
    seed: Annotated[int, SEED] = 0,
) -> VectorScorer:
    r"""Fit vectors to all pairs, those without interaction with a small weight (iALS, [1], as in [2]).

    .. math:: \sum_{(u, i) \in E} (x_u^\top y_i - 1)^2 + \alpha \sum_{u, i} (x_u^\top y_i)^2
        + \lambda_\nu \Big( \sum_u (d_u + \alpha I)^{\nu} \lVert x_u \rVert^2
        + \sum_i (d_i + \alpha U)^{\nu} \lVert y_i \rVert^2 \Big)

    with degrees ``d``. :math:`\lambda_\nu` is :math:`\lambda` times a factor by which all nodes together have
    the same L2 at every :math:`\nu`, so that the two can be tuned apart.

    Args:
        graph: training interactions.
        dim: length of the vectors.
        unobserved: :math:`\alpha`.
        l2: :math:`\lambda`, as it is for ``l2_exponent`` 1.
        l2_exponent: :math:`\nu`.
        iterations: rounds of exact solutions for users and then for items.
        start_scale: root mean square length of an item vector before the first round.
        seed: of that start.

    [1] Hu, Koren, Volinsky, ICDM 2008, https://doi.org/10.1109/ICDM.2008.22
    [2] Rendle et al., RecSys 2022, https://arxiv.org/abs/2110.14037
    """
    user, item = graph.edge_index.cpu().numpy()
    by_user = Ragged.from_pairs(user, item, graph.num_users)
    by_item = Ragged.from_pairs(item, user, graph.num_items)
    bases = (unobserved * graph.num_items, unobserved * graph.num_users)
    weights = np.concatenate([by_user.lengths + bases[0], by_item.lengths + bases[1]])
    l2 *= float(weights.sum() / (weights**l2_exponent).sum())

    def solver(others: Tensor, base: float) -> LeastSquares:
        return LeastSquares(unobserved * others.T @ others, base, l2, l2_exponent)

    generator = Generator().manual_seed(seed)
    items = torch.randn(graph.num_items, dim, generator=generator) * (start_scale / math.sqrt(dim))
    users = solver(items, bases[0])(by_user, items)
    for _ in range(iterations):
        items = solver(users, bases[1])(by_item, users)
        of_users = solver(items, bases[0])
        users = of_users(by_user, items)  # last, so that a new user with the same items has the same vector
    return VectorScorer(Embeddings(users, items), (of_users, solver(users, bases[1])))
