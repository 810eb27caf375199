"""Top-k recommendations in the user's own ids, from memory or from a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.files import local_path
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.data.io.frames import is_table, table_from
from gclrec.data.io.ids import id_series
from gclrec.recall.candidates import CandidateSet
from gclrec.recall.explain import Explainer, Explanation
from gclrec.recall.fold_in import FoldIn
from gclrec.recall.index import Index
from gclrec.recall.new_items import AddedItems, Encode, new_items, read_fold_in, read_searchable
from gclrec.recall.new_users import EncodeUsers, Histories, histories_of, vectors_by_items
from gclrec.recall.raw_ids import Lookup, RawIds, distinct_rows, known_only
from gclrec.recall.recommendation import Recommendation, as_list, as_table, shard_rows, warn_of_silent
from gclrec.runs.embeddings import FloatArray
from gclrec.runs.reading import PARTS, check_run, read_known, read_part_lists, reads_histories

_BATCH = 1024  # users of a table that are answered together


@dataclass(frozen=True, eq=False, repr=False)
class Recommender:
    """Top-k items for users of training and new ones, and items similar to an item.

    A recommender is immutable, so threads may share one: adding items, or restricting it to some of them,
    returns another. It can be pickled, and answers in processes forked after it was loaded. Several methods
    have these arguments in common:

    * ``k``: length of the lists, from 1 to the number of items; a list is shorter where fewer items are left.
    * ``exclude_seen``: leave out the items that a user has already.
    * ``skip_unknown``: leave out unknown ids with an :class:`~gclrec.InputWarning` instead of an error.

    Every method raises :class:`~gclrec.InputError` for an unknown id and for a ``k`` out of range.

    Args:
        users: raw user ids by row.
        user_vectors: ``(U, D)`` float32.
        index: of the ``I`` items, those added after training last.
        known: the item rows that each user has already.
        run: the run folder; ``fold_in`` and ``trained_on`` are read from it when first needed.
        item_degrees: ``(I,)`` training interactions of each item; 0 for added ones.
        added: items that were added after training.
        only: ``(C,)`` sorted rows of the items that may be recommended; all if ``None``.
        encode_users: encoder of histories, where the run has one (see :func:`gclrec.load_recommender`).
        fold_in: what gives vectors to new users and items; covers the items of ``index``.
        trained_on: the item rows that each user was trained on; ``known`` if ``None`` and there is no run.

    Raises:
        InputError: there is not one vector and one list of known items for each user.

    Example:
        >>> vectors = np.eye(3, dtype=np.float32)
        >>> users, items = Vocabulary.in_order(["ann", "bob"]), ["tea", "rice", "milk"]
        >>> known = Ragged.from_lists([[0], []])
        >>> recommender = Recommender(users, vectors[:2] + 0.5, Index.exact(vectors, items), known)
        >>> [item for item, _ in recommender.recommend("ann", k=2)]
        ['rice', 'milk']
    """

    users: Vocabulary
    user_vectors: FloatArray
    index: Index
    known: Ragged
    run: Path | None = None
    item_degrees: IntArray | None = None
    added: AddedItems | None = None
    only: IntArray | None = None
    encode_users: EncodeUsers | None = None
    fold_in: FoldIn | None = None
    trained_on: Ragged | None = None

    def __post_init__(self) -> None:
        if not len(self.users) == len(self.user_vectors) == len(self.known):
            raise InputError(
                f"{len(self.users):,} users, {len(self.user_vectors):,} vectors and lists of known items for "
                f"{len(self.known):,}: must be equal"
            )

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
            use_index: search with ``index/`` if it exists; otherwise search exactly.
            seen: parts of the split whose pairs count as known. The default, all three, suits a service;
                ``("train", "valid")`` gives the lists that the evaluation on the test part ranks, and
                ``("train",)`` those of the validation part.
            with_added: include the items that were added after training.
            encode_users: see :class:`Recommender`.

        Raises:
            InputError: a file is missing, damaged or does not fit the others; the message names it.
        """
        run = local_path(run)
        check_run(run)
        whole, added, index = read_searchable(run, use_index=use_index, with_added=with_added)
        known = read_known(run, seen, whole.users, whole.items)
        if len(added):
            known = known.union(added.by_user(len(whole.users), len(whole.items) - len(added)))
        vectors, degrees = whole.user_vectors, whole.item_degrees
        return cls(whole.users, vectors, index, known, run, degrees, added, encode_users=encode_users)

    def recommend(self, user: object, k: int = 10, *, exclude_seen: bool = True) -> list[Recommendation]:
        """Return the best items for a user, by raw id, best first."""
        rows, scores = self._search(np.array([self.lookups[0].of(user)]), k, exclude_seen)
        return as_list(self.items, rows, scores)

    def recommend_many(
        self,
        users: RawIds,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        skip_unknown: bool = False,
    ) -> pl.DataFrame:
        """Return the best items for several users as a table: user, item, rank (from 1), score."""
        ids = id_series(users)
        rows = self.lookups[0].rows(ids)
        if len(rows) and rows.min() < 0 and not skip_unknown:
            self.users.row(ids[int(np.argmin(rows))], kind="user")  # raises, naming known ids
        kept = rows[known_only(rows, ids, "user", skip=True)]
        found, scores = self._search(kept, k, exclude_seen)
        warn_of_silent(self.users.raw(kept), found)
        return as_table(self.users.raw(kept), self.items, found, scores)

    def recommend_all(
        self,
        k: int = 10,
        *,
        batch: int = 1024,
        exclude_seen: bool = True,
        shard: tuple[int, int] = (1, 1),
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Yield the table of :meth:`recommend_many` for all users, ``batch`` users at a time.

        At the end an :class:`~gclrec.InputWarning` counts the users who have every item and so no row.

        Args:
            k: see :class:`Recommender`.
            batch: users a table, at least 1.
            exclude_seen: see :class:`Recommender`.
            shard: ``(i, n)`` answers the users of the ``i``-th of ``n`` equal parts only, ``i`` from 1.
            progress: called after each table with the number of users done and the number of users.
        """
        if batch < 1:
            raise InputError(f"batch must be at least 1, got {batch}")
        self._check_k(k)
        part = shard_rows(len(self.users), *shard)

        def tables() -> Iterator[pl.DataFrame]:
            first = np.empty(len(part), dtype=np.int64)
            for start in range(0, len(part), batch):
                rows = part[start : start + batch]
                found, scores = self._search(np.array(rows), k, exclude_seen)
                first[start : start + len(rows)] = found[:, 0]
                yield as_table(self.users.ids[rows.start : rows.stop], self.items, found, scores)
                if progress is not None:
                    progress(start + len(rows), len(part))
            warn_of_silent(self.users.ids[part.start : part.stop], first[:, None])

        return tables()

    @overload
    def recommend_for(
        self, items: pl.DataFrame, k: int = 10, *, exclude_seen: bool = True, skip_unknown: bool = False
    ) -> pl.DataFrame: ...

    @overload
    def recommend_for(
        self,
        items: RawIds,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        skip_unknown: bool = False,
    ) -> list[Recommendation]: ...

    def recommend_for(
        self,
        items: RawIds | pl.DataFrame,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        skip_unknown: bool = False,
    ) -> list[Recommendation] | pl.DataFrame:
        """Return the best items for users by what they have, without training again.

        Their vectors come from ``encode_users`` or, without it, from :class:`gclrec.recall.fold_in.FoldIn`. A
        user of a table who is known already counts with the items of training *and* those of the table.

        Args:
            items: raw ids of what one new user has, oldest to newest; or a table of several users'
                interactions with the columns ``user``, ``item`` and optionally ``time``.
            k: see :class:`Recommender`.
            exclude_seen: see :class:`Recommender`.
            skip_unknown: also leaves out users without any item that training has seen.

        Returns:
            A list for a list; the table of :meth:`recommend_many`, users in order of appearance, for a table.

        Raises:
            InputError: no item is given, or there is no fold-in.
        """
        self._check_k(k)
        if is_table(items):
            table, rows_of = table_from(items, "the interactions of new users"), self.lookups
            histories = histories_of(table, *rows_of, self.folding, skip_unknown=skip_unknown)
            found, scores = self._search_by_items(histories, k, exclude_seen)
            warn_of_silent(histories.ids, found)
            return as_table(histories.ids, self.items, found, scores)
        rows = distinct_rows(items, self.lookups[1], "item", skip_unknown=skip_unknown)
        if not self.folding.item_tells[rows].any():
            raise InputError(f"none of the {len(rows):,} items was seen in training, so nothing is known")
        one = Histories(pl.Series("user", [None]), np.array([-1]), Ragged.from_lists([rows]))
        return as_list(self.items, *self._search_by_items(one, k, exclude_seen))

    def add_items(
        self,
        interactions: Any = None,
        *,
        attributes: Any = None,
        encode: Encode | None = None,
        skip_known: bool = False,
        skip_unknown: bool = False,
    ) -> Recommender:
        """Return a recommender with further items, which it recommends and counts in histories.

        Their vectors come from :meth:`gclrec.recall.fold_in.FoldIn.new_items`. :meth:`save_added` keeps them
        in the run folder.

        Args:
            interactions: table with the columns ``user`` (known) and ``item`` (new).
            attributes: table of new items with the column ``id``, for their layer-0 vectors.
            encode: from ``attributes`` to ``(N, D)`` layer-0 vectors, such as a content encoder's; the column
                ``vector`` is taken if ``None``.
            skip_known: leave out items that are known already.
            skip_unknown: also leaves out items for which there is neither a known user nor a vector.

        Raises:
            InputError: an item is known, there is nothing to make its vector from, or a table or a vector is
                malformed.
        """
        fresh = new_items(
            interactions,
            attributes,
            encode,
            users=self.users,
            items=self.items,
            fold_in=self.folding,
            skip_known=skip_known,
            skip_unknown=skip_unknown,
        )
        if not len(fresh):
            return self
        return replace(
            self,
            index=self.index.extended(fresh.vectors, fresh.ids),
            known=self.known.union(fresh.by_user(len(self.users), len(self.items))),
            item_degrees=np.pad(self._degrees, (0, len(fresh))),
            added=fresh if self.added is None else self.added.followed_by(fresh),
            fold_in=self.folding.extended(fresh.sent),
        )

    def save_added(self) -> None:
        """Write the items added since training into the run folder.

        :meth:`load` appends them to the index of the run; ``gclrec export`` builds them into it. Items that
        others saved in the folder since this recommender was loaded stay there. If it was loaded without the
        added items, its own replace them all.

        Raises:
            InputError: this recommender was not loaded from a run folder, or another process keeps it locked.
        """
        if self.run is None or self.added is None:
            raise InputError("added items are saved in a run folder: load the recommender from one")
        self.added.save(self.run)

    def within(self, items: RawIds, *, skip_unknown: bool = False) -> Recommender:
        """Return a recommender that recommends these items only, by exact search among them."""
        rows = distinct_rows(items, self.lookups[1], "candidate", skip_unknown=skip_unknown)
        return self._restricted(np.sort(rows))

    def cold_only(self) -> Recommender:
        """Return a recommender of the items without training interaction, which include added ones."""
        return self._restricted(np.flatnonzero(self._degrees == 0))

    def similar_items(self, item: object, k: int = 10) -> list[Recommendation]:
        r"""Return the items with the largest cosine to an item, without the item itself.

        .. math:: \cos(i, j) = \frac{x_i^\top x_j}{|x_i| |x_j|}

        The search is exact. An item whose vector is zero has cosine 0 with all.
        """
        row = self.lookups[1].of(item)
        self._check_k(k)
        itself = Ragged.from_lists([[row]])
        return as_list(self.items, *self.directions.search(self.directions.vectors[[row]], k, exclude=itself))

    def explain(
        self, user: object, items: RawIds, *, history: RawIds = None, top: int = 5
    ) -> list[Explanation]:
        """Return what each item of a user adds to the scores of items; see :meth:`Explainer.explain`."""
        return self.explainer.explain(user, items, history=history, top=top)

    def _search(self, users: IntArray, k: int, exclude_seen: bool) -> tuple[IntArray, FloatArray]:
        self._check_k(k)
        exclude = self.known.take(users) if exclude_seen else None
        return self._allowed.search(self.user_vectors[users], k, exclude=exclude)

    def _search_by_items(
        self, histories: Histories, k: int, exclude_seen: bool
    ) -> tuple[IntArray, FloatArray]:
        lists = [(np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32))]
        how: Any = {"trained": self.user_vectors, "encode": self._encode}
        for start in range(0, len(histories.ids), _BATCH):
            places = np.arange(start, min(start + _BATCH, len(histories.ids)))
            rows, given = histories.rows[places], histories.given.take(places)
            exclude = given.union(self.known.take(rows)) if exclude_seen else None
            vectors = vectors_by_items(self.folding, rows, given, lambda: self.training_items, **how)
            lists.append(self._allowed.search(vectors, k, exclude=exclude))
        items, scores = map(np.concatenate, zip(*lists, strict=True))
        return items, scores

    @cached_property
    def _encode(self) -> EncodeUsers | None:
        """The encoder of histories, ``None`` for a run without; one that was not loaded is refused."""
        if self.encode_users is None and self.run is not None and reads_histories(self.run):
            how = f"load the recommender with gclrec.load_recommender({str(self.run)!r})"
            raise InputError(f"{self.run}: its encoder reads the histories of users, so {how}")
        return self.encode_users

    def _restricted(self, rows: IntArray) -> Recommender:
        rows = rows if self.only is None else np.intersect1d(rows, self.only)
        if not len(rows):
            how = "gclrec add-items adds new ones, which are cold"
            raise InputError(f"no item is left that may be recommended (cold only, candidates); {how}")
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
    def folding(self) -> FoldIn:
        """What gives vectors to new users and items, read from the run if it was not given."""
        if self.fold_in is not None:
            return self.fold_in
        if self.run is None:
            raise InputError("new users and items need a fold-in: load the recommender from a run folder")
        return read_fold_in(self.run, self.user_vectors, self.index.vectors, self.added)

    @cached_property
    def training_items(self) -> Ragged:
        """The item rows that each user was trained on, read from the run if they were not given."""
        if self.run is not None and self.trained_on is None:
            return read_part_lists(self.run, self.folding.trained_on, self.users, self.items)
        return self.known if self.trained_on is None else self.trained_on

    @cached_property
    def explainer(self) -> Explainer:
        """What splits scores over the items of users; refused where an encoder reads histories."""
        if self._encode is not None:
            raise InputError("explanations: an encoder reads the histories of users, so scores do not split")
        vectors = self.index.vectors, self.user_vectors
        return Explainer(self.folding, *self.lookups, self.items, *vectors, self.training_items)

    @cached_property
    def _allowed(self) -> Index | CandidateSet:
        return self.index if self.only is None else CandidateSet(self.index, self.only)

    @cached_property
    def lookups(self) -> tuple[Lookup, Lookup]:
        """What finds the rows of users and of items."""
        return Lookup(self.users, "user"), Lookup(self.items, "item")

    @cached_property
    def directions(self) -> Index:
        """The index by cosine."""
        return self.index.directions()
