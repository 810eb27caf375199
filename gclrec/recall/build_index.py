"""Building an index: the structure, how hard it must look, and what that costs are chosen by measurement."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gclrec.common.errors import InputError, InputWarning
from gclrec.recall.faiss_backends import (
    CODEWORDS,
    GRAPH_LAYOUTS,
    HnswGraph,
    InvertedLists,
    Structure,
    size_in_bytes,
)
from gclrec.recall.index import TUNED_K, Ids, Index, Quality
from gclrec.runs.embeddings import FloatArray, Matrix, as_matrix

FAST_ENOUGH = 20_000.0
"""Queries a second, one at a time, from which ``auto`` keeps exact search: 0.05 ms a query."""

BATCH = 256
"""Queries that are asked together for the figures called batched."""

_SAMPLE = 1_000  # queries to tune with, and as many others to measure with
_LAYOUT_ITEMS = 20_000  # items on which the layouts of a graph are compared
_LEAST_COMPRESSED = 4 * CODEWORDS  # with fewer items there are too few vectors to learn the codewords from
_AHEAD = 2  # so many times as fast as the lists must be a graph of those items to be tried on all
_BISECTIONS = 2
_TIMED_SECONDS = 0.3
_TIMED_CALLS = 300
_TOLERANCE = 1e-5  # float32 inner products that differ only in the order of summation agree better than this


@dataclass(frozen=True, eq=False)
class Task:
    """What a backend is built for.

    Args:
        exact: the catalogue with exact search, measured.
        tuning: queries to tune with.
        held_out: other queries, to measure with.
        target: recall to reach.
        seed: of all randomness.
        progress: called with one line about each step.
    """

    exact: Index
    tuning: Queries
    held_out: Queries
    target: float
    seed: int
    progress: Callable[[str], None]


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
        """Return for each query the recall of one round of proposals."""
        return recalls(index.search_once(self.vectors, self.k)[1], self.kth)

    def measure(self, index: Index, exact: Index, build_seconds: float = 0.0) -> Index:
        """Return the index with its figures."""
        quality = measure(index, self.vectors, exact, self.k, kth=self.kth, build_seconds=build_seconds)
        return replace(index, quality=quality)


def build_index(
    vectors: Matrix,
    ids: Ids,
    *,
    backend: str = "auto",
    queries: Matrix | None = None,
    target_recall: float = 0.95,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Index:
    """Build an index, tune it until its measured recall@100 reaches a target, and measure it.

    Args:
        vectors: ``(I, D)`` item vectors.
        ids: raw item ids by row.
        backend: a name in ``BACKENDS``. ``auto`` takes exact search where it is fast, otherwise the fastest
            of the backends that reach the target.
        queries: ``(Q, D)`` user vectors; one half of a sample tunes the index and the other half measures it.
            The item vectors if ``None``, which is less realistic.
        target_recall: share of the exact 100 best that must be found on average.
        seed: decides the structure and the sample of queries.
        progress: called with one line about each step.

    Raises:
        InputError: a vector is not finite, or the arguments do not fit.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(500, 8))
        >>> index = build_index(vectors, np.arange(500), backend="ivfflat")
        >>> index.quality.recall >= 0.95
        True
    """
    exact = Index.exact(vectors, ids)
    if backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}, expected one of {', '.join(BACKENDS)}")
    if not 0 < target_recall <= 1:
        raise InputError(f"target recall must be above 0 and at most 1, got {target_recall}")
    if seed < 0:
        raise InputError(f"seed must not be negative, got {seed}")
    asked = exact.vectors if queries is None else as_matrix(queries, "queries")
    if asked.shape[1] != exact.dim or not len(asked):
        raise InputError(f"queries: found shape {asked.shape}, expected (Q, {exact.dim}) with Q at least 1")
    progress = progress or _silent
    progress("exact search: measuring")
    sample = asked[np.random.default_rng(seed).permutation(len(asked))[: 2 * _SAMPLE]]
    held_out = Queries.of(sample[len(sample) // 2 :], exact)
    tuning = Queries.of(sample[: max(1, len(sample) // 2)], exact)
    exact = held_out.measure(exact, exact)
    index = BACKENDS[backend](Task(exact, tuning, held_out, target_recall, seed, progress))
    if index.quality and index.quality.recall < target_recall:
        message = (
            f"{index.backend}: measured recall@{held_out.k} {index.quality.recall:.4f} is below the target "
            f"{target_recall:g}; backends auto and exact reach it"
        )
        warnings.warn(message, InputWarning, stacklevel=2)
    figures = [each.quality for each in ((exact, index) if index.structure else (exact,)) if each.quality]
    return replace(index, trials=index.trials or tuple(figures))


def build_fastest(task: Task) -> Index:
    """Take exact search if it is fast, otherwise the fastest of it, lists and graph that reaches the target.

    Speed is the geometric mean of one query at a time, as a service asks, and of 256, as a nightly job does.
    A graph of many items takes longest to build: it is only built where a graph of a sample, which is
    faster, is twice as fast as the lists of all items. Compressed lists are small, not fast.
    """
    built = [task.exact]
    queries = task.held_out.vectors
    if rate(lambda start: task.exact.search(queries[start % len(queries)][None], 10), 1) < FAST_ENOUGH:
        lists = build_lists(task)
        graph = _graph(task, lists.quality)
        built += [lists] if graph is None else [lists, graph]
    figures = [(index, index.quality) for index in built if index.quality]
    enough = [(index, quality) for index, quality in figures if quality.recall >= task.target]
    best = max(enough or figures[:1], key=lambda pair: _speed(pair[1]))[0]
    return replace(best, trials=tuple(quality for _, quality in figures))


def _speed(quality: Quality) -> float:
    return quality.queries_per_second * quality.queries_per_second_batched


def build_exact(task: Task) -> Index:
    """Take exact search, which needs no structure."""
    return task.exact


def build_graph(task: Task) -> Index:
    """Build a graph in the first layout that does well at the least effort, tried on a sample of the items.

    Doing well means to miss at most half of what the target allows, since the whole catalogue is harder than
    the sample. If no layout does, the best is taken.
    """
    graph = _graph(task)
    assert graph is not None
    return graph


def _graph(task: Task, rival: Quality | None = None) -> Index | None:
    """Return a graph of all items; ``None`` where one of a sample is not much faster than a good rival."""
    began = time.perf_counter()
    exact, size = task.exact, min(len(task.exact), _LAYOUT_ITEMS)
    rows = np.sort(np.random.default_rng([task.seed, 1]).permutation(len(exact))[:size])
    sample = exact if size == len(exact) else Index.exact(exact.vectors[rows], exact.ids.raw(rows))
    queries = task.tuning if sample is exact else Queries.of(task.tuning.vectors, sample)
    tried: dict[str, float] = {}
    graphs: dict[str, Index] = {}
    for layout in GRAPH_LAYOUTS:
        task.progress(f"hnsw: trying layout {layout!r} on {size:,} items")
        structure = HnswGraph.build(sample.vectors, layout, seed=task.seed)
        graphs[layout] = replace(sample, backend="hnsw", structure=structure, effort=structure.efforts[0])
        tried[layout] = round(float(queries.recalls(graphs[layout]).mean()), 4)
        if tried[layout] >= (1 + task.target) / 2:
            break
    best = max(tried, key=lambda layout: tried[layout])
    if sample is exact:
        graph = graphs[best].structure
    else:
        if rival is not None and rival.recall >= task.target:
            quality = queries.measure(graphs[best], sample).quality
            if quality is not None and _speed(quality) < _AHEAD**2 * _speed(rival):
                task.progress(f"hnsw: on {size:,} items not {_AHEAD} times as fast as {rival.backend} on all")
                return None
        task.progress(f"hnsw: building layout {best!r}")
        graph = HnswGraph.build(exact.vectors, best, seed=task.seed)
    assert isinstance(graph, HnswGraph)
    return _finished(task, "hnsw", replace(graph, tried=tried), began)


def build_lists(task: Task) -> Index:
    """Build inverted lists of vectors at half precision."""
    began = time.perf_counter()
    task.progress("ivfflat: building")
    lists = InvertedLists.build(task.exact.vectors, compressed=False, seed=task.seed)
    return _finished(task, "ivfflat", lists, began)


def build_compressed_lists(task: Task) -> Index:
    """Build inverted lists of compressed vectors, or of others if there are too few to learn from."""
    if len(task.exact) < _LEAST_COMPRESSED:
        message = (
            f"ivfpq needs {_LEAST_COMPRESSED:,} items to learn {CODEWORDS} codewords from, found "
            f"{len(task.exact):,}: ivfflat is built instead"
        )
        warnings.warn(message, InputWarning, stacklevel=3)
        return build_lists(task)
    began = time.perf_counter()
    task.progress("ivfpq: building")
    lists = InvertedLists.build(task.exact.vectors, compressed=True, seed=task.seed)
    return _finished(task, "ivfpq", lists, began)


def least_effort(task: Task, index: Index, efforts: tuple[int, int]) -> int:
    """Return the least effort that reaches the target, or the largest if none does.

    The recall on the tuning queries must exceed the target by two standard errors, so that other queries are
    likely to reach it too. Efforts double until that is so; then the last step is bisected twice.
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


