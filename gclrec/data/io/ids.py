"""Raw ids: what is accepted as an id, and when two ids are the same.

An id is a whole number or text, and **two ids are the same if they are written the same**: ``7`` and
``"7"`` are one id, ``"07"`` and ``"7.0"`` are others. Every id is taken exactly or refused; this module
holds the only conversions. A column is stored as ``Int64`` if all of it is whole numbers, else as
``String``. Spaces around text in a table that is read are left out, with a note; a table with both ``"a "``
and ``"a"`` is refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.io.numbering import CODED

Place = Callable[[int], str]
"""Returns the place of a table row, such as ``ratings.csv, line 7``."""

LONGEST = 65_536
"""Bytes that an id in a file may have."""

_WHOLE = r"^(0|-?[1-9][0-9]*)$"
_ALMOST_WHOLE = r"^[+-]?[0-9]+(\.0*)?$"
_MISSING = ("null", "nan", "none", "na", "n/a", "<na>", "nat", "\\n")
_EXACT = {"Float64": 53, "Float32": 24, "Float16": 11}  # floats hold whole numbers below this power of 2


def exact_ids(values: pl.Series, name: str, place: Place, *, numbers: bool = True) -> pl.Series:
    """Return ids as ``Int64`` if all are whole numbers, else as ``String`` (an ``Enum`` stays one).

    Whole numbers beyond 64 bits, and all others of their column, become text.

    Args:
        values: ids of any type.
        name: of the column.
        place: returns the place of a row.
        numbers: turn text into numbers if all of it is whole numbers, all written as ``7`` or all as ``7.0``.

    Raises:
        InputError: an id is missing, is a number that is not whole or not exact, has two spellings
            (``12`` and ``12.0``, ``"a"`` and ``"a "``), or the type is neither number nor text.
    """
    dtype = values.dtype
    is_text = dtype == pl.String or isinstance(dtype, CODED)
    if not (is_text or dtype == pl.Null or dtype.is_numeric()):
        raise InputError(
            f"{place(0)}: column {name!r} holds {dtype}, expected ids: whole numbers or text; "
            "convert the column to text first"
        )
    refuse_first(values.is_null(), values, name, place, "an id")
    if dtype.is_integer():
        whole = values.cast(pl.Int64, strict=False)
        return values.cast(pl.String) if whole.null_count() else whole
    if dtype.is_float():
        refuse_first(values != values.floor(), values, name, place, "a whole number as id")
        bits = _EXACT[str(dtype)]
        expected = (
            f"a whole number below 2**{bits} as id, since {dtype} rounds others; store whole numbers or text"
        )
        refuse_first(~(values.abs() < 2**bits), values, name, place, expected)
        return values.cast(pl.Int64)
    if dtype.is_decimal():
        whole = values.cast(pl.Int64, strict=False)
        same = (whole.cast(dtype, strict=False) == values).fill_null(value=False)
        refuse_first(~same, values, name, place, "a whole number of 64 bits as id")
        return whole
    if not numbers:
        return values.cast(pl.String)
    return _text_ids(values, name, place)


def _text_ids(values: pl.Series, name: str, place: Place) -> pl.Series:
    lengths = values.str.len_bytes() if values.dtype == pl.String else pl.Series([0])
    if (lengths > LONGEST).any():
        row = int(lengths.arg_max() or 0)
        found = f"found an id of {lengths[row]:,} bytes in column {name!r}"
        raise InputError(f"{place(row)}: {found}, expected at most {LONGEST:,}")
    enum = values.dtype if isinstance(values.dtype, pl.Enum) else None
    distinct = enum.categories if enum is not None else values.cast(pl.String).unique(maintain_order=True)
    plain = distinct.str.strip_chars()

    def refuse(bad: pl.Series, expected: str) -> None:
        if bad.any():
            rows = values.cast(pl.String).is_in(distinct.filter(bad).implode())
            refuse_first(rows, values, name, place, expected)

    refuse(plain == "", "an id")
    shown = plain.str.strip_suffix(".0")
    numbers = shown.cast(pl.Int64, strict=False)
    whole = (numbers.cast(pl.String) == shown).fill_null(value=False)
    decimal = whole & plain.str.ends_with(".0")
    if whole.all() and (decimal.all() or not decimal.any()):
        if enum is not None:
            return numbers.gather(values.to_physical()).alias(values.name)
        text = values.cast(pl.String).str.strip_chars()
        return text.str.strip_suffix(".0").cast(pl.Int64)
    one = "one spelling of a number; it is there with and without .0"
    refuse(decimal & (shown.is_in(plain.implode()) | whole.all()), one)
    if whole.any():
        others = plain.filter(~whole).str.to_lowercase()
        if others.is_in(_MISSING).all():
            refuse(~whole, "a whole number, as in the other rows; leave out the rows without an id")
    spaced = plain != distinct
    refuse(spaced & plain.is_duplicated(), "one spelling of an id; it is there with and without outer spaces")
    if not spaced.any():
        return values if enum is not None else values.cast(pl.String)
    count = f"{spaced.sum():,} id{' begins or ends' if spaced.sum() == 1 else 's begin or end'} with a space"
    example = distinct.filter(spaced)[0]
    message = f"{place(0)}: column {name!r}: {count}, such as {example!r}; outer spaces are left out"
    warnings.warn(message, InputWarning, stacklevel=4)
    return values.cast(pl.String).str.strip_chars()


def whole_numbers(text: pl.Series) -> pl.Series:
    """Return the whole numbers that text spells as ``Int64``, missing where it is other text.

    Raises:
        InputError: a whole number is spelled otherwise than ``7``, such as ``07``, ``+7`` or ``7.0``.
    """
    text = text.cast(pl.String)
    numbers = text.cast(pl.Int64, strict=False)
    other = numbers.cast(pl.String).ne_missing(text)  # not spelled as Polars spells a number
    for each in text.filter(other).unique(maintain_order=True) if other.any() else ():
        if each is not None and re.match(_ALMOST_WHOLE, each) and not re.match(_WHOLE, each):
            expected = int(each.partition(".")[0][:4300])
            raise InputError(
                f"found the id {each!r}, expected {str(expected)!r}: the known ids are whole numbers, "
                "written without +, leading zeros and decimals"
            )
    return numbers.set(other, None)


def python_id(raw: object) -> int | str:
    """Return one raw id as an ``int`` or ``str``.

    Raises:
        InputError: it is neither a whole number nor text.
    """
    value: Any = raw.item() if isinstance(raw, np.generic) else raw
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(f"found {raw!r}, expected one id (a whole number or text)")
    if isinstance(value, str) and not _is_unicode(value):
        raise InputError(f"found {value!r}, expected an id of valid Unicode text")
    return value


def id_series(raw: Any) -> pl.Series:
    """Return a list of ids as a series of ``Int64`` or ``String``, in order of position.

    Args:
        raw: a list, tuple or other iterable; a one-dimensional NumPy array; a polars or pandas series; or a
            polars or pandas table or a dict of one column. Labels, such as the index of pandas, do not count.

    Raises:
        InputError: it is none of these, or an id is missing, is no whole number, or is no text.
    """
    series = column_of(_only_column(raw))
    if series is None:
        what = f"the text {raw!r}" if isinstance(raw, (str, bytes)) else repr(raw)
        raise InputError(f"found {what}, expected a list of ids: a list, an array or a series")
    return exact_ids(series, series.name or "id", lambda row: f"row {row + 1}", numbers=False)


def column_of(values: Any) -> pl.Series | None:
    """Return the values of a list, array or series as a series, or ``None`` if they are none of these.

    Raises:
        InputError: an element is neither a number nor text, in a list or in an array of objects.
    """
    if isinstance(values, pl.Series):
        return values
    if hasattr(values, "to_numpy") and hasattr(values, "hasnans"):  # a pandas series or index
        return from_pandas(values)
    if hasattr(values, "__arrow_c_stream__"):
        return pl.Series(values)
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufMm" and values.ndim == 1:
        return pl.Series(values=values)
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
        return None
    found: list[int | str] = []
    for each in values:
        try:
            found.append(python_id(each))
        except InputError:
            message = f"found {each!r} in a list of ids, expected whole numbers or text"
            raise InputError(message) from None
    if all(isinstance(each, int) and -(2**63) <= each < 2**63 for each in found):
        return pl.Series(values=found, dtype=pl.Int64)
    return pl.Series(values=[str(each) for each in found], dtype=pl.String)


def from_pandas(column: Any) -> pl.Series:
    """Return a pandas series as polars reads it from the Parquet file that pandas writes.

    Values go through NumPy, since ``pl.from_pandas`` needs pyarrow for text, dates and missing integers.
    """
    dtype = column.dtype
    kind = getattr(dtype, "kind", "O")
    if kind == "M":  # dates, those with a time zone as UTC
        unit = "ns" if str(dtype).startswith("datetime64[ns") else "us"
        return pl.Series(column.to_numpy(dtype=f"datetime64[{unit}]"))
    if kind in "biuf" and not column.hasnans:
        return pl.Series(column.to_numpy(dtype=getattr(dtype, "numpy_dtype", dtype)))
    return pl.Series(values=column.to_numpy(dtype=object, na_value=None).tolist(), strict=False)


def _only_column(raw: Any) -> Any:
    """Return the column of a table that has one, else the argument."""
    if isinstance(raw, pl.LazyFrame):
        raw = raw.collect()
    if isinstance(raw, pl.DataFrame):
        return raw.to_series() if raw.width == 1 else None
    if hasattr(raw, "iloc") and hasattr(raw, "columns"):
        return raw.iloc[:, 0] if len(raw.columns) == 1 else None
    if isinstance(raw, Mapping):
        return next(iter(raw.values())) if len(raw) == 1 else None
    return raw


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_first(bad: pl.Series, values: pl.Series, name: str, place: Place, expected: str) -> None:
    """Raise an :class:`InputError` for the first bad value, if there is one."""
    if not bad.any():
        return
    row = int(np.argmax(bad.to_numpy()))
    value = values[row]
    found = (
        "nothing" if value is None or value == "" else repr(value) if isinstance(value, str) else str(value)
    )
    count = int(bad.sum())
    more = f" ({count:,} such rows in all)" if count > 1 else ""
    raise InputError(f"{place(row)}: found {found} in column {name!r}, expected {expected}{more}")
