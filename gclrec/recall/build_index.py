"""Building an index: which structure, how hard it must look, and what that costs, all by measurement."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gclrec.common.errors import InputError, InputWarning
from gclrec.recall.faiss_backends import CODEWORDS, GRAPH_LAYOUTS, Graph, InvertedLists, Structure
from gclrec.recall.index import TUNED_K, Index
from gclrec.recall.quality import kth_scores, measure, rate, recalls
from gclrec.runs.embeddings import FloatArray, Matrix, as_matrix

FAST_ENOUGH = 20_000.0
"""Queries a second, one at a time, from which ``auto`` is content with exact search: 0.05 ms a query."""

_SAMPLE = 1_000  # queries to tune with, and as many others to measure with
_LAYOUT_ITEMS = 20_000  # items on which the layouts of a graph are compared
_LEAST_COMPRESSED = 4 * CODEWORDS  # items below which product quantisation has too little to learn from
_BISECTIONS = 2


@dataclass(frozen=True, eq=False)
class Task:
    """What a backend is built for.

    Args:
        exact: the catalogue, measured.
        tuning: queries to tune with.
        held_out: other queries, to measure with.
        target: recall to reach.
        seed: of all randomness.
        say: told what is being done.
    """

    exact: Index
    tuning: Queries
    held_out: Queries
    target: float
    seed: int
    say: Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Queries:
    """``(Q, D)`` vectors and the exact ``k``-th best score of each, ``(Q,)``."""

    vectors: FloatArray
    kth: FloatArray
    k: int

    @classmethod
    def of(cls, vectors: FloatArray, exact: Index) -> Queries:
        """Answer the queries exactly."""
        k = min(TUNED_K, len(exact))
        return cls(vectors, kth_scores(exact, vectors, k), k)

    def recalls(self, index: Index) -> npt.NDArray[np.float64]:
        """Return the recall for each query of what the index's structure finds by itself."""
        return recalls(index.search_once(self.vectors, self.k)[1], self.kth)

    def measure(self, index: Index, exact: Index, build_seconds: float = 0.0) -> Index:
        """Return the index with its figures."""
        quality = measure(index, self.vectors, exact, self.k, kth=self.kth, build_seconds=build_seconds)
        return replace(index, quality=quality)


