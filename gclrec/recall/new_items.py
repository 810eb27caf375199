"""Items that come after training: their vectors, and the folder ``added/`` of a run that keeps them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.atomic import present
from gclrec.common.errors import InputError, InputWarning, UnfinishedError, reading
from gclrec.common.files import read_parquet, write_parquet
from gclrec.common.forks import need_polars
from gclrec.common.manifest import MANIFEST, read_manifest, settled, writing
from gclrec.common.ragged import Ragged
from gclrec.common.shell import command_line
from gclrec.data.interactions import Vocabulary, normal_ids
from gclrec.data.io.frames import table_from
from gclrec.data.io.ids import whole_numbers
from gclrec.recall.fold_in import FoldIn
from gclrec.recall.index import Index
from gclrec.recall.raw_ids import check_columns, known_only, refuse_or_warn, share_of, user_item_columns
from gclrec.runs.embeddings import (
    EMBEDDINGS_KIND,
    Embedded,
    FloatArray,
    as_matrix,
    checksum_of,
    read_embeddings,
)
from gclrec.runs.folder import WAIT, RunFolder
from gclrec.runs.reading import vocabulary_of

Encode = Callable[[pl.DataFrame], npt.NDArray[Any]]
"""From a table of attributes to ``(N, D)`` layer-0 vectors, row by row; a row of NaN says nothing."""

ADDED_KIND = "gclrec added items"


@dataclass(frozen=True, eq=False)
class AddedItems:
    """Items added after training; their rows follow those of the trained items.

    Args:
        ids: ``(N,)`` raw ids, of the type of the trained ones.
        vectors: ``(N, D)`` float32 final vectors.
        sent: ``(N, D)`` float32 what a new user receives from each (see :mod:`gclrec.recall.fold_in`).
        audience: the user rows that interacted with each.
        read: how many of them, the first ones, were read from the run folder; ``None`` if those in the folder
            were left out, to be replaced.
    """

    ids: pl.Series
    vectors: FloatArray
    sent: FloatArray
    audience: Ragged
    read: int | None = None

    @classmethod
    def none(cls, ids: pl.Series, dim: int) -> AddedItems:
        """Return no items, for a catalogue with such ids and dimension."""
        empty = np.empty((0, dim), dtype=np.float32)
        return cls(ids.clear(), empty, empty, Ragged.empty(0))

    def __len__(self) -> int:
        return len(self.ids)

    def followed_by(self, other: AddedItems) -> AddedItems:
        """Return these items and then others."""
        return AddedItems(
            pl.concat([self.ids, other.ids.rename(self.ids.name)]),
            np.concatenate([self.vectors, other.vectors]),
            np.concatenate([self.sent, other.sent]),
            self.audience.followed_by(other.audience),
            self.read,
        )

    def take(self, rows: npt.NDArray[np.int64]) -> AddedItems:
        """Return some of the items, as new ones."""
        return AddedItems(
            self.ids.gather(rows), self.vectors[rows], self.sent[rows], self.audience.take(rows)
        )

    def by_user(self, num_users: int, first: int) -> Ragged:
        """Return the rows of these items that each user has, where the first of them has row ``first``."""
        return Ragged.from_pairs(self.audience.values, self.audience.owners() + first, num_users)

    def save(self, run: str | Path) -> None:
        """Write the items to ``RUN/added``, atomically.

        What others have saved there since these items were read stays: items that are new since then are
        appended to it. Items of a recommender that was loaded without the added ones replace them.

        Raises:
            InputError: the folder exists and is something else, the run was trained anew since, or another
                process keeps the run locked.
            OSError: the disk is full, or the place is not writable.
        """
        run = Path(run)
        with RunFolder(run).held("adding items", wait=WAIT):
            items = self
            if self.read is not None:
                there = AddedItems.load(run, read_embeddings(run / "embeddings"))
                fresh = self.take(np.arange(self.read, len(self)))
                items = there.followed_by(
                    fresh.take(np.flatnonzero(~fresh.ids.is_in(there.ids.implode()).to_numpy()))
                )
            items.write(run)

    def write(self, run: Path) -> None:
        """Write the items in place of those in the run folder, whose lock is held."""
        dim = self.vectors.shape[1]
        values = {"count": len(self), "dim": dim, "trained": _checksum(run)}
        columns: dict[str, Any] = {"id": self.ids}
        for name, rows in (("vector", self.vectors), ("sent", self.sent)):
            columns[name] = pl.Series(name, rows, dtype=pl.Array(pl.Float32, dim))
        pairs = {"user": self.audience.values, "item": self.audience.owners()}
        with writing(run / "added", ADDED_KIND, values) as fresh:
            write_parquet(fresh / "items.parquet", pl.DataFrame(columns))
            write_parquet(fresh / "pairs.parquet", pl.DataFrame(pairs))

    @classmethod
    def load(cls, run: str | Path, embedded: Embedded) -> AddedItems:
        """Return what :meth:`save` wrote, or no items if there is no such folder.

        Raises:
            InputError: a file is missing or damaged, or the run was trained anew since.
        """
        folder = Path(run) / "added"
        dim = embedded.item_vectors.shape[1]
        if not present(folder):
            return replace(cls.none(embedded.items.ids, dim), read=0)
        manifest = read_manifest(folder, ADDED_KIND)
        if manifest.get("trained") != _checksum(Path(run)):
            again = "add the items again with gclrec add-items and its option replace"
            raise InputError(f"{folder}: was made from other vectors than the run's; {again}")
        frame, pairs = (read_parquet(folder / f"{name}.parquet") for name in ("items", "pairs"))
        with reading(folder / MANIFEST, "cannot be used"):
            vectors, sent = (
                as_matrix(np.array(frame[name].to_numpy()).reshape(len(frame), dim), name)
                for name in ("vector", "sent")
            )
            audience = Ragged.from_pairs(pairs["item"].to_numpy(), pairs["user"].to_numpy(), len(frame))
        if audience.values.max(initial=-1) >= len(embedded.users):
            raise InputError(f"{folder / 'pairs.parquet'}: user rows do not fit the users of the run")
        ids = vocabulary_of(frame, folder / "items.parquet").ids
        if ids.dtype != embedded.items.ids.dtype or (embedded.items.rows(ids) >= 0).any():
            raise InputError(
                f"{folder / 'items.parquet'}: ids do not fit those of the run, or are among them"
            )
        return cls(ids, vectors, sent, audience, read=len(frame))


def read_catalogue(run: str | Path, *, with_added: bool = True) -> tuple[Embedded, AddedItems]:
    """Return the vectors of a run, those of added items last, and the added items themselves.

    Args:
        run: the run folder.
        with_added: if false, added items are left out.

    Raises:
        InputError: a file is missing or damaged.
    """
    run = Path(run)
    parts = [run / "embeddings", run / "added"]
    return settled(parts, lambda: _catalogue(run, with_added))


def _catalogue(run: Path, with_added: bool) -> tuple[Embedded, AddedItems]:
    embedded = read_embeddings(run / "embeddings")
    ids = embedded.items.ids
    added = AddedItems.none(ids, embedded.item_vectors.shape[1])
    if with_added:
        added = AddedItems.load(run, embedded)
    if not len(added):
        return embedded, added
    whole = replace(
        embedded,
        items=Vocabulary(pl.concat([ids, added.ids.rename(ids.name)])),
        item_vectors=np.concatenate([embedded.item_vectors, added.vectors]),
        item_degrees=np.pad(embedded.item_degrees, (0, len(added))),
    )
    return whole, added


def read_searchable(
    run: Path, *, use_index: bool = True, with_added: bool = True
) -> tuple[Embedded, AddedItems, Index]:
    """Return the vectors of a run, its added items, and an index of all its items that fits them.

    Exports and ``gclrec add-items`` may replace the folders meanwhile: what is returned belongs together.

    Args:
        run: the run folder.
        use_index: take ``index/`` if it exists; otherwise, or without it, the index is exact.
        with_added: see :func:`read_catalogue`.

    Raises:
        InputError: a file is missing, damaged or does not fit the others.
    """

    def read() -> tuple[Embedded, AddedItems, Index]:
        whole, added = read_catalogue(run, with_added=with_added)
        if use_index and present(run / "index"):
            return whole, added, catalogue_index(run, whole, len(added))
        return whole, added, Index.exact(whole.item_vectors, whole.items)

    return settled([run / name for name in ("embeddings", "added", "index")], read)


def catalogue_index(run: Path, whole: Embedded, num_added: int) -> Index:
    """Return the index of a run, extended by the items that were added after it was built.

    An index that holds added items which have been replaced since is of no use: an exact one is returned
    instead, and an :class:`~gclrec.InputWarning` says so.

    Raises:
        InputError: a file of it is missing or damaged, or it was made from other vectors.
    """
    again = f"export again: {command_line('gclrec', 'export', run)}"
    try:
        index = Index.load(run / "index")
    except InputError as error:
        raise InputError(f"{error}; {again}") from None
    total = len(whole.items)
    count, trained = min(len(index), total), total - num_added
    if len(index) < trained or not agree(index, whole, trained):
        raise InputError(f"{run / 'index'}: was made from other item vectors than the run's; {again}")
    if len(index) > total or not agree(index, whole, count):
        message = f"{run / 'index'}: holds added items that were replaced since, so the search is exact"
        warnings.warn(f"{message}; {again}", InputWarning, stacklevel=3)
        return Index.exact(whole.item_vectors, whole.items)
    if count == total:
        return index
    return index.extended(whole.item_vectors[count:], whole.items.ids.slice(count))


def agree(index: Index, whole: Embedded, count: int) -> bool:
    """Return whether the first items of an index are those of the run, with the same vectors."""
    return index.ids.ids.head(count).equals(whole.items.ids.head(count)) and np.array_equal(
        index.vectors[:count], whole.item_vectors[:count]
    )


def read_fold_in(run: Path, users: FloatArray, items: FloatArray, added: AddedItems | None) -> FoldIn:
    """Return the fold-in of a run, extended by the items that were added.

    Args:
        run: the run folder.
        users: ``(U, D)`` vectors of the run's users, as they were loaded.
        items: ``(I, D)`` vectors of its items, those of added ones last.
        added: items that were added.

    Raises:
        InputError: the run has none, a file is damaged, or it does not fit the vectors.
    """
    folder = run / "fold_in"
    if not folder.exists():
        raise InputError(f"{folder}: missing, so the run cannot take new users or items; train it again")
    fold_in = FoldIn.load(folder)
    found = len(fold_in.user_sent), len(fold_in.item_sent)
    expected = len(users), len(items) - (0 if added is None else len(added))
    if found != expected:
        raise InputError(
            f"{folder}: found {found[0]:,} users and {found[1]:,} items, "
            f"the run has {expected[0]:,} and {expected[1]:,}"
        )
    if fold_in.goes_with is not None and fold_in.goes_with != checksum_of(users, items[: expected[1]]):
        raise UnfinishedError(
            run,
            f"{folder}: goes with other vectors than those that were loaded, since the run was trained on "
            "meanwhile (load it again) or was stopped while it wrote them; resume its training",
        )
    return fold_in if added is None else fold_in.extended(added.sent)


def new_items(
    interactions: Any,
    attributes: Any,
    encode: Encode | None,
    *,
    users: Vocabulary,
    items: Vocabulary,
    fold_in: FoldIn,
    skip_known: bool,
    skip_unknown: bool,
) -> AddedItems:
    """Give vectors to the items of a table of interactions, a table of attributes, or both.

    Arguments and errors are those of :meth:`gclrec.recall.recommender.Recommender.add_items`.
    """
    need_polars("adding items")
    dim = fold_in.item_sent.shape[1]
    pairs, table = _item_tables(interactions, attributes, items.ids.dtype)
    if skip_known:
        pairs, table = (part.filter(items.rows(part["item"]) < 0) for part in (pairs, table))
    ids = pl.concat([pairs["item"], table["item"]]).unique(maintain_order=True)
    _refuse_known(ids, items)
    if not len(ids):
        warnings.warn("no item is new, so none is added", InputWarning, stacklevel=3)
        return AddedItems.none(items.ids, dim)
    user = users.rows(pairs["user"])
    kept = known_only(user, pairs["user"], "user", skip=skip_unknown)
    fresh = Vocabulary(ids)
    rows = fresh.rows(pairs["item"].filter(kept))
    audience = Ragged.from_pairs(rows, user[kept], len(ids), distinct=True)

    start = np.full((len(ids), dim), np.nan, dtype=np.float32)
    if len(table):
        start[fresh.rows(table["item"])] = _layer_zero(table, encode, dim)
    made = fold_in.new_items(audience, start=start)
    tells = audience.keep(fold_in.user_tells[audience.values]).lengths > 0
    good = (tells | ~np.isnan(start).any(axis=1)) & (made.vectors != 0).any(axis=1)
    if not good.all():
        refuse_or_warn(
            f"{share_of(~good, 'item', 'has', 'have')} neither a user that training has seen "
            f"nor attributes (or a layer-0 vector) that count, such as {ids[int(np.argmin(good))]!r}",
            skip_unknown,
        )
    left = np.flatnonzero(good)
    return AddedItems(ids.gather(left), made.vectors[left], made.sent[left], audience.take(left))


def with_vector_column(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return the columns ``id`` and ``vector`` of a table with one column of vectors.

    Raises:
        InputError: it has no column of vectors, or several.
    """
    lists = (pl.List(pl.Float64), pl.List(pl.Int64))
    names = [name for name, dtype in table.schema.items() if dtype in lists]
    if len(names) != 1:
        found = ", ".join(names) or f"none in {', '.join(table.columns)}"
        raise InputError(f"{path}: expected one column of vectors (lists of numbers), found {found}")
    return table.select("id", pl.col(names[0]).cast(pl.List(pl.Float64)).alias("vector"))


