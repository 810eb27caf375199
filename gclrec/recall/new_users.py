"""Users of a request with the items that they have: from a table of raw ids to row numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray, Vocabulary, normal_ids
from gclrec.recall.fold_in import FoldIn
from gclrec.recall.raw_ids import Lookup, counted, known_only, refuse_or_warn, user_item_columns
from gclrec.runs.embeddings import FloatArray

EncodeUsers = Callable[[IntArray, Ragged, FloatArray], npt.NDArray[Any]]
"""An encoder of histories: from ``(B,)`` rows of users (``-1`` for new ones), the items of each, oldest
first, and ``(I, D)`` item vectors, to ``(B, D)`` user vectors; all before the score changes their length."""


class Histories(NamedTuple):
    """Users with what they have.

    Args:
        ids: ``(B,)`` raw ids, as given.
        rows: ``(B,)`` rows of the users, ``-1`` for new ones.
        given: the distinct items of each in the table, oldest to newest.
    """

    ids: pl.Series
    rows: IntArray
    given: Ragged


def histories_of(
    table: pl.DataFrame, users: Lookup, items: Lookup, fold_in: FoldIn, *, skip_unknown: bool
) -> Histories:
    """Return the users of a table ``user, item`` in the order in which they appear.

    Their items are in the order of a column ``time`` if there is one, otherwise in that of the table.

    Args:
        table: one row an interaction; columns of other names are guessed.
        users: the users of the run.
        items: the items of the run.
        fold_in: knows which items training has seen.
        skip_unknown: leave out unknown items, and new users without an item that training has seen, with a
            warning.

    Raises:
        InputError: a column or an id is missing, an item is unknown, or nothing is known of a user.
    """
    table = user_item_columns(table, "the interactions of new users")
    item = items.rows(normal_ids(table["item"]))
    known = np.flatnonzero(known_only(item, table["item"], "item", skip=skip_unknown))
    raw = normal_ids(table["user"])
    ids = raw.unique(maintain_order=True)
    if "time" in table.columns:
        known = known[np.argsort(table["time"].to_numpy()[known], kind="stable")]
    given = Ragged.from_pairs(
        Lookup(Vocabulary(ids), "user").rows(raw)[known], item[known], len(ids)
    ).newest()
    rows = users.rows(ids)
    silent = (given.keep(fold_in.item_tells[given.values]).lengths == 0) & (rows < 0)
    if not silent.any():
        return Histories(ids, rows, given)
    without = f"{counted(int(silent.sum()), 'user')} without any item that training has seen"
    refuse_or_warn(f"{without}, such as {ids[int(np.argmax(silent))]!r}", skip_unknown)
    left = np.flatnonzero(~silent)
    return Histories(ids.gather(left), rows[left], given.take(left))


def vectors_by_items(
    fold_in: FoldIn,
    rows: IntArray,
    given: Ragged,
    trained_on: Callable[[], Ragged],
    *,
    trained: FloatArray,
    encode: EncodeUsers | None,
) -> FloatArray:
    """Return ``(B, D)`` vectors of users with items beside those of training.

    Args:
        fold_in: gives the vectors.
        rows: ``(B,)`` rows of the users, ``-1`` for new ones.
        given: the items of each, oldest to newest.
        trained_on: returns what each user of training was trained on; called where a user is known.
        trained: ``(U, D)`` vectors of the users of training.
        encode: encoder of histories, where there is one.
    """
    if encode is not None:
        told = given.keep(fold_in.item_tells[given.values])
        return fold_in.new_users(told, start=encode(rows, told, fold_in.item_layers))
    vectors = fold_in.new_users(given)
    back = np.flatnonzero(rows >= 0)
    if len(back):
        rows = rows[back]
        before = trained_on().take(rows)
        now = before.union(given.take(back))
        vectors[back] = fold_in.returning_users(trained[rows], rows, before, now)
    return vectors
