"""Items that came after training: in a folder of the run, beside what was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.manifest import MANIFEST, damaged, read_manifest, writing
from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.recall.index import Index
from gclrec.runs.embeddings import KIND as EMBEDDINGS
from gclrec.runs.embeddings import Embedded, FloatArray, read_embeddings, read_frame, write_frame

KIND = "gclrec added items"


@dataclass(frozen=True, eq=False)
class Added:
    """Items added after training; their rows follow those of training.

    Args:
        ids: ``(N,)`` raw ids, of the type of the trained ones.
        vectors: ``(N, D)`` float32, what they are searched by.
        sent: ``(N, D)`` float32, what a new user who has one of them receives from it.
        user: ``(E,)`` user rows of their interactions.
        item: ``(E,)`` their places among the added items, in ``[0, N)``.
    """

    ids: pl.Series
    vectors: FloatArray
    sent: FloatArray
    user: IntArray
    item: IntArray

    @classmethod
    def none(cls, ids: pl.Series, dim: int) -> Added:
        """Return no items, for a catalogue with such ids and dimension."""
        empty, rows = np.empty((0, dim), dtype=np.float32), np.empty(0, dtype=np.int64)
        return cls(ids.clear(), empty, empty, rows, rows)

    def __len__(self) -> int:
        return len(self.ids)

    def followed_by(self, other: Added) -> Added:
        """Return these items and then others."""
        return Added(
            pl.concat([self.ids, other.ids.rename(self.ids.name)]),
            np.concatenate([self.vectors, other.vectors]),
            np.concatenate([self.sent, other.sent]),
            np.concatenate([self.user, other.user]),
            np.concatenate([self.item, other.item + len(self)]),
        )

    def save(self, run: str | Path) -> None:
        """Write the items to ``RUN/added``, whole or not at all; what is there already is replaced.

        Raises:
            InputError: the folder exists and is something else.
            OSError: the disk is full, or the place is not writable.
        """
        run = Path(run)
        dim = self.vectors.shape[1]
        values = {"count": len(self), "dim": dim, "trained": _trained(run)}
        columns: dict[str, Any] = {"id": self.ids}
        for name, rows in (("vector", self.vectors), ("sent", self.sent)):
            columns[name] = pl.Series(name, rows, dtype=pl.Array(pl.Float32, dim))
        with writing(run / "added", KIND, values) as fresh:
            write_frame(fresh / "items.parquet", pl.DataFrame(columns))
            write_frame(fresh / "pairs.parquet", pl.DataFrame({"user": self.user, "item": self.item}))

    @classmethod
    def load(cls, run: str | Path, embedded: Embedded) -> Added:
        """Return what :meth:`save` wrote, or no items if there is nothing.

        Raises:
            InputError: a file is missing or damaged, or the run was trained anew since.
        """
        folder = Path(run) / "added"
        dim = embedded.item_vectors.shape[1]
        if not folder.exists():
            return cls.none(embedded.items.ids, dim)
        manifest = read_manifest(folder, KIND)
        if manifest.get("trained") != _trained(Path(run)):
            again = f"add the items again: gclrec add-items {run} TABLE --replace"
            raise InputError(f"{folder}: was made from other vectors than the run's; {again}")
        frame, pairs = (read_frame(folder / f"{name}.parquet") for name in ("items", "pairs"))
        try:
            vectors, sent = (_rows(frame[name], dim) for name in ("vector", "sent"))
            user, item = (pairs[name].to_numpy().astype(np.int64) for name in ("user", "item"))
        except (pl.exceptions.PolarsError, ValueError) as error:
            raise damaged(folder / MANIFEST, error) from None
        bounds = ((user, len(embedded.users)), (item, len(frame)))
        if any(len(rows) and not 0 <= rows.min() <= rows.max() < bound for rows, bound in bounds):
            raise InputError(f"{folder / 'pairs.parquet'}: rows do not fit the users and items")
        return cls(frame["id"], vectors, sent, user, item)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All items of a run: those of training, then those added.

    Args:
        embedded: what training wrote.
        added: what came later.
        items: raw ids by row.
        vectors: ``(I, D)`` float32.
    """

    embedded: Embedded
    added: Added
    items: Vocabulary
    vectors: FloatArray


def read_catalogue(run: str | Path, *, with_added: bool = True) -> Catalogue:
    """Read the vectors of a run and of the items added to it.

    Args:
        run: run folder.
        with_added: whether items that were added count.

    Raises:
        InputError: a file is missing or damaged.
    """
    embedded = read_embeddings(Path(run) / "embeddings")
    added = Added.none(embedded.items.ids, embedded.item_vectors.shape[1])
    if with_added:
        added = Added.load(run, embedded)
    if not len(added):
        return Catalogue(embedded, added, embedded.items, embedded.item_vectors)
    items = Vocabulary(pl.concat([embedded.items.ids, added.ids.rename(embedded.items.ids.name)]))
    return Catalogue(embedded, added, items, np.concatenate([embedded.item_vectors, added.vectors]))


def whole_index(run: Path, catalogue: Catalogue) -> Index:
    """Return the index of a run with the items behind it that were added after it was built.

    Raises:
        InputError: a file of it is missing or damaged, or it was made from other vectors.
    """
    again = f"export again: gclrec export {run}"
    try:
        index = Index.load(run / "index")
    except InputError as error:
        raise InputError(f"{error}; {again}") from None
    count = len(index)
    if (
        not len(catalogue.embedded.items) <= count <= len(catalogue.items)
        or not index.ids.ids.equals(catalogue.items.ids.head(count))
        or not np.array_equal(index.vectors, catalogue.vectors[:count])
    ):
        raise InputError(f"{run / 'index'}: was made from other item vectors than the run's; {again}")
    if count == len(catalogue.items):
        return index
    return index.extended(catalogue.vectors[count:], catalogue.items.ids.slice(count))


def _trained(run: Path) -> str:
    """Return the checksum of the trained vectors that added items go with."""
    files = read_manifest(run / "embeddings", EMBEDDINGS, check=False)["files"]
    return str(files["items.parquet"]["sha256"]) + str(files["users.parquet"]["sha256"])


def _rows(column: pl.Series, dim: int) -> npt.NDArray[np.float32]:
    return np.array(column.to_numpy(), dtype=np.float32).reshape(len(column), dim)
