"""Raw ids in requests: from ids and tables of ids to row numbers, with unknown ids refused or left out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError, InputWarning
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import BoolArray, IntArray, Vocabulary
from gclrec.data.io.columns import guess_column
from gclrec.data.io.ids import id_series, whole_numbers

RawIds: TypeAlias = Any
"""Ids as users write them: whatever :func:`gclrec.data.io.ids.id_series` takes."""

_LONGEST = 19  # an integer with fewer characters fits into 64 bits


class Lookup:
    """Finds the rows of raw ids by binary search, where :meth:`Vocabulary.rows` scans all ids.

    Text is searched by its hash. It takes NumPy and those functions of Polars that need no thread, so that it
    works in a forked process.

    Args:
        vocabulary: raw ids by row.
        kind: what an id is called in messages, such as ``"user"``.
    """

    def __init__(self, vocabulary: Vocabulary, kind: str) -> None:
        self._vocabulary, self._kind = vocabulary, kind
        keys = _keys(vocabulary.ids)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def of(self, raw: object) -> int:
        """Return the row of a raw id.

        Raises:
            InputError: the id is unknown.
        """
        row = self.find(raw)
        return self._vocabulary.row(raw, kind=self._kind) if row < 0 else row

    def rows(self, raw: pl.Series) -> IntArray:
        """Return the rows of several raw ids, ``-1`` for an unknown one.

        Args:
            raw: ``Int64`` or ``String``, as from :func:`gclrec.data.io.ids.id_series`.

        Raises:
            InputError: an id is a number that is spelled in another way than the known ones.
        """
        ids = self._vocabulary.ids
        if ids.dtype == pl.Int64 and raw.dtype != pl.Int64:
            try:
                raw = whole_numbers(raw)
            except InputError as error:
                raise InputError(f"{self._kind}: {error}") from None
        wanted = raw.cast(ids.dtype)
        known = ~wanted.is_null().to_numpy()
        keys = _keys(wanted if known.all() else wanted.filter(known))
        found = np.full(len(raw), -1, dtype=np.int64)
        place = np.searchsorted(self._sorted, keys)
        asked = np.flatnonzero(known)
        while len(asked):  # once, unless two texts share a hash
            here = place < len(self._sorted)
            here[here] = self._sorted[place[here]] == keys[here]
            asked, keys, place = asked[here], keys[here], place[here]
            rows = self._order[place]
            if ids.dtype != pl.String:
                found[asked] = rows
                break
            same = (ids.gather(rows) == wanted.gather(asked)).to_numpy()
            found[asked[same]] = rows[same]
            asked, keys, place = asked[~same], keys[~same], place[~same] + 1
        return found

    def find(self, raw: object) -> int:
        """Return the row of an int or str id, ``-1`` where only :meth:`rows` can tell."""
        text = str(raw)
        is_text = self._vocabulary.ids.dtype == pl.String
        is_whole = text.isascii() and text.lstrip("-").isdecimal() and len(text) < _LONGEST
        if type(raw) not in (int, str) or not (is_text or (is_whole and str(int(text)) == text)):
            return -1
        key = pl.Series([text]).hash()[0] if is_text else int(text)
        place = int(np.searchsorted(self._sorted, np.array(key, dtype=self._sorted.dtype)))
        if place == len(self._sorted) or self._sorted[place] != key:
            return -1
        row = int(self._order[place])
        return row if not is_text or self._vocabulary.ids[row] == text else -1


def _keys(ids: pl.Series) -> npt.NDArray[Any]:
    """Return whole numbers as they are, and the hashes of text."""
    return (ids.hash() if ids.dtype == pl.String else ids).to_numpy()


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
        raise InputError(f"{message}; `skip_unknown=True` leaves them out")
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
    renamed = pl.DataFrame([table[name].alias(role) for role, name in found.items()])
    check_columns(renamed, ("user", "item"), what)
    return renamed