def measure(
    index: Index,
    queries: npt.NDArray[Any],
    exact: Index,
    k: int = 100,
    *,
    kth: FloatArray | None = None,
    build_seconds: float = 0.0,
) -> Quality:
    """Measure an index against exact search.

    Args:
        index: to measure.
        queries: ``(Q, D)``, at least one, and none that the index was tuned with.
        exact: the same items with backend ``exact``.
        k: length of the lists; the number of items where there are fewer.
        kth: what :func:`kth_scores` returns for these queries, if it is known already.
        build_seconds: put into the result.

    Raises:
        InputError: there is no query, or dimensions do not fit.
    """
    if not len(queries):
        raise InputError("measuring an index: found no query, expected at least one")
    k = min(k, len(exact))
    kth = kth_scores(exact, queries, k) if kth is None else kth
    found = recalls(index.search(queries, k)[1], kth)

    def speed(size: int) -> float:
        return rate(
            lambda start: index.search(queries[np.arange(start, start + size) % len(queries)], k), size
        )

    structure = 0 if index.structure is None else size_in_bytes(index.structure.faiss_index())
    return Quality(
        backend=index.backend,
        recall=float(found.mean()),
        k=k,
        queries_per_second=speed(1),
        queries_per_second_batched=speed(BATCH),
        build_seconds=build_seconds,
        bytes=index.vectors.nbytes + structure,
        queries=len(queries),
    )


