"""Evaluation of vectors or ranked lists: every metric for every group, in one ranking pass."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from gclrec.common.errors import InputError, InputWarning
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import BoolArray, Float64Array, IntArray, Interactions, RowArray
from gclrec.evaluation.groups import AMONG_GROUPS, ITEM_GROUPS, USER_GROUPS, popularity_parts
from gclrec.evaluation.metrics import CATALOGUE_METRICS, METRICS
from gclrec.evaluation.ranking import Vectors, as_vectors, top_k, top_k_among
from gclrec.evaluation.relevant import Pairs, Relevant, check_lists, checked_pairs, whole_rows

ALL_METRICS = (*METRICS, *CATALOGUE_METRICS)
ALL_GROUPS = (*USER_GROUPS, *ITEM_GROUPS, *AMONG_GROUPS)

RANKED = 2**17
"""Users whose known items are in memory at a time."""

_BLOCK = 2**16  # users whose lists are compared with their test items at a time

DECILES = 10
"""Parts of popularity in the table of users; each has about a tenth of all training interactions."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of an evaluation.

    Args:
        values: figures by name, ``group/metric@k``, such as ``all/recall@20``, ``cold_items/ndcg@10`` or
            ``all/coverage@20``; finite floats. A group without cases has no entry.
        cases: the number of users that the figures of each group are averaged over, 0 included.
        pairs: the number of test pairs in each group, 0 included.
        per_user: one row for each user with test pairs, in order of ``user`` (the row number). Columns: each
            accuracy metric and cut over all items (``recall@20``), ``degree`` (training pairs) and
            ``num_relevant`` (test pairs); for each group of items ``GROUP/num_relevant``,
            ``GROUP/recall@20`` and so on, null for users without test pairs in it; for each tenth of
            popularity (:data:`DECILES`, the most popular first) ``decile_1/num_relevant`` and
            ``decile_1/hits@20`` (test pairs found) and so on. No columns with ``per_user=False``.
        seconds: wall time of the evaluation.
        errors: standard error of each accuracy figure in ``values`` as the mean of a sample of users; for
            groups of two users or more.
    """

    values: dict[str, float]
    cases: dict[str, int]
    pairs: dict[str, int]
    per_user: pl.DataFrame
    seconds: float
    errors: dict[str, float] = field(default_factory=dict)


def evaluate(
    user_vectors: Vectors,
    item_vectors: Vectors,
    train: Pairs,
    test: Pairs,
    *,
    ks: Sequence[int] = (10, 20, 50),
    metrics: Sequence[str] = ALL_METRICS,
    groups: Sequence[str] = ALL_GROUPS,
    near_cold: int = 5,
    exclude: Pairs | None = None,
    block_size: int | None = None,
    per_user: bool | int = True,
) -> Evaluation:
    """Rank the whole catalogue by inner product for every user with test pairs, and score the lists.

    The lists leave out the user's training items and the pairs in ``exclude``. Degrees come from ``train``
    alone. See :func:`~gclrec.evaluation.ranking.top_k` for the order of equal scores.

    Figures of a group of users are means over its users with test pairs. For a group of items the relevant
    items are the user's test items in that group; the ranking is still over the full catalogue, and the mean
    is over users with at least one such item. For a group in ``AMONG_GROUPS`` the candidates are the items of
    the group alone; it has no entry where no test item is in it. Catalogue figures are of all ranked users
    together.

    Args:
        user_vectors: ``(U, D)``, on any device.
        item_vectors: ``(I, D)``, on the same device.
        train: known pairs, as :class:`~gclrec.data.interactions.Interactions`, as ``(user, item)`` arrays or
            tensors of row numbers, or as an ``edge_index (2, E)``.
        test: pairs to find; a repeated pair counts once.
        ks: cuts of the lists.
        metrics: names in ``METRICS`` and ``CATALOGUE_METRICS``.
        groups: names in ``USER_GROUPS``, ``ITEM_GROUPS`` and ``AMONG_GROUPS``.
        near_cold: users and items with 1 to ``near_cold`` training pairs are near-cold, with more warm.
        exclude: more pairs to leave out of the lists, such as validation pairs while testing.
        block_size: users ranked at a time; chosen by the catalogue's size if ``None``.
        per_user: make the table of users, :attr:`Evaluation.per_user`; a number limits it to so many of the
            users, always the same ones of the same users. The figures do not depend on it.

    Raises:
        InputError: a name is unknown, a cut is below 1, a pair lies outside the vectors, or the vectors
            cannot be ranked.
    """
    started = time.perf_counter()
    wanted = _Wanted.of(ks, metrics, groups, near_cold)
    num_users, num_items = len(user_vectors), len(item_vectors)
    known = checked_pairs(train, "train", num_users, num_items)
    relevant = Relevant.of(checked_pairs(test, "test", num_users, num_items), num_users, num_items)
    hidden = [known] if exclude is None else [known, checked_pairs(exclude, "exclude", num_users, num_items)]
    users, vectors = np.flatnonzero(relevant.per_user), as_vectors(user_vectors, "user_vectors")
    lists = np.empty((len(users), wanted.ks[-1]), dtype=np.int32)
    candidates = wanted.candidates(np.bincount(known[1], minlength=num_items), relevant)
    among = {group: np.full_like(lists, -1) for group in candidates}
    lost = 0
    for start in range(0, max(len(users), 1), RANKED):
        some = users[start : start + RANKED]
        seen = Ragged.of_rows(some, hidden, num_users)
        lost += int(relevant.contains(some[seen.owners()], seen.values).sum())
        rows = vectors[torch.from_numpy(some)]
        items, _ = top_k(rows, item_vectors, wanted.ks[-1], seen=seen, block_size=block_size)
        lists[start : start + RANKED] = items.cpu().numpy()
        for group, members in candidates.items():
            at = np.flatnonzero(relevant.users_of(members)[some])
            few, unseen = rows[torch.from_numpy(at)], seen.take(at)
            items = top_k_among(few, item_vectors, members, wanted.ks[-1], seen=unseen, block_size=block_size)
            among[group][start + at] = items.numpy()
    if lost:
        message = f"{lost:,} test pairs are also among the pairs left out of the lists: they count as misses"
        warnings.warn(message, InputWarning, stacklevel=2)
    found = _score(lists, users, known, relevant, wanted, per_user, among)
    return replace(found, seconds=time.perf_counter() - started)


def evaluate_ranking(
    items: npt.ArrayLike | Tensor,
    users: npt.ArrayLike | Tensor,
    train: Pairs,
    test: Pairs,
    *,
    num_users: int | None = None,
    num_items: int | None = None,
    ks: Sequence[int] = (10, 20, 50),
    metrics: Sequence[str] = ALL_METRICS,
    groups: Sequence[str] = ALL_GROUPS,
    near_cold: int = 5,
    per_user: bool | int = True,
    among: Mapping[str, npt.ArrayLike | Tensor] | None = None,
) -> Evaluation:
    """Score given ranked lists, as :func:`evaluate` scores those that it makes.

    The lists are taken as they are, training items included. Users without test pairs are skipped.

    Args:
        items: ``(B, K)`` item rows, best first, ``K >= max(ks)``; ``-1`` in an empty place.
        users: ``(B,)`` distinct user rows; row ``b`` of ``items`` is the list of ``users[b]``. Every user
            with test pairs must be among them.
        train: known pairs, for the degrees.
        test: pairs to find; a repeated pair counts once.
        num_users: ``U``; not needed if ``train`` is an ``Interactions``.
        num_items: ``I``; not needed if ``train`` is an ``Interactions``.
        ks: as for :func:`evaluate`.
        metrics: as for :func:`evaluate`.
        groups: as for :func:`evaluate`.
        near_cold: as for :func:`evaluate`.
        per_user: as for :func:`evaluate`.
        among: further lists of the same users, ``(B, K)`` each, by groups in ``AMONG_GROUPS``, of the items
            of the group alone; without them the group has no figures.

    Raises:
        InputError: a name is unknown, a cut is below 1, a number is out of range, a list is too short or
            names an item twice, a user is listed twice, or a user with test pairs has no list.
    """
    started = time.perf_counter()
    wanted = _Wanted.of(ks, metrics, groups, near_cold)
    if isinstance(train, Interactions):
        num_users = train.num_users if num_users is None else num_users
        num_items = train.num_items if num_items is None else num_items
    if num_users is None or num_items is None:
        raise InputError("train is a pair of arrays: num_users and num_items must be given")
    known = checked_pairs(train, "train", num_users, num_items)
    relevant = Relevant.of(checked_pairs(test, "test", num_users, num_items), num_users, num_items)
    lists, rows = whole_rows(items, "items"), whole_rows(users, "users")
    check_lists(lists, rows, relevant, wanted.ks[-1])
    further = {group: whole_rows(each, group) for group, each in (among or {}).items()}
    for each in further.values():
        check_lists(each, rows, relevant, wanted.ks[-1])
    order = np.argsort(rows)
    order = order[relevant.per_user[rows[order]] > 0]
    further = {group: each[order] for group, each in further.items()}
    found = _score(lists[order], rows[order], known, relevant, wanted, per_user, further)
    return replace(found, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Wanted:
    """The options of an evaluation, checked."""

    ks: tuple[int, ...]
    metrics: tuple[str, ...]
    groups: tuple[str, ...]
    near_cold: int

    @classmethod
    def of(cls, ks: Sequence[int], metrics: Sequence[str], groups: Sequence[str], near_cold: int) -> _Wanted:
        cuts = list(ks) if isinstance(ks, Iterable) else []
        if not cuts or any(not isinstance(k, (int, np.integer)) or k < 1 for k in cuts):
            raise InputError(f"ks must be one or more whole numbers of at least 1, got {ks}")
        if near_cold < 0:
            raise InputError(f"near_cold must not be negative, got {near_cold}")
        _check_names("metric", metrics, ALL_METRICS)
        _check_names("group", groups, ALL_GROUPS)
        return cls(tuple(sorted({int(k) for k in cuts})), tuple(metrics), tuple(groups), near_cold)

    def candidates(self, item_degrees: IntArray, relevant: Relevant) -> dict[str, IntArray]:
        """Return the items of each group that is ranked among itself, where one of them is a test item."""
        groups = {group: AMONG_GROUPS[group] for group in self.groups if group in AMONG_GROUPS}
        members = {group: found(item_degrees, self.near_cold) for group, found in groups.items()}
        return {group: np.flatnonzero(x) for group, x in members.items() if x[relevant.item].any()}

    def columns(self) -> list[tuple[str, str, int]]:
        """Return (column, metric, k) of every accuracy figure."""
        return [(f"{name}@{k}", name, k) for k in self.ks for name in self.metrics if name in METRICS]

    def catalogue(self) -> list[tuple[str, str, int]]:
        """Return (column, metric, k) of every catalogue figure."""
        return [
            (f"{name}@{k}", name, k) for k in self.ks for name in self.metrics if name in CATALOGUE_METRICS
        ]


def _score(
    items: RowArray,
    users: IntArray,
    train: tuple[RowArray, RowArray],
    test: Relevant,
    wanted: _Wanted,
    with_table: bool | int,
    among: Mapping[str, RowArray],
) -> Evaluation:
    """Compute all figures of lists of users with test pairs; ``seconds`` stays 0."""
    user_degrees = np.bincount(train[0], minlength=len(test.per_user))
    item_degrees = np.bincount(train[1], minlength=test.num_items)
    hits = _hits(items, users, test)
    num_relevant = test.per_user[users]
    columns = wanted.columns()
    scores = {column: METRICS[name](hits, num_relevant, k) for column, name, k in columns}

    values: dict[str, float] = {}
    errors: dict[str, float] = {}
    cases: dict[str, int] = {}
    pairs: dict[str, int] = {}
    shown: slice | IntArray = slice(None)
    if with_table is not True and 0 < with_table < len(users):
        shown = np.sort(np.random.default_rng(0).choice(len(users), with_table, replace=False))

    def average(name: str, figures: Float64Array) -> None:
        if len(figures):
            values[name] = float(figures.mean())
        if len(figures) > 1:
            errors[name] = float(figures.std(ddof=1) / np.sqrt(len(figures)))

    details: dict[str, pl.Series | IntArray] = {}
    for group in wanted.groups:
        if group in USER_GROUPS:
            inside = USER_GROUPS[group](user_degrees, wanted.near_cold)[users]
            cases[group], pairs[group] = int(inside.sum()), int(num_relevant[inside].sum())
            for column, _, _ in columns:
                average(f"{group}/{column}", scores[column][inside])
        elif group in ITEM_GROUPS or group in among:
            members = {**ITEM_GROUPS, **AMONG_GROUPS}[group](item_degrees, wanted.near_cold)
            of_user = np.bincount(test.user[members[test.item]], minlength=len(test.per_user))[users]
            rows = of_user > 0
            cases[group], pairs[group] = int(rows.sum()), int(of_user.sum())
            details[f"{group}/num_relevant"] = of_user[shown]
            if group in among:
                group_hits = _hits(among[group][rows], users[rows], test)
            else:
                group_hits = hits[rows] & members[items[rows]]
            of_user = of_user[rows]
            for column, name, k in columns:
                figures = METRICS[name](group_hits, of_user, k)
                if with_table:
                    details[f"{group}/{column}"] = _scattered(figures, rows, shown)
                average(f"{group}/{column}", figures)
        if group == "all" and cases[group]:
            found = {
                column: CATALOGUE_METRICS[name](items, item_degrees, k)
                for column, name, k in wanted.catalogue()
            }
            values |= {f"all/{column}": value for column, value in found.items() if np.isfinite(value)}
    if not with_table:
        return Evaluation(values, cases, pairs, pl.DataFrame(), seconds=0.0, errors=errors)
    per_user = {"user": users, **scores, "degree": user_degrees[users], "num_relevant": num_relevant}
    per_user = {name: column[shown] for name, column in per_user.items()}
    parts = popularity_parts(item_degrees, DECILES)
    deciles = _by_decile(items[shown], users[shown], hits[shown], test, parts, wanted.ks)
    table = pl.DataFrame({**per_user, **details, **deciles})
    return Evaluation(values, cases, pairs, table, seconds=0.0, errors=errors)


def _hits(items: RowArray, users: IntArray, test: Relevant) -> BoolArray:
    """Return whether the item at each place of the lists is a test item of the user."""
    hits = np.empty(items.shape, dtype=np.bool_)
    for start in range(0, len(users), _BLOCK):
        block = slice(start, start + _BLOCK)
        hits[block] = test.contains(users[block, None], items[block])
    return hits


def _scattered(figures: Float64Array, rows: BoolArray, shown: slice | IntArray) -> pl.Series:
    """Return figures of some rows as a column of the rows that are shown, null elsewhere."""
    column = np.full(len(rows), np.nan)
    column[rows] = figures
    return pl.Series(column[shown]).fill_nan(None)


def _by_decile(
    items: RowArray, users: IntArray, hits: BoolArray, test: Relevant, decile: IntArray, ks: tuple[int, ...]
) -> dict[str, IntArray]:
    """Return the number of test pairs, and of those found at each cut, of each user and decile."""

    def table(row: RowArray, item: RowArray) -> IntArray:
        counts = np.bincount(row * DECILES + decile[item], minlength=len(users) * DECILES)
        return counts.reshape(len(users), DECILES)

    row_of = np.full(len(test.per_user), -1, dtype=np.int64)
    row_of[users] = np.arange(len(users))
    of_test = row_of[test.user]
    there = of_test >= 0
    columns = {"num_relevant": table(of_test[there], test.item[there])}
    row, rank = np.nonzero(hits)
    for k in ks:
        near = rank < k
        columns[f"hits@{k}"] = table(row[near], items[row[near], rank[near]])
    return {
        f"decile_{number + 1}/{name}": counts[:, number].astype(np.int32)
        for number in range(DECILES)
        for name, counts in columns.items()
    }


def _check_names(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"unknown {kind} {name!r}: expected some of {', '.join(known)}")
