"""Interactions and attributes from tables in memory: polars, pandas, dicts of columns, NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.forks import need_polars
from gclrec.data.filters import Keep
from gclrec.data.interactions import Interactions
from gclrec.data.io.attributes import typed_attributes
from gclrec.data.io.columns import Columns
from gclrec.data.io.formats import GUESSED
from gclrec.data.io.ids import from_pandas
from gclrec.data.io.parquet import read_columns
from gclrec.data.io.readers import KEEP, interactions_only, numbered_interactions

_Column = Callable[[int], pl.Series]


def interactions_from(
    data: Any, *, columns: Columns = GUESSED, name: str = "data", keep: Keep = KEEP
) -> Interactions:
    """Number the users and items of a table in memory.

    The columns are found, checked and converted as those of a Parquet file with the same columns.

    Args:
        data: a polars ``DataFrame`` or ``LazyFrame``; a pandas ``DataFrame``, whose rows are read in order,
            whatever its index; a dict of columns; an ``(E, 2)`` integer array or a pair of arrays, users
            first; or :class:`~gclrec.data.interactions.Interactions`, which are returned as they are.
        columns: names of the columns that should not be guessed; without effect on pairs.
        name: what messages call the table.
        keep: which rows are interactions, and which of repeated pairs stays.

    Raises:
        InputError: the type is not one of these, the columns cannot be found, or a value is no id, number
            or time; names the row (from 1) and the column.

    Example:
        >>> pairs = interactions_from({"user": ["ann", "bob"], "item": [7, 7]})
        >>> pairs.users.ids.to_list(), pairs.item.tolist()
        (['ann', 'bob'], [0, 0])
    """
    if isinstance(data, Interactions):
        return data
    need_polars(name)
    names, column = _columns_of(data, name)
    raw = interactions_only(read_columns(names, column, columns, name), keep, name)
    return numbered_interactions(raw, keep)


def attributes_from(
    data: Any, *, id_column: str | None = None, name: str = "data", side: str | None = None
) -> pl.DataFrame:
    """Return attributes in memory as :func:`~gclrec.data.io.attributes.read_attributes` returns a file.

    Args:
        data: a polars or pandas table or a dict of columns.
        id_column: column of the ids; guessed if ``None``.
        name: what messages call the table.
        side: ``"user"`` or ``"item"``; either if ``None``.

    Raises:
        InputError: as :func:`interactions_from`; or an id is missing or occurs twice.
    """
    return typed_attributes(table_from(data, name), id_column, name, side)


def is_table(data: Any) -> bool:
    """Return whether data is a table of columns: of polars, pandas or Arrow, or a dict."""
    return isinstance(data, (pl.DataFrame, pl.LazyFrame, Mapping)) or hasattr(data, "columns")


def table_from(data: Any, name: str = "data") -> pl.DataFrame:
    """Return a table in memory as a polars table, with its rows in order of position.

    Args:
        data: as for :func:`interactions_from`.
        name: what messages call the table.

    Raises:
        InputError: the type is not one of these, or two columns have one name.
    """
    names, column = _columns_of(data, name)
    repeated = next((each for each in names if names.count(each) > 1), None)
    if repeated is not None:
        raise InputError(f"{name}: found two columns named {repeated!r}, expected each once")
    return pl.DataFrame([column(position).alias(each) for position, each in enumerate(names)])


def _columns_of(data: Any, name: str) -> tuple[list[str], _Column]:
    """Return the names of a table's columns, and a function that returns the column at a position."""
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    if isinstance(data, pl.DataFrame):
        return data.columns, data.to_series
    if hasattr(data, "iloc") and hasattr(data, "columns"):  # pandas, which is not imported here
        return [str(each) for each in data.columns], lambda at: from_pandas(data.iloc[:, at])
    if hasattr(data, "columns") and hasattr(data, "__arrow_c_stream__"):
        data = pl.DataFrame(data)
        return data.columns, data.to_series
    if isinstance(data, Mapping):
        return _from_arrays([str(each) for each in data], list(data.values()), name)
    if isinstance(data, np.ndarray) and data.ndim == 2 and data.shape[1] == 2:
        return _from_arrays(["user", "item"], [data[:, 0], data[:, 1]], name)
    if isinstance(data, tuple) and len(data) == 2:
        return _from_arrays(["user", "item"], list(data), name)
    found = f"an array of shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
    raise InputError(
        f"{name}: found {found}, expected a polars or pandas table, a dict of columns, "
        "an array of shape (E, 2) or a pair of arrays (users, items)"
    )


def _from_arrays(names: list[str], values: list[Any], name: str) -> tuple[list[str], _Column]:
    series = []
    for each, column in zip(names, values, strict=True):
        try:
            series.append(_series(column))
        except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
            problem = str(error).partition("\n")[0]
            raise InputError(f"{name}: column {each!r} cannot be read as a column ({problem})") from error
    lengths = {each: len(column) for each, column in zip(names, series, strict=True)}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{each!r} with {length:,}" for each, length in lengths.items())
        raise InputError(f"{name}: found columns of different lengths, {found}; expected one length")
    return names, lambda at: series[at]


def _series(column: Any) -> pl.Series:
    if isinstance(column, pl.Series):
        return column
    if hasattr(column, "iloc"):
        return from_pandas(column)
    is_object = isinstance(column, np.ndarray) and column.dtype == object
    return pl.Series(values=column.tolist() if is_object else column, strict=False)
