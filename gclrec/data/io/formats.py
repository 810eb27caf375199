"""Formats of interaction files: how each is recognised and which function reads it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gclrec.common.errors import InputError, InputWarning, reading
from gclrec.common.files import local_path, name_parts, read_sample
from gclrec.data.io.columns import AnyPath, Columns, RawInteractions, guess_column, pick_columns
from gclrec.data.io.folders import layout_of
from gclrec.data.io.parquet import is_parquet, parquet_names
from gclrec.data.io.tables import (
    first_line,
    has_typed_header,
    header_fields,
    read_atomic,
    read_table,
    sniff_separator,
)
from gclrec.data.io.text import read_adjacency, read_movielens, read_npz, read_pair_lines, read_sequence

FORMATS: dict[str, Callable[[Path, Columns], RawInteractions]] = {
    "table": read_table,
    "atomic": read_atomic,
    "adjacency": read_adjacency,
    "sequence": read_sequence,
    "pairs": read_pair_lines,
    "movielens": read_movielens,
    "npz": read_npz,
}
"""Formats of interaction files by name; each reader takes a path and the columns that the caller names."""

GUESSED = Columns()
"""All columns are guessed from their names."""

_FOUR_NUMBERS = r"\d+\t\d+\t[\d.]+\t\d+\s*"


def detect_format(path: AnyPath) -> str:
    """Return the format of a file, a name in :data:`FORMATS`, by its suffix and its first 256 kB.

    In this order:

    1. ``.parquet``, ``.npz``, ``.inter`` by suffix, or by their first bytes or typed header;
       ``sequence.*`` and ``sequences.*`` are ``sequence``.
    2. Lines with ``::``, or with four numbers between tabs on every line: ``movielens``.
    3. ``.csv``, ``.tsv``, ``.tab``, or a first line that names a user and an item column: ``table``.
    4. Two or three columns on every line: ``pairs`` (so ``1 2 3`` is user 1, item 2, weight 3).
    5. Whole numbers, with more columns or not the same number on every line: ``adjacency``.
    6. A first line with commas, semicolons, tabs or ``|``: ``table``.

    Lists of exactly two items on every line look like pairs with a weight; name the format to read them.
    """
    stem, suffix = name_parts(path)
    sample = read_sample(path)
    if suffix in (".jsonl", ".ndjson", ".json") or sample.startswith(b"{"):
        raise InputError(f"{path}: JSON (or JSON Lines) is not supported; convert it to CSV or Parquet")
    if is_parquet(Path(path)):
        return "table"
    if suffix == ".npz" or sample.startswith(b"PK\x03\x04"):
        return "npz"
    if suffix == ".inter" or has_typed_header(sample):
        return "atomic"
    if stem in ("sequence", "sequences") and suffix == ".txt":
        return "sequence"
    lines = [line for line in sample.decode(errors="replace").splitlines() if line.strip()]
    if "::" in lines[0] or all(re.fullmatch(_FOUR_NUMBERS, line) for line in lines):
        return "movielens"
    names = header_names(sample)
    if suffix in (".csv", ".tsv", ".tab") or all(
        guess_column(names, role) is not None for role in ("user", "item")
    ):
        return "table"
    gaps = r"\t+" if "\t" in lines[0] else r"\s+"
    widths = {len(re.split(gaps, line.strip())) for line in lines}
    if widths in ({2}, {3}) and not re.search("[,;|]", lines[0]):
        return "pairs"
    if all(re.fullmatch(r"[\d\s-]+", line) for line in lines):
        return "adjacency"
    if re.search("[,;|\t]", lines[0]):
        return "table"
    known = ", ".join(FORMATS)
    raise InputError(f"{path}: cannot tell the format; say which with `format` (one of {known})")


def header_names(sample: bytes, columns: Columns = GUESSED) -> list[str]:
    """Return the names of the columns of a text file, with the separator of its first line."""
    line = first_line(sample)
    names = header_fields(line, sniff_separator(line), columns.quote_char)
    return names if columns.header else [str(place + 1) for place in range(len(names))]


def format_of(path: Path, columns: Columns, format: str) -> str:
    """Return the format in which a file is read: the one asked for, or the one detected."""
    if format == "auto" and not columns.header:
        format = "table"
    if format == "auto":
        format = detect_format(path)
        if format in ("pairs", "adjacency"):
            names_known = {*columns.usual.values()} & {*header_names(read_sample(path))}
            format = "table" if columns.user or columns.item or names_known else format
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}; expected auto or one of {', '.join(FORMATS)}")
    return format


def read_file(path: Path, columns: Columns, format: str) -> RawInteractions:
    """Read the interactions of one file, without the columns that the caller does not want."""
    with reading(path):
        raw = FORMATS[format_of(path, columns, format)](path, columns)
    unwanted = [role for role in ("time", "weight") if getattr(columns, role) == ""]
    return replace(raw, frame=raw.frame.drop(unwanted, strict=False))


def columns_read(path: AnyPath, *, columns: Columns = GUESSED, format: str = "auto") -> dict[str, Any] | None:
    """Return which columns of a file (of a folder, its first file of interactions) are read.

    Args:
        path: as :func:`~gclrec.data.io.readers.read_dataset` takes it.
        columns: names of the columns that should not be guessed.
        format: a name in :data:`FORMATS`, or ``"auto"``.

    Returns:
        ``read``, the column of each role, and ``ignored``, the names of the others; ``None`` for a file
        whose columns have no names.
    """
    path = local_path(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # reading the data has warned already
        path = layout_of(path).train[0]
    format = format_of(path, columns, format)
    if format == "table" and is_parquet(path):
        names = parquet_names(path)
    elif format in ("table", "atomic"):
        names = header_names(read_sample(path), columns)
        names = [name.rpartition(":")[0] if format == "atomic" else name for name in names]
    else:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # reading the data has warned already
        picked = pick_columns(names, columns, path)
    read = {role: names[position] for role, position in picked.items()}
    return {"read": read, "ignored": [name for name in names if name not in read.values()]}
