"""Encode attribute tables as numbers with a schema that is fitted once.

A :class:`Schema` holds the kind of each column and its known values. It is fitted to the whole table,
including items without interactions, and saved in the run folder as JSON, so that items that come later are
encoded in the same way.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import BoolArray, IntArray, Vocabulary

KINDS = ("category", "categories", "words", "number", "vector")
"""Kinds of a field: one category, several categories, the words of a text, a number, or a vector."""

MAX_VALUES = 100_000
"""Most values of a field; the most frequent ones are kept."""

_BOUND = 5.0  # standardised numbers are clipped here
_WORD = r"[\w']+"


@dataclass(frozen=True)
class Field:
    """One attribute and what was fitted to its column.

    Args:
        name: of the column.
        kind: one of :data:`KINDS`.
        values: known values of a category, categories or words, in order of their codes, the most frequent
            first; all strings or all integers.
        mean: mean of a number, or of each number of a vector.
        scale: standard deviation by which numbers are divided.
    """

    name: str
    kind: str
    values: tuple[int | str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Length of a vector (1 for a number), or number of known values of the other kinds."""
        return len(self.values) if self.kind in KINDS[:3] else len(self.mean)


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one field for ``N`` rows.

    Args:
        field: the field.
        missing: ``(N,)`` bool, rows without a value.
        ptr: ``(N + 1,)`` offsets of each row's codes; ``None`` for numbers and vectors. A row of a
            ``category`` has one code or none.
        codes: ``(M,)`` indices into ``field.values``, ascending in each row; ``None`` likewise.
        numbers: ``(N, width)`` float32, standardised, 0 where missing; ``None`` for the other kinds.
    """

    field: Field
    missing: BoolArray
    ptr: IntArray | None = None
    codes: IntArray | None = None
    numbers: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class AttributeTable:
    """Attributes of ``N`` users or items in row order.

    Args:
        num_rows: ``N``.
        columns: one for each field, in the order of the schema.
    """

    num_rows: int
    columns: tuple[Column, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields, in the order of the columns."""
        return tuple(column.field for column in self.columns)

    @property
    def missing(self) -> BoolArray:
        """``(N, F)`` bool, whether a field has no value."""
        empty: BoolArray = np.zeros((self.num_rows, 0), dtype=np.bool_)
        return np.column_stack([empty, *(column.missing for column in self.columns)])


