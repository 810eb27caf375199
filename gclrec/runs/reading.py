"""Reading what a run folder says of its users, items and pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.files import read_toml
from gclrec.data.interactions import BoolArray, IntArray, Vocabulary
from gclrec.runs.embeddings import read_frame

Lists = tuple[IntArray, IntArray]
"""``(indptr, values)``: list ``b`` is ``values[indptr[b]:indptr[b + 1]]``."""

PARTS = ("train", "valid", "test")
REMOVED = "removed"  # beside the parts: known pairs that ``train_fraction`` took away
JOINED = "joined"  # likewise: the validation pairs that were trained on, where that is not all of them
_LONGEST = 19  # a number with fewer characters surely fits into 64 bits
_FEW = 100  # ids that are looked up one by one


def check_run(run: Path) -> None:
    """Check that a run folder is there and has embeddings.

    Raises:
        InputError: it is not, or has not (a run that was interrupted has none, and some baselines never
            have); the message says what to do.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder")
    if (run / "embeddings").is_dir():
        return
    again = f"gclrec train --resume {run}"
    if not (run / "config.toml").is_file():
        raise InputError(f"{run}: not a run folder (it has no embeddings and no config.toml)")
    if not (run / "result.json").is_file():
        raise InputError(f"{run}: has no embeddings, since its training did not finish; go on with: {again}")
    baseline = settings_of(run).get("baseline")
    if baseline is not None and not (run / "fold_in").is_dir():
        raise InputError(
            f"{run}: its method, {baseline}, ranks without vectors, so it has no index and cannot be served"
        )
    raise InputError(f"{run / 'embeddings'}: missing from a finished run; write it anew with: {again}")


def settings_of(run: Path) -> dict[str, Any]:
    """Return the settings that a run folder says it was trained with, none where it says nothing.

    Raises:
        InputError: the file is damaged.
    """
    path = run / "config.toml"
    return read_toml(path) if path.is_file() else {}


def usual_columns(run: Path) -> dict[str, str]:
    """Return what the columns of a run's data were called, by their roles; only those that were named."""
    settings = settings_of(run)
    names = {role: settings.get(f"{role}_column") for role in ("user", "item", "time")}
    return {role: str(name) for role, name in names.items() if name}


def reads_histories(run: Path) -> bool:
    """Return whether the users of a run are encoded by what they took last."""
    settings = settings_of(run)
    return "baseline" not in settings and settings.get("history", "none") != "none"


class Lookup:
    """Finds the row of one raw id in microseconds; :meth:`Vocabulary.row` reads the whole vocabulary."""

    def __init__(self, vocabulary: Vocabulary, kind: str) -> None:
        self._vocabulary, self._kind = vocabulary, kind
        self._order = vocabulary.ids.arg_sort().to_numpy()
        self._sorted = vocabulary.ids.sort()

    def of(self, raw: object) -> int:
        """Return the row of a raw id.

        Raises:
            InputError: the id is unknown.
        """
        row = self.find(raw)
        return self._vocabulary.row(raw, kind=self._kind) if row < 0 else row

    def find(self, raw: object) -> int:
        """Return the row of a raw id as one types it, ``-1`` if it is not found that way."""
        wanted: Any = None
        if type(raw) in (int, str):
            text = str(raw)
            if self._sorted.dtype == pl.String:
                wanted = text
            elif text.isascii() and text.lstrip("-").isdecimal() and len(text) < _LONGEST:
                wanted = int(text)
        if wanted is not None and len(self._sorted):
            place = int(self._sorted.search_sorted(wanted))
            if place < len(self._sorted) and self._sorted[place] == wanted:
                return int(self._order[place])
        return -1

    def rows(self, raw: Sequence[object] | pl.Series) -> IntArray:
        """Return the rows of several raw ids, ``-1`` for one that is unknown.

        Raises:
            InputError: something is no id, or there is no list.
        """
        if isinstance(raw, (str, bytes)) or not hasattr(raw, "__len__") or len(raw) > _FEW:
            return self._vocabulary.rows(raw)
        found = np.array([self.find(each) for each in raw], dtype=np.int64)
        missing = np.flatnonzero(found < 0)
        if len(missing):
            few = raw.gather(missing) if isinstance(raw, pl.Series) else [raw[int(n)] for n in missing]
            found[missing] = self._vocabulary.rows(few)
        return found


def checked_parts(seen: Iterable[str], allowed: Sequence[str] = PARTS) -> list[str]:
    """Return the names of parts of the split, after checking them."""
    parts = [seen] if isinstance(seen, str) else list(seen)
    for part in parts:
        if part not in allowed:
            raise InputError(
                f"seen: unknown part {part!r} of the split, expected some of {', '.join(allowed)}"
            )
    return parts


