"""Row numbers of raw ids: sorted distinct ids, and the place of each id among them."""

from __future__ import annotations

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


def distinct_ids(ids: pl.Series) -> pl.Series:
    """Return each id once, in ascending order, as ``Int64`` or ``String``.

    Args:
        ids: ``Int64``, ``String`` or one of :data:`CODED`, none missing.
    """
    if ids.dtype == pl.String:
        return ids.unique().sort()
    distinct = ids.gather(ids.to_physical().arg_unique())
    return (distinct.cast(pl.String) if isinstance(ids.dtype, CODED) else distinct).sort()


def numbered(ids: pl.Series) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Return :func:`distinct_ids` and the place of each id among them.

    Args:
        ids: ``Int64``, ``String`` or one of :data:`CODED`, none missing.
    """
    known = distinct_ids(ids)
    return known, places_of(ids, known)


def places_of(wanted: pl.Series, known: pl.Series) -> npt.NDArray[np.int64]:
    """Return the place of each wanted id in ``known``, ``-1`` where it does not occur.

    Args:
        wanted: ``(N,)`` ids of the type of ``known``, or one of :data:`CODED`; missing ones have no place.
        known: distinct ids, ``Int64`` or ``String``, in any order.
    """
    if known.dtype == pl.String and len(wanted) > len(known):
        return _array(wanted.cast(pl.Enum(known), strict=False).to_physical())
    if isinstance(wanted.dtype, CODED):
        wanted = wanted.cast(pl.String)
    wanted = wanted.cast(known.dtype, strict=False)
    if known.dtype == pl.Int64 and len(known) and len(wanted) and not wanted.null_count():
        low, high, lowest = (int(each) for each in (known.min(), known.max(), wanted.min()))  # type: ignore[arg-type]
        if min(low, lowest) >= 0 and high < _SPARSE * (len(known) + len(wanted)):
            # Ids from a small range index a table: 0.05 s for 5 million rows, where a join takes 0.5 s.
            table = np.full(high + 2, -1, dtype=np.int64)  # the last entry is for larger ids
            table[known.to_numpy()] = np.arange(len(known))
            return _array(wanted, table)
    rows = pl.DataFrame({"id": known, "row": np.arange(len(known), dtype=np.int64)})
    return _array(wanted.to_frame("id").join(rows, on="id", how="left", maintain_order="left")["row"])


def _array(values: pl.Series, table: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
    """Return values, or what a table holds at these indices, as a writable array; ``-1`` where missing.

    Goes block by block, so that chunked values are not copied as a whole.
    """
    if values.null_count():
        values = values.cast(pl.Int64).fill_null(-1)
    found = np.empty(len(values), dtype=np.int64)
    for start in range(0, len(values), _BLOCK):
        block, out = values.slice(start, _BLOCK).to_numpy(), found[start : start + _BLOCK]
        if table is None:
            out[:] = block
        else:
            np.take(table, block, out=out, mode="clip")
    return found
