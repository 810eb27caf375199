"""Time the full ranking for all users, compared with a plain loop that must give the same lists."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from bench_common import show, use_threads
from torch import Generator, Tensor

from gclrec.common.ragged import Ragged
from gclrec.data.catalog.loader import load
from gclrec.data.splits import make_split
from gclrec.encoders import LightGCN
from gclrec.encoders.init import STARTS
from gclrec.evaluation.evaluator import evaluate
from gclrec.evaluation.ranking import top_k
from gclrec.graph.bipartite import BipartiteGraph

KS = (20, 50, 100)
"""Cuts of the lists."""

ROUNDING = 1e-5
"""Largest relative difference of two scores that differ only by rounding."""


def evaluation(
    *,
    dataset: str = "gowalla",
    dim: int = 64,
    repeats: int = 3,
    block: int = 1024,
    threads: int | None = None,
    seed: int = 0,
) -> None:
    """Time the full evaluation of all users with test pairs at k = 20, 50 and 100.

    Our ranking alone, the whole evaluation with every metric and group, and the ranking of a plain float32
    loop (product, mask, torch.topk in blocks of users), taken in turn. The lists must be the same; where two
    differ, the scores at the places that differ must be the same but for rounding, and are counted.

    Args:
        dataset: catalogue name; its own split, or a random one.
        dim: embedding length.
        repeats: timed calls of each.
        block: users at a time in the plain loop.
        threads: PyTorch threads; all cores if not given.
        seed: of the random vectors and of a random split.
    """
    use_threads(threads)
    split = make_split(load(dataset), seed=seed)
    train, test = split.train, split.test
    graph = BipartiteGraph.from_interactions(train)
    with_test = np.flatnonzero(test.user_degrees())
    seen = Ragged.from_pairs(train.user, train.item, train.num_users).take(with_test)
    rows, result = [], {"benchmark": "evaluate", "dataset": dataset, "dim": dim, "users": len(with_test)}
    for kind, (users, items) in {
        "random": random_vectors(graph, dim, seed),
        "trained-like": trained_like(graph, dim, seed),
    }.items():
        chosen = users[torch.from_numpy(with_test)]
        seconds: dict[str, list[float]] = {"plain loop": [], "top_k": [], "evaluate": []}
        for _ in range(repeats):
            began = time.perf_counter()
            plain = plain_top_k(chosen, items, max(KS), seen, block)
            seconds["plain loop"].append(time.perf_counter() - began)
            began = time.perf_counter()
            ours = top_k(chosen, items, max(KS), seen=seen)
            seconds["top_k"].append(time.perf_counter() - began)
            began = time.perf_counter()
            figures = evaluate(users, items, train, test, ks=KS)
            seconds["evaluate"].append(time.perf_counter() - began)
        others = compare(ours, plain)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        recall = figures.values["all/recall@20"]
        for name, value in medians.items():
            ratio = f"{medians['plain loop'] / value:.2f}x"
            rows.append((f"{kind}, {name}", f"{value:.2f}", ratio, f"{others}", f"{recall:.4f}"))
        result[kind] = {"seconds": medians, "places_swapped_by_rounding": others, "recall@20": recall}
    columns = ("vectors", "s", "plain loop of it", "places swapped by rounding", "recall@20")
    title = f"{dataset}: {len(with_test):,} users, {train.num_items:,} items, dim {dim}, k {KS}"
    show(title, columns, rows, result)


def random_vectors(graph: BipartiteGraph, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return vectors without structure."""
    generator = Generator().manual_seed(seed)
    users, items = (torch.randn(n, dim, generator=generator) for n in (graph.num_users, graph.num_items))
    return users, items


def trained_like(graph: BipartiteGraph, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return vectors like trained ones: singular directions of the graph, propagated."""
    generator = Generator().manual_seed(seed)
    encoder = LightGCN(graph.num_users, graph.num_items, dim, generator=generator)
    STARTS["spectral"](encoder, graph, generator)
    with torch.no_grad():
        users, items = encoder(graph)
    return users, items


def plain_top_k(users: Tensor, items: Tensor, k: int, seen: Ragged, block: int) -> tuple[Tensor, Tensor]:
    """Return the best unseen items of each user and their scores, with the usual PyTorch loop."""
    best, scores = [], []
    for start in range(0, len(users), block):
        part = users[start : start + block] @ items.T
        indptr = seen.indptr[start : start + len(part) + 1]
        row = torch.arange(len(part)).repeat_interleave(torch.from_numpy(np.diff(indptr)))
        part[row, torch.from_numpy(seen.values[indptr[0] : indptr[-1]])] = -torch.inf
        found = part.topk(k, dim=1)
        best.append(found.indices)
        scores.append(found.values)
    return torch.cat(best), torch.cat(scores)


def compare(ours: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> int:
    """Return the number of places at which the lists differ by rounding.

    Raises:
        SystemExit: a place differs by more.
    """
    other = (ours[0] != plain[0]) & (plain[1] > -torch.inf)
    gap = (ours[1] - plain[1]).abs()[other]
    if bool((gap > ROUNDING * plain[1].abs().amax()).any()):
        raise SystemExit(f"the ranking differs from the plain one, by up to {float(gap.max()):g}")
    return int(other.sum())
