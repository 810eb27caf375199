"""Read text tables with a header: CSV, TSV, RecBole's atomic files.

All readers raise :class:`~gclrec.common.errors.InputError` if a file is missing, damaged, ragged or empty,
and name the line or row of a bad value.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import polars as pl

from gclrec.common.errors import InputError, NoRowsError
from gclrec.common.files import (
    decoded,
    read_text_bytes,
)
from gclrec.common.forks import need_polars
from gclrec.data.io.columns import Columns, RawInteractions, pick_columns, typed_interactions
from gclrec.data.io.parquet import is_parquet, read_parquet_table

SEPARATORS = ("\t", ",", ";", "|", " ")
"""Field separators, detected in the header line; a blank only if no other occurs there."""

FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
"""Types in the header of RecBole's atomic files, ``field:type`` ([1]).

[1] https://recbole.io/docs/user_guide/data/atomic_files.html
"""


_NO_QUOTES = "if quotes have no meaning in this file, give `quote=none`"


@dataclass(frozen=True, eq=False)
class TextTable:
    """A delimited text file whose fields are text.

    Args:
        path: the file.
        names: names of the columns, those of the caller if the file has no header.
        rows: one ``String`` column for each field; lines without any value are left out.
        numbers: ``(rows,)`` number of each row among all lines of the file, from 0.
        data: content of the file, unpacked.
        separator: separator of the fields.
        quote: quote around fields; ``None`` if quotes have no meaning.
        has_header: whether the first line names the columns.
    """

    path: Path
    names: list[str]
    rows: pl.DataFrame
    numbers: pl.Series
    data: bytes
    separator: str
    quote: str | None
    has_header: bool

    def place(self, row: int) -> str:
        """Return the file and line of a row; slow, for error messages only."""
        wanted = int(self.numbers[row]) + self.has_header
        lines = (line for line, _ in records(self.data, self.separator, self.quote))
        return f"{self.path}, line {next(islice(lines, wanted, None), wanted + 1)}"


def read_text_table(
    path: Path, data: bytes, *, separator: str, quote: str | None, names: Sequence[str] | None = None
) -> TextTable:
    """Read delimited text without converting its fields.

    Args:
        path: named in error messages.
        data: content of the file, unpacked.
        separator: one character between fields.
        quote: quote around fields; ``None`` if quotes have no meaning.
        names: names of the columns, if the first line is not a header.
    """
    need_polars(path)
    has_header = names is None
    if names is None:
        names = header_fields(first_line(data), separator, quote)
    try:
        rows = pl.read_csv(
            data.lstrip(b"\r\n"),
            has_header=has_header,
            separator=separator,
            quote_char=quote,
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        _refuse_ragged(path, data, separator, quote, len(names))
        if quote:
            _refuse_inner_quote(path, data, separator, quote)
        problem = str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot be read as a table ({problem})") from error
    if rows.width != len(names) or (rows.height and rows[:, -1].null_count()):
        _refuse_ragged(path, data, separator, quote, len(names))
    rows.columns = [str(position) for position in range(rows.width)]
    rows = rows.with_row_index("number")
    if rows[:, 1].null_count():
        rows = rows.filter(~pl.all_horizontal(pl.exclude("number").is_null()))
    if rows.height == 0:
        raise NoRowsError(f"{path}: holds a header but no rows")
    if quote and quote.encode() in data:
        _refuse_swallowed(path, rows[:, 1:], data, separator, quote, has_header=has_header)
    return TextTable(path, list(names), rows[:, 1:], rows["number"], data, separator, quote, has_header)


def first_line(data: bytes) -> bytes:
    """Return the first line that is not empty, without its end."""
    body = data.lstrip(b"\r\n")
    end = body.find(b"\n")
    return (body if end < 0 else body[:end]).rstrip(b"\r")


def records(data: bytes, separator: str, quote: str | None) -> Iterator[tuple[int, list[str]]]:
    """Yield line number (from 1) and fields of each record after leading empty lines; slow.

    Polars does not report lines, so an error is located in this way after the fact; quoted fields may span
    lines.
    """
    body = data.lstrip(b"\r\n")
    text = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", errors="replace", newline="")
    if quote:
        reader = csv.reader(text, delimiter=separator, quotechar=quote)
    else:
        reader = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_NONE)
    above = data.count(b"\n", 0, len(data) - len(body))
    line = above + 1
    try:
        for fields in reader:
            yield line, fields
            line = above + reader.line_num + 1
    except csv.Error:  # a field is too long for the csv module
        return


def header_fields(line: bytes, separator: str, quote: str | None) -> list[str]:
    """Return the stripped column names of a header line."""
    _, fields = next(records(line, separator, quote), (1, []))
    return [field.strip() for field in fields]


def sniff_separator(line: bytes) -> str:
    """Return the most frequent separator of a header line; a comma if there is none."""
    text = line.decode(errors="replace")
    counts = {separator: text.count(separator) for separator in SEPARATORS[:-1]}
    best = max(counts, key=lambda separator: counts[separator])
    if counts[best]:
        return best
    return " " if " " in text.strip() else ","


def read_table(path: Path, columns: Columns) -> RawInteractions:
    """Read interactions from CSV, TSV or Parquet with a header, plain or gzip'd."""
    return read_parquet_table(path, columns) if is_parquet(path) else _read_csv(path, columns)


