"""The index: top-k items by inner product, without the items that a query must not get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError, reading
from gclrec.common.files import local_path, write_parquet
from gclrec.common.manifest import MANIFEST, read_manifest, settled, writing
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.recall.faiss_backends import Structure, load_structure
from gclrec.recall.top_k import best_first, best_of_row, hide, scan
from gclrec.runs.embeddings import METRIC, FloatArray, Matrix, as_matrix
from gclrec.runs.reading import read_vocabulary

Ids: TypeAlias = Vocabulary | pl.Series | npt.NDArray[Any] | Sequence[Any]
"""Distinct raw ids in row order. (:meth:`Vocabulary.of` sorts them: it fits rows that are sorted too.)"""

INDEX_KIND = "gclrec index"

TUNED_K = 100
"""List length that the effort of a structure is tuned for."""

_FEW = (
    6  # up to so many queries, one scan each is faster than a matrix product (8 on one thread: 0.50, 0.35 ms)
)
_SCORES = 2**22  # scores held at a time: enough rows for a fast product, few enough to stay in the cache
_BLOCK = 2**23  # numbers gathered at a time to score proposals


@dataclass(frozen=True)
class Quality:
    """Measured figures of an index.

    Args:
        backend: name of the backend.
        recall: share of the exact ``k`` best that it finds, mean over queries.
        k: length of the lists.
        queries_per_second: one query at a time, median.
        queries_per_second_batched: 256 queries at a time, median.
        build_seconds: from vectors to a tuned index.
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

    def cells(self) -> list[str]:
        """Return recall, both speeds, seconds and megabytes as text, for tables."""
        figures = f"{self.recall:.4f}", f"{self.queries_per_second:,.0f}"
        costs = (
            f"{self.queries_per_second_batched:,.0f}",
            f"{self.build_seconds:.1f}",
            f"{self.bytes / 1e6:.1f}",
        )
        return [*figures, *costs]


