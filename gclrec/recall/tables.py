"""Recommendations for everybody in one file, written as they come."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.files import naming

SUFFIXES = (".parquet", ".csv")
_ROWS = 1_000_000  # rows held in memory at a time


def check_table_path(path: Path) -> None:
    """Check where a table shall be written, before the work is done.

    Raises:
        InputError: the suffix is unknown, the folder is missing, or the path is a folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: suffix {path.suffix!r}, expected {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder, so {path.name} cannot be written there")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file name")


def write_table(path: str | Path, frames: Iterable[pl.DataFrame]) -> int:
    """Write tables one after the other to a Parquet or CSV file, which appears whole or not at all.

    Args:
        path: ends with ``.parquet`` or ``.csv``; a former file is replaced.
        frames: at least one, all with the same columns; a million rows are in memory at a time.

    Returns:
        Number of rows.

    Raises:
        InputError: see :func:`check_table_path`.
        OSError: the disk is full, or the place is not writable.
    """
    path = Path(path)
    check_table_path(path)
    temporary = tempfile.TemporaryDirectory
    with naming(path), temporary(prefix=f".{path.name}.", dir=path.parent) as folder:
        rows, total = 0, 0
        parts: list[Path] = []
        held: list[pl.DataFrame] = []
        try:
            for frame in frames:
                held.append(frame)
                rows += len(frame)
                if rows >= _ROWS:
                    parts.append(_write_part(Path(folder, f"{len(parts):09}.parquet"), held))
                    held, rows, total = [], 0, total + rows
            if held or not parts:
                parts.append(_write_part(Path(folder, f"{len(parts):09}.parquet"), held))
            whole, table = Path(folder, "whole"), pl.scan_parquet(parts)
            if path.suffix.lower() == ".csv":
                table.sink_csv(whole)
            else:
                table.sink_parquet(whole)
        except pl.exceptions.PolarsError as error:
            raise OSError(f"{path}: cannot be written ({' '.join(str(error).split())})") from None
        whole.replace(path)
    return total + rows


def _write_part(path: Path, frames: list[pl.DataFrame]) -> Path:
    pl.concat(frames).write_parquet(path)
    return path