@dataclass(frozen=True)
class Schema:
    """Kinds and known values of the columns of an attribute table.

    Args:
        fields: one for each column that is used.

    Example:
        >>> films = pl.DataFrame({"id": [7, 9, 4], "genre": ["war", None, "war"], "length": [90.0, 110, 130]})
        >>> schema = Schema.fit(films)
        >>> [(field.name, field.kind) for field in schema.fields]
        [('genre', 'category'), ('length', 'number')]
        >>> table = schema.encode(films, Vocabulary.of([4, 7, 8, 9]))
        >>> table.missing[:, 0].tolist(), table.columns[1].numbers[:, 0].round().tolist()
        ([False, False, True, True], [1.0, -1.0, 0.0, 0.0])
    """

    fields: tuple[Field, ...]

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        *,
        min_count: int = 2,
        max_values: int = MAX_VALUES,
        source: str = "attributes",
    ) -> Schema:
        """Fit a schema to a table as :func:`gclrec.data.io.attributes.read_attributes` returns it.

        A text column in which fewer than half of the rows share their value with another row is read as
        ``words`` if most of its texts have several words, as titles have. If not, it identifies rows and is
        left out with an :class:`~gclrec.InputWarning`, as is a column without any value. Numbers and
        vectors are standardised over the rows that have them.

        Args:
            frame: column ``id``, then one column for each attribute.
            min_count: rows in which a value must occur; rarer values count as missing.
            max_values: values of a field that are kept, the most frequent ones.
            source: names the table in messages.

        Raises:
            InputError: no column is left, vectors differ in length, or a column has a type that is no
                attribute.
        """
        if min_count < 1 or max_values < 1:
            raise InputError(
                f"{source}: min_count and max_values must be at least 1, got {min_count}, {max_values}"
            )
        found = []
        for column in frame.get_columns():
            if column.name == "id":
                continue
            where = f"{source}, field {column.name!r}"
            plain = _plain(column, where)
            if len(plain) == 0:
                note = "no row has a value; it is left out"
                warnings.warn(f"{where}: {note}", InputWarning, stacklevel=2)
                continue
            learned = _learned(column.name, plain, min_count, where)
            if learned is None:
                continue
            if len(learned.values) > max_values:
                kept = f"the {max_values:,} most frequent of {len(learned.values):,} values are kept"
                warnings.warn(f"{where}: {kept}; others read as missing", InputWarning, stacklevel=2)
                learned = replace(learned, values=learned.values[:max_values])
            found.append(learned)
        if not found:
            raise InputError(f"{source}: no field is left to use; columns: {', '.join(frame.columns)}")
        return cls(tuple(found))

    def encode(self, frame: pl.DataFrame, ids: Vocabulary | None = None) -> AttributeTable:
        """Encode a table; unknown values count as missing.

        A column that the table lacks is missing in every row; a column that the schema lacks is ignored.

        Args:
            frame: with a column ``id`` if ``ids`` is given.
            ids: row ``r`` of the result belongs to ``ids.ids[r]``, and is missing if the table has no row for
                it. ``None`` encodes the rows of ``frame`` in their order.

        Raises:
            InputError: a column has another kind than in the table that the schema was fitted to, or an id
                occurs twice.
        """
        place = np.arange(len(frame))
        if ids is not None:
            if frame["id"].is_duplicated().any():
                twice = frame["id"].filter(frame["id"].is_duplicated())[0]
                raise InputError(f"attributes: found id {twice!r} a second time, expected one row an id")
            place = ids.rows(frame["id"])
        count = len(frame) if ids is None else len(ids)
        columns = []
        for known in self.fields:
            if known.name in frame.columns:
                values = _plain(frame[known.name], f"field {known.name!r}", known)
            else:
                values = _Values(known.kind, np.empty(0, dtype=np.int64), pl.Series([], dtype=pl.String))
            row = place[values.row]
            columns.append(_encoded(known, row[row >= 0], values.of.filter(pl.Series(row >= 0)), count))
        return AttributeTable(count, tuple(columns))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the fields as JSON values."""
        return [asdict(known) for known in self.fields]

    @classmethod
    def from_json(cls, values: Sequence[Mapping[str, Any]], *, source: str) -> Schema:
        """Return the schema of the values of :meth:`to_json`.

        Raises:
            InputError: they are something else; names ``source``.
        """
        try:
            found = tuple(
                Field(
                    name=str(known["name"]),
                    kind=str(known["kind"]),
                    values=tuple(known["values"]),
                    mean=tuple(map(float, known["mean"])),
                    scale=float(known["scale"]),
                )
                for known in values
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{source}: not the schema of an attribute table ({error!r})") from error
        for known in found:
            kinds = {type(value) for value in known.values}
            fits = all(-(2**63) <= value < 2**63 for value in known.values if isinstance(value, int))
            if not (kinds <= {str} or kinds <= {int}) or not fits:
                raise InputError(
                    f"{source}: field {known.name!r} has values that are no text or whole numbers"
                )
        wrong = next((known for known in found if known.kind not in KINDS), None)
        if wrong is not None:
            raise InputError(f"{source}: field {wrong.name!r} has the unknown kind {wrong.kind!r}")
        return cls(found)


@dataclass(frozen=True, eq=False)
class Attributes:
    """The encoded attributes of both sides.

    Args:
        users: ``U`` rows; ``None`` without user attributes.
        items: ``I`` rows; ``None`` without item attributes.
    """

    users: AttributeTable | None = None
    items: AttributeTable | None = None


@dataclass(frozen=True, eq=False)
class _Values:
    """The values of a column in long form.

    Args:
        kind: one of :data:`KINDS`.
        row: ``(M,)`` row of each value.
        of: ``(M,)`` integers, strings or numbers, or lists of numbers.
    """

    kind: str
    row: IntArray
    of: pl.Series

    def __len__(self) -> int:
        return len(self.of)


def _plain(column: pl.Series, where: str, known: Field | None = None) -> _Values:
    """Return the values of a column, of the kind of ``known`` if that is given."""
    dtype = column.dtype
    if isinstance(dtype, pl.Array):
        column = column.arr.to_list()
        dtype = column.dtype
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    assert isinstance(inner, pl.DataType)
    numeric = inner.is_float() or inner.is_decimal()
    integral = inner.is_integer()
    textual = inner in (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null)
    kind = "vector" if numeric else "categories"
    if not isinstance(dtype, pl.List):
        kind = "number" if numeric else "category"
    wanted = kind if known is None else known.kind
    fits = wanted == kind or column.null_count() == len(column)
    fits |= textual and wanted == "words" and kind == "category"
    fits |= integral and (wanted, kind) in {("number", "category"), ("vector", "categories")}
    fits |= wanted == "categories" and kind == "category"
    if not (numeric or integral or textual) or not fits:
        expected = "categories, lists of them, numbers or vectors" if known is None else wanted
        raise InputError(f"{where}: found values of type {dtype}, expected {expected}")
    listed = pl.DataFrame({"value": column}).with_row_index("row")
    if wanted == "vector":
        return _vectors(listed, where)
    if isinstance(dtype, pl.List):
        listed = listed.explode("value")
    row, value = listed["row"].to_numpy().astype(np.int64), listed["value"]
    if wanted == "number":
        value = value.cast(pl.Float64)
        here = value.is_finite().fill_null(value=False)
        return _Values("number", row[here.to_numpy()], value.filter(here))
    value = value.cast(pl.Int64 if integral else pl.String, strict=False)
    here = value.is_not_null() if integral else value.is_not_null() & (value != "")
    here = here.fill_null(value=False)
    return _Values(wanted, row[here.to_numpy()], value.filter(here))


def _vectors(listed: pl.DataFrame, where: str) -> _Values:
    value = listed["value"].cast(pl.List(pl.Float64))
    whole = value.list.eval(pl.element().is_finite().fill_null(value=False)).list.all()
    here = (whole & (value.list.len() > 0)).fill_null(value=False)
    value, row = value.filter(here), listed["row"].filter(here)
    widths = value.list.len()
    if widths.n_unique() > 1:
        least, most = (int(x) for x in np.unique(widths.to_numpy())[[0, -1]])
        raise InputError(f"{where}: found vectors of {least} and of {most} numbers, expected one length")
    return _Values("vector", row.to_numpy().astype(np.int64), value)


def _learned(name: str, values: _Values, min_count: int, where: str) -> Field | None:
    """Fit a field to the values of a column; ``None`` if the column is left out."""
    if values.kind == "number":
        numbers = values.of.to_numpy()
        return Field(name, "number", mean=(float(numbers.mean()),), scale=float(numbers.std()) or 1.0)
    if values.kind == "vector":
        matrix = np.stack(values.of.to_list()).astype(np.float64)
        mean = matrix.mean(0)
        spread = float(np.sqrt(((matrix - mean) ** 2).mean())) or 1.0
        return Field(name, "vector", mean=tuple(mean.tolist()), scale=spread)
    kind = values.kind
    counted = _counted(values.row, values.of)
    shared = counted.filter(pl.col("count") >= max(min_count, 2))["count"].sum()
    if kind == "category" and values.of.dtype == pl.String and 2 * shared < len(values):
        words = _words(values)
        if 2 * values.of.str.contains(r"\w\s+\S*\w").sum() >= len(values):
            kind, counted = "words", _counted(words.row, words.of)
    kept = counted.filter(pl.col("count") >= min_count)
    if kept.is_empty() or (kind == "category" and shared == 0 and len(values) > 1):
        note = f"no value occurs in {max(min_count, 2)} rows, as in an id; it is left out"
        if values.of.dtype == pl.Int64:
            note += " (whole numbers are categories; write 1.0 for a number)"
        warnings.warn(f"{where}: {note}", InputWarning, stacklevel=3)
        return None
    return Field(name, kind, values=tuple(kept["value"].to_list()))


def _counted(row: IntArray, of: pl.Series) -> pl.DataFrame:
    """Return each value with the number of rows in which it occurs, the most frequent first."""
    pairs = pl.DataFrame({"row": row, "value": of}).unique()
    counts = pairs.group_by("value").agg(pl.len().alias("count"))
    return counts.sort(["count", "value"], descending=[True, False])


def _words(values: _Values) -> _Values:
    frame = pl.DataFrame({"row": values.row, "value": values.of.str.to_lowercase().str.extract_all(_WORD)})
    frame = frame.explode("value").drop_nulls()
    return _Values("words", frame["row"].to_numpy(), frame["value"])


def _encoded(known: Field, row: IntArray, of: pl.Series, count: int) -> Column:
    """Return values as a column of ``count`` rows; ``row`` is the row of each value."""
    missing: BoolArray = np.ones(count, dtype=np.bool_)
    if known.kind in ("number", "vector"):
        numbers: npt.NDArray[np.float32] = np.zeros((count, known.width), dtype=np.float32)
        if len(row):
            found = np.stack(of.to_list()) if known.kind == "vector" else of.to_numpy()[:, None]
            if found.shape[1] != known.width:
                raise InputError(
                    f"field {known.name!r}: found vectors of {found.shape[1]} numbers, expected {known.width}"
                )
            numbers[row] = ((found - np.array(known.mean)) / known.scale).clip(-_BOUND, _BOUND)
        missing[row] = False
        return Column(known, missing, numbers=numbers)
    if known.kind == "words" and len(of):
        words = _words(_Values("words", row, of.cast(pl.String)))
        row, of = words.row, words.of
    values = pl.Series(known.values)
    codes = pl.DataFrame({"value": values, "code": np.arange(len(values))})
    frame = pl.DataFrame({"row": row, "value": of.cast(values.dtype, strict=False)})
    frame = frame.join(codes, on="value", how="inner").select("row", "code").unique().sort("row", "code")
    rows = frame["row"].to_numpy()
    ptr = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=count), out=ptr[1:])
    missing[rows] = False
    return Column(known, missing, ptr=ptr, codes=frame["code"].to_numpy().astype(np.int64))