def read_pairs(path: Path, users: Vocabulary, items: Vocabulary) -> tuple[IntArray, IntArray]:
    """Return the user and item rows of a part of the split, checked against the vocabularies."""
    frame = read_frame(path)
    columns: list[IntArray] = []
    for name, vocabulary in (("user", users), ("item", items)):
        if name not in frame.columns or not frame[name].dtype.is_integer() or frame[name].null_count():
            raise InputError(f"{path}: expected a column {name!r} of row numbers")
        rows = frame[name].cast(pl.Int64).to_numpy()
        if len(rows) and (rows.min() < 0 or rows.max() >= len(vocabulary)):
            raise InputError(
                f"{path}: {name} rows must lie in [0, {len(vocabulary):,}), found {rows.max():,}"
            )
        columns.append(rows)
    return columns[0], columns[1]


def read_parts(
    run: Path, parts: Iterable[str], users: Vocabulary, items: Vocabulary
) -> list[tuple[IntArray, IntArray]]:
    """Return the user and item rows of parts of the split of a run."""
    named = checked_parts(parts, (*PARTS, JOINED))
    return [read_pairs(run / "split" / f"{part}.parquet", users, items) for part in named]


def read_known(
    run: Path, parts: Iterable[str], users: Vocabulary, items: Vocabulary
) -> list[tuple[IntArray, IntArray]]:
    """Return what :func:`read_parts` does and, where ``train`` is among the parts, what was taken from it.

    Nobody was trained on the pairs that a sparsity study took away, but they are known all the same.
    """
    names = checked_parts(parts)
    removed = run / "split" / f"{REMOVED}.parquet"
    more = [read_pairs(removed, users, items)] if "train" in names and removed.exists() else []
    return read_parts(run, names, users, items) + more


def as_lists(pairs: Sequence[tuple[IntArray, IntArray]], num_users: int, num_items: int) -> Lists:
    """Return the distinct items of each user."""
    keys = [user * num_items + item for user, item in pairs]
    merged = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *keys]))  # faster than np.unique
    user, item = np.divmod(merged[np.diff(merged, prepend=-1) != 0], num_items)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=num_users))])
    return indptr.astype(np.int64), item


def ordered_lists(user: IntArray, item: IntArray, num_users: int, num_items: int) -> Lists:
    """Return the distinct items of each user, each at its last place in the order of the pairs.

    Example:
        >>> indptr, items = ordered_lists(np.array([1, 0, 1, 1]), np.array([7, 5, 2, 7]), 2, 9)
        >>> indptr.tolist(), items.tolist()
        ([0, 1, 3], [5, 2, 7])
    """
    _, from_behind = np.unique((user * num_items + item)[::-1], return_index=True)
    last = np.sort(len(user) - 1 - from_behind)
    last = last[np.argsort(user[last], kind="stable")]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(user[last], minlength=num_users))])
    return indptr.astype(np.int64), item[last]


def take_lists(indptr: IntArray, items: IntArray, rows: IntArray | Sequence[int]) -> Lists:
    """Return some of the lists ``items[indptr[r]:indptr[r + 1]]``, in the order of ``rows``.

    Example:
        >>> indptr, items = take_lists(np.array([0, 2, 2, 3]), np.array([7, 8, 9]), [2, 0])
        >>> indptr.tolist(), items.tolist()
        ([0, 1, 3], [9, 7, 8])
    """
    rows = np.asarray(rows, dtype=np.int64)
    start, count = indptr[rows], indptr[rows + 1] - indptr[rows]
    taken = np.concatenate([[0], np.cumsum(count)])
    return taken, items[np.arange(taken[-1]) + np.repeat(start - taken[:-1], count)]


def lists_of_known(lists: Lists, rows: IntArray) -> Lists:
    """Return the lists of some rows, in that order; an empty one for row ``-1``.

    Example:
        >>> indptr, items = lists_of_known((np.array([0, 2, 3]), np.array([7, 8, 9])), np.array([1, -1, 0]))
        >>> indptr.tolist(), items.tolist()
        ([0, 1, 1, 3], [9, 7, 8])
    """
    known = np.flatnonzero(rows >= 0)
    indptr, items = take_lists(*lists, rows[known])
    counts = np.zeros(len(rows) + 1, dtype=np.int64)
    counts[known + 1] = np.diff(indptr)
    return np.cumsum(counts), items


def kept_lists(lists: Lists, kept: BoolArray) -> Lists:
    """Return the lists without the items that are not ``kept``, ``(I,)``, in the same order."""
    indptr, items = lists
    stays = kept[items]
    return np.concatenate([[0], np.cumsum(stays)])[indptr], items[stays]


def joined_lists(first: Lists, second: Lists, num_items: int) -> Lists:
    """Return the distinct items that are in either of two lists, list by list."""
    count = len(first[0]) - 1
    pairs = [(np.repeat(np.arange(count), np.diff(indptr)), items) for indptr, items in (first, second)]
    return as_lists(pairs, count, num_items)
