"""Tables of new users and new items, from raw ids to what fold-in takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError, InputWarning
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import BoolArray, IntArray, Vocabulary, normal_ids
from gclrec.data.io.columns import guess_column
from gclrec.data.io.numbering import typed
from gclrec.recall.added_items import Added
from gclrec.recall.fold_in import FoldIn
from gclrec.runs.embeddings import FloatArray, as_matrix
from gclrec.runs.reading import Lookup, read_parts, reads_histories

Encode = Callable[[pl.DataFrame], npt.NDArray[Any]]
"""From a table of attributes to ``(N, D)`` layer-0 vectors, row by row; NaN where it says nothing."""

EncodeUsers = Callable[[IntArray, Ragged, FloatArray], npt.NDArray[Any]]
"""From ``(B,)`` rows of users in the run (``-1`` for new ones), what each has come to,
oldest first, and ``(I, D)`` vectors of all items, to ``(B, D)`` vectors of the users. All vectors are as they
are before their length is changed."""


class Histories(NamedTuple):
    """Users with what they have.

    Args:
        ids: ``(B,)`` their ids, as given.
        rows: ``(B,)`` their rows in the run, ``-1`` for new ones.
        given: the distinct items of each in the table, oldest to newest.
    """

    ids: pl.Series
    rows: IntArray
    given: Ragged


class Newcomers:
    """What a run keeps for users and items that come after training; read when it is first needed.

    Args:
        run: the run folder.
        users: raw user ids by row.
        items: raw item ids by row, the added ones last.
        added: items that were added.
        encode: the run's own encoder of histories, where it has one.
    """

    def __init__(
        self,
        run: Path,
        users: Vocabulary,
        items: Vocabulary,
        added: Added | None,
        encode: EncodeUsers | None = None,
    ) -> None:
        self._run, self._users, self._items, self._added = run, users, items, added
        self._encode = encode

    @cached_property
    def fold_in(self) -> FoldIn:
        """Vectors for new users and items; the added items count in histories.

        Raises:
            InputError: the run has none, or a file is damaged.
        """
        folder = self._run / "fold_in"
        if not folder.exists():
            raise InputError(f"{folder}: missing, so the run cannot take new users or items; train it again")
        fold_in = FoldIn.load(folder)
        num_added = 0 if self._added is None else len(self._added)
        found = len(fold_in.user_sent), len(fold_in.item_sent)
        expected = len(self._users), len(self._items) - num_added
        if found != expected:
            raise InputError(
                f"{folder}: found {found[0]:,} users and {found[1]:,} items, "
                f"the run has {expected[0]:,} and {expected[1]:,}"
            )
        return fold_in if self._added is None else fold_in.extended(self._added.sent)

    @cached_property
    def trained_on(self) -> Ragged:
        """The items that each user was trained on."""
        return read_parts(self._run, self.fold_in.trained_on, self._users, self._items)

    @cached_property
    def _reads_histories(self) -> bool:
        return reads_histories(self._run)

    def vectors(self, trained: FloatArray, rows: IntArray, given: Ragged) -> FloatArray:
        """Return ``(B, D)`` vectors of users by what they have.

        Args:
            trained: ``(U, D)`` vectors of the users of the run.
            rows: ``(B,)`` rows of those who are in the run already, ``-1`` for new ones.
            given: what each has beside what he was trained on, oldest to newest.

        Raises:
            InputError: the run encodes users by their histories, and its encoder is not at hand.
        """
        if self._encode is not None:
            known = given.keep(self.fold_in.item_tells[given.values])
            start = self._encode(rows, known, self.fold_in.item_sent)
            return self.fold_in.new_users(known, start=start)
        if self._reads_histories:
            how = f"load the recommender with gclrec.load_recommender({str(self._run)!r})"
            raise InputError(f"{self._run}: its encoder reads the histories of users, so {how}")
        vectors = self.fold_in.new_users(given)
        back = np.flatnonzero(rows >= 0)
        if len(back):
            rows = rows[back]
            before = self.trained_on.take(rows)
            now = before.union(given.take(back))
            vectors[back] = self.fold_in.returning_users(trained[rows], rows, before, now)
        return vectors


def histories_of(
    table: pl.DataFrame, users: Vocabulary, items: Vocabulary, *, skip_unknown: bool
) -> Histories:
    """Return the users of a table ``user, item`` in the order in which they appear.

    What they have is in the order of a column ``time`` where there is one, and else of the table. Columns
    that are not called so are guessed from their names.

    Raises:
        InputError: a column is missing, an id is missing, or an item is unknown.
    """
    table = _renamed(table, "the interactions of new users")
    rows = items.rows(table["item"])
    known = np.flatnonzero(known_only(rows, table["item"], "item", skip=skip_unknown))
    ids, numbers = _numbered(table["user"])
    if "time" in table.columns:
        known = known[np.argsort(table["time"].to_numpy()[known], kind="stable")]
    lists = Ragged.from_pairs(numbers[known], rows[known], len(ids)).newest()
    return Histories(ids, users.rows(ids), lists)


def told(histories: Histories, fold_in: FoldIn, *, skip_unknown: bool) -> Histories:
    """Return the users about whom something is known: those of the run, and those with an item of training.

    Raises:
        InputError: there are others, unless ``skip_unknown`` leaves them out.
    """
    given = histories.given
    tells = given.keep(fold_in.item_tells[given.values]).lengths > 0
    silent = ~tells & (histories.rows < 0)
    if not silent.any():
        return histories
    example = histories.ids[int(np.argmax(silent))]
    _refuse_or_note(
        f"{_counted(int(silent.sum()), 'user')} without any item that training has seen, such as {example!r}",
        skip_unknown,
    )
    left = np.flatnonzero(~silent)
    return Histories(histories.ids.gather(left), histories.rows[left], given.take(left))


def new_items(
    interactions: pl.DataFrame | None,
    attributes: pl.DataFrame | None,
    encode: Encode | None,
    *,
    users: Vocabulary,
    items: Vocabulary,
    fold_in: FoldIn,
    skip_known: bool,
    skip_unknown: bool,
) -> Added:
    """Give vectors to the items of a table of interactions, a table of attributes, or both.

    The arguments are those of :meth:`gclrec.recall.recommender.Recommender.add_items`.

    Raises:
        InputError: an item is known already, a user is unknown, an item has nothing to go by, or the tables
            are not as they should be.
    """
    dim = fold_in.item_sent.shape[1]
    pairs, table = _item_tables(interactions, attributes, items.ids.dtype)
    if skip_known:
        pairs, table = (part.filter(items.rows(part["item"]) < 0) for part in (pairs, table))
    ids = pl.concat([pairs["item"], table["item"]]).unique(maintain_order=True)
    _refuse_known(ids, items)
    if not len(ids):
        warnings.warn("no item is new, so none is added", InputWarning, stacklevel=3)
        return Added.none(items.ids, dim)
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
        _refuse_or_note(
            f"{_share(~good, 'item', 'has', 'have')} neither a user that training has seen "
            f"nor attributes (or a layer-0 vector) that count, such as {ids[int(np.argmin(good))]!r}",
            skip_unknown,
        )
    left = np.flatnonzero(good)
    audience = audience.take(left)
    return Added(ids.gather(left), made.vectors[left], made.sent[left], audience.values, audience.owners())


def with_vector_column(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return a table of attributes as ``id, vector``: its only column of vectors.

    Raises:
        InputError: it has none, or several.
    """
    names = [name for name, dtype in table.schema.items() if dtype == pl.List(pl.Float64)]
    if len(names) != 1:
        found = ", ".join(names) or f"none in {', '.join(table.columns)}"
        raise InputError(f"{path}: expected one column of vectors (lists of numbers), found {found}")
    return table.select("id", pl.col(names[0]).alias("vector"))