@dataclass(frozen=True, eq=False)
class Index:
    """Items of a catalogue, searched by inner product; :func:`gclrec.build_index` chooses and tunes one.

    A structure (a graph or inverted lists) proposes items. Their scores are then computed in float32 from the
    stored vectors and sorted, equal scores by item row. So a score is always the true inner product; only
    *which* items are found is approximate, as measured in ``quality``.

    An index is immutable, so threads may share one.

    Args:
        ids: raw item ids by row.
        vectors: ``(I, D)`` float32.
        backend: a name in ``gclrec.recall.build_index.BACKENDS``, except ``auto``.
        structure: what proposes items; ``None`` for exact search.
        effort: how hard the structure looks (``efSearch`` of a graph, ``nprobe`` of inverted lists).
        quality: figures measured when it was built; ``None`` if it was not measured.
        trials: figures of all backends that were compared then, exact search first.

    Raises:
        InputError: there is not one id for each vector.

    Example:
        >>> index = Index.exact(np.eye(3, dtype=np.float32), ["tea", "rice", "milk"])
        >>> rows, scores = index.search(np.array([[0.1, 0.3, 0.2]]), k=2)
        >>> index.ids.raw(rows[0]).to_list()
        ['rice', 'milk']
    """

    ids: Vocabulary
    vectors: FloatArray
    backend: str = "exact"
    structure: Structure | None = None
    effort: int = 0
    quality: Quality | None = None
    trials: tuple[Quality, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", _in_order(self.ids))
        if len(self.ids) != len(self.vectors) or not len(self.ids):
            found = f"{len(self.ids):,} ids and {len(self.vectors):,} vectors"
            raise InputError(f"{found}: must be equal and not zero")

    @classmethod
    def exact(cls, vectors: Matrix, ids: Ids) -> Index:
        """Return an index that scans every item; nothing is built or measured.

        Args:
            vectors: ``(I, D)`` item vectors, an array or a tensor.
            ids: raw item ids by row.

        Raises:
            InputError: the shape is wrong, a vector is not finite, there is not one id for each, an id occurs
                twice, or there is no item.
        """
        return cls(_in_order(ids), as_matrix(vectors, "item vectors"))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Index(items={len(self):,}, dim={self.dim}, backend={self.backend!r})"

    @property
    def dim(self) -> int:
        """Dimension ``D`` of vectors and queries."""
        return int(self.vectors.shape[1])

    def search(
        self, queries: Matrix, k: int, *, exclude: Ragged | None = None
    ) -> tuple[IntArray, FloatArray]:
        """Return the ``k`` best items of each query that are not excluded.

        Args:
            queries: ``(B, D)`` user vectors.
            k: length of the lists, at least 1.
            exclude: list ``b`` holds the distinct item rows that query ``b`` must not get, however many.

        Returns:
            Item rows ``(B, k)`` int64 and scores ``(B, k)`` float32, best first. Where fewer than ``k`` items
            are allowed, the list ends with row ``-1`` and score ``-inf``.

        Raises:
            InputError: shapes do not fit, a query is not finite, or ``k`` is below 1.
        """
        matrix = as_matrix(queries, "queries")
        if matrix.shape[1] != self.dim:
            raise InputError(f"queries have {matrix.shape[1]} dimensions, the index has {self.dim}")
        if k < 1:
            raise InputError(f"k must be at least 1, got {k}")
        lists = self._checked(exclude, len(matrix))
        if self.structure is None:
            return self._search_exactly(matrix, k, lists)
        return self._search_structure(self.structure, matrix, k, lists)

    def _checked(self, exclude: Ragged | None, count: int) -> Ragged:
        if exclude is None:
            return Ragged.empty(count)
        if len(exclude) != count:
            raise InputError(
                f"exclude: found {len(exclude):,} lists, expected one for each of {count:,} queries"
            )
        items = exclude.values
        if len(items) and (items.min() < 0 or items.max() >= len(self)):
            raise InputError(f"exclude: item rows must lie in [0, {len(self)})")
        return exclude

    def _search_exactly(self, queries: FloatArray, k: int, exclude: Ragged) -> tuple[IntArray, FloatArray]:
        """Rank all items: few queries by one scan each, many by matrix products of blocks of them.

        (256 queries with 40,981 items of 64 dimensions, k = 20: 97 ms, and 279 ms with the code that
        evaluates; 1,024 queries: 451 and 675 ms.)
        """
        rows, scores = _blank(len(queries), k)
        block = 1 if len(queries) <= _FEW else max(8, _SCORES // len(self))
        for start in range(0, len(queries), block):
            some = queries[start : start + block]
            if block == 1:
                found = scan(self.vectors, some[0])[None]
                found[0, exclude[start]] = -np.inf
            else:
                found = some @ self.vectors.T
                hidden = exclude.take(np.arange(start, start + len(some)))
                found[hidden.owners(), hidden.values] = -np.inf
            for query, all_scores in enumerate(found, start):
                best = best_of_row(all_scores, k)
                rows[query, : len(best)], scores[query, : len(best)] = best, all_scores[best]
        return rows, scores

    def _search_structure(
        self, structure: Structure, queries: FloatArray, k: int, exclude: Ragged
    ) -> tuple[IntArray, FloatArray]:
        """Draw proposals, twice as many a round, until each query has ``k`` items that are allowed."""
        hidden = exclude.lengths
        wanted = np.minimum(k, len(self) - hidden)
        if not len(exclude.values):
            count = np.full(len(queries), k)
        else:
            count = k << np.ceil(np.log2((k + hidden) / k)).astype(np.int64)
        # Beyond so many proposals a structure is slower than exact search.
        limit = max(256, len(self) // 100)
        rows, scores = _blank(len(queries), k)
        left = np.arange(len(queries))
        while len(left):
            size = int(count[left].min())
            if size > limit:
                rows[left], scores[left] = self._search_exactly(queries[left], k, exclude.take(left))
                break
            now = left[count[left] == size]
            part = exclude if len(now) == len(queries) else exclude.take(now)
            rows[now], scores[now] = self._ask(structure, queries[now], k, size, part)
            count[now] *= 2
            left = left[(rows[left] >= 0).sum(axis=1) < wanted[left]]
        return rows, scores

    def search_once(self, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return the best of one round of proposals, which may be fewer than ``k``; this tunes the effort."""
        if self.structure is None:
            return self.search(queries, k)
        return self._ask(self.structure, queries, k, k, self._checked(None, len(queries)))

    def _ask(
        self, structure: Structure, queries: FloatArray, k: int, count: int, exclude: Ragged
    ) -> tuple[IntArray, FloatArray]:
        """Return the best ``k`` of ``count`` proposals, without excluded ones.

        The effort was tuned for lists of ``TUNED_K`` items and grows with longer ones.
        """
        effort = min(structure.efforts[1], -(-self.effort * max(count, TUNED_K) // TUNED_K))
        return self._score(queries, hide(structure.propose(queries, count, effort), exclude, len(self)), k)

    def _score(self, queries: FloatArray, proposed: IntArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return the best ``k`` of ``(B, n)`` proposed rows (``-1``: none) by inner product."""
        rows, scores = _blank(len(queries), k)
        block = max(1, _BLOCK // max(1, proposed.shape[1] * self.dim))
        for start in range(0, len(queries), block):
            some = proposed[start : start + block]
            products = np.matmul(self.vectors.take(some, axis=0), queries[start : start + block, :, None])
            products = products[:, :, 0]
            found, values = best_first(some, np.where(some < 0, np.float32(-np.inf), products), k)
            rows[start : start + block, : found.shape[1]] = found
            scores[start : start + block, : found.shape[1]] = values
        return rows, scores

    def directions(self) -> Index:
        """Return an exact index of the vectors at unit length; a zero vector stays zero."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        unit = np.divide(self.vectors, lengths, out=np.zeros_like(self.vectors), where=lengths > 0)
        return Index(self.ids, unit)

    def extended(self, vectors: Matrix, ids: pl.Series) -> Index:
        """Return an index with further items appended.

        The structure takes them in without being rebuilt; ``quality`` keeps the figures of the build.

        Args:
            vectors: ``(N, D)`` float32.
            ids: ``(N,)`` new raw ids, of the type of the present ones.

        Raises:
            InputError: the shape is wrong, or a vector is not finite.
        """
        fresh = as_matrix(vectors, "new item vectors")
        if fresh.shape != (len(ids), self.dim):
            raise InputError(f"{len(ids):,} new ids and vectors of shape {fresh.shape}: do not fit the index")
        whole = np.concatenate([self.vectors, fresh])
        structure = None if self.structure is None else self.structure.extended(whole, len(self))
        together = Vocabulary(pl.concat([self.ids.ids, ids.rename(self.ids.ids.name)]))
        return replace(self, ids=together, vectors=whole, structure=structure)

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder, atomically.

        ``items.faiss`` holds the faiss index, numbered by item row, ``vectors.npy`` the vectors,
        ``ids.parquet`` the raw ids and ``manifest.json`` the rest.

        Raises:
            InputError: the folder exists and is not an index.
            OSError: the disk is full, or the place is not writable.
        """
        import faiss

        if self.structure is None:
            content: Any = faiss.IndexFlatIP(self.dim)
            content.add(self.vectors)
        else:
            content = self.structure.faiss_index()
        values = {
            "backend": self.backend,
            "metric": METRIC,
            "dim": self.dim,
            "count": len(self),
            "settings": {} if self.structure is None else {**self.structure.settings, "effort": self.effort},
            "measured": None if self.quality is None else asdict(self.quality),
            "compared": [asdict(trial) for trial in self.trials],
        }
        with writing(local_path(folder), INDEX_KIND, values) as fresh:
            np.save(fresh / "vectors.npy", self.vectors, allow_pickle=False)
            write_parquet(fresh / "ids.parquet", pl.DataFrame({"id": self.ids.ids}))
            path = fresh / "items.faiss"
            try:
                faiss.write_index(content, str(path))
            except RuntimeError as error:
                raise OSError(" ".join(str(error).split())) from None

    @classmethod
    def load(cls, folder: str | Path) -> Index:
        """Return an index that :meth:`save` wrote; every file is checked and nothing is unpickled.

        The vectors are mapped from the disk, so processes that load the same index share them.

        Raises:
            InputError: a file is missing, cut off or altered (it is named), or the folder is something else.
        """
        path = local_path(folder)
        return settled([path], lambda: cls._read(path))

    @classmethod
    def _read(cls, folder: Path) -> Index:
        manifest = read_manifest(folder, INDEX_KIND)
        if manifest.get("metric") != METRIC:
            raise InputError(f"{folder / MANIFEST}: metric {manifest.get('metric')!r}, expected {METRIC!r}")
        with reading(folder / MANIFEST, "cannot be used"):
            backend, shape = str(manifest["backend"]), (int(manifest["count"]), int(manifest["dim"]))
            settings = dict(manifest["settings"])
            effort = int(settings.get("effort", 0))
            quality = Quality(**manifest["measured"]) if manifest["measured"] else None
            trials = tuple(Quality(**trial) for trial in manifest["compared"])
        ids = read_vocabulary(folder / "ids.parquet")
        vectors = _mapped(folder / "vectors.npy")
        if vectors.dtype != np.float32 or vectors.shape != shape or len(ids) != shape[0]:
            found = f"{vectors.shape} {vectors.dtype} vectors and {len(ids):,} ids"
            raise InputError(f"{folder}: found {found}, the manifest says {shape} float32")
        structure = None
        if backend != "exact":
            structure = load_structure(folder / "items.faiss", backend, vectors, settings)
        return cls(ids, vectors, backend, structure, effort, quality, trials)


def _in_order(ids: Ids) -> Vocabulary:
    return ids if isinstance(ids, Vocabulary) else Vocabulary.in_order(ids)


def _blank(count: int, k: int) -> tuple[IntArray, FloatArray]:
    return np.full((count, k), -1, dtype=np.int64), np.full((count, k), -np.inf, dtype=np.float32)


def _mapped(path: Path) -> FloatArray:
    """Return an array that is mapped from the disk; changes to it are never written."""
    if not path.exists():
        raise InputError(f"{path}: missing from the index")
    with reading(path, "cannot be used"):
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