def build_index(
    exact: Index,
    backend: str,
    *,
    queries: Matrix | None,
    target_recall: float,
    seed: int,
    say: Callable[[str], None] | None,
) -> Index:
    """Build, tune and measure; the arguments are those of :meth:`gclrec.recall.index.Index.build`."""
    if backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}, expected one of {', '.join(BACKENDS)}")
    if not 0 < target_recall <= 1:
        raise InputError(f"target recall must be above 0 and at most 1, got {target_recall}")
    if seed < 0:
        raise InputError(f"seed must not be negative, got {seed}")
    asked = exact.vectors if queries is None else as_matrix(queries, "queries")
    if asked.shape[1] != exact.dim or not len(asked):
        raise InputError(f"queries: found shape {asked.shape}, expected (Q, {exact.dim}) with Q at least 1")
    say = say or _quiet
    say("exact search: measuring")
    sample = asked[np.random.default_rng(seed).permutation(len(asked))[: 2 * _SAMPLE]]
    held_out = Queries.of(sample[len(sample) // 2 :], exact)
    tuning = Queries.of(sample[: max(1, len(sample) // 2)], exact)
    exact = held_out.measure(exact, exact)
    index = BACKENDS[backend](Task(exact, tuning, held_out, target_recall, seed, say))
    if index.quality and index.quality.recall < target_recall:
        message = (
            f"{index.backend}: measured recall@{held_out.k} {index.quality.recall:.4f} is below the target "
            f"{target_recall:g}; backends auto and exact reach it"
        )
        warnings.warn(message, InputWarning, stacklevel=3)
    figures = [each.quality for each in ((exact, index) if index.structure else (exact,)) if each.quality]
    return replace(index, trials=index.trials or tuple(figures))


def build_fastest(task: Task) -> Index:
    """Take exact search if it is fast, else whatever reaches the target and is fastest by measurement.

    What counts is the geometric mean of the speeds with one query at a time and with 256: a service asks one
    by one, a nightly job for all users.
    """
    built = [task.exact]
    queries = task.held_out.vectors
    if rate(lambda start: task.exact.search(queries[start % len(queries)][None], 10), 1) < FAST_ENOUGH:
        built += [build_lists(task), build_graph(task)]
        if len(task.exact) >= _LEAST_COMPRESSED:
            built.append(build_compressed_lists(task))
    figures = [(index, index.quality) for index in built if index.quality]
    enough = [(index, quality) for index, quality in figures if quality.recall >= task.target]
    best = max(
        enough or figures[:1],
        key=lambda pair: pair[1].queries_per_second * pair[1].queries_per_second_batched,
    )[0]
    return replace(best, trials=tuple(quality for _, quality in figures))


def build_exact(task: Task) -> Index:
    """Take exact search, which needs no structure."""
    return task.exact


def build_graph(task: Task) -> Index:
    """Build a graph in the first layout that does well with the least effort, tried on a sample of the items.

    Well means that it misses at most half of what the target allows, since more items are harder; where no
    layout does, the best is taken.
    """
    began = time.perf_counter()
    exact, size = task.exact, min(len(task.exact), _LAYOUT_ITEMS)
    rows = np.sort(np.random.default_rng([task.seed, 1]).permutation(len(exact))[:size])
    sample = exact if size == len(exact) else Index.exact(exact.vectors[rows], exact.ids.raw(rows))
    queries = task.tuning if sample is exact else Queries.of(task.tuning.vectors, sample)
    tried: dict[str, float] = {}
    graphs: dict[str, Graph] = {}
    for layout in GRAPH_LAYOUTS:
        task.say(f"hnsw: trying layout {layout!r} on {size:,} items")
        graphs[layout] = Graph.build(sample.vectors, layout, seed=task.seed)
        effort = graphs[layout].efforts[0]
        trial = replace(sample, backend="hnsw", structure=graphs[layout], effort=effort)
        tried[layout] = round(float(queries.recalls(trial).mean()), 4)
        if tried[layout] >= (1 + task.target) / 2:
            break
    best = max(tried, key=lambda layout: tried[layout])
    task.say(f"hnsw: building layout {best!r}")
    graph = graphs[best] if sample is exact else Graph.build(exact.vectors, best, seed=task.seed)
    return _finished(task, "hnsw", replace(graph, tried=tried), began)


def build_lists(task: Task) -> Index:
    """Build inverted lists of plain vectors."""
    began = time.perf_counter()
    task.say("ivfflat: building")
    lists = InvertedLists.build(task.exact.vectors, compressed=False, seed=task.seed)
    return _finished(task, "ivfflat", lists, began)


def build_compressed_lists(task: Task) -> Index:
    """Build inverted lists of compressed vectors; of plain ones where there are too few to learn from."""
    if len(task.exact) < _LEAST_COMPRESSED:
        message = (
            f"ivfpq needs {_LEAST_COMPRESSED:,} items to learn {CODEWORDS} codewords from, found "
            f"{len(task.exact):,}: ivfflat is built instead"
        )
        warnings.warn(message, InputWarning, stacklevel=4)
        return build_lists(task)
    began = time.perf_counter()
    task.say("ivfpq: building")
    lists = InvertedLists.build(task.exact.vectors, compressed=True, seed=task.seed)
    return _finished(task, "ivfpq", lists, began)


def least_effort(task: Task, index: Index, efforts: tuple[int, int]) -> int:
    """Return the least effort that reaches the target, or the largest there is.

    The recall on the tuning queries must exceed the target by two standard errors, so that other queries are
    likely to reach it too. Efforts double until that is so; then the last step is halved twice.
    """

    def reaches(effort: int) -> bool:
        found = task.tuning.recalls(replace(index, effort=effort))
        error = found.std() / len(found) ** 0.5
        return bool(found.mean() - 2 * error >= task.target or found.min() == 1)

    high, most = efforts
    low = high - 1
    while high < most and not reaches(high):
        low, high = high, min(2 * high, most)
    for _ in range(_BISECTIONS):
        middle = (low + high) // 2
        if middle == low:
            break
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def _quiet(_: str) -> None:
    """Say nothing."""


def _finished(task: Task, backend: str, structure: Structure, began: float) -> Index:
    """Tune and measure; say so where the target is out of reach."""
    task.say(f"{backend}: tuning to recall@{TUNED_K} {task.target:g}")
    index = replace(task.exact, backend=backend, structure=structure)
    index = replace(index, effort=least_effort(task, index, structure.efforts))
    seconds = time.perf_counter() - began
    task.say(f"{backend}: measuring")
    return task.held_out.measure(index, task.exact, seconds)


BACKENDS: dict[str, Callable[[Task], Index]] = {
    "auto": build_fastest,
    "exact": build_exact,
    "hnsw": build_graph,
    "ivfflat": build_lists,
    "ivfpq": build_compressed_lists,
}
