"""Vector databases beside gclrec's index: recall, order, queries a second and seconds of the export."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import show

from gclrec.recall.recommendation import Recommendation
from gclrec.recall.recommender import Recommender
from gclrec.stores import open_store, shown_url
from gclrec.stores.upload import export_to, recommend_from

Answer = Callable[[Any], list[Recommendation]]


def stores(run: Path, *, to: tuple[str, ...], users: int = 300, k: int = 20) -> None:
    """Export a run to each store and ask it for the unseen items of some users, one by one.

    "found" is the share of the exact best that is in the list, "same order" the share of lists that are the
    exact one place by place, items of equal scores aside. The same process asks all, one after the other.

    Args:
        run: run folder; its index is measured too, if it has one.
        to: URLs of stores.
        users: users asked.
        k: length of the lists.
    """
    exact = Recommender.load(run, use_index=False)
    rows = np.random.default_rng(1).permutation(len(exact.users))[:users]
    asked = exact.users.raw(rows).to_list()
    lists = [exact.recommend(user, k) for user in asked]
    figures = {"gclrec, exact": _measured(lambda user: exact.recommend(user, k), asked, lists, 0.0)}
    if (run / "index").exists():
        indexed = Recommender.load(run)
        name = f"gclrec, {indexed.index.backend}"
        figures[name] = _measured(lambda user: indexed.recommend(user, k), asked, lists, 0.0)
    for url in to:
        began = time.perf_counter()
        export_to(run, url)
        seconds = time.perf_counter() - began
        with closing(open_store(url)) as store:
            answer: Answer = lambda user, store=store: recommend_from(store, user, k)  # noqa: E731
            figures[shown_url(url).partition(":")[0]] = _measured(answer, asked, lists, seconds)
    table = [
        (
            name,
            f"{found['recall']:.4f}",
            f"{found['same_order']:.3f}",
            f"{found['queries_per_second']:,.0f}",
            f"{found['export_seconds']:.1f}",
        )
        for name, found in figures.items()
    ]
    heads = ("store", f"found@{k}", "same order", "queries/s", "export s")
    title = f"{run}: {len(exact.items):,} items, {len(exact.users):,} users, {len(asked)} of them asked"
    show(title, heads, table, {"benchmark": "stores", "run": str(run), "k": k, "figures": figures})


def _measured(
    answer: Answer, asked: Sequence[Any], lists: Sequence[list[Recommendation]], seconds: float
) -> dict[str, float]:
    answer(asked[0])  # the first one opens files and connections
    shares, same, times = [], [], []
    for user, exact in zip(asked, lists, strict=True):
        began = time.perf_counter()
        found = answer(user)
        times.append(time.perf_counter() - began)
        if exact:
            shares.append(len({item for item, _ in exact} & {item for item, _ in found}) / len(exact))
        gaps = [abs(a.score - b.score) for a, b in zip(exact, found, strict=False)]
        same.append(len(exact) == len(found) and max(gaps, default=0.0) < 1e-5)
    return {
        "recall": float(np.mean(shares)),
        "same_order": float(np.mean(same)),
        "queries_per_second": 1 / float(np.median(times)),
        "export_seconds": seconds,
    }
