"""What a recommender holds, and how it is searched by row number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.errors import InputError
from gclrec.recall.added import Added
from gclrec.recall.answers import tabled
from gclrec.recall.embeddings import FloatArray
from gclrec.recall.index import Index
from gclrec.recall.newcomers import EncodeUsers, Newcomers
from gclrec.recall.reading import Lists, Lookup, take_lists
from gclrec.recall.shelf import Shelf

Held = TypeVar("Held", bound="Holdings")


@dataclass(frozen=True, eq=False, repr=False)
class Holdings:
    """Vectors, index and known items; nothing in it changes once it is made.

    Args:
        users: raw user ids by row.
        user_vectors: ``(U, D)`` float32.
        index: of the items.
        known: ``(indptr, items)``: what user ``u`` has already is ``items[indptr[u]:indptr[u + 1]]``.
        run: the run folder, for what new users and items need.
        item_degrees: ``(I,)`` training interactions of each item; 0 for added ones.
        added: items that came after training.
        only: ``(C,)`` sorted rows of the items that may be recommended; all if ``None``.
        encode_users: of a run with ``--history``; ``gclrec.load_recommender`` fills it in.
    """

    users: Vocabulary
    user_vectors: FloatArray
    index: Index
    known: Lists
    run: Path | None = None
    item_degrees: IntArray | None = None
    added: Added | None = None
    only: IntArray | None = None
    encode_users: EncodeUsers | None = None

    def __post_init__(self) -> None:
        if len(self.users) != len(self.user_vectors):
            raise InputError(f"{len(self.users):,} users, {len(self.user_vectors):,} vectors: must be equal")

    def __repr__(self) -> str:
        where = "" if self.run is None else f", run={str(self.run)!r}"
        sizes = f"users={len(self.users)}, items={len(self.items)}"
        return f"{type(self).__name__}({sizes}, {self.index.backend}{where})"

    @property
    def items(self) -> Vocabulary:
        """Raw item ids by row."""
        return self.index.ids

    def _search(self, users: IntArray, k: int, exclude_seen: bool) -> tuple[IntArray, FloatArray]:
        self._check_k(k)
        exclude = take_lists(*self.known, users) if exclude_seen else None
        return self._shelf.search(self.user_vectors[users], k, exclude=exclude)

    def _table(self, users: IntArray, k: int, exclude_seen: bool) -> pl.DataFrame:
        rows, scores = self._search(users, k, exclude_seen)
        return tabled(self.users.raw(users), self.items, rows, scores)

    def _keeping(self: Held, rows: IntArray) -> Held:
        rows = rows if self.only is None else np.intersect1d(rows, self.only)
        if not len(rows):
            raise InputError("no item is left that may be recommended (cold only, candidates)")
        return replace(self, only=rows)

    def _check_k(self, k: int) -> None:
        if not isinstance(k, (int, np.integer)):
            raise InputError(f"k must be a whole number, got {k!r}")
        if not 1 <= k <= len(self.items):
            raise InputError(f"k must be from 1 to {len(self.items):,}, the number of items, got {k}")

    @property
    def _degrees(self) -> IntArray:
        if self.item_degrees is None:
            raise InputError("the items' degrees are not known: load the recommender from a run")
        return self.item_degrees

    @cached_property
    def _newcomers(self) -> Newcomers:
        if self.run is None:
            raise InputError("new users and items need a run folder: load the recommender from one")
        return Newcomers(self.run, self.users, self.items, self.added, self.encode_users)

    @cached_property
    def _shelf(self) -> Index | Shelf:
        """What may be recommended."""
        return self.index if self.only is None else Shelf(self.index, self.only)

    @cached_property
    def _user_rows(self) -> Lookup:
        return Lookup(self.users, "user")

    @cached_property
    def _item_rows(self) -> Lookup:
        return Lookup(self.items, "item")

    @cached_property
    def _directions(self) -> Index:
        return self.index.directions()
