"""Lists of ids: one a line, or a column of a table."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.files import decoded, read_bytes
from gclrec.data.io.columns import Columns, guess_column, id_values
from gclrec.data.io.readers import GUESSED, AnyPath
from gclrec.data.io.tables import (
    first_line,
    header_fields,
    is_parquet,
    open_parquet,
    parquet_names,
    read_text_table,
    sniff_separator,
)


def read_ids(path: AnyPath, role: str = "item", *, columns: Columns = GUESSED) -> pl.Series:
    """Read the distinct ids of a file, in file order.

    A Parquet file, or text whose first line names columns, gives the column of the role (the one that is
    named, or guessed from its name; else ``id``, else the only one). Other text is one id a line; lines
    without any text count for nothing.

    Args:
        path: plain or gzip'd file.
        role: ``"item"`` or ``"user"``.
        columns: names of the columns, where they should not be guessed.

    Raises:
        InputError: the file cannot be read, has no such column, or holds no id; an id is missing or is a
            fraction.
    """
    path = Path(path)
    if is_parquet(path):
        names = parquet_names(path)
        name = names[_position(names, role, path, columns)]
        column = open_parquet(path, [name])[name]
        return id_values(column, name, lambda row: f"{path}, row {row + 1}").unique(maintain_order=True)
    data = read_bytes(path)
    line = first_line(data)
    decoded(path, data)
    separator = sniff_separator(line)
    names = header_fields(line, separator, '"')
    named = getattr(columns, role)
    told = (named is not None and len(names) > 1) or columns.usual.get(role) in names
    if told or named in names or guess_column(names, role) is not None or "id" in map(str.lower, names):
        if len(names) == 1:
            return _lines(path, data, names[0])
        table = read_text_table(path, data, separator=separator, quote='"')
        at = _position(names, role, path, columns)
        return id_values(table.rows[:, at], names[at], table.place).unique(maintain_order=True)
    return _lines(path, data, None)


def _lines(path: Path, data: bytes, header: str | None) -> pl.Series:
    """Return one id a line, below the header if there is one."""
    text = pl.Series("id", data.decode("utf-8-sig").splitlines()).str.strip_chars()
    text = text.filter(text != "")[0 if header is None else 1 :]
    if not len(text):
        raise InputError(f"{path}: holds no id")
    return id_values(text, "id", lambda row: f"{path}, id {row + 1}").unique(maintain_order=True)


def _position(names: list[str], role: str, path: Path, columns: Columns) -> int:
    name = getattr(columns, role)
    if name is not None and name not in names:
        raise InputError(f"{path}: no column {name!r} to read as {role}; the columns are: {', '.join(names)}")
    name = name or columns.usual.get(role)
    found = names.index(name) if name in names else guess_column(names, role)
    if found is not None:
        return found
    plain = [name.lower() for name in names]
    if "id" in plain:
        return plain.index("id")
    if len(names) == 1:
        return 0
    raise InputError(f"{path}: no column of {role} ids; the columns are: {', '.join(names)}")
