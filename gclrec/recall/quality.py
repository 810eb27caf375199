"""How good an index is: how much of the exact answer it finds, and how fast."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gclrec.common.errors import InputError
from gclrec.recall.faiss_backends import size_in_bytes

if TYPE_CHECKING:
    from gclrec.recall.index import Index
    from gclrec.runs.embeddings import FloatArray

BATCH = 256
"""Queries that are asked together where a figure is called batched."""

_TIMED_SECONDS = 0.3
_TIMED_CALLS = 300
_TOLERANCE = 1e-5  # float32 products of the same vectors differ by less, relative to their size


@dataclass(frozen=True)
class Quality:
    """Measured figures of an index.

    Args:
        backend: its backend.
        recall: share of the exact ``k`` best that it finds, mean over queries.
        k: length of the lists.
        queries_per_second: one query at a time, median.
        queries_per_second_batched: 256 queries at a time, median.
        build_seconds: from vectors to an index that is tuned.
        bytes: of vectors and structure.
        queries: number of queries behind ``recall``.
    """

    backend: str
    recall: float
    k: int
    queries_per_second: float
    queries_per_second_batched: float
    build_seconds: float
    bytes: int
    queries: int


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
        queries: ``(Q, D)``, at least one; none of them should have served to tune the index.
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
    structure = 0 if index.structure is None else size_in_bytes(index.structure.faiss_index())
    return Quality(
        backend=index.backend,
        recall=float(found.mean()),
        k=k,
        queries_per_second=rate(lambda start: index.search(_cyclic(queries, start, 1), k), 1),
        queries_per_second_batched=rate(lambda start: index.search(_cyclic(queries, start, BATCH), k), BATCH),
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

    where ``s_k`` is the exact ``k``-th best score: an item that ties with it is as good as the one that exact
    search happens to name.

    Args:
        scores: ``(Q, k)`` true scores of what was found, ``-inf`` where nothing was.
        kth: ``(Q,)`` from :func:`kth_scores`.
    """
    slack = _TOLERANCE * np.maximum(np.abs(kth), 1e-30)
    share: npt.NDArray[np.float64] = (scores >= (kth - slack)[:, None]).mean(axis=1)
    return share


def rate(search: Callable[[int], object], size: int) -> float:
    """Return queries per second from the median time of a call: of 300, or as many as 0.3 s have room for.

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


def _cyclic(queries: npt.NDArray[Any], start: int, count: int) -> npt.NDArray[Any]:
    return queries[np.arange(start, start + count) % len(queries)]
