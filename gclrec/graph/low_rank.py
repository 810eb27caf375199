r"""The normalised adjacency reduced to its leading singular directions: a global view of the graph.

The user-item block of the normalised adjacency, :math:`R = D_U^{-1/2} A D_I^{-1/2}`, is replaced by its best
approximation of rank ``q``, :math:`R_q = U \,\mathrm{diag}(s)\, V^\top` (LightGCL, [1]). Single edges are
gone: every user reaches every item through ``q`` directions.

[1] Cai et al., LightGCL: Simple Yet Effective Graph Contrastive Learning for Recommendation, ICLR 2023,
https://arxiv.org/abs/2302.08191
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.graph.propagation import Adjacency

_OVERSAMPLE = 10
_MAX_ITERATIONS = 100
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class LowRank:
    r"""A symmetric operator of rank ``2q`` over users and items, an ``Operator`` like the adjacency.

    .. math:: x_U' = U \,\mathrm{diag}(s)\, V^\top x_I, \qquad x_I' = V \,\mathrm{diag}(s)\, U^\top x_U

    It is applied through its factors, in ``O((U + I) q D)``. The adjacency maps the singular directions onto
    each other, so ``l`` steps of this operator equal ``l - 1`` steps of the adjacency and one of this one,
    which is how LightGCL writes its layers.

    Args:
        user_vectors: ``(U, q)`` orthonormal columns.
        values: ``(q,)`` descending; at most 1 for a symmetrically normalised adjacency.
        item_vectors: ``(I, q)`` orthonormal columns.
    """

    user_vectors: Tensor
    values: Tensor
    item_vectors: Tensor

    @classmethod
    def of(cls, adjacency: Adjacency, rank: int, *, seed: int = 0) -> LowRank:
        """Return the best operator of a rank: the truncated SVD of ``R``, by LOBPCG ([2]) on ``R^T R``.

        LOBPCG iterates on a block of directions. Methods that start from a single vector (ARPACK, the default
        of ``scipy.sparse.linalg.svds``) miss copies of a repeated singular value, and the value 1 occurs
        once for each connected component. The result hardly depends on the seed.

        Args:
            adjacency: of the graph to reduce.
            rank: ``q >= 1``; at most ``min(U, I)`` directions are kept.
            seed: of the random start.

        Raises:
            ValueError: ``rank`` is below 1.

        [2] Knyazev, SIAM Journal on Scientific Computing 2001, https://doi.org/10.1137/S1064827500366124
        """
        from scipy.linalg import LinAlgWarning
        from scipy.sparse.linalg import lobpcg

        if rank < 1:
            raise ValueError(f"the rank must be at least 1, got {rank}")
        most = min(adjacency.num_users, adjacency.num_items)
        rank, width = min(rank, most), min(rank + _OVERSAMPLE, most)
        weight = adjacency.by_user.weight

        def gram(x: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
            rows = torch.from_numpy(np.ascontiguousarray(x)).to(weight)
            return adjacency.by_item.matmul(adjacency.by_user.matmul(rows)).cpu().numpy()

        start = torch.randn(
            adjacency.num_items, width, generator=torch.Generator().manual_seed(seed), device="cpu"
        )
        with warnings.catch_warnings():
            # LOBPCG warns where it solves a small problem densely and where rounding ends its progress.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", LinAlgWarning)
            _, items = lobpcg(
                gram, start.to(weight.dtype).numpy(), tol=_TOLERANCE, maxiter=_MAX_ITERATIONS, largest=True
            )
        directions = torch.from_numpy(np.ascontiguousarray(items)).to(weight)
        best = cls(weight.new_empty(0, 0), weight.new_empty(0), directions).refined(adjacency)
        return cls(best.user_vectors[:, :rank], best.values[:rank], best.item_vectors[:, :rank])

    def refined(self, adjacency: Adjacency) -> LowRank:
        """Return this operator after one step of subspace iteration on an adjacency.

        For the adjacency that it was made from nothing changes. For that of a view, whose directions lie
        near, one step gives nearly the best operator of this rank, at the cost of one propagation of ``q``
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

    @property
    def transposed(self) -> LowRank:
        """Itself."""
        return self

    def propagate(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the operator once to users ``(U, D)`` and items ``(I, D)``."""
        return self.polynomial(users, items, (0.0, 1.0))

    def polynomial(self, users: Tensor, items: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\sum_l w_l A_q^l x` for fixed weights, in one pass for any number of them.

        Even powers stay on one side and odd powers change sides, so with :math:`a = U^\top x_U`,
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