def item_rows(
    items: Sequence[object] | pl.Series, lookup: Lookup, kind: str, *, skip_unknown: bool
) -> IntArray:
    """Return the distinct rows of raw item ids, each at its last place.

    Raises:
        InputError: an id is unknown, or there is none.
    """
    rows = lookup.rows(items)
    found = rows[known_only(rows, items, kind, skip=skip_unknown)]
    if not len(found):
        raise InputError(f"{kind}s: found none, expected at least one id")
    return Ragged.from_lists([found]).newest().values


def known_only(rows: IntArray, raw: Sequence[object] | pl.Series, kind: str, *, skip: bool) -> BoolArray:
    """Return which rows are known; unknown ones are refused, or noted and left out.

    Raises:
        InputError: a row is ``-1``, unless ``skip``.
    """
    known = rows >= 0
    if not known.all():
        places = np.flatnonzero(~known)
        strangers = {raw[int(place)] for place in places} if len(places) < 100 else None
        count = len(strangers) if strangers is not None else pl.Series(raw).gather(places).n_unique()
        _refuse_or_note(f"{_counted(count, f'unknown {kind}')}, such as {typed(raw[int(places[0])])!r}", skip)
    return known


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _share(which: BoolArray, what: str, one: str, several: str) -> str:
    """Return how many of all, with the verb that goes with it."""
    count = np.count_nonzero(which)
    return f"{count:,} of {_counted(len(which), what)} {one if count == 1 else several}"


