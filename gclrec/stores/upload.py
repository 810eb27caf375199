"""Export of a run to a store, and the lists that the store then gives."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gclrec.common.errors import InputError
from gclrec.recall.recommendation import Recommendation
from gclrec.recall.recommender import Recommender
from gclrec.recall.top_k import best_first
from gclrec.stores import open_store, shown_url
from gclrec.stores.base import TABLES, Store, StoreContent

ROWS, NUMBERS = 1000, 500_000
"""Rows and numbers that a request holds at most; an interrupted export goes on after the last whole one."""

CHECKED_USERS, CHECKED_K = 100, 20
OVERSAMPLE = 2
"""Items that a store is asked for, beside one that is wanted; they are scored again."""


class Exported(NamedTuple):
    """What an export did.

    Args:
        items: items in the store.
        users: users in the store.
        resumed: rows that an interrupted export had left there; all of them if the store was up to date.
        seconds: in all.
        recall: share of the exact 20 best unseen items that the store finds, mean over 100 users.
    """

    items: int
    users: int
    resumed: int
    seconds: float
    recall: float


def export_to(
    run: str | Path,
    url: str,
    *,
    batch: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the items and users of a run to a store, and compare its lists with the exact ones.

    The store is asked under the former names until everything is written; an interrupted export goes on where
    it ended. A store that holds this version already is left as it is.

    Args:
        run: the run folder; added items are included.
        url: of a store in :data:`gclrec.stores.STORES`.
        batch: rows a request; by the dimension if ``None``.
        progress: called after each batch with the rows written and the rows in all.

    Raises:
        InputError: the run has no vectors, or the store cannot be reached or refuses what is written.
    """
    began = time.perf_counter()
    content = StoreContent.of_run(run)
    total = sum(content.counts.values())
    batch = batch or max(1, min(ROWS, NUMBERS // content.dim))
    with talking(url), closing(open_store(url)) as store:
        there = store.begin(content)
        resumed = total if there is None else 0
        for side in TABLES if there is not None else ():
            first = there[side] // batch * batch if there else 0
            resumed += first
            for start in range(first, content.counts[side], batch):
                store.put(side, content.batch(side, start, start + batch))
                if progress is not None:
                    before = 0 if side == TABLES[0] else content.counts[TABLES[0]]
                    progress(before + min(start + batch, content.counts[side]), total)
        if there is not None:
            store.finish()
        recall = measured_recall(store, content.recommender)
    items, users = (content.counts[side] for side in TABLES)
    return Exported(items, users, resumed, time.perf_counter() - began, recall)


def recommend_from(store: Store, user: object, k: int, *, exclude_seen: bool = True) -> list[Recommendation]:
    """Return the best items for a user by what a store holds.

    The store proposes twice as many items as are wanted; they are scored in float32 from the vectors that it
    returns and sorted as :meth:`gclrec.Index.search` does, equal scores by row.

    Args:
        store: after an export.
        user: raw id.
        k: length of the list.
        exclude_seen: leave out the items that the user has.

    Raises:
        InputError: the user is not there.
    """
    vector, seen = store.user(user)
    found = store.propose(vector, OVERSAMPLE * k, seen if exclude_seen else [])
    if not len(found.rows):
        return []
    scores = np.matmul(found.vectors, vector)[None]
    rows, best = best_first(found.rows[None], scores, min(k, len(found.rows)))
    names = dict(zip(found.rows.tolist(), found.ids.to_list(), strict=True))
    pairs = zip(rows[0].tolist(), best[0].tolist(), strict=True)
    return [Recommendation(names[row], score) for row, score in pairs]


def measured_recall(store: Store, recommender: Recommender) -> float:
    """Return the share of the exact best unseen items that a store finds, mean over some users."""
    random, shares = np.random.default_rng(0), []
    count = len(recommender.users)
    k = min(CHECKED_K, len(recommender.items))
    for row in random.permutation(count)[:CHECKED_USERS].tolist():
        user = recommender.users.ids[row]
        exact = {item for item, _ in recommender.recommend(user, k)}
        if exact:
            found = {item for item, _ in recommend_from(store, user, k)}
            shares.append(len(exact & found) / len(exact))
    return float(np.mean(shares)) if shares else 1.0


@contextmanager
def talking(url: str) -> Iterator[None]:
    """Turn whatever the client of a store raises into one line with the URL, without its password."""
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:
        last = list(traceback.walk_tb(error.__traceback__))[-1][0]
        if str(last.f_globals.get("__name__")).startswith("gclrec"):
            raise  # a fault of ours
        raise InputError(f"{shown_url(url)}: {' '.join(str(error).split())}") from error
