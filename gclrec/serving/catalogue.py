"""What is known of the items of a run: ids, popularity, attributes, titles, and a map of their vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.data.io.attributes import read_attributes
from gclrec.runs.embeddings import FloatArray
from gclrec.serving.problems import RequestError

INTERACTIONS = "interactions"
"""Field of the number of training interactions, beside ``id`` and the attributes."""

_TITLES = ("title", "name")  # ends of the names of columns that hold titles, the best first
_MAPPED = 2_000  # items of a map: the most popular ones and as many others
_SAMPLE = 20_000  # items whose vectors decide the axes of a map
_GROUPS = 8  # values of an attribute that have a colour of their own


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items of a run by row.

    Args:
        ids: raw ids.
        fields: ``I`` rows: ``id``, ``interactions`` and the attributes, null where they are not known.
    """

    ids: Vocabulary
    fields: pl.DataFrame

    @classmethod
    def of(cls, ids: Vocabulary, interactions: IntArray, tables: Sequence[pl.DataFrame] = ()) -> Catalogue:
        """Return a catalogue with attributes from tables with a column ``id``, the first ones first."""
        fields = pl.DataFrame({"id": ids.ids, INTERACTIONS: interactions})
        for table in tables:
            place = ids.rows(table["id"])
            here = np.flatnonzero(place >= 0)
            where = np.full(len(ids), len(here))
            where[place[here]] = np.arange(len(here))
            rows = pl.Series(where, dtype=pl.Int64)
            for column in table.drop("id"):
                if column.name in ("id", INTERACTIONS):
                    continue
                padded = column.gather(here).extend(pl.Series([None], dtype=column.dtype))
                values = padded.gather(rows).alias(column.name)
                if column.name in fields.columns:
                    try:
                        values = fields[column.name].zip_with(
                            values.is_null(), values.cast(fields[column.name].dtype)
                        )
                    except pl.exceptions.PolarsError:
                        continue  # of another type than the attributes of the run
                fields = fields.with_columns(values)
        return cls(ids, fields)

    @cached_property
    def interactions(self) -> IntArray:
        """``(I,)`` training interactions."""
        return self.fields[INTERACTIONS].to_numpy()

    @cached_property
    def by_popularity(self) -> IntArray:
        """``(I,)`` rows, the item with the most training interactions first."""
        order: IntArray = np.argsort(-self.interactions, kind="stable")
        return order

    @cached_property
    def _numbers(self) -> IntArray | None:
        return self.ids.ids.to_numpy() if self.ids.ids.dtype == pl.Int64 else None

    def names(self, rows: IntArray, as_strings: bool) -> list[list[int | str]]:
        """Return the raw ids of ``(B, k)`` rows; any id where the row is ``-1``."""
        if self._numbers is not None:
            found: list[list[int | str]] = self._numbers[rows].tolist()
            return [list(map(str, each)) for each in found] if as_strings else found
        flat = self.ids.raw(np.maximum(rows, 0).ravel()).to_list()
        width = rows.shape[1]
        return (
            [flat[start : start + width] for start in range(0, len(flat), width)]
            if width
            else [[] for _ in rows]
        )

    def told(self, rows: IntArray) -> list[dict[str, Any]]:
        """Return the attributes of items, those that are known."""
        table = self._attributes.select(pl.all().gather(pl.Series(rows, dtype=pl.Int64)))
        if not table.width:
            return [{} for _ in rows]
        return [
            {name: value for name, value in row.items() if value is not None}
            for row in table.iter_rows(named=True)
        ]

    @cached_property
    def _attributes(self) -> pl.DataFrame:
        return self.fields.drop("id", INTERACTIONS)

    @cached_property
    def title_field(self) -> str | None:
        """Name of the attribute that holds titles, as text or as lists of its words."""
        names = [column.name for column in self._attributes if _holds_text(column.dtype)]
        return next((name for end in _TITLES for name in names if name.lower().endswith(end)), None)

    @cached_property
    def titles(self) -> pl.Series:
        """``(I,)`` titles, ids where there is none."""
        ids = self.ids.ids.cast(pl.String)
        if self.title_field is None:
            return ids
        titles = self._attributes[self.title_field]
        return (titles if titles.dtype == pl.String else titles.list.join(" ")).fill_null(ids)

    def search(self, text: str, limit: int) -> IntArray:
        """Return the rows of items whose id or title holds a text, the most popular first."""
        wanted = text.lower()
        found = self.titles.str.to_lowercase().str.contains(wanted, literal=True)
        found |= self.ids.ids.cast(pl.String) == text
        mask = found.to_numpy()
        rows: IntArray = self.by_popularity[mask[self.by_popularity]][:limit]
        return rows

    def groups(self, field: str, rows: IntArray) -> tuple[list[str], list[int]]:
        """Return the most frequent values of an attribute, and the place of some items' values, -1 for none.

        Raises:
            RequestError: there is no such attribute.
        """
        if field not in self._attributes.columns:
            known = ", ".join(self._attributes.columns) or "none"
            raise RequestError("unknown-attribute", f"unknown attribute {field!r}, expected one of {known}")
        column = self._attributes[field]
        if isinstance(column.dtype, pl.List):
            column = column.list.first()
        column = column.cast(pl.String)
        counted = column.drop_nulls().value_counts(sort=True).head(_GROUPS)
        values: list[str] = counted[column.name].to_list()
        places = column.replace_strict(values, list(range(len(values))), default=-1, return_dtype=pl.Int64)
        return values, places.fill_null(-1).gather(rows).to_list()


def _holds_text(dtype: pl.DataType) -> bool:
    """Return whether values are text, or lists of the words of a text."""
    return pl.String in (dtype, getattr(dtype, "inner", None))


def flat_map(vectors: FloatArray) -> FloatArray:
    """Return ``(I, 2)`` coordinates on the two axes along which vectors differ most (PCA), at most 1 in size.

    The axes come from the covariance of a sample of the vectors, at unit length, since popular items have
    long vectors.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    sample = np.random.default_rng(0).permutation(len(vectors))[:_SAMPLE]
    unit: FloatArray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    centre = unit[sample].mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((unit[sample] - centre).T.astype(np.float64)).reshape(len(centre), -1))
    flat: FloatArray = (unit - centre) @ axes[:, ::-1][:, :2].astype(np.float32)
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    shown: FloatArray = (flat / max(float(np.abs(flat).max()), 1e-12)).astype(np.float32)
    return shown


def mapped_items(catalogue: Catalogue) -> IntArray:
    """Return the rows of the items of a map: the most popular ones, and a sample of the others."""
    order = catalogue.by_popularity
    rest = np.random.default_rng(0).permutation(order[_MAPPED:])[:_MAPPED]
    return np.concatenate([order[:_MAPPED], rest])


def item_tables(run: Path, extra: Path | None, added: Path) -> list[pl.DataFrame]:
    """Return the tables of item attributes that a service knows.

    Args:
        run: the run folder, whose own attributes come first.
        extra: a file of attributes.
        added: JSON lines with the attributes of items added since.

    Raises:
        InputError: a file cannot be read.
    """
    tables = []
    if (run / "attributes" / "items.parquet").exists():
        tables.append(pl.read_parquet(run / "attributes" / "items.parquet", glob=False))
    if extra is not None:
        tables.append(read_attributes(extra, side="item"))
    rows: dict[Any, dict[str, Any]] = {}
    if added.exists():
        for line in added.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:  # the last line of a process that was killed
                continue
            rows[row["id"]] = row
    if rows:
        tables.append(pl.DataFrame(list(rows.values()), infer_schema_length=None, strict=False))
    return tables