def _refuse_or_note(message: str, skip: bool) -> None:
    if not skip:
        raise InputError(f"{message}; skip_unknown=True leaves them out")
    warnings.warn(f"{message}; left out", InputWarning, stacklevel=4)


def _check_columns(table: pl.DataFrame, names: Sequence[str], what: str) -> None:
    for name in names:
        if name not in table.columns:
            raise InputError(f"{what}: no column {name!r}, found {', '.join(table.columns) or 'no column'}")
    if not len(table):
        raise InputError(f"{what}: found no row, expected at least one")


def _renamed(table: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return a table as ``user, item`` and maybe ``time``, guessing columns that are not called so."""
    found: dict[str, str] = {role: role for role in ("user", "item", "time") if role in table.columns}
    for role in ("user", "item", "time"):
        place = guess_column(table.columns, role, taken=map(table.columns.index, found.values()))
        if role not in found and place is not None:
            found[role] = table.columns[place]
    dtype = table.schema[found["time"]] if "time" in found else pl.Null()
    if not (dtype.is_numeric() or dtype.is_temporal()):
        found.pop("time", None)
    if "user" not in found or "item" not in found:
        _check_columns(table, ("user", "item"), what)
    renamed = table.select(pl.col(name).alias(role) for role, name in found.items())
    _check_columns(renamed, ("user", "item"), what)
    return renamed


def _numbered(raw: pl.Series) -> tuple[pl.Series, IntArray]:
    """Return the distinct ids in order of appearance, and the number of each row's."""
    ids = normal_ids(raw)
    distinct = ids.unique(maintain_order=True)
    return distinct, Vocabulary(distinct).rows(ids)


def _item_tables(
    interactions: pl.DataFrame | None, attributes: pl.DataFrame | None, dtype: pl.DataType
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return pairs ``user, item`` and attributes ``item, …``, with ids of the type of the run's."""
    if interactions is None and attributes is None:
        raise InputError("adding items: found neither interactions nor attributes, expected one of them")
    pairs = pl.DataFrame({"user": pl.Series([], dtype=pl.Int64), "item": pl.Series([], dtype=dtype)})
    table = pairs.select("item")
    if interactions is not None:
        interactions = _renamed(interactions, "the interactions of new items")
        pairs = interactions.select("user", _as_ids(interactions["item"], dtype))
    if attributes is not None:
        _check_columns(attributes, ("id",), "the attributes of new items")
        table = attributes.with_columns(_as_ids(attributes["id"], dtype))
        twice = ~table["item"].is_first_distinct()
        if twice.any():
            example = table["item"].filter(twice)[0]
            raise InputError(f"the attributes of new items: id {example!r} is there twice, expected once")
    return pairs, table


def _as_ids(raw: pl.Series, dtype: pl.DataType) -> pl.Series:
    ids = normal_ids(raw).alias("item")
    fitting = ids.cast(dtype, strict=False)
    if fitting.null_count():
        example = ids.filter(fitting.is_null())[0]
        raise InputError(f"item ids of the run are whole numbers, found {example!r}")
    return fitting


def _refuse_known(ids: pl.Series, items: Vocabulary) -> None:
    known = items.rows(ids) >= 0
    if known.any():
        raise InputError(
            f"{_share(known, 'item', 'is', 'are')} in the run already, "
            f"such as {ids[int(np.argmax(known))]!r}; skip_known=True leaves them out"
        )


def _layer_zero(table: pl.DataFrame, encode: Encode | None, dim: int) -> FloatArray:
    """Return the layer-0 vectors of a table of attributes; NaN where it says nothing of an item."""
    untold = np.zeros(len(table), dtype=np.bool_)
    if encode is not None:
        vectors = np.asarray(encode(table.drop("item")))
        if vectors.shape == (len(table), dim):
            untold = np.isnan(vectors).all(axis=1)
            vectors = np.where(untold[:, None], 0.0, vectors)
    else:
        _check_columns(table, ("vector",), "the layer-0 vectors of new items")
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
    result: FloatArray = np.where(untold[:, None], np.float32(np.nan), matrix)
    return result
