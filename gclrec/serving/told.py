"""What users were told to have done since training: the rows of the log, by user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray
from gclrec.recall.raw_ids import Lookup
from gclrec.serving.feedback import Event, Follower


class Told:
    """Items of users in the log of feedback, as rows of one model; it follows the log.

    Args:
        log: the folder of the log.
        users: finds the rows of users.
        items: finds the rows of items.
        trained_on: the items that each user was trained on, which need not be told again.
    """

    def __init__(self, log: Path, users: Lookup, items: Lookup, trained_on: Ragged) -> None:
        self._follower = Follower(log)
        self._users, self._items, self._trained_on = users, items, trained_on
        self._known: dict[int, list[int]] = {}
        self._new: dict[str, list[int]] = {}
        self.interactions = 0
        """Interactions of the log that count."""

    @property
    def damaged(self) -> int:
        """Lines of the log that are no interactions."""
        return self._follower.damaged

    def update(self) -> None:
        """Read what was appended since the last call."""
        events = self._follower.fresh()
        if events:
            self._take(events)

    def _take(self, events: list[Event]) -> None:
        users, items = (
            rows_of([e.user for e in events], self._users),
            rows_of([e.item for e in events], self._items),
        )
        for event, user, item in zip(events, users.tolist(), items.tolist(), strict=True):
            if item < 0 or (user >= 0 and (self._trained_on[user] == item).any()):
                continue
            lists: dict[int, list[int]] | dict[str, list[int]] = self._known if user >= 0 else self._new
            told = lists.setdefault(user if user >= 0 else event.user, [])  # type: ignore[arg-type]
            if item in told:
                told.remove(item)
            else:
                self.interactions += 1
            told.append(item)

    def items_of(self, row: int, raw: int | str) -> list[int]:
        """Return the item rows of a user, oldest first; of a new one, whose row is ``-1``, by raw id."""
        return self._known.get(row, []) if row >= 0 else self._new.get(str(raw), [])

    def __bool__(self) -> bool:
        return bool(self._known or self._new)


def rows_of(raw: Sequence[int | str], lookup: Lookup) -> IntArray:
    """Return the rows of raw ids, ``-1`` for an unknown one, however it is spelled."""
    if len(raw) == 1 and (row := lookup.find(raw[0])) >= 0:
        return np.array([row])
    try:
        if all(type(each) is int for each in raw):
            return lookup.rows(pl.Series(raw, dtype=pl.Int64))
        return lookup.rows(pl.Series([str(each) for each in raw], dtype=pl.String))
    except InputError:  # one is a number that is spelled in another way, so it is unknown
        return np.array([_row_of(str(each), lookup) for each in raw], dtype=np.int64)


def _row_of(raw: str, lookup: Lookup) -> int:
    try:
        return int(lookup.rows(pl.Series([raw], dtype=pl.String))[0])
    except InputError:
        return -1
