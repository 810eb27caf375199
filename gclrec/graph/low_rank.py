r"""The normalised adjacency reduced to its leading singular directions: a global view of the graph.

The user-item block of the normalised adjacency, :math:`R = D_U^{-1/2} A D_I^{-1/2}`, is replaced by its best
approximation of rank ``q``, :math:`R_q = U \,\mathrm{diag}(s)\, V^\top` (LightGCL, [1]). Single edges are
gone: every user reaches every item through ``q`` directions.

[1] Cai et al., LightGCL: Simple Yet Effective Graph Contrastive Learning for Recommendation, ICLR 2023,
https://arxiv.org/abs/2302.08191
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gclrec.graph.propagation import Adjacency

_OVERSAMPLE = 10
_MAX_PRODUCTS = 100
_MAX_BLOCKS = 6  # of a basis, until it is reduced to one
_TOLERANCE = 1e-5  # of the residual of a direction, relative to the largest value


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
        """Return the best operator of a rank: the truncated SVD of ``R``, by block Krylov iteration ([2]).

        Products with ``R R^T`` or ``R^T R``, whichever is smaller, widen an orthonormal basis by a block of
        directions each, until the best ``rank`` directions within it have converged; a wide basis is reduced
        to the best block, from which it grows again. Methods that start from a single vector (ARPACK, the
        default of ``scipy.sparse.linalg.svds``) miss copies of a repeated singular value, and the value 1
        occurs once for each connected component. The result hardly depends on the seed.

        Args:
            adjacency: of the graph to reduce.
            rank: ``q >= 1``; at most ``min(U, I)`` directions are kept.
            seed: of the random start.

        Raises:
            ValueError: ``rank`` is below 1.

        [2] Musco and Musco, NeurIPS 2015, https://arxiv.org/abs/1504.05477, Algorithm 2
        """
        if rank < 1:
            raise ValueError(f"the rank must be at least 1, got {rank}")
        sides = adjacency.by_item, adjacency.by_user
        to_small, to_large = sides if adjacency.num_items <= adjacency.num_users else sides[::-1]
        most = to_large.num_columns
        rank, width = min(rank, most), min(rank + _OVERSAMPLE, most)
        start = torch.randn(
            to_small.num_columns, width, generator=torch.Generator().manual_seed(seed), device="cpu"
        )
        # A node without edges gets a zero here, and keeps it.
        begun = _orthonormal(to_small.matmul(start.to(to_small.weight)))

        def gram(rows: Tensor) -> Tensor:
            return to_small.matmul(to_large.matmul(rows.contiguous()))

        directions = _leading(gram, begun, rank)
        if to_small is adjacency.by_item:
            directions = adjacency.by_user.matmul(directions.contiguous())
        best = _of_users(adjacency, _orthonormal(directions))
        return cls(best.user_vectors[:, :rank], best.values[:rank], best.item_vectors[:, :rank])

    def refined(self, adjacency: Adjacency) -> LowRank:
        """Return this operator after one step of subspace iteration on an adjacency.

        For the adjacency that it was made from nothing changes. For that of a view, whose directions lie
        near, one step gives nearly the best operator of this rank, at the cost of one propagation of ``q``
        numbers a node. A node without edges gets zeros.
        """
        return _of_users(adjacency, _orthonormal(adjacency.by_user.matmul(self.item_vectors.contiguous())))

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


def _orthonormal(columns: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(columns).Q
    return basis


def _of_users(adjacency: Adjacency, basis: Tensor) -> LowRank:
    """Return the best operator whose user side lies in the span of orthonormal columns ``(U, q)``."""
    projected = adjacency.by_item.matmul(basis.contiguous())
    item_vectors, values, turn = torch.linalg.svd(projected, full_matrices=False)
    return LowRank(basis @ turn.mT, values, item_vectors)


def _leading(gram: Callable[[Tensor], Tensor], block: Tensor, rank: int) -> Tensor:
    """Return the leading eigenvectors of a symmetric operator, as many as the block of the start has.

    Args:
        gram: applies the operator to the columns of ``(N, w)``.
        block: ``(N, w)`` orthonormal columns to start from.
        rank: how many of them must have converged.
    """
    width, basis, images = block.shape[1], block, gram(block)
    best = block
    for _ in range(_MAX_PRODUCTS):
        within = basis.mT @ images
        values, turn = torch.linalg.eigh((within + within.mT) / 2)
        turn = turn.flip(1)[:, :width]
        best, image = basis @ turn, images @ turn
        rest = image - best * values.flip(0)[:width]
        residuals = torch.linalg.vector_norm(rest[:, :rank], dim=0)
        if residuals.max() <= _TOLERANCE * values[-1].abs():
            break
        if basis.shape[1] >= _MAX_BLOCKS * width:
            basis, images = best, image
        block, lengths, _ = torch.linalg.svd(rest - basis @ (basis.mT @ rest), full_matrices=False)
        block = block[:, lengths > 10 * torch.finfo(block.dtype).eps * values[-1]]
        if not block.shape[1]:  # the basis has all directions that the operator does not map to zero
            break
        block = _orthonormal(block - basis @ (basis.mT @ block))
        basis, images = torch.cat([basis, block], dim=1), torch.cat([images, gram(block)], dim=1)
    return best
