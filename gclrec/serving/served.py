"""One version of a run as the service answers from it: requests of raw ids to lists of raw ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from msgspec import UNSET, UnsetType

from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray
from gclrec.recall.new_users import vectors_by_items
from gclrec.recall.recommender import Recommender
from gclrec.runs.embeddings import FloatArray
from gclrec.serving.catalogue import Catalogue, flat_map, mapped_items
from gclrec.serving.messages import (
    MOST_ANSWERS,
    Contribution,
    FoundItem,
    FoundItems,
    HistoryRequest,
    ItemDetails,
    ItemMap,
    ManyRecommended,
    Recommended,
    RecommendRequest,
    Restriction,
    ScoreParts,
    Similar,
    SimilarRequest,
    UserDetails,
)
from gclrec.serving.problems import RequestError
from gclrec.serving.restricted import RestrictedSearch
from gclrec.serving.told import Told, rows_of

_MOST_EXPLAINED = 1_000
_SHOWN = 200  # items of a user's details

Source = Literal["trained", "feedback", "items", "popular"]


@dataclass(eq=False)
class Served:
    """A recommender with attributes of its items and feedback on top; what all endpoints call.

    Args:
        version: of the run, as :func:`~gclrec.serving.snapshot.version_of` names it.
        recommender: of the run, with the items added since.
        catalogue: what is known of its items.
        told: the feedback of users.
        ids_as_strings: write whole-number ids as text where a request does not say.
    """

    version: str
    recommender: Recommender
    catalogue: Catalogue
    told: Told
    ids_as_strings: bool = False

    @cached_property
    def _searching(self) -> RestrictedSearch:
        return RestrictedSearch(self.recommender, self.catalogue)

    # -- lists -----------------------------------------------------------------------------------

    def recommend_user(self, request: RecommendRequest) -> Recommended:
        """Answer the one user of a request."""
        if isinstance(request.user, UnsetType):
            raise RequestError("invalid", "give one of `user` and `users`", pointer="/user")
        return self._recommend([request.user], request)[0]

    def recommend(self, request: RecommendRequest) -> Recommended | ManyRecommended:
        """Answer one user, or several."""
        if isinstance(request.users, UnsetType):
            return self.recommend_user(request)
        if not isinstance(request.user, UnsetType):
            raise RequestError("invalid", "give one of `user` and `users`", pointer="/user")
        if len(request.users) * request.k > MOST_ANSWERS:
            raise RequestError(
                "invalid", f"users times k is over {MOST_ANSWERS:,}; ask for fewer", pointer="/k"
            )
        return ManyRecommended(self._recommend(request.users, request))

    def knows(self, user: int | str) -> bool:
        """Return whether the run has a trained vector of a user."""
        return self.recommender.lookups[0].find(user) >= 0

    def recommend_alike(self, requests: Sequence[RecommendRequest]) -> list[Recommended]:
        """Answer requests for one user of the run each that differ in nothing else."""
        users = [request.user for request in requests if not isinstance(request.user, UnsetType)]
        return self._recommend(users, requests[0])

    def _recommend(self, users: Sequence[int | str], request: RecommendRequest) -> list[Recommended]:
        recommender = self.recommender
        rows = rows_of(users, recommender.lookups[0])
        sources: list[Source] = ["trained"] * len(users)
        given = Ragged.empty(len(users))
        if self.told or rows.min() < 0:
            lists, sources = self._histories(users, rows, request)
            given = Ragged.from_lists(lists)
        vectors = self._vectors(rows, given)
        exclude = self._seen(rows, given) if request.exclude_seen else None
        found = self._searching.search(vectors, request, exclude)
        popular = [place for place, source in enumerate(sources) if source == "popular"]
        if popular:
            lists_of_popular = self._searching.popular(request)
            found[0][popular], found[1][popular] = lists_of_popular
        return self._listed(users, rows, given, sources, found, request)

    def _histories(
        self, users: Sequence[int | str], rows: IntArray, request: RecommendRequest
    ) -> tuple[list[list[int]], list[Source]]:
        """Return what each user has beside the training items, and where its list comes from."""
        lists: list[list[int]] = []
        sources: list[Source] = []
        items: list[int] | None = None
        for raw, row in zip(users, rows.tolist(), strict=True):
            history = self.told.items_of(row, raw)
            source: Source = "feedback" if history else "trained"
            if row < 0 and not self._tells(history):
                history = []
                if request.unknown == "error":
                    message = f"unknown user {raw!r}; see `unknown` for what such users can get"
                    raise RequestError(
                        "unknown-user",
                        message,
                        pointer="/user" if isinstance(request.users, UnsetType) else "/users",
                    )
                source = "popular"
                if request.unknown == "items":
                    items = self._given(request.items) if items is None else items
                    history, source = items, "items"
            lists.append(history)
            sources.append(source)
        return lists, sources

    def _tells(self, history: list[int]) -> bool:
        folding = self.recommender.fold_in
        return bool(history) and folding is not None and bool(folding.item_tells[history].any())

    def _given(self, items: list[int | str] | UnsetType, *, skip_unknown: bool = True) -> list[int]:
        """Return the rows of a history in a request."""
        if isinstance(items, UnsetType):
            raise RequestError(
                "invalid", "`unknown` is `items`, so give `items`, what the user has", pointer="/items"
            )
        rows = rows_of(items, self.recommender.lookups[1])
        if not skip_unknown and rows.min() < 0:
            raw = items[int(np.argmin(rows))]
            raise RequestError(
                "unknown-item", f"unknown item {raw!r}; `skip_unknown` leaves such out", pointer="/items"
            )
        history: list[int] = Ragged.from_lists([rows[rows >= 0]]).newest().values.tolist()
        if not self._tells(history):
            raise RequestError("unknown-item", "none of the items was seen in training", pointer="/items")
        return history

    def _vectors(self, rows: IntArray, given: Ragged) -> FloatArray:
        """Return ``(B, D)`` vectors: trained ones, and folded-in ones of users with further items."""
        recommender = self.recommender
        if not len(given.values) or recommender.fold_in is None:
            vectors: FloatArray = recommender.user_vectors[np.maximum(rows, 0)]
            return vectors
        moved = np.flatnonzero(given.lengths)
        vectors = recommender.user_vectors[np.maximum(rows, 0)]
        vectors[moved] = vectors_by_items(
            recommender.folding,
            rows[moved],
            given.take(moved),
            lambda: recommender.training_items,
            trained=recommender.user_vectors,
            encode=recommender.encode_users,
        )
        return vectors

    def _seen(self, rows: IntArray, given: Ragged) -> Ragged:
        """Return what each user has: in the run, and beside it."""
        known = self.recommender.known.take(rows)
        return known.union(given) if len(given.values) else known

    def recommend_for(self, request: HistoryRequest) -> Recommended:
        """Answer someone by items: a new user, or one of the run with further items."""
        history = self._given(request.items, skip_unknown=request.skip_unknown)
        user, rows, before = request.user, np.array([-1]), []
        if user is not None:
            rows = rows_of([user], self.recommender.lookups[0])
            before = self.told.items_of(int(rows[0]), user)
            if rows[0] < 0 and not before:
                raise RequestError("unknown-user", f"unknown user {user!r}", pointer="/user")
        given = Ragged.from_lists([[*before, *history]]).newest()
        exclude = self._seen(rows, given) if request.exclude_seen else None
        found = self._searching.search(self._vectors(rows, given), request, exclude)
        return self._listed([user], rows, given, ["items"], found, request)[0]

    def similar(self, request: SimilarRequest) -> Similar:
        """Return the items with the largest cosine to an item."""
        row = self.item_row(request.item, "/item")
        query = self.recommender.directions.vectors[[row]]
        found = self._searching.search(query, request, Ragged.from_lists([[row]]), directions=True)
        (ids,), (scores,), attributes = self._named(*found, request)
        return Similar(item=self.spelled(self.recommender.items.ids[row], request.ids_as_strings),
                       items=ids, scores=scores, attributes=attributes[0])  # fmt: skip

    # -- answers ---------------------------------------------------------------------------------

    def _listed(
        self,
        users: Sequence[int | str | None],
        rows: IntArray,
        given: Ragged,
        sources: Sequence[Source],
        found: tuple[IntArray, FloatArray],
        request: RecommendRequest | HistoryRequest,
    ) -> list[Recommended]:
        ids, scores, attributes = self._named(*found, request)
        names = self._user_ids(users, rows, request.ids_as_strings)
        answers = [
            Recommended(user=user, source=source, items=items, scores=values, attributes=known)
            for user, source, items, values, known in zip(
                names, sources, ids, scores, attributes, strict=True
            )
        ]
        if request.explain:
            if sum(map(len, ids)) > _MOST_EXPLAINED:
                raise RequestError(
                    "invalid", f"explains at most {_MOST_EXPLAINED:,} items a request", pointer="/explain"
                )
            for place, answer in enumerate(answers):
                if answer.source != "popular":
                    row, history = int(rows[place]), given[place]
                    answer.explanations = self._explained(row, history, found[0][place], request)
        return answers

    def _named(
        self, rows: IntArray, scores: FloatArray, request: Restriction
    ) -> tuple[list[list[int | str]], list[list[float]], list[Any]]:
        """Return ids, scores and, where they are wanted, attributes of ``(B, k)`` rows, ``-1`` for none."""
        ids = self.catalogue.names(rows, self._as_strings(request.ids_as_strings))
        values = scores.tolist()
        counts = (rows >= 0).sum(axis=1).tolist()
        if min(counts, default=0) < rows.shape[1]:
            ids = [each[:count] for each, count in zip(ids, counts, strict=True)]
            values = [each[:count] for each, count in zip(values, counts, strict=True)]
        attributes: list[Any] = [UNSET] * len(rows)
        if request.attributes:
            attributes = [self.catalogue.told(row[row >= 0]) for row in rows]
        return ids, values, attributes

    def _explained(
        self, row: int, history: IntArray, items: IntArray, request: RecommendRequest | HistoryRequest
    ) -> list[ScoreParts]:
        recommender = self.recommender
        items = items[items >= 0]
        if not len(items):
            return []
        try:
            explained = recommender.explainer.explain(
                None if row < 0 else recommender.users.ids[row],
                recommender.items.raw(items),
                history=recommender.items.raw(history) if len(history) else None,
                top=request.explain,
            )
        except InputError as error:
            raise RequestError("not-explained", str(error), pointer="/explain") from None
        return [
            ScoreParts(
                [
                    Contribution(self.spelled(item, request.ids_as_strings), value)
                    for item, value in each.because
                ],
                each.others,
                each.own,
            )
            for each in explained
        ]

    # -- details ---------------------------------------------------------------------------------

    def user(self, raw: str, *, ids_as_strings: bool | None, attributes: bool) -> UserDetails:
        """Return what is known of a user."""
        row = int(rows_of([raw], self.recommender.lookups[0])[0])
        told = self.told.items_of(row, raw)[::-1]
        if row < 0 and not told:
            raise RequestError("unknown-user", f"unknown user {raw!r}")
        known = [] if row < 0 else self.recommender.known[row].tolist()
        rows = [*told, *(each for each in known if each not in set(told))]
        shown = np.array(rows[:_SHOWN], dtype=np.int64)
        return UserDetails(
            user=self._user_ids([raw], np.array([row]), ids_as_strings)[0],
            trained=row >= 0,
            count=len(rows),
            items=self.catalogue.names(shown[None], self._as_strings(ids_as_strings))[0],
            feedback=len(told),
            attributes=self.catalogue.told(shown) if attributes else UNSET,
        )

    def item(self, raw: str, *, ids_as_strings: bool | None) -> ItemDetails:
        """Return what is known of an item."""
        row = self.item_row(raw, None)
        interactions = int(self.catalogue.interactions[row])
        added = self.recommender.added
        return ItemDetails(
            item=self.spelled(self.recommender.items.ids[row], ids_as_strings),
            interactions=interactions,
            cold=interactions == 0,
            added=row >= len(self.recommender.items) - (0 if added is None else len(added)),
            attributes=self.catalogue.told(np.array([row]))[0],
        )

    def find(self, text: str, limit: int, ids_as_strings: bool | None) -> FoundItems:
        """Return items whose id or title holds a text, the most popular first."""
        rows = self.catalogue.search(text, limit)
        (ids,) = self.catalogue.names(rows[None], self._as_strings(ids_as_strings))
        titles = self.catalogue.titles.gather(rows).to_list()
        return FoundItems([FoundItem(item, title) for item, title in zip(ids, titles, strict=True)])

    def item_map(self, by: str, ids_as_strings: bool | None) -> ItemMap:
        """Return coordinates of the most popular items and of a sample of the others."""
        rows = mapped_items(self.catalogue)
        groups, group = self.catalogue.groups(by, rows) if by else ([], [-1] * len(rows))
        x, y = self._flat[rows].T.round(4).tolist()
        (ids,) = self.catalogue.names(rows[None], self._as_strings(ids_as_strings))
        titles = self.catalogue.titles.gather(rows).to_list()
        return ItemMap(ids, titles, x, y, self.catalogue.interactions[rows].tolist(), groups, group)

    @cached_property
    def _flat(self) -> FloatArray:
        return flat_map(self.recommender.index.vectors)

    @cached_property
    def explains(self) -> bool:
        """Whether scores split over histories."""
        folding = self.recommender.fold_in
        if folding is None or self.recommender.encode_users is not None:
            return False
        return folding.propagates or folding.least_squares is not None

    def warm(self) -> None:
        """Answer as clients will, so that the first of them need not wait for what is made once."""
        recommender = self.recommender
        some = recommender.users.ids.head(64).to_list()
        recommender.directions  # noqa: B018 - computed once
        self._recommend(some[:1], RecommendRequest(k=10))
        self._recommend(some, RecommendRequest(k=10))
        self._searching.popular(RecommendRequest(k=10))
        if recommender.fold_in is not None:
            told = np.flatnonzero(recommender.folding.item_tells)[:2]
            self._vectors(np.array([-1]), Ragged.from_lists([told]))

    def item_row(self, raw: int | str, pointer: str | None) -> int:
        """Return the row of an item."""
        row = int(rows_of([raw], self.recommender.lookups[1])[0])
        if row < 0:
            raise RequestError("unknown-item", f"unknown item {raw!r}", pointer=pointer)
        return row

    def _user_ids(
        self, users: Sequence[int | str | None], rows: IntArray, as_strings: bool | None
    ) -> list[Any]:
        """Return the ids of users as the data spells them, those that the run does not know as they are."""
        whole = self.recommender.users.ids.dtype == pl.Int64
        found = [
            raw if raw is None or row < 0 else int(raw) if whole else str(raw)
            for raw, row in zip(users, rows.tolist(), strict=True)
        ]
        if self._as_strings(as_strings):
            return [raw if raw is None else str(raw) for raw in found]
        return found

    def _as_strings(self, asked: bool | None) -> bool:
        return self.ids_as_strings if asked is None else asked

    def spelled(self, raw: int | str, asked: bool | None) -> int | str:
        """Return an id as the request wants it."""
        return str(raw) if self._as_strings(asked) else raw