def kth_scores(exact: Index, queries: npt.NDArray[Any], k: int) -> FloatArray:
    """Return ``(Q,)`` the score of the ``k``-th best item of each query."""
    scores: FloatArray = exact.search(queries, k)[1][:, -1]
    return scores


def recalls(scores: FloatArray, kth: FloatArray) -> npt.NDArray[np.float64]:
    r"""Return ``(Q,)`` recall@k against exact search.

    .. math:: \frac{1}{k} \left|\{ i \in \text{found}(q) : q^\top v_i \ge s_k(q) \}\right|

    where ``s_k`` is the exact ``k``-th best score, so that an item that ties with it counts as found.

    Args:
        scores: ``(Q, k)`` true scores of what was found, ``-inf`` where nothing was.
        kth: ``(Q,)`` from :func:`kth_scores`.
    """
    slack = _TOLERANCE * np.maximum(np.abs(kth), 1e-30)
    share: npt.NDArray[np.float64] = (scores >= (kth - slack)[:, None]).mean(axis=1)
    return share


def rate(search: Callable[[int], object], size: int) -> float:
    """Return queries per second from the median time of up to 300 calls in 0.3 seconds.

    Args:
        search: asks for ``size`` queries, beginning with the one at the given number.
        size: queries a call.
    """
    search(0)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or (len(times) < _TIMED_CALLS and time.perf_counter() - began < _TIMED_SECONDS):
        before = time.perf_counter()
        search(len(times) * size)
        times.append(time.perf_counter() - before)
    return size / max(statistics.median(times), 1e-9)


def _silent(_: str) -> None:
    """Ignore progress."""


def _finished(task: Task, backend: str, structure: Structure, began: float) -> Index:
    """Tune and measure a structure."""
    task.progress(f"{backend}: tuning to recall@{TUNED_K} {task.target:g}")
    index = replace(task.exact, backend=backend, structure=structure)
    index = replace(index, effort=least_effort(task, index, structure.efforts))
    seconds = time.perf_counter() - began
    task.progress(f"{backend}: measuring")
    return task.held_out.measure(index, task.exact, seconds)


BACKENDS: dict[str, Callable[[Task], Index]] = {
    "auto": build_fastest,
    "exact": build_exact,
    "hnsw": build_graph,
    "ivfflat": build_lists,
    "ivfpq": build_compressed_lists,
}
