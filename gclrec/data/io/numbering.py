"""Numbering millions of raw ids: tables in place of hash maps, and nothing made for each row twice.

Whole numbers that lie close together are looked up in a table with a place for each of them. Text is
given codes first (a polars ``Enum`` or ``Categorical``); all the rest is then done for each *distinct* text,
and rows are looked up by their codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError

_SPARSE = 4
"""Places that a table may have for each id that is looked up or known."""

_FEW = 2**16
"""Ids up to which nothing is worth a thought: a table may have as many places, and text is joined."""

_BLOCK = 2**20
"""Rows that are worked on at a time, so that nothing else of their size is made."""


CODED = (pl.Categorical, pl.Enum)
"""Types of text that has codes."""

ID = (str, int, float, np.generic)
"""Types of a raw id; of numbers only whole ones are ids."""


def typed(raw: Any) -> Any:
    """Return a raw id as one types it, such as ``7`` for ``np.int64(7)``."""
    return raw.item() if isinstance(raw, np.generic) else raw


def listed_ids(raw: Sequence[Any]) -> pl.Series:
    """Return a list of raw ids as a series.

    Raises:
        InputError: it is no list, or something in it is neither a number nor text.
    """
    if isinstance(raw, (str, bytes)) or not hasattr(raw, "__iter__"):
        what = f"the text {raw!r}" if isinstance(raw, (str, bytes)) else repr(raw)
        raise InputError(f"found {what}, expected a list of ids")
    ids = list(raw)
    for each in ids:
        if not isinstance(each, ID):
            raise InputError(f"found {each!r} in a list of ids, expected numbers or text")
    return pl.Series(values=ids, strict=False)


def coded(text: pl.Series) -> pl.Series:
    """Return text, ``String``, with codes.

    Where there is much of it, hashes of 64 bits are sorted and looked up in a table by their first bits,
    which is several times faster than a hash map that no longer fits into the caches. Then every row is
    compared with the text of its code, so that equal hashes of different texts are noticed.
    """
    if len(text) <= _FEW or text.null_count():
        return text.cast(pl.Categorical)
    hashes = text.hash().to_numpy()
    distinct = np.sort(hashes)
    distinct = distinct[np.append(True, distinct[1:] != distinct[:-1])]
    bits = len(distinct).bit_length() + 1
    shift = np.uint64(64 - bits)
    first = np.searchsorted(distinct, np.arange(2**bits, dtype=np.uint64) << shift).astype(np.int32)
    codes = np.empty(len(text), dtype=np.uint32)
    somewhere = np.empty(len(distinct), dtype=np.int64)

    def code(start: int) -> None:
        block = hashes[start : start + _BLOCK]
        place = first[(block >> shift).view(np.int64)]
        later = np.flatnonzero(distinct[place] != block)
        while len(later):
            place[later] += 1
            later = later[distinct[place[later]] != block[later]]
        codes[start : start + len(block)] = place
        somewhere[place] = np.arange(start, start + len(block))

    def agree(start: int) -> bool:
        part = slice(start, start + _BLOCK)
        return bool((texts.gather(codes[part]) == text[part]).all())

    starts = range(0, len(text), _BLOCK)
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(code, starts):
            pass
        texts = text.gather(somewhere)
        if not all(pool.map(agree, starts)):
            return text.cast(pl.Categorical)
    series = pl.Series(text.name, codes)
    to = getattr(series.cat, "to", series.cast)  # older versions of polars cast numbers to an Enum
    return cast("pl.Series", to(pl.Enum(texts)))


def distinct_ids(ids: pl.Series) -> pl.Series:
    """Return each id once, in ascending order; coded text as ``String``.

    Args:
        ids: ``Int64``, ``String`` or one of :data:`CODED`, none missing.
    """
    if isinstance(ids.dtype, CODED):
        return distinct_texts(ids)[1].sort()
    if ids.dtype == pl.Int64 and len(ids):
        low, high = _bounds(ids)
        if high - low < _places(len(ids)):
            return pl.Series(ids.name, _occurring(ids, low, high) + low)
    return ids.unique().sort()


def numbered(ids: pl.Series) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Return what :func:`distinct_ids` does, and the place of each id among them: both in one go.

    Args:
        ids: ``Int64``, ``String`` or one of :data:`CODED`, none missing.
    """
    if isinstance(ids.dtype, CODED) and len(ids):
        codes, texts = distinct_texts(ids)
        order = texts.arg_sort().to_numpy()
        table = np.full(int(codes[-1]) + 1, -1, dtype=np.int64)
        table[codes[order]] = np.arange(len(order))
        return texts.gather(order), _taken(ids.to_physical(), table)
    if ids.dtype == pl.Int64 and len(ids):
        low, high = _bounds(ids)
        if high - low < _places(len(ids)):
            numbers = _occurring(ids, low, high)
            table = np.full(high - low + 1, -1, dtype=np.int64)
            table[numbers] = np.arange(len(numbers))
            return pl.Series(ids.name, numbers + low), _taken(ids, table, low)
    known = distinct_ids(ids)
    return known, places_of(ids, known)


