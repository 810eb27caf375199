r"""The normalised adjacency reduced to its leading singular directions: a global view of the graph.

The interaction half of the normalised adjacency, :math:`R = D_U^{-1/2} A D_I^{-1/2}`, is replaced by its best
approximation of rank ``q``, :math:`R_q = U \,\mathrm{diag}(s)\, V^\top` (LightGCL, [1]). No edge survives as
such: every user reaches every item through ``q`` directions, and what stands out against them is gone.

[1] Cai et al., LightGCL: Simple Yet Effective Graph Contrastive Learning for Recommendation, ICLR 2023,
https://arxiv.org/abs/2302.08191
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gclrec.graph.propagation import Adjacency

_OVERSAMPLE = 10
_MAX_DEGREE = 8
_MAX_GROWTH = 1e4
_MAX_ITERATIONS = 100
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class LowRank:
    r"""A symmetric operator of rank ``2q`` over users and items, an ``Operator`` like the adjacency.

    .. math:: x_U' = U \,\mathrm{diag}(s)\, V^\top x_I, \qquad x_I' = V \,\mathrm{diag}(s)\, U^\top x_U

    It is applied through its factors, in ``O((U + I) q D)``. Because the singular directions are kept by
    the adjacency itself, ``l`` steps of this operator are the same as ``l - 1`` steps of the adjacency and
    one of this one, which is how LightGCL writes its layers.

    Args:
        user_vectors: ``(U, q)`` orthonormal columns.
        values: ``(q,)`` descending; at most 1 where edges are symmetrically normalised.
        item_vectors: ``(I, q)`` orthonormal columns.
    """

    user_vectors: Tensor
    values: Tensor
    item_vectors: Tensor

    @classmethod
    def of(cls, adjacency: Adjacency, rank: int, *, seed: int = 0) -> LowRank:
        """Return the best operator of a rank for an adjacency, by subspace iteration from a random start.

        This is a randomised SVD ([2]) whose power steps are Chebyshev polynomials ([3]). It goes on until
        the values stand still, so that the result hardly depends on the seed and the seed may be fixed:
        an adjacency has one ``LowRank`` of each rank.

        Args:
            adjacency: of the graph in question.
            rank: ``q >= 1``; at most ``min(U, I)`` of them are kept.
            seed: of the random start.

        Raises:
            ValueError: ``rank`` is below 1.

        [2] Halko, Martinsson, Tropp, SIAM Review 2011, https://arxiv.org/abs/0909.4061
        [3] Zhou, Saad, SIAM Journal on Matrix Analysis and Applications 2007, https://doi.org/10.1137/050630404
        """
        if rank < 1:
            raise ValueError(f"the rank must be at least 1, got {rank}")
        weight = adjacency.by_user.weight
        rank = min(rank, adjacency.num_users, adjacency.num_items)
        width = min(rank + _OVERSAMPLE, adjacency.num_users, adjacency.num_items)
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(adjacency.num_items, width, generator=generator).to(weight)
        found = cls(weight.new_empty(0, 0), weight.new_zeros(width), start).refined(adjacency)
        for _ in range(_MAX_ITERATIONS):
            last = found.values
            found = replace(found, item_vectors=_amplified(adjacency, found)).refined(adjacency)
            if bool((found.values - last)[:rank].abs().max() <= _TOLERANCE * found.values[0]):
                break
        return cls(found.user_vectors[:, :rank], found.values[:rank], found.item_vectors[:, :rank])

    def refined(self, adjacency: Adjacency) -> LowRank:
        """Return this operator's directions after one step of subspace iteration on an adjacency.

        For the adjacency it came from nothing changes; for that of a view, whose directions lie near,
        one step gives nearly the best operator of this rank, at the cost of one propagation of ``q``
        numbers a node. A node without edges gets zeros.
        """
        basis = torch.linalg.qr(adjacency.by_user.matmul(self.item_vectors.contiguous())).Q
        projected = adjacency.by_item.matmul(basis.contiguous())
        item_vectors, values, turn = torch.linalg.svd(projected, full_matrices=False)
        return LowRank(basis @ turn.mT, values, item_vectors)

    @property
    def num_users(self) -> int:
        """Number of users ``U``."""
        return len(self.user_vectors)

    @property
    def num_items(self) -> int:
        """Number of items ``I``."""
        return len(self.item_vectors)

    def propagate(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the operator applied once to users ``(U, D)`` and items ``(I, D)``."""
        return self.polynomial(users, items, (0.0, 1.0))

    def polynomial(self, users: Tensor, items: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\sum_l w_l A_q^l x` for fixed weights, in one pass whatever their number.

        Even powers stay on a side and odd ones change it, so with :math:`a = U^\top x_U`,
        :math:`b = V^\top x_I`, :math:`e = \sum_{l = 2, 4, \dots} w_l s^l` and
        :math:`o = \sum_{l = 1, 3, \dots} w_l s^l`:

        .. math::
            x_U' = w_0 x_U + U (e \odot a + o \odot b), \qquad x_I' = w_0 x_I + V (e \odot b + o \odot a)

        Shapes:
            - **users:** ``(U, D)``; **items:** ``(I, D)``
            - **output:** users ``(U, D)`` and items ``(I, D)``
        """
        user_vectors, values, item_vectors = (
            x.to(users.dtype) for x in (self.user_vectors, self.values, self.item_vectors)
        )
        zero = torch.zeros_like(values)
        even = sum((w * values**power for power, w in enumerate(weights) if power and power % 2 == 0), zero)
        odd = sum((w * values**power for power, w in enumerate(weights) if power % 2), zero)
        from_users, from_items = user_vectors.mT @ users, item_vectors.mT @ items
        return (
            torch.addmm(
                users, user_vectors, even[:, None] * from_users + odd[:, None] * from_items, beta=weights[0]
            ),
            torch.addmm(
                items, item_vectors, even[:, None] * from_items + odd[:, None] * from_users, beta=weights[0]
            ),
        )


def _amplified(adjacency: Adjacency, found: LowRank) -> Tensor:
    """Return a Chebyshev polynomial of ``R^T R`` applied to the item vectors.

    It is at most 1 below the smallest value found, which is taken to bound the unwanted ones, and grows
    fast above it. Its degree is the highest one (up to a bound) at which the largest direction does not
    grow so much that rounding would swamp the others.
    """
    low, high = float(found.values[-1]) ** 2, float(found.values[0]) ** 2
    centre = low / 2.0
    if low <= 1e-6 * high:
        return found.item_vectors  # all directions there are have been found
    steepness = math.acosh(high / centre - 1.0)
    degree = _MAX_DEGREE if steepness == 0.0 else int(math.acosh(_MAX_GROWTH) / steepness)

    def step(x: Tensor) -> Tensor:
        return adjacency.by_item.matmul(adjacency.by_user.matmul(x)).div_(centre).sub_(x)

    before = found.item_vectors.contiguous()
    now = step(before)
    for _ in range(min(degree, _MAX_DEGREE) - 1):
        before, now = now, step(now).mul_(2.0).sub_(before)
    return now
