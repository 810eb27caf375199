"""From a run folder to answers in the user's own ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.recall.added_items import Added, read_catalogue, whole_index
from gclrec.recall.answers import Recommendation, listed, tabled
from gclrec.recall.candidates import Shelf
from gclrec.recall.index import Index
from gclrec.recall.new_items import (
    Encode,
    EncodeUsers,
    Histories,
    Newcomers,
    histories_of,
    item_rows,
    known_only,
    new_items,
    told,
)
from gclrec.runs.embeddings import FloatArray
from gclrec.runs.reading import PARTS, Lookup, check_run, read_known

__all__ = ["PARTS", "Recommendation", "Recommender", "check_run"]

_BATCH = 1024


@dataclass(frozen=True, eq=False, repr=False)
class Recommender:
    """Top-k items for the users of a run and for new ones, and items like an item.

    Nothing in it changes after loading: threads may share one. Adding items, or keeping to some of them,
    gives another recommender.

    Args:
        users: raw user ids by row.
        user_vectors: ``(U, D)`` float32.
        index: of the items.
        known: the item rows that each user has already.
        run: the run folder, for what new users and items need.
        item_degrees: ``(I,)`` training interactions of each item; 0 for added ones.
        added: items that came after training.
        only: ``(C,)`` sorted rows of the items that may be recommended; all if ``None``.
        encode_users: of a run with ``--history``; ``gclrec.load_recommender`` fills it in.
    """

    users: Vocabulary
    user_vectors: FloatArray
    index: Index
    known: Ragged
    run: Path | None = None
    item_degrees: IntArray | None = None
    added: Added | None = None
    only: IntArray | None = None
    encode_users: EncodeUsers | None = None

    def __post_init__(self) -> None:
        if len(self.users) != len(self.user_vectors):
            raise InputError(f"{len(self.users):,} users, {len(self.user_vectors):,} vectors: must be equal")

    def __repr__(self) -> str:
        where = "" if self.run is None else f", run={str(self.run)!r}"
        sizes = f"users={len(self.users)}, items={len(self.items)}"
        return f"{type(self).__name__}({sizes}, {self.index.backend}{where})"

    @property
    def items(self) -> Vocabulary:
        """Raw item ids by row."""
        return self.index.ids

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        use_index: bool = True,
        seen: Iterable[str] = PARTS,
        with_added: bool = True,
        encode_users: EncodeUsers | None = None,
    ) -> Recommender:
        """Read the embeddings, the index and the known pairs of a run folder.

        Args:
            run: folder that ``gclrec train`` wrote.
            use_index: search with ``index/`` where it exists; search exactly if ``False``.
            seen: parts of the split whose pairs count as known. In service users get nothing that they have
                already, so the default is all three; ``("train", "valid")`` ranks as the evaluation on the
                test part does, and ``("train",)`` as that on the validation part.
            with_added: know the items that were added after training.
            encode_users: see :class:`Recommender`.

        Raises:
            InputError: a file is missing, damaged or does not fit the others (it is named).
        """
        run = Path(run)
        check_run(run)
        catalogue = read_catalogue(run, with_added=with_added)
        embedded, added = catalogue.embedded, catalogue.added
        exact = not use_index or not (run / "index").exists()
        index = Index.exact(catalogue.vectors, catalogue.items) if exact else whole_index(run, catalogue)
        known = read_known(run, seen, embedded.users, embedded.items)
        fresh = Ragged.from_pairs(added.user, added.item + len(embedded.items), len(embedded.users))
        return cls(
            embedded.users,
            embedded.user_vectors,
            index,
            known.union(fresh) if len(added) else known,
            run,
            np.pad(embedded.item_degrees, (0, len(added))),
            added,
            encode_users=encode_users,
        )

    def recommend(self, user: object, k: int = 10, *, exclude_seen: bool = True) -> list[Recommendation]:
        """Return the best items for a user, best first; fewer than ``k`` if the user knows nearly all.

        Args:
            user: raw id.
            k: from 1 to the number of items.
            exclude_seen: leave out what the user has already.

        Raises:
            InputError: the user is unknown or ``k`` is out of range.
        """
        rows, scores = self._search(np.array([self._user_rows.of(user)]), k, exclude_seen)
        return listed(self.items, rows[0], scores[0])

    def recommend_many(
        self,
        users: Sequence[object] | pl.Series,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        skip_unknown: bool = False,
    ) -> pl.DataFrame:
        """Return the best items for several users as a table: user, item, rank (from 1), score.

        Args:
            users: raw ids.
            k: from 1 to the number of items.
            exclude_seen: leave out what a user has already.
            skip_unknown: leave out unknown users with an :class:`~gclrec.InputWarning`.

        Raises:
            InputError: a user is unknown or ``k`` is out of range.
        """
        rows = self._user_rows.rows(users)
        if len(rows) and rows.min() < 0 and not skip_unknown:
            self.users.row(users[int(np.argmin(rows))], kind="user")
        return self._table(rows[known_only(rows, users, "user", skip=True)], k, exclude_seen)

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

    @overload
    def recommend_for(
        self, items: pl.DataFrame, k: int = 10, *, exclude_seen: bool = True, skip_unknown: bool = False
    ) -> pl.DataFrame: ...

    @overload
    def recommend_for(
        self,
        items: Sequence[object] | pl.Series,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        skip_unknown: bool = False,
    ) -> list[Recommendation]: ...

    def recommend_for(
        self,
        items: Sequence[object] | pl.Series | pl.DataFrame,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        skip_unknown: bool = False,
    ) -> list[Recommendation] | pl.DataFrame:
        """Return the best items for users by what they have, without training again.

        Their vectors come from ``encode_users``, or else from
        :meth:`gclrec.recall.fold_in.FoldIn.new_users`. A user of a table who is in the run already is taken
        with what he was trained on *and* what the table says.

        Args:
            items: raw ids of what one new user has, oldest to newest, or a table with the columns ``user``
                and ``item`` of several users' interactions, and maybe ``time``.
            k: from 1 to the number of items.
            exclude_seen: leave out what a user has.
            skip_unknown: leave out unknown items, and users without any item that training has seen, with an
                :class:`~gclrec.InputWarning`, instead of refusing them.

        Returns:
            A list for a list; for a table that of :meth:`recommend_many`, users in the order of the table.

        Raises:
            InputError: an item is unknown, or none is given; or the run keeps nothing to do this with.
        """
        if isinstance(items, pl.DataFrame):
            histories = histories_of(items, self.users, self.items, skip_unknown=skip_unknown)
            histories = told(histories, self._newcomers.fold_in, skip_unknown=skip_unknown)
            return self._for_histories(histories, k, exclude_seen)
        self._check_k(k)
        rows = item_rows(items, self._item_rows, "item", skip_unknown=skip_unknown)
        history = Ragged.from_lists([rows])
        if not self._newcomers.fold_in.item_tells[rows].any():
            raise InputError(f"none of the {len(rows):,} items was seen in training: they tell nothing")
        vectors = self._newcomers.vectors(self.user_vectors, np.array([-1]), history)
        found, scores = self._shelf.search(vectors, k, exclude=history if exclude_seen else None)
        return listed(self.items, found[0], scores[0])

    def add_items(
        self,
        interactions: pl.DataFrame | None = None,
        *,
        attributes: pl.DataFrame | None = None,
        encode: Encode | None = None,
        skip_known: bool = False,
        skip_unknown: bool = False,
    ) -> Recommender:
        """Return a recommender that knows further items too: it finds them and counts them in histories.

        Their vectors come from :meth:`gclrec.recall.fold_in.FoldIn.new_items`. This one stays as it is;
        :meth:`save_added` makes the items last.

        Args:
            interactions: table with the columns ``user`` (of the run) and ``item`` (new).
            attributes: table of new items with the column ``id``, for their layer-0 vectors.
            encode: from ``attributes`` to ``(N, D)`` layer-0 vectors, such as a content encoder's; if
                ``None`` they are the column ``vector``.
            skip_known: leave out items that are in the run already, instead of refusing them.
            skip_unknown: leave out unknown users, and items that then have nothing to go by, with an
                :class:`~gclrec.InputWarning`.

        Raises:
            InputError: an item is known, a user is unknown, an item has nothing to go by, or the tables or
                vectors are not as they should be.
        """
        fresh = new_items(
            interactions,
            attributes,
            encode,
            users=self.users,
            items=self.items,
            fold_in=self._newcomers.fold_in,
            skip_known=skip_known,
            skip_unknown=skip_unknown,
        )
        if not len(fresh):
            return self
        index = self.index.extended(fresh.vectors, fresh.ids)
        theirs = Ragged.from_pairs(fresh.user, fresh.item + len(self.items), len(self.users))
        return replace(
            self,
            index=index,
            known=self.known.union(theirs),
            item_degrees=np.pad(self._degrees, (0, len(fresh))),
            added=fresh if self.added is None else self.added.followed_by(fresh),
        )

    def save_added(self) -> None:
        """Write the items added since training into the run folder, in place of those that it has.

        :meth:`load` puts them behind the index of the run; ``gclrec export`` builds them into it.

        Raises:
            InputError: this recommender was not loaded from a run folder.
            OSError: the disk is full, or the place is not writable.
        """
        if self.run is None or self.added is None:
            raise InputError("added items are saved in a run folder: load the recommender from one")
        self.added.save(self.run)

    def within(self, items: Sequence[object] | pl.Series, *, skip_unknown: bool = False) -> Recommender:
        """Return a recommender that recommends some items only, by exact search among them.

        Args:
            items: their raw ids.
            skip_unknown: leave out unknown ids with an :class:`~gclrec.InputWarning`.

        Raises:
            InputError: an id is unknown, or none is left.
        """
        rows = item_rows(items, self._item_rows, "candidate", skip_unknown=skip_unknown)
        return self._keeping(np.sort(rows))

    def cold_only(self) -> Recommender:
        """Return a recommender of items without training interaction, added ones too; one must be there."""
        return self._keeping(np.flatnonzero(self._degrees == 0))

    def similar_items(self, item: object, k: int = 10) -> list[Recommendation]:
        r"""Return the items whose vectors point most nearly the same way, without the item itself.

        .. math:: \cos(i, j) = \frac{x_i^\top x_j}{|x_i| |x_j|}

        It is searched exactly. An item whose vector is zero has cosine 0 with all.

        Raises:
            InputError: the item is unknown or ``k`` is out of range.
        """
        row = self._item_rows.of(item)
        self._check_k(k)
        itself = Ragged.from_lists([[row]])
        rows, scores = self._directions.search(self._directions.vectors[[row]], k, exclude=itself)
        return listed(self.items, rows[0], scores[0])

    def _for_histories(self, histories: Histories, k: int, exclude_seen: bool) -> pl.DataFrame:
        """Return the answers for users with histories, a batch at a time."""
        self._check_k(k)
        nobody = self._table(np.empty(0, dtype=np.int64), k, exclude_seen)
        tables = [nobody.with_columns(histories.ids.clear().alias("user"))]
        for start in range(0, len(histories.ids), _BATCH):
            places = np.arange(start, min(start + _BATCH, len(histories.ids)))
            rows, given = histories.rows[places], histories.given.take(places)
            vectors = self._newcomers.vectors(self.user_vectors, rows, given)
            given = given.union(self.known.take(rows))
            found, scores = self._shelf.search(vectors, k, exclude=given if exclude_seen else None)
            tables.append(tabled(histories.ids.gather(places), self.items, found, scores))
        return pl.concat(tables)

    def _tables(
        self, k: int, batch: int, exclude_seen: bool, progress: Callable[[int, int], None] | None
    ) -> Iterator[pl.DataFrame]:
        for start in range(0, len(self.users), batch):
            stop = min(start + batch, len(self.users))
            yield self._table(np.arange(start, stop), k, exclude_seen)
            if progress is not None:
                progress(stop, len(self.users))

    def _search(self, users: IntArray, k: int, exclude_seen: bool) -> tuple[IntArray, FloatArray]:
        self._check_k(k)
        exclude = self.known.take(users) if exclude_seen else None
        return self._shelf.search(self.user_vectors[users], k, exclude=exclude)

    def _table(self, users: IntArray, k: int, exclude_seen: bool) -> pl.DataFrame:
        rows, scores = self._search(users, k, exclude_seen)
        return tabled(self.users.raw(users), self.items, rows, scores)

    def _keeping(self, rows: IntArray) -> Recommender:
        rows = rows if self.only is None else np.intersect1d(rows, self.only)
        if not len(rows):
            raise InputError("no item is left that may be recommended (cold only, candidates)")
        return replace(self, only=rows)

    def _check_k(self, k: int) -> None:
        if not isinstance(k, (int, np.integer)):
            raise InputError(f"k must be a whole number, got {k!r}")
        if not 1 <= k <= len(self.items):
            raise InputError(f"k must be from 1 to {len(self.items):,}, the number of items, got {k}")

    @property
    def _degrees(self) -> IntArray:
        if self.item_degrees is None:
            raise InputError("the items' degrees are not known: load the recommender from a run")
        return self.item_degrees

    @cached_property
    def _newcomers(self) -> Newcomers:
        if self.run is None:
            raise InputError("new users and items need a run folder: load the recommender from one")
        return Newcomers(self.run, self.users, self.items, self.added, self.encode_users)

    @cached_property
    def _shelf(self) -> Index | Shelf:
        """What may be recommended."""
        return self.index if self.only is None else Shelf(self.index, self.only)

    @cached_property
    def _user_rows(self) -> Lookup:
        return Lookup(self.users, "user")

    @cached_property
    def _item_rows(self) -> Lookup:
        return Lookup(self.items, "item")

    @cached_property
    def _directions(self) -> Index:
        return self.index.directions()
