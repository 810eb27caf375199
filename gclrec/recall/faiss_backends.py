"""Structures that propose items for a query fast, but may miss some: a graph and inverted lists (faiss)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gclrec.common.errors import InputError
from gclrec.common.files import damaged
from gclrec.data.interactions import IntArray
from gclrec.runs.embeddings import FloatArray

LINKS = 32
CONSTRUCTION = 200
"""Neighbours of a node in the graph, and nodes looked at to choose them."""

HEAD_ITEMS = 4096
HEAD_SHARE = 10
"""The ``head`` layout scans the longest vectors: so many at most, and at most one in so many."""

GRAPH_LAYOUTS = ("inner product", "reduced", "head")
OVERFETCH = 4
"""Proposals per wanted item where lists hold compressed vectors, whose scores are approximate."""

CODEWORDS = 256
"""Values that a compressed part of a vector can take."""


class Structure(Protocol):
    """Something that proposes items; what it proposes is scored exactly by the index that holds it."""

    @property
    def efforts(self) -> tuple[int, int]:
        """Least and largest useful effort."""

    @property
    def settings(self) -> dict[str, Any]:
        """What :func:`load_structure` needs to know, and what a reader of the manifest may want to."""

    def propose(self, queries: FloatArray, count: int, effort: int) -> IntArray:
        """Return ``(B, >= count)`` item rows in no order, ``-1`` in places left over."""

    def faiss_index(self) -> Any:
        """Return what ``items.faiss`` holds."""

    def extended(self, vectors: FloatArray, known: int) -> Structure:
        """Return a structure of all ``(I, D)`` vectors, of which this one holds the first ``known``."""


@dataclass(frozen=True, eq=False)
class HnswGraph:
    r"""Hierarchical navigable small-world graph (HNSW, [1]), laid out for inner products.

    A graph whose links follow raw inner products misses much when the lengths of the vectors are skewed: the
    few longest are everybody's neighbours. There are three layouts:

    * ``inner product``: the plain graph, right for vectors of similar length;
    * ``reduced``: a graph by Euclidean distance after one more coordinate makes all items equally long, which
      leaves the order for a query unchanged [2]:

      .. math:: \tilde v = (v, \sqrt{M^2 - |v|^2}), \quad \tilde q = (q, 0), \quad
          |\tilde q - \tilde v|^2 = |q|^2 + M^2 - 2\, q^\top v

    * ``head``: the longest vectors (at most 4,096) are scanned one by one, and a plain graph holds the rest,
      whose lengths are no longer skewed.

    Args:
        graph: the faiss graph, which knows the rows of its items.
        layout: one of ``GRAPH_LAYOUTS``.
        head_rows: ``(head + 1,)`` rows of the items that are scanned; the last is ``-1``.
        head: faiss index of their vectors; ``None`` without them.
        tried: recall of the layouts that were compared, for the manifest.

    [1] Malkov & Yashunin, TPAMI 2020, https://arxiv.org/abs/1603.09320
    [2] Bachrach et al., RecSys 2014, https://doi.org/10.1145/2645710.2645741
    """

    graph: Any
    layout: str
    head_rows: IntArray
    head: Any
    tried: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def build(cls, vectors: FloatArray, layout: str, *, seed: int) -> HnswGraph:
        """Return the graph of ``(I, D)`` vectors; one thread, so that the seed decides all."""
        faiss = _faiss()
        rest = _without_longest(vectors, head_size(len(vectors)) if layout == "head" else 0)
        body = _lifted(vectors[rest]) if layout == "reduced" else vectors[rest]
        metric = faiss.METRIC_L2 if layout == "reduced" else faiss.METRIC_INNER_PRODUCT
        links = faiss.IndexHNSWFlat(body.shape[1], LINKS, metric)
        links.hnsw.efConstruction = CONSTRUCTION
        links.hnsw.rng = faiss.RandomGenerator(seed)
        graph = faiss.IndexIDMap(links)
        with _one_thread():
            graph.add_with_ids(body, rest)
        return cls.of(graph, layout, rest, vectors)

    @classmethod
    def of(cls, graph: Any, layout: str, rest: IntArray, vectors: FloatArray) -> HnswGraph:
        """Put a faiss graph of the items ``rest`` together with the vectors that it does not hold."""
        faiss = _faiss()
        head_rows = np.setdiff1d(np.arange(len(vectors)), rest)
        head = None
        if len(head_rows):
            head = faiss.IndexFlatIP(vectors.shape[1])
            head.add(vectors[head_rows])
        return cls(graph, layout, np.append(head_rows, -1), head)

    @cached_property
    def efforts(self) -> tuple[int, int]:
        """From 100 nodes kept in sight (fewer find too little also for short lists) to 4,096."""
        most = min(4096, int(self.graph.ntotal))
        return min(100, most), most

    @property
    def settings(self) -> dict[str, Any]:
        """Layout and sizes."""
        sizes = {"head": len(self.head_rows) - 1, "links": LINKS, "ef_construction": CONSTRUCTION}
        return {"layout": self.layout, **sizes, "tried": dict(self.tried)}

    def propose(self, queries: FloatArray, count: int, effort: int) -> IntArray:
        """Search the graph with ``efSearch = effort`` (at least ``count``), and scan the head."""
        faiss = _faiss()
        wide = np.pad(queries, ((0, 0), (0, 1))) if self.layout == "reduced" else queries
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, count))
        with _one_thread(len(queries) == 1):
            found: IntArray = self.graph.search(wide, min(count, int(self.graph.ntotal)), params=parameters)[
                1
            ]
            if self.head is None:
                return found
            longest = self.head.search(queries, min(count, len(self.head_rows) - 1))[1]
        return np.concatenate([found, self.head_rows[longest]], axis=1)

    def faiss_index(self) -> Any:
        """Return the graph; its numbers are item rows."""
        return self.graph

    def extended(self, vectors: FloatArray, known: int) -> HnswGraph:
        """Scan further items one by one while that are few, with the head at most 4,096; else link them.

        An item longer than all that the ``reduced`` layout was lifted for cannot be linked: it is scanned.
        """
        faiss = _faiss()
        rest = faiss.vector_to_array(self.graph.id_map)
        fresh = np.arange(known, len(vectors))
        graph = self.graph
        if len(vectors) - len(rest) > HEAD_ITEMS:
            longest = _squares(vectors[rest]).max(initial=0.0)
            if self.layout == "reduced":
                fresh = fresh[_squares(vectors[fresh]) <= longest]
            body = _lifted(vectors[fresh], longest) if self.layout == "reduced" else vectors[fresh]
            graph = faiss.clone_index(self.graph)
            with _one_thread():
                graph.add_with_ids(body, fresh)
            rest = faiss.vector_to_array(graph.id_map)
        return replace(HnswGraph.of(graph, self.layout, rest, vectors), tried=self.tried)


@dataclass(frozen=True, eq=False)
class InvertedLists:
    """Inverted lists by inner product with a centroid; a query looks into the best lists (IVF, [1]).

    The centroids are directions (spherical k-means), since a mean of long and short vectors draws all queries
    to a few long lists. The vectors in a list are kept as they are, or product-quantised [2].

    Args:
        lists: the faiss index.
        compressed: the lists hold product-quantised vectors.

    [1] Sivic & Zisserman, ICCV 2003, https://doi.org/10.1109/ICCV.2003.1238663
    [2] Jegou et al., TPAMI 2011, https://doi.org/10.1109/TPAMI.2010.57
    """

    lists: Any
    compressed: bool

    @classmethod
    def build(cls, vectors: FloatArray, compressed: bool, *, seed: int) -> InvertedLists:
        """Return the lists of ``(I, D)`` vectors, about ``4 sqrt(I)`` of them."""
        faiss = _faiss()
        items, dim = vectors.shape
        count = max(1, round(min(4 * items**0.5, items / 16)))
        quantizer = faiss.IndexFlatIP(dim)
        if compressed:
            parts = next(parts for parts in range(max(1, dim // 4), 0, -1) if dim % parts == 0)
            lists = faiss.IndexIVFPQ(quantizer, dim, count, parts, 8, faiss.METRIC_INNER_PRODUCT)
            lists.pq.cp.seed = seed
            lists.pq.cp.min_points_per_centroid = 1
        else:
            lists = faiss.IndexIVFFlat(quantizer, dim, count, faiss.METRIC_INNER_PRODUCT)
        lists.cp.seed = seed
        lists.cp.spherical = True
        lists.cp.min_points_per_centroid = 1
        lists.train(vectors)
        lists.add(vectors)
        return cls(lists, compressed)

    @cached_property
    def efforts(self) -> tuple[int, int]:
        """From one list to all of them."""
        return 1, int(self.lists.nlist)

    @property
    def settings(self) -> dict[str, Any]:
        """Number of lists, and of bytes a compressed vector takes."""
        settings: dict[str, Any] = {"lists": self.efforts[1]}
        if self.compressed:
            settings |= {"code_bytes": int(self.lists.code_size), "overfetch": OVERFETCH}
        return settings

    def propose(self, queries: FloatArray, count: int, effort: int) -> IntArray:
        """Look into the ``effort`` best lists (``nprobe``)."""
        faiss = _faiss()
        parameters = faiss.IVFSearchParameters(nprobe=min(effort, self.efforts[1]))
        if self.compressed:
            count = max(count * OVERFETCH, CODEWORDS)
        count = min(count, int(self.lists.ntotal))
        with _one_thread(len(queries) == 1):
            found: IntArray = self.lists.search(queries, count, params=parameters)[1]
        return found

    def faiss_index(self) -> Any:
        """Return the lists, numbered by item row."""
        return self.lists

    def extended(self, vectors: FloatArray, known: int) -> InvertedLists:
        """Put further items into the lists that are there."""
        lists = _faiss().clone_index(self.lists)
        lists.add(vectors[known:])
        return InvertedLists(lists, self.compressed)


def load_structure(path: Path, backend: str, vectors: FloatArray, settings: Mapping[str, Any]) -> Structure:
    """Return the structure that ``items.faiss`` holds.

    Raises:
        InputError: the file does not fit the vectors or the settings.
    """
    faiss = _faiss()
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise damaged(path, error) from None
    if backend == "hnsw" and isinstance(index, faiss.IndexIDMap):
        layout, rest = str(settings.get("layout")), faiss.vector_to_array(index.id_map)
        if (
            layout in GRAPH_LAYOUTS
            and isinstance(faiss.downcast_index(index.index), faiss.IndexHNSW)
            and index.d == vectors.shape[1] + (layout == "reduced")
            and len(np.unique(rest)) == len(rest) == len(vectors) - settings.get("head", 0)
            and 0 <= rest.min() <= rest.max() < len(vectors)
        ):
            return replace(HnswGraph.of(index, layout, rest, vectors), tried=settings.get("tried", {}))
    elif backend != "hnsw" and isinstance(index, faiss.IndexIVF) and (index.ntotal, index.d) == vectors.shape:
        return InvertedLists(index, backend == "ivfpq")
    raise InputError(f"{path}: {index.ntotal:,} vectors of dimension {index.d} do not fit the manifest")


def size_in_bytes(index: Any) -> int:
    """Return how many bytes a faiss index takes when written."""
    faiss = _faiss()
    count = 0

    def add(block: bytes) -> None:
        nonlocal count
        count += len(block)

    writer = faiss.PyCallbackIOWriter(add, 1 << 20)
    faiss.write_index(index, writer)
    return count


def head_size(num_items: int) -> int:
    """Return how many of the longest vectors the ``head`` layout scans."""
    return min(HEAD_ITEMS, num_items // HEAD_SHARE)


def _squares(vectors: FloatArray) -> npt.NDArray[np.float64]:
    """Return the squared lengths of vectors."""
    squares: npt.NDArray[np.float64] = np.einsum("id,id->i", vectors, vectors, dtype=np.float64)
    return squares


def _without_longest(vectors: FloatArray, head: int) -> IntArray:
    """Return the rows that are left, in order, when the ``head`` longest vectors are taken away."""
    return np.sort(np.argsort(-_squares(vectors), kind="stable")[head:])


def _lifted(vectors: FloatArray, longest: float | None = None) -> FloatArray:
    """Return vectors with the coordinate that makes all of them as long as the longest (its square)."""
    squares = _squares(vectors)
    extra = np.sqrt((squares.max(initial=0.0) if longest is None else longest) - squares).astype(np.float32)
    return np.concatenate([vectors, extra[:, None]], axis=1)


@contextlib.contextmanager
def _one_thread(wanted: bool = True) -> Iterator[None]:
    """Keep faiss to the calling thread: the order of work is fixed, and a lone query waits for nobody."""
    if not wanted:
        yield
        return
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _faiss() -> Any:
    """Return the library, which is slow to import (and whose type stubs leave out half of it)."""
    import faiss

    return faiss
