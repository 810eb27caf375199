"""Row numbers of raw ids: sorted distinct ids, and the place of each id among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

CODED = (pl.Categorical, pl.Enum)
"""Text types whose rows are integer codes."""

_SPARSE = 4  # a lookup table may have this many entries per id
_BLOCK = 2**17  # rows looked up at a time, so that temporary arrays stay small


def coded(text: pl.Series) -> pl.Series:
    """Return text as an ``Enum`` of its sorted distinct values, which takes 1 to 4 bytes a row.

    Args:
        text: ``String`` or one of :data:`CODED`; missing values stay missing.
    """
    # Distinct hashes are found 5 times faster than distinct text. The cast fails if two texts share a hash.
    likely = text.gather(text.hash().arg_unique()).drop_nulls().cast(pl.String)
    try:
        return text.cast(pl.Enum(likely.unique().sort()))
    except pl.exceptions.InvalidOperationError:
        return text.cast(pl.Enum(distinct_ids(text.drop_nulls())))


def coded_batches(batches: Iterable[pl.Series]) -> pl.Series:
    """Return :func:`coded` of text that comes in pieces; only its codes are kept, and each text once."""
    kind = pl.Categorical(pl.Categories.random())
    codes: list[pl.Series] = []
    fresh = [pl.Series([], dtype=kind)]
    seen = pl.Series([], dtype=pl.UInt32)
    for batch in batches:
        text = batch.cast(kind)
        codes.append(text.to_physical())
        text = text.gather(codes[-1].arg_unique()).drop_nulls()
        text = text.filter(~text.to_physical().is_in(seen.implode()))
        fresh.append(text)
        seen = pl.concat([seen, text.to_physical()])
    known = pl.concat(fresh).cast(pl.String)
    return _joined_codes(codes, [seen] * len(codes), [known] * len(codes))


def joined_ids(columns: Sequence[pl.Series]) -> pl.Series:
    """Return the ids of several tables one after the other; they are text if those of one table are."""
    if all(isinstance(column.dtype, pl.Enum) for column in columns):
        texts = [column.dtype.categories for column in columns]  # type: ignore[attr-defined]
        places = [pl.Series(np.arange(len(text), dtype=np.uint32)) for text in texts]
        return _joined_codes([column.to_physical() for column in columns], places, texts)
    if len({column.dtype for column in columns}) > 1:
        columns = [column.cast(pl.String) for column in columns]
    return pl.concat(columns)


def _joined_codes(
    parts: list[pl.Series], codes: Sequence[pl.Series], texts: Sequence[pl.Series]
) -> pl.Series:
    """Return one ``Enum`` of coded pieces; each is dropped from ``parts`` once it is converted.

    Args:
        parts: codes of the rows, missing where the text is.
        codes: distinct codes of each piece.
        texts: what these codes stand for.
    """
    different = {id(text): text for text in texts}.values()
    known = pl.concat([pl.Series([], dtype=pl.String), *different]).unique().sort()
    kind = pl.Enum(known)
    made = [pl.Series([], dtype=kind)]
    table, made_of = pl.Series([], dtype=pl.UInt32), None
    for number, (code, text) in enumerate(zip(codes, texts, strict=True)):
        if text is not made_of:
            places, made_of = np.zeros(int(code.max() or 0) + 1, dtype=np.uint32), text  # type: ignore[arg-type]
            places[code.to_numpy()] = places_of(text, known)
            table = pl.Series(places)
        made.append(table.gather(parts[number]).cat.to(kind))
        parts[number] = made[0]
    return pl.concat(made)


def distinct_ids(ids: pl.Series) -> pl.Series:
    """Return each id once, in ascending order, as ``Int64`` or ``String``.

    Args:
        ids: ``Int64``, ``String`` or one of :data:`CODED`, none missing.
    """
    if ids.dtype == pl.String:
        return ids.unique().sort()
    distinct = ids.gather(ids.to_physical().arg_unique())
    return (distinct.cast(pl.String) if isinstance(ids.dtype, CODED) else distinct).sort()


def numbered(ids: pl.Series) -> tuple[pl.Series, npt.NDArray[np.int32]]:
    """Return :func:`distinct_ids` and the place of each id among them.

    Args:
        ids: ``Int64``, ``String`` or one of :data:`CODED`, none missing.
    """
    known = distinct_ids(ids)
    return known, places_of(ids, known)


def places_of(wanted: pl.Series, known: pl.Series) -> npt.NDArray[np.int32]:
    """Return the place of each wanted id in ``known``, ``-1`` where it does not occur.

    Args:
        wanted: ``(N,)`` ids of the type of ``known``, or one of :data:`CODED`; missing ones have no place.
        known: distinct ids, ``Int64`` or ``String``, in any order.
    """
    if isinstance(wanted.dtype, pl.Enum) and len(wanted) > len(wanted.dtype.categories):
        codes, table = wanted.to_physical(), places_of(wanted.dtype.categories, known)
        if np.array_equal(table, np.arange(len(known), dtype=np.int32)):
            return _array(codes)
        if codes.null_count():
            codes = codes.cast(pl.Int64).fill_null(len(table))
        return _array(codes, np.append(table, np.int32(-1)))
    if known.dtype == pl.String and len(wanted) > len(known):
        return _array(wanted.cast(pl.Enum(known), strict=False).to_physical())
    if isinstance(wanted.dtype, CODED):
        wanted = wanted.cast(pl.String)
    wanted = wanted.cast(known.dtype, strict=False)
    if known.dtype == pl.Int64 and len(known) and len(wanted) and not wanted.null_count():
        low, high, lowest = (int(each) for each in (known.min(), known.max(), wanted.min()))  # type: ignore[arg-type]
        if min(low, lowest) >= 0 and high < _SPARSE * (len(known) + len(wanted)):
            # Ids from a small range index a table: 0.05 s for 5 million rows, where a join takes 0.5 s.
            table = np.full(high + 2, -1, dtype=np.int32)  # the last entry is for larger ids
            table[known.to_numpy()] = np.arange(len(known), dtype=np.int32)
            return _array(wanted, table)
    rows = pl.DataFrame({"id": known, "row": np.arange(len(known), dtype=np.int32)})
    return _array(wanted.to_frame("id").join(rows, on="id", how="left", maintain_order="left")["row"])


def _array(values: pl.Series, table: npt.NDArray[np.int32] | None = None) -> npt.NDArray[np.int32]:
    """Return values, or what a table holds at these indices, as a writable array; ``-1`` where missing.

    Goes block by block, so that chunked values are not copied as a whole.
    """
    if values.null_count():
        values = values.cast(pl.Int64).fill_null(-1)
    found = np.empty(len(values), dtype=np.int32)
    for start in range(0, len(values), _BLOCK):
        block, out = values.slice(start, _BLOCK).to_numpy(), found[start : start + _BLOCK]
        if table is None:
            out[:] = block
        else:
            np.take(table, block, out=out, mode="clip")
    return found
