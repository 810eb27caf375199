"""Raw ids in requests: from ids and tables of ids to row numbers, with unknown ids refused or left out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from gclrec.common.errors import InputError, InputWarning
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import BoolArray, IntArray, Vocabulary
from gclrec.data.io.columns import guess_column
from gclrec.data.io.ids import id_series

RawIds: TypeAlias = Any
"""Ids as users write them: whatever :func:`gclrec.data.io.ids.id_series` takes."""

_LONGEST = 19  # an integer with fewer characters fits into 64 bits
_FEW = 100  # ids that are looked up one by one


class Lookup:
    """Finds the row of one raw id by binary search in microseconds; :meth:`Vocabulary.row` scans all ids.

    Args:
        vocabulary: raw ids by row.
        kind: what an id is called in messages, such as ``"user"``.
    """

    def __init__(self, vocabulary: Vocabulary, kind: str) -> None:
        self._vocabulary, self._kind = vocabulary, kind
        self._order = vocabulary.ids.arg_sort().to_numpy()
        self._sorted = vocabulary.ids.sort()

    def of(self, raw: object) -> int:
        """Return the row of a raw id.

        Raises:
            InputError: the id is unknown.
        """
        row = self._find(raw)
        return self._vocabulary.row(raw, kind=self._kind) if row < 0 else row

    def rows(self, raw: pl.Series) -> IntArray:
        """Return the rows of several raw ids, ``-1`` for an unknown one.

        Args:
            raw: ``Int64`` or ``String``, as from :func:`gclrec.data.io.ids.id_series`.
        """
        if len(raw) > _FEW:
            return self._vocabulary.rows(raw)
        found = np.array([self._find(each) for each in raw.to_list()], dtype=np.int64)
        missing = np.flatnonzero(found < 0)
        if len(missing):
            found[missing] = self._vocabulary.rows(raw.gather(missing))
        return found

    def _find(self, raw: object) -> int:
        """Return the row of an int or str id, ``-1`` where the slow path of the vocabulary must decide."""
        wanted: Any = None
        if type(raw) in (int, str):
            text = str(raw)
            if self._sorted.dtype == pl.String:
                wanted = text
            elif text.isascii() and text.lstrip("-").isdecimal() and len(text) < _LONGEST:
                wanted = int(text) if str(int(text)) == text else None
        if wanted is not None and len(self._sorted):
            place = int(self._sorted.search_sorted(wanted))
            if place < len(self._sorted) and self._sorted[place] == wanted:
                return int(self._order[place])
        return -1


def distinct_rows(raw: RawIds, lookup: Lookup, kind: str, *, skip_unknown: bool) -> IntArray:
    """Return the distinct rows of raw ids, each at its last place.

    Raises:
        InputError: an id is unknown, or there is none.
    """
    ids = id_series(raw)
    rows = lookup.rows(ids)
    found = rows[known_only(rows, ids, kind, skip=skip_unknown)]
    if not len(found):
        raise InputError(f"{kind}s: found none, expected at least one id")
    return Ragged.from_lists([found]).newest().values


def known_only(rows: IntArray, raw: pl.Series, kind: str, *, skip: bool) -> BoolArray:
    """Return a mask of the rows that are not ``-1``.

    Args:
        rows: ``(N,)`` rows of the ids, ``-1`` for an unknown one.
        raw: ``(N,)`` the ids.
        kind: what an id is called in messages.
        skip: warn of unknown ids instead of refusing them.

    Raises:
        InputError: an id is unknown and ``skip`` is false.
    """
    known = rows >= 0
    if not known.all():
        places = np.flatnonzero(~known)
        number = raw.gather(places).n_unique()
        message = f"{counted(number, f'unknown {kind}')}, such as {raw[int(places[0])]!r}"
        refuse_or_warn(message, skip)
    return known


def refuse_or_warn(message: str, skip: bool) -> None:
    """Raise an :class:`InputError`, or with ``skip`` warn that what the message names is left out."""
    if not skip:
        raise InputError(f"{message}; skip_unknown=True leaves them out")
    warnings.warn(f"{message}; left out", InputWarning, stacklevel=4)


def counted(number: int, noun: str) -> str:
    """Return a number with a noun, such as ``"2 items"``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def share_of(mask: BoolArray, noun: str, singular: str, plural: str) -> str:
    """Return how many places of a mask are true, with a verb: ``"1 of 3 items is"``."""
    number = np.count_nonzero(mask)
    return f"{number:,} of {counted(len(mask), noun)} {singular if number == 1 else plural}"


def check_columns(table: pl.DataFrame, names: Sequence[str], what: str) -> None:
    """Check that a table has columns of these names and at least one row."""
    for name in names:
        if name not in table.columns:
            raise InputError(f"{what}: no column {name!r}, found {', '.join(table.columns) or 'no column'}")
    if not len(table):
        raise InputError(f"{what}: found no row, expected at least one")


def user_item_columns(table: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return the columns ``user``, ``item`` and, where it orders the rows, ``time`` of a table.

    A column of another name is guessed, as the readers of files do.

    Raises:
        InputError: there is no column of users or of items, or no row.
    """
    found: dict[str, str] = {role: role for role in ("user", "item", "time") if role in table.columns}
    for role in ("user", "item", "time"):
        place = guess_column(table.columns, role, taken=map(table.columns.index, found.values()))
        if role not in found and place is not None:
            found[role] = table.columns[place]
    dtype = table.schema[found["time"]] if "time" in found else pl.Null()
    if not (dtype.is_numeric() or dtype.is_temporal()):
        found.pop("time", None)
    if "user" not in found or "item" not in found:
        check_columns(table, ("user", "item"), what)
    renamed = table.select(pl.col(name).alias(role) for role, name in found.items())
    check_columns(renamed, ("user", "item"), what)
    return renamed
