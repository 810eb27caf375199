"""Read attributes of users and items into a table whose column types say what they are."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from gclrec.common.errors import InputError, InputWarning, NoRowsError, reading
from gclrec.common.files import local_path, name_parts, read_sample, read_text_bytes
from gclrec.data.interactions import Dataset
from gclrec.data.io.columns import AnyPath, Columns, fitting_columns, guess_column
from gclrec.data.io.ids import Place, exact_ids
from gclrec.data.io.parquet import is_parquet, open_parquet
from gclrec.data.io.tables import (
    TextTable,
    first_line,
    has_typed_header,
    header_fields,
    open_atomic,
    open_csv,
    read_text_table,
    sniff_separator,
)
from gclrec.data.io.text import integer_lists, single_tabs

_MOVIELENS = {
    ("::", 3): ("id", "title", "genres"),
    ("::", 5): ("id", "gender", "age", "occupation", "zip_code"),
    ("|", 5): ("id", "age", "gender", "occupation", "zip_code"),
    ("|", 24): ("id", "title", "release_date", "video_date", "url"),
}
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary"),
    *("Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller"),
    *("War", "Western"),
)


def read_attributes(
    path: AnyPath,
    *,
    id_column: str | None = None,
    side: str | None = None,
    quote: str | None = '"',
) -> pl.DataFrame:
    """Read attributes of users or items, one row for each id.

    The type of a column is the kind of the attribute; a missing value is ``null``:

    ==========================  =====================================================
    ``String``, ``Int64``       a category
    ``List`` of one of these    several categories at once, such as genres
    ``Float64``                 a number; dates become seconds since 1970
    ``List(Float64)``           a vector
    ==========================  =====================================================

    The formats are CSV, TSV and Parquet with a header (text with ``|`` or such as ``[1, 2]`` is a list);
    RecBole's ``.user`` and ``.item`` files, whose header gives the types; MovieLens's ``users.dat``,
    ``movies.dat``, ``u.user`` and ``u.item``; and lines ``id attribute attribute ...``, which become a list
    column ``attributes``.

    Args:
        path: the file, plain or packed.
        id_column: column of the ids. If ``None`` it is guessed: a name such as ``item_id`` or ``userId``,
            then ``id``, then a name such as ``item`` or ``artist``, then the first column; with an
            :class:`~gclrec.InputWarning` if several fit, or none.
        side: ``"user"`` or ``"item"``, whose attributes these are; either if ``None``.
        quote: quote around fields of CSV and TSV; ``None`` if quotes have no meaning.

    Returns:
        A table whose first column ``id`` (``Int64`` or ``String``) holds the raw ids. Another column of that
        name becomes ``id_``.

    Raises:
        InputError: the file cannot be read, or an id is missing or occurs twice; names the line.
    """
    path = local_path(path)
    if is_parquet(path):
        return typed_attributes(open_parquet(path), id_column, path, side)
    sample = read_sample(path)
    if has_typed_header(sample):
        table, kinds = open_atomic(path)
        name = _id_name(table.names, id_column, path, side)
        columns = [_by_kind(table, at, kind) for at, kind in enumerate(kinds)]
        return _by_id(pl.DataFrame(columns), name, table.place)
    separator = _movielens_separator(path, first_line(sample))
    if (separator or not _has_header(path, sample)) and id_column is not None:
        raise InputError(
            f"{path}: has no header, so no column is named {id_column!r}; leave the id column out"
        )
    if separator:
        return _read_movielens(path, separator)
    if not _has_header(path, sample):
        return _read_lists(path)
    table = open_csv(path, quote)
    id_name = _id_name(table.names, id_column, path, side)
    frame = table.rows.rename(dict(zip(table.rows.columns, table.names, strict=True)))
    columns = [column if column.name == id_name else infer_attribute(column) for column in frame]
    return _by_id(pl.DataFrame(columns), id_name, table.place)


def typed_attributes(
    frame: pl.DataFrame, id_column: str | None, source: str | Path, side: str | None = None
) -> pl.DataFrame:
    """Return attributes of a table with typed columns as :func:`read_attributes` returns them.

    Args:
        frame: a Parquet file's table, or one in memory.
        id_column: column of the ids; guessed if ``None``.
        source: named in messages.
        side: ``"user"`` or ``"item"``; either if ``None``.

    Raises:
        InputError: as :func:`read_attributes`; names the row.
    """
    if frame.height == 0:
        raise NoRowsError(f"{source}: holds columns but no rows")
    id_name = _id_name(frame.columns, id_column, source, side)
    with reading(source):
        rest = _plain_types(frame.drop(id_name), source)
    return _by_id(frame.select(id_name).hstack(rest), id_name, lambda row: f"{source}, row {row + 1}")


def with_attribute_files(
    dataset: Dataset,
    user_attributes: AnyPath | None,
    item_attributes: AnyPath | None,
    columns: Columns | None = None,
) -> Dataset:
    """Return the data set with attributes from files in place of its own.

    Raises:
        InputError: a file cannot be read, or has no row for any of the users (or items).
    """
    columns = columns or Columns()
    for side, path in (("user", user_attributes), ("item", item_attributes)):
        if path is None:
            continue
        table = attributes_of_side(path, side, columns)
        dataset = replace(dataset, files=(*dataset.files, str(path)))
        ids = dataset.interactions.users if side == "user" else dataset.interactions.items
        if not (ids.rows(table["id"]) >= 0).any():
            found, known = (", ".join(map(str, part.head(2).to_list())) for part in (table["id"], ids.ids))
            message = f"no id is one of the {side}s; found ids as {found}, expected as {known}"
            raise InputError(f"{path}: {message}")
        if side == "user":
            dataset = replace(dataset, user_attributes=table)
        else:
            dataset = replace(dataset, item_attributes=table)
    return dataset


def attributes_of_side(path: AnyPath, side: str, columns: Columns) -> pl.DataFrame:
    """Read attributes of users or items (``side``) as :func:`read_attributes` does.

    The id column is the one that ``columns`` names for attributes.
    """
    return read_attributes(
        path, id_column=getattr(columns, f"{side}_id"), side=side, quote=columns.quote_char
    )


def infer_attribute(text: pl.Series) -> pl.Series:
    """Convert text to whole numbers, numbers or lists if all of it looks so.

    Example:
        >>> infer_attribute(pl.Series(["Drama|War", "", "Comedy"])).to_list()
        [['Drama', 'War'], None, ['Comedy']]
        >>> infer_attribute(pl.Series(["[1, 2]", "[]", None])).to_list()
        [[1, 2], None, None]
    """
    text = text.str.strip_chars()
    text = text.set(text == "", None)
    if text.null_count() == len(text):
        return text
    numbers = _as_numbers(text)
    if numbers is not None:
        return numbers
    if (text.str.starts_with("[") & text.str.ends_with("]")).all():
        inside = text.str.slice(1, text.str.len_chars() - 2)
        return _lists(inside, r"['\"]?\s*,\s*['\"]?", strip="'\" ")
    if text.str.contains("|", literal=True).any():
        return _lists(text, r"\|", strip=" ")
    return text


def _as_numbers(text: pl.Series) -> pl.Series | None:
    """Return text as ``Int64`` or ``Float64`` (NaN is missing), or ``None`` if some of it is no number."""
    for dtype in (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        if numbers.null_count() == text.null_count():
            padded = text.str.contains(r"^[+-]?0\d").any()  # 02139 is a code, not a number
            return None if padded else numbers.fill_nan(None) if dtype == pl.Float64 else numbers
    return None


def _lists(text: pl.Series, separator: str, strip: str) -> pl.Series:
    """Split text into lists of whole numbers, numbers or text; an empty list is missing."""
    parts = text.str.replace_all(separator, "\0").str.split("\0")
    parts = _filled_lists(parts.list.eval(pl.element().str.strip_chars(strip)))
    numbers = _as_numbers(parts.explode().drop_nulls())
    if numbers is None:
        return parts
    parts = parts.cast(pl.List(numbers.dtype))
    return parts.list.eval(pl.element().fill_nan(None)) if numbers.dtype == pl.Float64 else parts


def _filled_lists(lists: pl.Series) -> pl.Series:
    """Return lists of text without empty elements; an empty list is missing."""
    lists = lists.list.eval(pl.element().filter(pl.element() != ""))
    return lists.set(lists.list.len() == 0, None)


def _read_lists(path: Path) -> pl.DataFrame:
    data = read_text_bytes(path)
    if not data.translate(None, b"0123456789 \t\r\n"):
        lists = integer_lists(path)
        long = pl.DataFrame({"line": np.repeat(lists.lines, lists.counts), "attributes": lists.values})
        frame = pl.DataFrame({"id": lists.ids, "line": lists.lines}).join(
            long.group_by("line").agg("attributes"), on="line", how="left", maintain_order="left"
        )
        return _by_id(frame.drop("line"), "id", lambda row: f"{path}, line {lists.lines[row]}")
    lines = pl.Series("text", single_tabs(data).decode(errors="replace").split("\n"))
    frame = lines.to_frame().with_row_index("line", offset=1).filter(pl.col("text").str.len_bytes() > 0)
    fields = frame["text"].str.split("\t")
    rest = fields.list.slice(1)
    rest = rest.set(rest.list.len() == 0, None)
    whole = pl.DataFrame({"id": fields.list.first(), "attributes": rest})
    return _by_id(whole, "id", lambda row: f"{path}, line {frame['line'][row]}")


def _movielens_separator(path: Path, line: bytes) -> str | None:
    for separator, fields in _MOVIELENS:
        named = separator == "::" or name_parts(path)[0] == "u"
        if named and line.count(separator.encode()) == fields - 1:
            return separator
    return None


def _read_movielens(path: Path, separator: str) -> pl.DataFrame:
    data = read_text_bytes(path)
    try:
        data.decode()
    except UnicodeDecodeError:  # the original files are ISO-8859-1
        data = data.decode("latin-1").encode()
    data = data.replace(separator.encode(), b"\t")
    width = first_line(data).count(b"\t") + 1
    names = [*_MOVIELENS[separator, width], *_genre_names(path)][:width]
    table = read_text_table(path, data, separator="\t", quote=None, names=names)
    frame = table.rows.rename(dict(zip(table.rows.columns, names, strict=True)))
    if width == 24:
        flags = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in names[5:]]
        genres = pl.concat_list(flags).list.drop_nulls().alias("genres")
        frame = frame.select("id", "title", "release_date", genres)
        empty = pl.col("genres").list.len() == 0
        frame = frame.with_columns(genres=pl.when(~empty).then(pl.col("genres")))
    elif "genres" in names:
        frame = frame.with_columns(_lists(frame["genres"], r"\|", strip=" "))
    numeric = [infer_attribute(frame[name]) for name in ("age", "occupation") if name in names]
    return _by_id(frame.with_columns(numeric), "id", table.place)


def _genre_names(path: Path) -> tuple[str, ...]:
    """Return the genres in the order of the flags of ``u.item``, from ``u.genre`` beside it if it exists."""
    for beside in (path.with_name("u.genre"), path.with_name("u.genre.gz")):
        if beside.is_file():
            lines = read_text_bytes(beside).decode("latin-1").split()
            names = tuple(line.partition("|")[0] for line in lines if "|" in line)
            if len(names) == len(_GENRES):
                return names
    return _GENRES


def _has_header(path: Path, sample: bytes) -> bool:
    """Return whether a file has a header and is not lines of ``id attribute attribute ...``."""
    if name_parts(path)[1] in (".csv", ".tsv", ".tab"):
        return True
    line = first_line(sample)
    separator = sniff_separator(line)
    names = header_fields(line, separator, '"')
    known = any(guess_column(names, role) is not None for role in ("user", "item")) or "id" in names
    return bool(re.search(rb"[,;|]", line)) or (known and separator != " ")


def _by_kind(table: TextTable, at: int, kind: str) -> pl.Series:
    """Return a column of an atomic file in the type of its header."""
    text = table.rows[:, at].str.strip_chars().alias(table.names[at])
    text = text.set(text == "", None)
    if kind == "token":
        return text
    if kind == "token_seq":
        return text.str.split(" ")
    if kind == "float":
        numbers = text.cast(pl.Float64, strict=False)
        bad = numbers.is_null() & text.is_not_null()
    else:
        numbers = _filled_lists(text.str.split(" ")).cast(pl.List(pl.Float64), strict=False)
        bad = numbers.list.eval(pl.element().is_null()).list.any().fill_null(value=False)
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        found = f"found {text[row]!r} in column {text.name!r}"
        raise InputError(
            f"{table.place(row)}: {found}, expected {'a number' if kind == 'float' else 'numbers'}"
        )
    return numbers.fill_nan(None) if kind == "float" else numbers


def _plain_types(frame: pl.DataFrame, path: str | Path) -> pl.DataFrame:
    """Return the columns of a typed table in the types of :func:`read_attributes`."""
    columns = []
    for column in frame:
        dtype = column.dtype
        inner = getattr(dtype, "inner", dtype)
        strange = inner.is_nested() or inner in (pl.Binary, pl.Object, pl.Time, pl.Duration)
        if strange or (dtype.is_nested() and inner.is_temporal()):
            message = f"{path}: column {column.name!r} of type {dtype} is no attribute and is left out"
            warnings.warn(message, InputWarning, stacklevel=3)
            continue
        plain: pl.DataType
        if inner in (pl.Date, pl.Datetime):
            plain = pl.Float64()
            ticks = {"ms": 1e3, "us": 1e6, "ns": 1e9}.get(getattr(inner, "time_unit", ""), 1 / 86_400)
            column = column.to_physical().cast(pl.Float64) / ticks
        elif inner.is_float() or inner.is_decimal() or isinstance(dtype, pl.Array):
            plain = pl.Float64()
        else:
            plain = pl.Int64() if inner.is_integer() else pl.String()
        wanted = pl.List(plain) if dtype.is_nested() else plain
        column = _exactly(column, wanted)
        columns.append(column.fill_nan(None) if wanted == pl.Float64 else column)
    return pl.DataFrame(columns)


def _exactly(column: pl.Series, wanted: pl.DataType) -> pl.Series:
    """Return a column in another type; as text if it holds whole numbers beyond 64 bits."""
    try:
        return column.cast(wanted)
    except pl.exceptions.InvalidOperationError:
        return column.cast(pl.List(pl.String) if wanted.is_nested() else pl.String)


def _id_name(names: list[str], id_column: str | None, path: str | Path, side: str | None) -> str:
    twin = next((name for name in names if names.count(name) > 1), None)
    if twin is not None:
        raise InputError(f"{path}: found two columns named {twin!r}, expected each once")
    if id_column is not None:
        same = [name for name in names if name == id_column] or [
            name for name in names if name.lower() == id_column.lower()
        ]
        if not same:
            raise InputError(
                f"{path}: no column {id_column!r} to read as id; the columns are: {', '.join(names)}"
            )
        return same[0]
    roles = ("item", "user") if side is None else (side,)
    fitting = sorted(at for role in roles for at in fitting_columns(names, role))
    likely = [at for at in fitting if re.search(r"(id|no|idx|index|asin|isbn|sku)$", names[at].lower())]
    likely += [at for at, name in enumerate(names) if name.lower() == "id"]
    likely += [at for at in fitting if at not in likely]
    chosen, *others = [names[at] for at in likely] or names
    if others:
        found = f"not {' or '.join(map(repr, others))}" if likely else "the first column"
        advice = f"name another with {' or '.join(f'`{role}_id_column`' for role in roles)}"
        warnings.warn(f"{path}: read {chosen!r} as id, {found}; {advice}", InputWarning, stacklevel=4)
    return chosen


def _by_id(frame: pl.DataFrame, name: str, place: Place) -> pl.DataFrame:
    """Return a table with its id column first; ids must be distinct and vectors of one length."""
    ids = exact_ids(frame[name], name, place).alias("id")
    twice = ~ids.is_first_distinct()
    if twice.any():
        row = int(np.argmax(twice.to_numpy()))
        raise InputError(f"{place(row)}: found id {ids[row]!r} a second time, expected one row an id")
    for column in frame:
        if column.dtype == pl.List(pl.Float64):
            lengths = column.list.len()
            length = lengths.drop_nulls().head(1).sum()
            other = (lengths != length).fill_null(value=False)
            if other.any():
                row = int(np.argmax(other.to_numpy()))
                found = f"{lengths[row]} numbers in column {column.name!r}"
                raise InputError(f"{place(row)}: found {found}, expected {int(length)} as above")
            zero = column.list.eval(pl.element() == 0).list.all() & (lengths > 0)
            if zero.any():
                row = int(zero.arg_max() or 0)
                count = f"{zero.sum():,} vector{'s' * (zero.sum() > 1)} of zeros in column {column.name!r}"
                message = f"{place(row)}: {count}, such as that of {ids[row]!r}; they resemble nothing"
                warnings.warn(message, InputWarning, stacklevel=4)
    rest = frame.drop(name)
    return pl.DataFrame([ids, *(rest.rename({"id": "id_"}) if "id" in rest.columns else rest)])
