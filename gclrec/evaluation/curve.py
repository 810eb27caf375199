"""A validation figure as a function of one number that scales items."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gclrec.data.interactions import RowArray
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.evaluator import evaluate_ranking
from gclrec.evaluation.groups import AMONG_GROUPS, BALANCED, figure_of
from gclrec.evaluation.ranking import named, places_among, top_k_scaled
from gclrec.evaluation.relevant import seen_by
from gclrec.losses.base import SCORES

MOST_USERS = 4096
"""Validation users on whom a number is chosen during training."""


class Curve:
    """A validation figure as a function of one number, over some of the users; values are kept.

    Args:
        embeddings: users, and items before they are scaled.
        scale: from the number to the factor of each item, ``(I,)``.
        split: its validation pairs are the ones to rank.
        figure: such as ``all/recall@20``.
        users: validation users.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        scale: Callable[[float], Tensor],
        split: Split,
        figure: str,
        users: RowArray,
    ) -> None:
        self.split, self.figure, self.scale = split, figure, scale
        self.group, _, name = figure.partition("/")
        metric, _, cut = name.partition("@")
        self.k, self.metric = int(cut), metric
        self.valid = split.valid.select(np.isin(split.valid.user, users))
        self.users = np.unique(self.valid.user)
        self.seen = seen_by(self.users, split.train, split.removed)
        self.rows, self.columns = embeddings.users[torch.from_numpy(self.users)], embeddings.items
        self.among: Tensor | None = None
        if self.group in AMONG_GROUPS:
            members = np.flatnonzero(AMONG_GROUPS[self.group](split.train.item_degrees(), 0))
            self.seen = self.seen.renumbered(places_among(members, len(self.columns)))
            self.among = torch.from_numpy(members)
            self.columns = self.columns[self.among.to(self.columns.device)]
        self.found: dict[float, float] = {}

    def best(self, numbers: Sequence[float]) -> float:
        """Return the number of the highest figure, of equal ones the first; one without cases is lowest."""
        groups = BALANCED.get(self.group, (self.group,))
        cut: Any = {"ks": (self.k,), "metrics": (self.metric,), "groups": groups, "per_user": False}
        if new := [each for each in numbers if each not in self.found]:
            scales = torch.stack([self.scale(each) for each in new])
            if self.among is not None:
                scales = scales[:, self.among.to(scales.device)]
            rankings = top_k_scaled(self.rows, self.columns, scales, self.k, seen=self.seen)
            for number, lists in zip(new, rankings, strict=True):
                if self.among is not None:
                    lists = named(lists.cpu(), self.among)
                    cut["among"] = {self.group: lists}
                values = evaluate_ranking(lists, self.users, self.split.train, self.valid, **cut).values
                value = figure_of(values, self.figure)
                self.found[number] = -math.inf if value is None else value
        return max(numbers, key=self.found.__getitem__)


def by_length(embeddings: Embeddings, split: Split, figure: str, users: RowArray) -> Curve:
    """Return a figure as a function of the exponent of the items' lengths."""
    lengths = lengths_of(embeddings.items)
    unit = Embeddings(SCORES["cosine"](embeddings.users), SCORES["cosine"](embeddings.items))
    return Curve(unit, lengths.pow, split, figure, users)


def drawn(split: Split, most: int, seed: int = 0) -> RowArray:
    """Return the validation users, in random order if there are more than ``most``."""
    users = np.unique(split.valid.user)
    return np.random.default_rng(seed).permutation(users) if len(users) > most else users


def lengths_of(items: Tensor) -> Tensor:
    """Return the length of each vector; 1 for one of no length, which has no direction either."""
    length = torch.linalg.vector_norm(items, dim=1)
    return torch.where(length > 0, length, 1.0)
