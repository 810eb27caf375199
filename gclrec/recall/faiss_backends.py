"""Structures of faiss that propose items for a query fast, but may miss some: a graph and inverted lists."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gclrec.common.errors import InputError, reading
from gclrec.data.interactions import IntArray
from gclrec.runs.embeddings import FloatArray

LINKS = 32
"""Neighbours of a node in the graph."""

CONSTRUCTION = 200
"""Nodes that are compared to choose them."""

HEAD_ITEMS = 4096
HEAD_SHARE = 10
"""The ``head`` layout scans the longest tenth of the vectors, but at most 4,096."""

GRAPH_LAYOUTS = ("inner product", "head")

OVERFETCH = 4
"""Proposals per wanted item from compressed vectors, whose scores are approximate."""

CODEWORDS = 256
"""Values that a part of a compressed vector can take."""

_MANY = 8  # from so many queries on, lists are chosen by a matrix product


class Structure(Protocol):
    """Something that proposes items; the index that holds it computes their exact scores."""

    @property
    def efforts(self) -> tuple[int, int]:
        """Least and largest useful effort."""

    @property
    def settings(self) -> dict[str, Any]:
        """Values for the manifest, among them what :func:`load_structure` needs."""

    def propose(self, queries: FloatArray, count: int, effort: int) -> IntArray:
        """Return ``(B, >= count)`` item rows in no order, ``-1`` in places left over."""

    def faiss_index(self) -> Any:
        """Return what ``items.faiss`` holds, numbered by item row."""

    def extended(self, vectors: FloatArray, known: int) -> Structure:
        """Return a structure of all ``(I, D)`` vectors, of which this one holds the first ``known``."""


@dataclass(frozen=True, eq=False)
class HnswGraph:
    """Hierarchical navigable small-world graph (HNSW, [1]), laid out for inner products.

    HNSW assumes a metric. Links by inner product miss much where the lengths of the vectors are skewed, as
    they are after training on popularity: the few longest vectors become everybody's neighbours and a search
    is caught among them. Hence two layouts:

    * ``inner product``: the plain graph, right for vectors of similar length;
    * ``head``: the longest vectors are scanned one by one, and a plain graph holds the rest, whose lengths
      are no longer skewed.

    Args:
        graph: the faiss graph, whose numbers are item rows.
        layout: one of ``GRAPH_LAYOUTS``.
        head_rows: ``(head + 1,)`` rows of the items that are scanned; the last is ``-1``, so that the number
            of a missing proposal leads to ``-1``.
        head: faiss index of their vectors; ``None`` without them.
        tried: recall of the layouts that were compared, for the manifest.

    [1] Malkov & Yashunin, TPAMI 2020, https://arxiv.org/abs/1603.09320
    """

    graph: Any
    layout: str
    head_rows: IntArray
    head: Any
    tried: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def build(cls, vectors: FloatArray, layout: str, *, seed: int) -> HnswGraph:
        """Return the graph of ``(I, D)`` vectors; on one thread, since links depend on the order."""
        faiss = _faiss()
        head = min(HEAD_ITEMS, len(vectors) // HEAD_SHARE) if layout == "head" else 0
        squares = np.einsum("id,id->i", vectors, vectors, dtype=np.float64)
        rest = np.sort(np.argsort(-squares, kind="stable")[head:])
        links = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        links.hnsw.efConstruction = CONSTRUCTION
        links.hnsw.rng = faiss.RandomGenerator(seed)
        graph = faiss.IndexIDMap(links)
        with _one_thread():
            graph.add_with_ids(vectors[rest], rest)
        return cls.of(graph, layout, rest, vectors)

    @classmethod
    def of(cls, graph: Any, layout: str, rest: IntArray, vectors: FloatArray) -> HnswGraph:
        """Join a faiss graph of the items ``rest`` with the vectors that it does not hold."""
        head_rows = np.setdiff1d(np.arange(len(vectors)), rest)
        head = None
        if len(head_rows):
            head = _faiss().IndexFlatIP(vectors.shape[1])
            head.add(vectors[head_rows])
        return cls(graph, layout, np.append(head_rows, -1), head)

    @cached_property
    def efforts(self) -> tuple[int, int]:
        """``efSearch`` from 100 (less finds too little even for short lists) to 4,096."""
        most = min(4096, int(self.graph.ntotal))
        return min(100, most), most

    @property
    def settings(self) -> dict[str, Any]:
        """Layout and sizes."""
        sizes = {"head": len(self.head_rows) - 1, "links": LINKS, "ef_construction": CONSTRUCTION}
        return {"layout": self.layout, **sizes, "tried": dict(self.tried)}

    def propose(self, queries: FloatArray, count: int, effort: int) -> IntArray:
        """Search the graph with ``efSearch`` of ``effort``, at least ``count``, and scan the head."""
        parameters = _faiss().SearchParametersHNSW(efSearch=max(effort, count))
        with _one_thread(len(queries) == 1):
            wanted = min(count, int(self.graph.ntotal))
            found: IntArray = self.graph.search(queries, wanted, params=parameters)[1]
            if self.head is None:
                return found
            longest = self.head.search(queries, min(count, len(self.head_rows) - 1))[1]
        return np.concatenate([found, self.head_rows[longest]], axis=1)

    def faiss_index(self) -> Any:
        """Return the graph, without the head."""
        return self.graph

    def extended(self, vectors: FloatArray, known: int) -> HnswGraph:
        """Scan further items with the head while these are at most 4,096 in all; beyond that, link them."""
        faiss = _faiss()
        graph, rest = self.graph, faiss.vector_to_array(self.graph.id_map)
        if len(vectors) - len(rest) > HEAD_ITEMS:
            fresh = np.arange(known, len(vectors))
            graph = faiss.clone_index(self.graph)
            with _one_thread():
                graph.add_with_ids(vectors[fresh], fresh)
            rest = faiss.vector_to_array(graph.id_map)
        return replace(HnswGraph.of(graph, self.layout, rest, vectors), tried=self.tried)


@dataclass(frozen=True, eq=False)
class InvertedLists:
    """Inverted lists by inner product with a centroid; a query looks into the best lists (IVF, [1]).

    The centroids are directions (spherical k-means): a mean of long and short vectors is long itself and
    would draw all queries to a few crowded lists. Vectors are kept at half precision, which is read twice as
    fast, or product-quantised [2].

    Args:
        lists: the faiss index.
        compressed: the lists hold product-quantised vectors.
        scale: factor of the vectors in the lists, which keeps them within the range of half precision.

    [1] Sivic & Zisserman, ICCV 2003, https://doi.org/10.1109/ICCV.2003.1238663
    [2] Jegou et al., TPAMI 2011, https://doi.org/10.1109/TPAMI.2010.57
    """

    lists: Any
    compressed: bool
    scale: float = 1.0

    @classmethod
    def build(cls, vectors: FloatArray, compressed: bool, *, seed: int) -> InvertedLists:
        """Return about ``4 sqrt(I)`` lists of ``(I, D)`` vectors."""
        faiss = _faiss()
        items, dim = vectors.shape
        count = max(1, round(min(4 * items**0.5, items / 16)))
        quantizer = faiss.IndexFlatIP(dim)
        scale = 1.0
        if compressed:
            parts = next(parts for parts in range(max(1, dim // 4), 0, -1) if dim % parts == 0)
            lists = faiss.IndexIVFPQ(quantizer, dim, count, parts, 8, faiss.METRIC_INNER_PRODUCT)
            lists.pq.cp.seed = seed
            lists.pq.cp.min_points_per_centroid = 1  # otherwise faiss prints a warning
        else:
            scale = 1.0 / (float(np.abs(vectors).max()) or 1.0)
            half = faiss.ScalarQuantizer.QT_fp16
            lists = faiss.IndexIVFScalarQuantizer(
                quantizer, dim, count, half, faiss.METRIC_INNER_PRODUCT, False
            )
        lists.cp.seed = seed
        lists.cp.spherical = True
        lists.cp.min_points_per_centroid = 1
        scaled = vectors if compressed else vectors * np.float32(scale)
        lists.train(scaled)
        lists.add(scaled)
        return cls(lists, compressed, scale)

    @cached_property
    def efforts(self) -> tuple[int, int]:
        """``nprobe`` from one list to all of them."""
        return 1, int(self.lists.nlist)

    @property
    def settings(self) -> dict[str, Any]:
        """Number of lists, and of bytes a compressed vector."""
        settings: dict[str, Any] = {"lists": self.efforts[1], "scale": self.scale}
        if self.compressed:
            settings |= {"code_bytes": int(self.lists.code_size), "overfetch": OVERFETCH}
        return settings

    def propose(self, queries: FloatArray, count: int, effort: int) -> IntArray:
        """Look into the ``effort`` best lists."""
        faiss = _faiss()
        effort = min(effort, self.efforts[1])
        parameters = faiss.IVFSearchParameters(nprobe=effort)
        count = max(count * OVERFETCH, CODEWORDS) if self.compressed else count + count // 16 + 4
        wanted = min(count, int(self.lists.ntotal))
        with _one_thread(len(queries) == 1):
            found: IntArray
            if len(queries) < _MANY:
                found = self.lists.search(queries, wanted, params=parameters)[1]
                return found
            near, products = self._nearest(queries, effort)
            found = np.empty((len(queries), wanted), dtype=np.int64)
            scores = np.empty(found.shape, dtype=np.float32)
            arrays = map(faiss.swig_ptr, (near, products, scores, found))
            query = np.ascontiguousarray(queries, dtype=np.float32)
            self.lists.search_preassigned_c(
                len(query), faiss.swig_ptr(query), wanted, *arrays, False, parameters
            )
        return found

    def _nearest(self, queries: FloatArray, effort: int) -> tuple[IntArray, FloatArray]:
        """Return the numbers of the ``effort`` best lists of each query, best first, and their products.

        A matrix product and NumPy's selection take 4 us of a query, faiss's search of the centroids 15 us (40
        of 810 lists, 256 queries).
        """
        products = queries @ self._centroids.T
        near = np.argpartition(products, -effort, axis=1)[:, -effort:]
        best = np.take_along_axis(products, near, axis=1)
        order = np.argsort(-best, axis=1)
        return np.take_along_axis(near, order, axis=1), np.take_along_axis(best, order, axis=1)

    @cached_property
    def _centroids(self) -> FloatArray:
        found: FloatArray = self.lists.quantizer.reconstruct_n(0, self.efforts[1])
        return found

    def faiss_index(self) -> Any:
        """Return the lists."""
        return self.lists

    def extended(self, vectors: FloatArray, known: int) -> InvertedLists:
        """Put further items into the present lists."""
        lists = _faiss().clone_index(self.lists)
        lists.add(vectors[known:] * np.float32(self.scale))
        return replace(self, lists=lists)


def load_structure(path: Path, backend: str, vectors: FloatArray, settings: Mapping[str, Any]) -> Structure:
    """Return the structure that ``items.faiss`` holds.

    Raises:
        InputError: the file does not fit the vectors or the settings.
    """
    faiss = _faiss()
    with reading(path, "cannot be used"), _bounded(path.stat().st_size):
        index = faiss.read_index(str(path))
        _check_rows(index, path)
    if backend == "hnsw" and isinstance(index, faiss.IndexIDMap):
        layout, rest = str(settings.get("layout")), faiss.vector_to_array(index.id_map)
        if (
            layout in GRAPH_LAYOUTS
            and isinstance(faiss.downcast_index(index.index), faiss.IndexHNSW)
            and index.d == vectors.shape[1]
            and len(np.unique(rest)) == len(rest) == len(vectors) - settings.get("head", 0)
            and 0 <= rest.min() <= rest.max() < len(vectors)
        ):
            return replace(HnswGraph.of(index, layout, rest, vectors), tried=settings.get("tried", {}))
    elif backend != "hnsw" and isinstance(index, faiss.IndexIVF) and (index.ntotal, index.d) == vectors.shape:
        return InvertedLists(index, backend == "ivfpq", float(settings.get("scale", 1.0)))
    raise InputError(f"{path}: {index.ntotal:,} vectors of dimension {index.d} do not fit the manifest")


@contextlib.contextmanager
def _bounded(size: int) -> Iterator[None]:
    """Let faiss refuse a vector that claims to be larger than the file, before memory is taken for it."""
    faiss = _faiss()
    before = faiss.get_deserialization_vector_byte_limit()
    # A vector in memory may be wider than on the disk: the links of a graph without any take 4 bytes a node.
    faiss.set_deserialization_vector_byte_limit(max(1 << 20, 4 * size))
    try:
        yield
    finally:
        faiss.set_deserialization_vector_byte_limit(before)


def _check_rows(index: Any, path: Path) -> None:
    """Check the row numbers inside a faiss index, which searches them without a look.

    Raises:
        InputError: a link of a graph, or a row in a list, is out of range.
    """
    faiss = _faiss()
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index
    count = int(index.ntotal)
    if isinstance(inner, faiss.IndexHNSW):
        links, graph = int(inner.ntotal), inner.hnsw
        ends = faiss.vector_to_array(graph.offsets).astype(np.int64)
        levels, above = (
            faiss.vector_to_array(part) for part in (graph.levels, graph.cum_nneighbor_per_level)
        )
        near = faiss.vector_to_array(graph.neighbors)
        good = (
            links == count == len(levels) == len(ends) - 1
            and inner.storage.ntotal == count
            and -1 <= near.min(initial=-1) <= near.max(initial=-1) < count
            and -1 <= graph.entry_point < count
            and 1 <= levels.min(initial=1) <= levels.max(initial=1) < len(above)
            and -1 <= graph.max_level < max(1, levels.max(initial=1))
            and ends[0] == 0
            and np.array_equal(np.diff(ends), above[levels])
            and ends[-1] == len(near)
        )
    elif isinstance(inner, faiss.IndexIVF):
        lists = [
            faiss.rev_swig_ptr(inner.invlists.get_ids(n), inner.invlists.list_size(n))
            for n in range(inner.nlist)
            if inner.invlists.list_size(n)
        ]
        rows = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *lists]))
        quantizer = inner.quantizer
        good = np.array_equal(rows, np.arange(count)) and quantizer.ntotal == inner.nlist
        good = good and quantizer.d == inner.d == index.d
    else:
        good = True
    if not good:
        raise InputError(f"{path}: is damaged, it has links or row numbers out of range")


def size_in_bytes(index: Any) -> int:
    """Return the size of a faiss index when written."""
    faiss = _faiss()
    sizes: list[int] = []
    faiss.write_index(index, faiss.PyCallbackIOWriter(lambda block: sizes.append(len(block)), 1 << 20))
    return sum(sizes)


@contextlib.contextmanager
def _one_thread(wanted: bool = True) -> Iterator[None]:
    """Keep faiss to the calling thread: insertion has one order, and a lone query wakes no other thread."""
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
    """Return the library, which is slow to import; its type stubs are incomplete."""
    import faiss

    return faiss