def _item_tables(interactions: Any, attributes: Any, dtype: pl.DataType) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return pairs ``user, item`` and attributes ``item, …``, with item ids of the given type."""
    if interactions is None and attributes is None:
        raise InputError("adding items: found neither interactions nor attributes, expected one of them")
    pairs = pl.DataFrame({"user": pl.Series([], dtype=pl.Int64), "item": pl.Series([], dtype=dtype)})
    table = pairs.select("item")
    if interactions is not None:
        what = "the interactions of new items"
        interactions = user_item_columns(table_from(interactions, what), what)
        pairs = interactions.select("user", _as_ids(interactions["item"], dtype))
    if attributes is not None:
        attributes = table_from(attributes, "the attributes of new items")
        check_columns(attributes, ("id",), "the attributes of new items")
        table = attributes.with_columns(_as_ids(attributes["id"], dtype))
        twice = ~table["item"].is_first_distinct()
        if twice.any():
            example = table["item"].filter(twice)[0]
            raise InputError(f"the attributes of new items: id {example!r} is there twice, expected once")
    return pairs, table


def _as_ids(raw: pl.Series, dtype: pl.DataType) -> pl.Series:
    ids = normal_ids(raw).alias("item")
    fitting = whole_numbers(ids) if ids.dtype == pl.String and dtype == pl.Int64 else ids.cast(dtype)
    if fitting.null_count():
        example = ids.filter(fitting.is_null())[0]
        raise InputError(f"item ids of the run are whole numbers, found {example!r}")
    return fitting


def _refuse_known(ids: pl.Series, items: Vocabulary) -> None:
    known = items.rows(ids) >= 0
    if known.any():
        raise InputError(
            f"{share_of(known, 'item', 'is', 'are')} in the run already, "
            f"such as {ids[int(np.argmax(known))]!r}; `skip_known=True` leaves them out"
        )


def _layer_zero(table: pl.DataFrame, encode: Encode | None, dim: int) -> FloatArray:
    """Return the layer-0 vectors of a table of attributes; rows of NaN where nothing is known of an item."""
    unknown = np.zeros(len(table), dtype=np.bool_)
    if encode is not None:
        vectors = np.asarray(encode(table.drop("item")))
        if vectors.shape == (len(table), dim):
            unknown = np.isnan(vectors).all(axis=1)
            vectors = np.where(unknown[:, None], 0.0, vectors)
    else:
        check_columns(table, ("vector",), "the layer-0 vectors of new items")
        column = table["vector"]
        if not isinstance(column.dtype, (pl.List, pl.Array)) or column.null_count():
            raise InputError(f"layer-0 vectors: found {column.dtype}, expected {dim} numbers an item")
        lengths = column.list.len() if isinstance(column.dtype, pl.List) else pl.Series([column.dtype.size])
        if not (lengths == dim).all():
            wrong = lengths.filter(lengths != dim)[0]
            raise InputError(f"layer-0 vectors: found {wrong} numbers, expected {dim}, as the run's")
        vectors = column.explode().cast(pl.Float32).to_numpy().reshape(len(table), dim)
    matrix = as_matrix(vectors, "layer-0 vectors")
    if matrix.shape != (len(table), dim):
        raise InputError(f"layer-0 vectors: found shape {matrix.shape}, expected ({len(table)}, {dim})")
    result: FloatArray = np.where(unknown[:, None], np.float32(np.nan), matrix)
    return result


def _checksum(run: Path) -> str:
    """Return the checksum of the trained vectors that the added items go with."""
    files = read_manifest(run / "embeddings", EMBEDDINGS_KIND, check=False)["files"]
    return str(files["items.parquet"]["sha256"]) + str(files["users.parquet"]["sha256"])
