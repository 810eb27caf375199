"""Scorers: fitted baselines, which rank the catalogue for users."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.common.ragged import Ragged
from gclrec.encoders.base import Embeddings
from gclrec.evaluation.ranking import top_k, top_k_of_scores

_SCORES = 2**24
"""Scores held at a time, about."""


class Scorer(Protocol):
    """A fitted baseline."""

    @property
    def vectors(self) -> Embeddings | None:
        """Vectors whose inner products are the scores, or ``None`` where there are none."""

    @abstractmethod
    def top_k(self, users: npt.ArrayLike, k: int, seen: Ragged | None = None) -> Tensor:
        """Return the ``k`` best unseen items of some users, ``(B, k)``, best first.

        Scores are made block by block. Ties are in order of item number; empty places hold ``-1``.

        Args:
            users: ``(B,)`` user rows.
            k: length of the lists, at least 1.
            seen: row ``b`` lists the items to leave out for ``users[b]``; none if ``None``.
        """


@dataclass(frozen=True, eq=False)
class VectorScorer:
    """Ranks by inner product.

    Args:
        vectors: of users and items.
    """

    vectors: Embeddings

    def top_k(self, users: npt.ArrayLike, k: int, seen: Ragged | None = None) -> Tensor:
        """Return the best items of some users; see :class:`Scorer`."""
        rows = torch.as_tensor(users, dtype=torch.int64, device=self.vectors.users.device)
        return top_k(self.vectors.users[rows], self.vectors.items, k, seen=seen)[0]


def ranked_in_blocks(
    scores: Callable[[Tensor], Tensor], users: npt.ArrayLike, num_items: int, k: int, seen: Ragged | None
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
    """
    rows = torch.as_tensor(users, dtype=torch.int64)
    lists = []
    for block in torch.arange(len(rows)).split(max(_SCORES // max(num_items, 1), 64)):
        found = scores(rows[block])
        linked = found.masked_fill_(found == 0, -math.inf)
        lists.append(top_k_of_scores(linked, k, seen=None if seen is None else seen.take(block))[0])
    return torch.cat(lists) if len(rows) else torch.empty(0, k, dtype=torch.int64)
