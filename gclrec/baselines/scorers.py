"""Scorers: fitted baselines, which rank the catalogue for users."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.baselines.least_squares import LeastSquares
from gclrec.common.declaration import Setting, Span
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray
from gclrec.encoders.base import Embeddings
from gclrec.evaluation.ranking import named, places_among, top_k, top_k_among, top_k_of_scores

if TYPE_CHECKING:
    import scipy.sparse

NEIGHBOURS = Setting(
    "neighbours",
    "Items that item_knn and rp3beta keep of each item.",
    low=1,
    search=Span(20, 1000, log=True),
)

_SCORES = 2**24
"""Scores held at a time, about."""


class Scorer(Protocol):
    """A fitted baseline."""

    @property
    def vectors(self) -> Embeddings | None:
        """Vectors whose inner products are the scores, or ``None`` where there are none."""

    @abstractmethod
    def top_k(
        self, users: npt.ArrayLike, k: int, seen: Ragged | None = None, among: IntArray | None = None
    ) -> Tensor:
        """Return the ``k`` best unseen items of some users, ``(B, k)``, best first.

        Scores are made block by block. Ties are in order of item number; empty places hold ``-1``.

        Args:
            users: ``(B,)`` user rows.
            k: length of the lists, at least 1.
            seen: row ``b`` lists the items to leave out for ``users[b]``; none if ``None``.
            among: item rows, ascending: the only ones to choose from; all if ``None``.
        """


@dataclass(frozen=True, eq=False)
class VectorScorer:
    """Ranks by inner product.

    Args:
        vectors: of users and items.
        least_squares: what gives vectors to users, and to items, where they are fitted so.
    """

    vectors: Embeddings
    least_squares: tuple[LeastSquares, LeastSquares] | None = None

    def top_k(
        self, users: npt.ArrayLike, k: int, seen: Ragged | None = None, among: IntArray | None = None
    ) -> Tensor:
        """Return the best items of some users; see :class:`Scorer`."""
        rows = torch.as_tensor(users, dtype=torch.int64, device=self.vectors.users.device)
        if among is not None:
            return top_k_among(self.vectors.users[rows], self.vectors.items, among, k, seen=seen)
        return top_k(self.vectors.users[rows], self.vectors.items, k, seen=seen)[0]


@dataclass(frozen=True, eq=False)
class ItemScorer:
    """Ranks by the sum of weights between the items of a user and an item.

    Args:
        interactions: ``(U, I)`` ones, in SciPy's CSR form.
        weights: ``(I, I)`` from an item of the user to the item to rank; in CSR form, or dense.
    """

    interactions: scipy.sparse.csr_array
    weights: scipy.sparse.csr_array | npt.NDArray[Any]
    vectors: None = None

    def top_k(
        self, users: npt.ArrayLike, k: int, seen: Ragged | None = None, among: IntArray | None = None
    ) -> Tensor:
        """Return the best items of some users; see :class:`Scorer`."""
        return ranked_in_blocks(self._scores, users, self.weights.shape[1], k, seen, among)

    def _scores(self, users: Tensor) -> Tensor:
        product: Any = self.interactions[users.numpy()] @ self.weights
        return torch.from_numpy(product if isinstance(product, np.ndarray) else product.toarray())


def ranked_in_blocks(
    scores: Callable[[Tensor], Tensor],
    users: npt.ArrayLike,
    num_items: int,
    k: int,
    seen: Ragged | None,
    among: IntArray | None = None,
) -> Tensor:
    """Return the ``k`` best unseen items of some users, scored a block of users at a time.

    An item with a score of 0 is not recommended: nothing links it to the user, and ties would put such items
    in the order of their numbers, which means nothing.

    Args:
        scores: from ``(b,)`` user rows to ``(b, I)`` scores.
        users: ``(B,)`` user rows.
        num_items: ``I``.
        k: length of the lists.
        seen: row ``b`` lists the items to leave out for ``users[b]``.
        among: see :meth:`Scorer.top_k`.
    """
    if among is not None and seen is not None:
        seen = seen.renumbered(places_among(among, num_items))
    rows = torch.as_tensor(users, dtype=torch.int64)
    lists = []
    for block in torch.arange(len(rows)).split(max(_SCORES // max(num_items, 1), 64)):
        found = scores(rows[block])
        if among is not None:
            found = found[:, torch.from_numpy(among)]
        linked = found.masked_fill_(found == 0, -math.inf)
        lists.append(top_k_of_scores(linked, k, seen=None if seen is None else seen.take(block))[0])
    best = torch.cat(lists) if len(rows) else torch.empty(0, k, dtype=torch.int64)
    return best if among is None else named(best, torch.from_numpy(among))
