"""Scoring: from final embeddings to vectors whose inner product ranks items."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gclrec.common.declaration import Declared, declarations
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import RowArray
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.evaluator import evaluate_ranking
from gclrec.evaluation.groups import AMONG_GROUPS
from gclrec.evaluation.ranking import named, places_among, top_k_scaled
from gclrec.losses.base import SCORES


def calibrated(embeddings: Embeddings, exponent: float) -> Embeddings:
    r"""Return users at unit length, and items at the power ``exponent`` of their own length.

    .. math:: s(u, i) = \cos(x_u, x_i) \, \lVert x_i \rVert^\gamma

    With :math:`\gamma = 0` items are ranked by the cosine, with 1 by the inner product. The length of an item
    vector grows with popularity, and how much of that is good for ranking depends on the data.
    """
    users, items = (SCORES["cosine"](rows) for rows in embeddings)
    return Embeddings(users, items * _lengths(embeddings.items).pow(exponent).unsqueeze(1))


MOST_USERS = 8192
"""Validation users on whom the exponent is chosen during training."""


class Scoring(nn.Module):
    """Turns an encoder's embeddings into the vectors that are ranked, indexed and written.

    Args:
        score: a name in :data:`SCORINGS`.
        settings: keyword arguments of its function.

    The exponent of ``calibrated`` is a buffer, so it is saved with the model. It is 1 (the inner product)
    before :meth:`calibrate` chooses it.
    """

    exponent: Tensor

    def __init__(self, score: str = "dot", **settings: Any) -> None:
        super().__init__()
        self.score, self.settings = score, settings
        self.register_buffer("exponent", torch.ones((), dtype=torch.float64))

    @property
    def calibrates(self) -> bool:
        """Whether there is an exponent to choose."""
        return None in SCORINGS[self.score].exponents

    @property
    def exponents(self) -> tuple[float, float]:
        """Powers of their own length at which user and item vectors stand in the score."""
        users, items = SCORINGS[self.score].exponents
        return users, float(self.exponent) if items is None else items

    def forward(self, embeddings: Embeddings) -> Embeddings:
        """Return vectors whose inner product is the score."""
        return SCORINGS[self.score].function(embeddings, float(self.exponent), **self.settings)

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
        users = np.unique(split.valid.user)
        if len(users) > most_users // 4:
            users = np.random.default_rng(seed).permutation(users)
        few = _Curve(embeddings, split, figure, users[: most_users // 4])
        many = _Curve(embeddings, split, figure, users[:most_users])
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
        curve = _Curve(embeddings, split, figure, users)
        while (better := curve.best(_around(best, 0.0625))) != best:
            best = better
        self.exponent.fill_(best)
        return best


def _around(exponent: float, distance: float) -> list[float]:
    """Return an exponent and its neighbours in ``[0, 1]``, itself first, so that it wins ties."""
    near = (exponent, exponent - distance, exponent + distance)
    return [each for each in near if 0.0 <= each <= 1.0]


class _Curve:
    """A validation figure as a function of the exponent, over some of the users; values are kept."""

    def __init__(self, embeddings: Embeddings, split: Split, figure: str, users: RowArray) -> None:
        self.split, self.figure = split, figure
        self.group, _, name = figure.partition("/")
        metric, _, cut = name.partition("@")
        self.k, self.metric = int(cut), metric
        self.valid = split.valid.select(np.isin(split.valid.user, users))
        self.users = np.unique(self.valid.user)
        hidden = [split.train, *([] if split.removed is None else [split.removed])]
        user, item = (np.concatenate([getattr(part, side) for part in hidden]) for side in ("user", "item"))
        self.seen = Ragged.from_pairs(user, item, split.train.num_users).take(self.users)
        items = embeddings.items
        self.among: Tensor | None = None
        if self.group in AMONG_GROUPS:
            members = np.flatnonzero(AMONG_GROUPS[self.group](split.train.item_degrees(), 0))
            self.seen = self.seen.renumbered(places_among(members, len(items)))
            self.among = torch.from_numpy(members)
            items = items[self.among.to(items.device)]
        self.rows = SCORES["cosine"](embeddings.users[torch.from_numpy(self.users)])
        self.columns = SCORES["cosine"](items)
        self.lengths = _lengths(items)
        self.found: dict[float, float] = {}

    def best(self, exponents: Sequence[float]) -> float:
        """Return the exponent of the highest figure, of equal ones the first; one without cases is lowest."""
        cut: Any = {"ks": (self.k,), "metrics": (self.metric,), "groups": (self.group,), "per_user": False}
        if new := [each for each in exponents if each not in self.found]:
            scales = torch.stack([self.lengths.pow(each) for each in new])
            rankings = top_k_scaled(self.rows, self.columns, scales, self.k, seen=self.seen)
            for exponent, lists in zip(new, rankings, strict=True):
                if self.among is not None:
                    lists = named(lists.cpu(), self.among)
                    cut["among"] = {self.group: lists}
                values = evaluate_ranking(lists, self.users, self.split.train, self.valid, **cut).values
                self.found[exponent] = values.get(self.figure, -math.inf)
        return max(exponents, key=self.found.__getitem__)


def _lengths(items: Tensor) -> Tensor:
    """Return the length of each vector; 1 for one of no length, which has no direction either."""
    length = torch.linalg.vector_norm(items, dim=1)
    return torch.where(length > 0, length, 1.0)


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