def places_of(wanted: pl.Series, known: pl.Series) -> npt.NDArray[np.int64]:
    """Return where each of some ids stands among others, -1 where it does not.

    Args:
        wanted: ``(N,)`` ids, of the type of ``known`` (missing ones are nowhere) or one of :data:`CODED`
            (none missing).
        known: distinct ids, ``Int64`` or ``String``.
    """
    if (
        known.dtype == pl.String
        and wanted.dtype == pl.String
        and len(wanted) > _FEW
        and not wanted.null_count()
    ):
        wanted = coded(wanted)
    if isinstance(wanted.dtype, CODED):
        codes, texts = distinct_texts(wanted)
        table = np.full(int(codes[-1]) + 1 if len(codes) else 0, -1, dtype=np.int64)
        table[codes] = _joined(texts.cast(known.dtype, strict=False), known)
        return looked_up(wanted.to_physical(), table)
    if known.dtype == wanted.dtype == pl.Int64 and len(known) and not wanted.null_count():
        low, high = _bounds(known)
        if high - low < _places(len(known) + len(wanted)):
            table = np.full(high - low + 2, -1, dtype=np.int64)  # the last is for all that lie outside
            table[known.to_numpy() - low] = np.arange(len(known))
            return looked_up(wanted, table, low)
    return _joined(wanted, known)


def _places(count: int) -> int:
    return max(_SPARSE * count, _FEW)


def _occurring(ids: pl.Series, low: int, high: int) -> npt.NDArray[np.int64]:
    """Return the numbers that occur, ascending, counted from the lowest."""
    there = np.zeros(high - low + 1, dtype=np.bool_)
    for block in _blocks(ids):
        there[block - low] = True
    return np.flatnonzero(there)


def _bounds(ids: pl.Series) -> tuple[int, int]:
    return int(ids.min()), int(ids.max())  # type: ignore[arg-type]


def _blocks(ids: pl.Series) -> Iterator[npt.NDArray[np.integer]]:
    """Yield the numbers of a series in views of a bounded length."""
    for chunk in ids.get_chunks():
        numbers = chunk.to_numpy()
        for start in range(0, len(numbers), _BLOCK):
            yield numbers[start : start + _BLOCK]


def looked_up(ids: pl.Series, table: npt.NDArray[np.int64], low: int = 0) -> npt.NDArray[np.int64]:
    """Return a table's numbers at ``ids - low``; what lies outside finds its last one."""
    if not len(ids):
        return np.empty(0, dtype=np.int64)
    least, most = _bounds(ids)
    return _taken(ids, table, low, inside=low <= least and most - low < len(table))


def _taken(
    ids: pl.Series, table: npt.NDArray[np.int64], low: int = 0, *, inside: bool = True
) -> npt.NDArray[np.int64]:
    found = np.empty(len(ids), dtype=np.int64)
    if len(table) and table.min() >= -(2**31) and table.max() < 2**31:
        table = table.astype(np.int32)  # half as much to keep in the caches
    start = 0
    for block in _blocks(ids):
        places = block - low if low else block
        if not inside:  # as unsigned numbers those below lie far above
            places = np.minimum(places.view(np.uint64), len(table) - 1)
        found[start : start + len(block)] = np.take(table, places, mode="clip")
        start += len(block)
    return found


def distinct_texts(ids: pl.Series) -> tuple[npt.NDArray[np.int64], pl.Series]:
    """Return the codes that occur in coded text, ascending, and the text of each."""
    codes = ids.to_physical()
    somewhere = np.full(int(codes.max()) + 1 if len(codes) else 0, -1, dtype=np.int64)  # type: ignore[arg-type]
    start = 0
    for block in _blocks(codes):
        somewhere[block] = np.arange(start, start + len(block))
        start += len(block)
    occurring = np.flatnonzero(somewhere >= 0)
    return occurring, ids.gather(somewhere[occurring]).cast(pl.String)


def _joined(wanted: pl.Series, known: pl.Series) -> npt.NDArray[np.int64]:
    table = pl.DataFrame({"id": known, "row": np.arange(len(known), dtype=np.int64)})
    joined = wanted.to_frame("id").join(table, on="id", how="left", maintain_order="left")
    return joined["row"].fill_null(-1).to_numpy().astype(np.int64, copy=False)
