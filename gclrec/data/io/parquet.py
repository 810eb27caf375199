"""Read tables whose columns are typed: Parquet, Feather, and tables in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from gclrec.common.errors import InputError, NoRowsError, reading
from gclrec.common.files import name_parts, packing, read_bytes, read_sample
from gclrec.common.forks import need_polars
from gclrec.data.io.columns import Columns, RawInteractions, guess_column, pick_columns, typed_interactions
from gclrec.data.io.numbering import coded, coded_batches

_TEXT = (pl.String, pl.Categorical, pl.Enum)
_FEATHER = (".feather", ".arrow", ".ipc")
_BATCH = 2**20  # rows of text that are read at a time
_ROWS = 4_000_000  # rows that a Parquet or Feather file may have in any case
_ROWS_A_BYTE = 8  # and for each of its bytes; a pair of ids takes more than a bit


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet or Feather by its suffix or its first bytes."""
    suffix = name_parts(path)[1]
    if suffix in (".xlsx", ".xls", ".ods"):
        raise InputError(f"{path}: is a spreadsheet; save it as CSV or Parquet and give that")
    return suffix in (".parquet", ".pq", *_FEATHER) or read_sample(path).startswith((b"PAR1", b"ARROW1"))


def open_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read columns of a Parquet file, plain or gzip'd; all if ``None``."""
    names = parquet_names(path) if columns is None else columns
    with _reading_columns(path):
        frame = _checked_scan(path).select(names).collect()
    if frame.height == 0:
        raise NoRowsError(f"{path}: holds columns but no rows")
    return frame


def parquet_names(path: Path) -> list[str]:
    """Return the column names of a Parquet file."""
    with _reading_columns(path):
        return _scan(path)[0].collect_schema().names()


def _checked_scan(path: Path) -> pl.LazyFrame:
    """Return :func:`_scan` of a file whose number of rows is believable."""
    scan, size = _scan(path)
    rows = int(scan.select(pl.len()).collect().item())
    if rows > max(_ROWS, _ROWS_A_BYTE * size):
        found = f"found {rows:,} rows in {size:,} bytes"
        raise InputError(f"{path}: {found}, expected at most {_ROWS_A_BYTE} rows a byte")
    return scan


def _scan(path: Path) -> tuple[pl.LazyFrame, int]:
    """Return a Parquet or Feather file, packed or not, that is not read yet, and its size in bytes."""
    need_polars(path)
    source = io.BytesIO(read_bytes(path)) if packing(path) else path
    size = path.stat().st_size if isinstance(source, Path) else len(source.getbuffer())
    if _is_feather(path):
        return pl.scan_ipc(source, glob=False), size
    return pl.scan_parquet(source, glob=False), size


def _reading_columns(path: Path) -> contextlib.AbstractContextManager[None]:
    kind = "Feather" if name_parts(path)[1] in _FEATHER else "Parquet"
    return reading(path, f"the {kind} file is damaged or is none")


def _is_feather(path: Path) -> bool:
    return name_parts(path)[1] in _FEATHER or read_sample(path).startswith(b"ARROW1")


def read_columns(
    names: Sequence[str],
    column: Callable[[int], pl.Series],
    columns: Columns,
    source: str | Path,
    *,
    id_column: Callable[[int], pl.Series] | None = None,
) -> RawInteractions:
    """Read interactions from a table whose columns are typed: a Parquet file or a table in memory.

    Columns are read one at a time, and text ids are coded at once, so that only one column of text is in
    memory at a time.

    Args:
        names: of the columns.
        column: returns the column at a position.
        columns: names that the caller gives; the others are guessed.
        source: named in error messages.
        id_column: returns the column of ids at a position, text coded; made of ``column`` if ``None``.
    """
    raw = {}
    picked = pick_columns(names, columns, source)
    for role, position in picked.items():
        if role not in ("user", "item"):
            values = column(position)
        elif id_column is not None:
            values = id_column(position)
        else:
            values = column(position)
            values = coded(values) if values.dtype in _TEXT else values
        if not len(values):
            raise NoRowsError(f"{source}: holds columns but no rows")
        raw[role] = values.alias(role)
    chosen = {role: names[position] for role, position in picked.items()}
    return RawInteractions(
        typed_interactions(pl.DataFrame(raw), chosen, lambda row: f"{source}, row {row + 1}")
    )


def read_parquet_table(path: Path, columns: Columns) -> RawInteractions:
    """Read interactions from a Parquet file, only the columns that are needed; text ids are coded.

    Text ids are read a piece at a time, so that never a whole column of text is in memory. Folders above it
    that are called ``NAME=VALUE`` are columns too; one of ids only if it is named.
    """
    inside = parquet_names(path)
    folders = [part.partition("=") for part in path.parts[:-1]]
    above = {name: unquote(value) for name, sign, value in folders if sign and name and name not in inside}
    for name in above.keys() - {columns.user, columns.item}:
        if any(guess_column([name], role) is not None for role in ("user", "item")):
            del above[name]
    names = [*inside, *above]

    def column(at: int) -> pl.Series:
        name = names[at]
        if name in above:
            rows = open_parquet(path, inside[:1]).height
            return pl.Series(name, [above[name]]).extend_constant(above[name], rows - 1)
        return open_parquet(path, [name])[name]

    def id_column(at: int) -> pl.Series:
        name = names[at]
        if name not in above:
            with _reading_columns(path):
                whole = _checked_scan(path).select(name)
                if whole.collect_schema()[name] == pl.String:
                    return coded_batches(batch[name] for batch in whole.collect_batches(chunk_size=_BATCH))
        values = column(at)
        return coded(values) if values.dtype in _TEXT else values

    return read_columns(names, column, columns, path, id_column=id_column)
