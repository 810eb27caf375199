"""From a run folder to answers in the user's own ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.errors import InputError
from gclrec.recall.embeddings import FloatArray, read_embeddings, read_frame
from gclrec.recall.index import Index, Lists, take_lists

PARTS = ("train", "valid", "test")
_LONGEST = 19  # a number with fewer characters surely fits into 64 bits


class Recommendation(NamedTuple):
    """An item in the user's own id, and its score."""

    item: int | str
    score: float


@dataclass(frozen=True, eq=False)
class Recommender:
    """Top-k items for the users of a run, and items like an item.

    Nothing in it changes after loading: threads may share one.

    Args:
        users: raw user ids by row.
        user_vectors: ``(U, D)`` float32.
        index: of the items.
        known: ``(indptr, items)``: what user ``u`` has already is ``items[indptr[u]:indptr[u + 1]]``.
    """

    users: Vocabulary
    user_vectors: FloatArray
    index: Index
    known: Lists

    @classmethod
    def load(cls, run: str | Path, *, use_index: bool = True, seen: Iterable[str] = PARTS) -> Recommender:
        """Read the embeddings, the index and the known pairs of a run folder.

        Args:
            run: folder that ``gclrec train`` wrote.
            use_index: search with ``index/`` where it exists; search exactly if ``False``.
            seen: parts of the split whose pairs count as known. In service users get nothing that they have
                already, so the default is all three; ``("train", "valid")`` ranks as the evaluation on the
                test part does, and ``("train",)`` as that on the validation part.

        Raises:
            InputError: a file is missing, damaged or does not fit the others (it is named).
        """
        run = Path(run)
        check_run(run)
        embedded = read_embeddings(run / "embeddings")
        if use_index and (run / "index").exists():
            index = Index.load(run / "index")
            if index.ids != embedded.items or not np.array_equal(index.vectors, embedded.item_vectors):
                again = f"export again: gclrec export {run}"
                raise InputError(f"{run / 'index'}: was made from other item vectors than the run's; {again}")
        else:
            index = Index.exact(embedded.item_vectors, embedded.items)
        pairs = [
            _pairs(run / "split" / f"{part}.parquet", embedded.users, index.ids) for part in _parts(seen)
        ]
        return cls(
            embedded.users, embedded.user_vectors, index, _lists(pairs, len(embedded.users), len(index))
        )

    @property
    def items(self) -> Vocabulary:
        """Raw item ids by row."""
        return self.index.ids

    def recommend(self, user: object, k: int = 10, *, exclude_seen: bool = True) -> list[Recommendation]:
        """Return the best items for a user, best first; fewer than ``k`` if the user knows nearly all.

        Args:
            user: raw id.
            k: from 1 to the number of items.
            exclude_seen: leave out what the user has already.

        Raises:
            InputError: the user is unknown or ``k`` is out of range.
        """
        row = self._user_rows.of(user)
        rows, scores = self._search(np.array([row]), k, exclude_seen)
        return _listed(self.items, rows[0], scores[0])

    def recommend_many(
        self, users: Sequence[object] | pl.Series, k: int = 10, *, exclude_seen: bool = True
    ) -> pl.DataFrame:
        """Return the best items for several users as a table: user, item, rank (from 1), score.

        Raises:
            InputError: a user is unknown or ``k`` is out of range.
        """
        rows = self.users.rows(users)
        if len(rows) and rows.min() < 0:
            self.users.row(users[int(np.argmin(rows))], kind="user")
        return self._table(rows, k, exclude_seen)

    def recommend_all(
        self,
        k: int = 10,
        *,
        batch: int = 1024,
        exclude_seen: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Yield the table of :meth:`recommend_many` for all users, ``batch`` users at a time.

        Args:
            k: from 1 to the number of items.
            batch: users a table.
            exclude_seen: leave out what a user has already.
            progress: called after each table with the number of users done and that of all.

        Raises:
            InputError: ``k`` or ``batch`` is out of range.
        """
        if batch < 1:
            raise InputError(f"batch must be at least 1, got {batch}")
        self._check_k(k)
        return self._tables(k, batch, exclude_seen, progress)

    def similar_items(self, item: object, k: int = 10) -> list[Recommendation]:
        r"""Return the items whose vectors point most nearly the same way, without the item itself.

        .. math:: \cos(i, j) = \frac{x_i^\top x_j}{|x_i| |x_j|}

        It is searched exactly. An item whose vector is zero has cosine 0 with all.

        Raises:
            InputError: the item is unknown or ``k`` is out of range.
        """
        row = self._item_rows.of(item)
        self._check_k(k)
        itself = (np.array([0, 1]), np.array([row]))
        rows, scores = self._directions.search(self._directions.vectors[[row]], k, exclude=itself)
        return _listed(self.items, rows[0], scores[0])

    def _search(self, users: IntArray, k: int, exclude_seen: bool) -> tuple[IntArray, FloatArray]:
        self._check_k(k)
        exclude = take_lists(*self.known, users) if exclude_seen else None
        return self.index.search(self.user_vectors[users], k, exclude=exclude)

    def _table(self, users: IntArray, k: int, exclude_seen: bool) -> pl.DataFrame:
        rows, scores = self._search(users, k, exclude_seen)
        place, rank = np.nonzero(rows >= 0)
        return pl.DataFrame(
            {
                "user": self.users.raw(users[place]),
                "item": self.items.raw(rows[place, rank]),
                "rank": rank + 1,
                "score": scores[place, rank],
            }
        )

    def _tables(
        self, k: int, batch: int, exclude_seen: bool, progress: Callable[[int, int], None] | None
    ) -> Iterator[pl.DataFrame]:
        for start in range(0, len(self.users), batch):
            stop = min(start + batch, len(self.users))
            yield self._table(np.arange(start, stop), k, exclude_seen)
            if progress is not None:
                progress(stop, len(self.users))

    def _check_k(self, k: int) -> None:
        if not 1 <= k <= len(self.items):
            raise InputError(f"k must be from 1 to {len(self.items):,}, the number of items, got {k}")

    @cached_property
    def _user_rows(self) -> _Lookup:
        return _Lookup(self.users, "user")

    @cached_property
    def _item_rows(self) -> _Lookup:
        return _Lookup(self.items, "item")

    @cached_property
    def _directions(self) -> Index:
        """The items at unit length."""
        vectors = self.index.vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return Index.exact(
            np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0), self.items
        )


def check_run(run: Path) -> None:
    """Check that a run folder is there and has embeddings.

    Raises:
        InputError: it is not, or has not (a run that was interrupted has none, and some baselines never
            have).
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder")
    if not (run / "embeddings").is_dir():
        if (run / "config.toml").is_file() and (run / "result.json").is_file():
            raise InputError(
                f"{run}: its method ranks without vectors, so it has no index and cannot be served"
            )
        raise InputError(f"{run}: has no embeddings: it is not a run folder, or its training did not finish")


class _Lookup:
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
        return self._vocabulary.row(raw, kind=self._kind)


def _listed(items: Vocabulary, rows: IntArray, scores: FloatArray) -> list[Recommendation]:
    found = rows >= 0
    pairs = zip(items.raw(rows[found]).to_list(), scores[found].tolist(), strict=True)
    return [Recommendation(item, score) for item, score in pairs]


def _parts(seen: Iterable[str]) -> list[str]:
    parts = [seen] if isinstance(seen, str) else list(seen)
    for part in parts:
        if part not in PARTS:
            raise InputError(f"seen: unknown part {part!r} of the split, expected some of {', '.join(PARTS)}")
    return parts


def _pairs(path: Path, users: Vocabulary, items: Vocabulary) -> tuple[IntArray, IntArray]:
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


def _lists(pairs: Sequence[tuple[IntArray, IntArray]], num_users: int, num_items: int) -> Lists:
    """Return the distinct items of each user."""
    keys = [user * num_items + item for user, item in pairs]
    user, item = np.divmod(np.unique(np.concatenate([np.empty(0, dtype=np.int64), *keys])), num_items)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=num_users))])
    return indptr.astype(np.int64), item
