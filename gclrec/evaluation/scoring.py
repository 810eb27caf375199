"""Scoring: from final embeddings to vectors whose inner product ranks items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gclrec.common.declaration import Declared, declarations
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.cold_items import ColdItems
from gclrec.evaluation.cold_neighbours import ColdNeighbours
from gclrec.evaluation.cold_users import ColdUsers
from gclrec.evaluation.curve import MOST_USERS, by_length, drawn, lengths_of
from gclrec.losses.base import SCORES


def calibrated(embeddings: Embeddings, exponent: float) -> Embeddings:
    r"""Return users at unit length, and items at the power ``exponent`` of their own length.

    .. math:: s(u, i) = \cos(x_u, x_i) \, \lVert x_i \rVert^\gamma

    With :math:`\gamma = 0` items are ranked by the cosine, with 1 by the inner product. The length of an item
    vector grows with popularity, and how much of that is good for ranking depends on the data.
    """
    users, items = (SCORES["cosine"](rows) for rows in embeddings)
    return Embeddings(users, items * lengths_of(embeddings.items).pow(exponent).unsqueeze(1))


class Scoring(nn.Module):
    """Turns an encoder's embeddings into the vectors that are ranked, indexed and written.

    Args:
        score: a name in :data:`SCORINGS`.
        cold: what becomes of items whose vectors were predicted; ``None`` where none are.
        cold_users: what becomes of users whose vectors were predicted; likewise.
        neighbours: adds neighbours by content to the score of the same items; ``None`` for none.
        settings: keyword arguments of its function.

    The exponent of ``calibrated`` is a buffer, so it is saved with the model. It is 1 (the inner product)
    before :meth:`calibrate` chooses it.
    """

    exponent: Tensor

    def __init__(
        self,
        score: str = "dot",
        *,
        cold: ColdItems | None = None,
        cold_users: ColdUsers | None = None,
        neighbours: ColdNeighbours | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.score, self.settings = score, settings
        self.cold, self.cold_users, self.neighbours = cold, cold_users, neighbours
        self.register_buffer("exponent", torch.ones((), dtype=torch.float64))

    @property
    def calibrates(self) -> bool:
        """Whether there is an exponent to choose."""
        return None in SCORINGS[self.score].exponents

    @property
    def chooses(self) -> bool:
        """Whether validation chooses anything about it."""
        return self.calibrates or self.cold is not None or self.cold_users is not None

    @property
    def exponents(self) -> tuple[float, float]:
        """Powers of their own length at which user and item vectors stand in the score."""
        users, items = SCORINGS[self.score].exponents
        return users, float(self.exponent) if items is None else items

    @property
    def further(self) -> int:
        """Number of dimensions that the score adds to the embeddings."""
        return 0 if self.neighbours is None else self.neighbours.dim

    def forward(self, embeddings: Embeddings) -> Embeddings:
        """Return vectors whose inner product is the score."""
        found = self.before_neighbours(embeddings)
        if self.neighbours is None or self.cold is None:
            return found
        return cast("Embeddings", self.neighbours(found, float(self.cold.scale)))

    def before_neighbours(self, embeddings: Embeddings) -> Embeddings:
        """Return vectors whose inner product would be the score without neighbours by content."""
        found = self.before_users(embeddings)
        return found if self.cold_users is None else cast("Embeddings", self.cold_users(found))

    def before_users(self, embeddings: Embeddings) -> Embeddings:
        """Return vectors whose inner product would be the score if no user had a predicted vector."""
        users, items = SCORINGS[self.score].function(embeddings, float(self.exponent), **self.settings)
        if self.cold is not None:
            items = torch.where(self.cold.mask[:, None], self.of_cold(embeddings.items), items)
        return Embeddings(users, items)

    def of_cold(self, items: Tensor) -> Tensor:
        """Return the vectors that items with predicted vectors are ranked by, ``(N, D)``."""
        assert self.cold is not None
        found: Tensor = self.cold(items, self.exponents[1])
        return found

    def calibrate(
        self,
        embeddings: Embeddings,
        split: Split,
        figure: str,
        *,
        most_users: int = MOST_USERS,
        seed: int = 0,
    ) -> float:
        """Choose the exponent in ``[0, 1]``, to a sixteenth, by a validation figure, keep it and return it.

        Takes the best of five exponents on a quarter of the users, then twice compares it on all of them with
        its neighbours at half the distance. Ties go to the smaller exponent.

        Args:
            embeddings: the encoder's.
            split: its validation pairs are the ones to rank.
            figure: such as ``all/recall@20``.
            most_users: the most validation users to use; with more, as many are drawn.
            seed: of that draw.
        """
        users = drawn(split, most_users // 4, seed)
        few = by_length(embeddings, split, figure, users[: most_users // 4])
        many = by_length(embeddings, split, figure, users[:most_users])
        best = few.best((0.0, 0.25, 0.5, 0.75, 1.0))
        for distance in (0.125, 0.0625):
            best = many.best(sorted(_around(best, distance)))
        self.exponent.fill_(best)
        return best

    def settle(self, embeddings: Embeddings, split: Split, figure: str) -> float:
        """Move the exponent in sixteenths for as long as the figure over *all* validation users rises.

        Slower and more precise than :meth:`calibrate`, so it is done once, for the final embeddings. With at
        most :data:`MOST_USERS` users, :meth:`calibrate` has used all of them already and nothing is done.

        Args:
            embeddings: the encoder's.
            split: its validation pairs are the ones to rank.
            figure: such as ``all/recall@20``.
        """
        users, best = np.unique(split.valid.user), float(self.exponent)
        if len(users) <= MOST_USERS:
            return best
        curve = by_length(embeddings, split, figure, users)
        while (better := curve.best(_around(best, 0.0625))) != best:
            best = better
        self.exponent.fill_(best)
        return best


def _around(exponent: float, distance: float) -> list[float]:
    """Return an exponent and its neighbours in ``[0, 1]``, itself first, so that it wins ties."""
    near = (exponent, exponent - distance, exponent + distance)
    return [each for each in near if 0.0 <= each <= 1.0]


def _dot(embeddings: Embeddings, exponent: float) -> Embeddings:
    del exponent
    return Embeddings(embeddings.users, embeddings.items)


def _cosine(embeddings: Embeddings, exponent: float) -> Embeddings:
    del exponent
    unit = SCORES["cosine"]
    return Embeddings(unit(embeddings.users), unit(embeddings.items))


@dataclass(frozen=True)
class ScoringKind:
    """One entry of :data:`SCORINGS`.

    Args:
        function: from embeddings and an exponent to the vectors to rank by; its annotated keyword arguments
            are settings of a run.
        about: what it does, in a few words.
        exponents: powers of their own length at which user and item vectors stand in the score; ``None`` for
            the exponent, which validation then chooses.
    """

    function: Callable[..., Embeddings]
    about: str
    exponents: tuple[float, float | None]

    @property
    def declared(self) -> Mapping[str, Declared]:
        """Its settings by keyword argument."""
        return declarations(self.function)


SCORINGS: Mapping[str, ScoringKind] = {
    "dot": ScoringKind(_dot, "the inner product", (1.0, 1.0)),
    "cosine": ScoringKind(_cosine, "the cosine: the vectors are written at unit length", (0.0, 0.0)),
    "calibrated": ScoringKind(
        calibrated, "cosine times the item's length to a power that validation chooses", (0.0, None)
    ),
}
"""How embeddings are ranked by, by name."""