def open_csv(path: Path, quote: str | None = '"', *, header: bool = True) -> TextTable:
    """Read a text table whose first line shows the separator and names the columns.

    Args:
        path: the file.
        quote: quote around fields; ``None`` if quotes have no meaning.
        header: whether the first line names the columns; otherwise they are called ``1``, ``2`` and so on.
    """
    data = read_text_bytes(path)
    line = first_line(data)
    decoded(path, line)
    separator = sniff_separator(line)
    names = header_fields(line, separator, quote)
    if not header:
        names = [str(place + 1) for place in range(len(names))]
        return read_text_table(path, data, separator=separator, quote=quote, names=names)
    if len(names) < 2:
        raise InputError(
            f"{path}: found one column, {names[0]!r}; "
            "expected a header of columns separated by tab, comma, semicolon or |"
        )
    if any(_is_number(name) for name in names):
        raise InputError(
            f"{path}: the first line has numbers for names ({', '.join(names)}); "
            f"expected a header such as user,item,rating,timestamp; without one, give `no_header=True`"
        )
    return read_text_table(path, data, separator=separator, quote=quote)


def _read_csv(path: Path, columns: Columns) -> RawInteractions:
    table = open_csv(path, columns.quote_char, header=columns.header)
    return RawInteractions(interactions_of(table, pick_columns(table.names, columns, path)))


def interactions_of(table: TextTable, picked: dict[str, int]) -> pl.DataFrame:
    """Return the interactions of a text table, given the positions of its columns."""
    raw = table.rows.select(pl.col(str(position)).alias(role) for role, position in picked.items())
    if table.quote:
        for role in {"user", "item"} & picked.keys():
            broken = raw[role].str.contains("\n", literal=True).fill_null(value=False)
            if broken.any():
                row = int(broken.arg_max() or 0)
                raise InputError(
                    f"{table.place(row)}: found a line break in the {role} id, expected ids of one line; "
                    f"{_NO_QUOTES}"
                )
    return typed_interactions(raw, {role: table.names[at] for role, at in picked.items()}, table.place)


def open_atomic(path: Path) -> tuple[TextTable, list[str]]:
    """Read one of RecBole's atomic files: tab-separated, the header names ``field:type``.

    Returns:
        The table, with field names alone as column names, and the type of each field.
    """
    data = read_text_bytes(path)
    fields = [field.rpartition(":") for field in header_fields(first_line(data), "\t", None)]
    for name, _, kind in fields:
        if not name or kind not in FIELD_TYPES:
            found = f"{name}:{kind}" if name else kind
            known = ", ".join(FIELD_TYPES)
            raise InputError(
                f"{path}, line 1: found {found!r}, expected tab-separated field:type with type {known}"
            )
    table = read_text_table(path, data, separator="\t", quote=None)
    return replace(table, names=[name for name, _, _ in fields]), [kind for _, _, kind in fields]


def has_typed_header(sample: bytes) -> bool:
    """Return whether the first line of a file is a header of an atomic file."""
    fields = header_fields(first_line(sample), "\t", None)
    return all(":" in field and field.rpartition(":")[2] in FIELD_TYPES for field in fields)


def read_atomic(path: Path, columns: Columns) -> RawInteractions:
    """Read the interactions of a RecBole ``.inter`` file."""
    table, _ = open_atomic(path)
    return RawInteractions(interactions_of(table, pick_columns(table.names, columns, path)))


def _refuse_ragged(path: Path, data: bytes, separator: str, quote: str | None, width: int) -> None:
    decoded(path, data)
    line, fields = 1, [""]
    for line, fields in records(data, separator, quote):
        if any(fields) and len(fields) != width:
            raise InputError(f"{path}, line {line}: found {len(fields)} columns, expected {width}")
    if quote and "\n" in fields[-1]:
        found = f"found a quote that is never closed, expected {quote}...{quote}"
        raise InputError(f"{path}, line {line}: {found}; {_NO_QUOTES}")


def _refuse_inner_quote(path: Path, data: bytes, separator: str, quote: str) -> None:
    """Raise for the first line with a quote that is not at the ends of a field."""
    lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="replace", newline="\n")
    for line, text in enumerate(lines, start=1):
        for field in text.rstrip("\r\n").split(separator):
            if quote in field.strip(quote) and not (len(field) > 1 and field[0] == field[-1] == quote):
                raise InputError(
                    f"{path}, line {line}: found a quote inside the field {field!r}; {_NO_QUOTES}"
                )


def _refuse_swallowed(
    path: Path, rows: pl.DataFrame, data: bytes, separator: str, quote: str, *, has_header: bool
) -> None:
    """Raise if quoted fields that span lines hold rows of the table, as stray quotes make them do.

    Each line of such a row, taken alone, has as many fields as the table has columns. A line of quoted prose
    may have as many by chance, so most of the rows with several lines must be like this.
    """
    whole = rows.select(
        pl.concat_str(pl.all().fill_null(""), separator=separator).alias("row")
    ).with_row_index("at")
    lines = whole.filter(pl.col("row").str.contains("\n", literal=True)).with_columns(
        pl.col("row").str.split("\n")
    )
    if not lines.height:
        return
    likely = (
        lines["row"]
        .list.eval((pl.element().str.count_matches(separator, literal=True) == rows.width - 1).all())
        .list.first()
    )
    if 2 * int(likely.sum()) <= len(likely):
        return
    first = lines.row(int(likely.arg_max() or 0), named=True)
    wanted = first["at"] + has_header
    start = next(islice((line for line, _ in records(data, separator, quote)), wanted, None), wanted + 1)
    end = start + len(first["row"]) - 1
    found = f"found a quote that opens here and closes in line {end}, with whole rows between"
    raise InputError(f"{path}, line {start}: {found}; {_NO_QUOTES}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
