"""The embeddings folder of a run: final vectors with their raw ids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError, reading
from gclrec.common.files import read_parquet, write_parquet
from gclrec.common.manifest import MANIFEST, read_manifest, settled, writing
from gclrec.data.interactions import IntArray, Vocabulary
from gclrec.runs.reading import vocabulary_of

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = npt.NDArray[np.float32]
Matrix: TypeAlias = "Tensor | npt.NDArray[Any]"

EMBEDDINGS_KIND = "gclrec embeddings"
METRIC = "inner product"


@dataclass(frozen=True, eq=False)
class Embedded:
    """Vectors of users and items, whose inner product is the score of a pair.

    Args:
        users: raw user ids by row.
        user_vectors: ``(U, D)`` float32.
        user_degrees: ``(U,)`` int64 training interactions of each user.
        items: raw item ids by row.
        item_vectors: ``(I, D)`` float32.
        item_degrees: ``(I,)`` int64 training interactions of each item.
    """

    users: Vocabulary
    user_vectors: FloatArray
    user_degrees: IntArray
    items: Vocabulary
    item_vectors: FloatArray
    item_degrees: IntArray


def write_embeddings(
    folder: str | Path,
    *,
    user_ids: Vocabulary,
    user_vectors: Matrix,
    user_degrees: npt.NDArray[Any],
    item_ids: Vocabulary,
    item_vectors: Matrix,
    item_degrees: npt.NDArray[Any],
    checkpoint: str | None = None,
) -> None:
    """Write ``users.parquet``, ``items.parquet`` and a manifest, atomically.

    Each table has the columns ``id``, ``vector`` (an array of ``D`` float32) and ``degree``, in row order.

    Args:
        folder: to write; a former embeddings folder is replaced.
        user_ids: ``U`` raw ids.
        user_vectors: ``(U, D)``, kept as float32.
        user_degrees: ``(U,)`` training interactions.
        item_ids: ``I`` raw ids.
        item_vectors: ``(I, D)``.
        item_degrees: ``(I,)``.
        checkpoint: checksum of the checkpoint that the vectors come from, if there is one.

    Raises:
        InputError: lengths or dimensions do not fit, or a vector is not finite.
    """
    users, items = as_matrix(user_vectors, "user vectors"), as_matrix(item_vectors, "item vectors")
    if users.shape[1] != items.shape[1]:
        raise InputError(
            f"user vectors have {users.shape[1]} dimensions and item vectors {items.shape[1]}: must be equal"
        )
    sides = {"users": (user_ids, users, user_degrees), "items": (item_ids, items, item_degrees)}
    counts = {side: {"count": len(ids), "id": str(ids.ids.dtype)} for side, (ids, _, _) in sides.items()}
    frames = {side: _frame(*columns, side.removesuffix("s")) for side, columns in sides.items()}
    values = {"metric": METRIC, "dim": users.shape[1], "checkpoint": checkpoint, **counts}
    with writing(Path(folder), EMBEDDINGS_KIND, values) as fresh:
        for side, frame in frames.items():
            write_parquet(fresh / f"{side}.parquet", frame)


def read_embeddings(folder: str | Path) -> Embedded:
    """Return the vectors that :func:`write_embeddings` wrote, after checking them against the manifest.

    Raises:
        InputError: a file is missing, cut off or altered (it is named), or the folder is something else.
    """
    folder = Path(folder)
    return settled([folder], lambda: _read(folder))


def _read(folder: Path) -> Embedded:
    manifest = read_manifest(folder, EMBEDDINGS_KIND)
    if manifest.get("metric") != METRIC:
        raise InputError(f"{folder / MANIFEST}: metric {manifest.get('metric')!r}, expected {METRIC!r}")
    parts: list[Any] = []
    for side in ("users", "items"):
        with reading(folder / MANIFEST, "cannot be used"):
            dim, count, dtype = int(manifest["dim"]), int(manifest[side]["count"]), str(manifest[side]["id"])
        path = folder / f"{side}.parquet"
        frame = read_parquet(path)
        missing = {"id", "vector", "degree"} - set(frame.columns)
        if missing:
            raise InputError(f"{path}: no column {min(missing)!r}, found {', '.join(frame.columns)}")
        if frame["vector"].dtype != pl.Array(pl.Float32, dim):
            raise InputError(f"{path}: vectors are {frame['vector'].dtype}, expected {dim} float32")
        if (len(frame), str(frame["id"].dtype)) != (count, dtype):
            found = f"{len(frame):,} ids ({frame['id'].dtype})"
            raise InputError(f"{path}: found {found}, expected {count:,} ({dtype})")
        vectors = np.array(frame["vector"].to_numpy(), dtype=np.float32).reshape(len(frame), dim)
        if (
            not frame["degree"].dtype.is_integer()
            or frame["degree"].null_count()
            or frame["vector"].null_count()
        ):
            raise InputError(f"{path}: expected a vector and a whole number as degree in each row")
        degrees = np.array(frame["degree"].to_numpy(), dtype=np.int64)
        parts += [vocabulary_of(frame, path), as_matrix(vectors, str(path)), degrees]
    return Embedded(*parts)


def checksum_of(users: Matrix, items: Matrix) -> str:
    """Return the SHA-256 of the vectors of users and items, by which another folder names them."""
    found = hashlib.sha256()
    for name, vectors in (("user vectors", users), ("item vectors", items)):
        found.update(as_matrix(vectors, name).data)
    return found.hexdigest()


def as_matrix(vectors: Matrix, name: str) -> FloatArray:
    """Return an array, or a tensor on any device, as ``(rows, D)`` contiguous float32.

    Raises:
        InputError: the shape is wrong or a row is not finite; the message names it.
    """
    if hasattr(vectors, "detach"):  # a tensor: a service reads embeddings without importing torch
        vectors = vectors.detach().cpu().float().numpy()
    matrix = np.ascontiguousarray(vectors, dtype=np.float32)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise InputError(f"{name}: found shape {matrix.shape}, expected (rows, D)")
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise InputError(
            f"{name}: row {int(np.argmin(finite))} holds NaN or infinity, expected finite numbers"
        )
    return matrix


def _frame(ids: Vocabulary, vectors: FloatArray, degrees: npt.NDArray[Any], kind: str) -> pl.DataFrame:
    if not len(ids) == len(vectors) == len(degrees):
        raise InputError(
            f"{len(ids):,} {kind} ids, {len(vectors):,} vectors and {len(degrees):,} degrees: must be equal"
        )
    vector = pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
    return pl.DataFrame({"id": ids.ids, "vector": vector, "degree": np.asarray(degrees, dtype=np.int64)})
