"""Vectors of new users and items: sums over lists, lengths, and the content of the items that users have."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from gclrec.common.ragged import Ragged
from gclrec.runs.embeddings import FloatArray


def listed_sums(lists: Ragged, rows: FloatArray) -> npt.NDArray[np.float64]:
    """Return the sums of the rows that each list names, ``(B, W)``.

    Sums in float64 do not depend on the order of a list once they are rounded to float32.

    Args:
        lists: ``B`` lists of row numbers.
        rows: ``(N, W)``.
    """
    named, places = np.unique(lists.values, return_inverse=True)
    matrix = csr_matrix((np.ones(len(places)), places, lists.indptr), (len(lists), len(named)))
    found: npt.NDArray[Any] = matrix @ rows[named].astype(np.float64)
    return found


def with_profiles(vectors: FloatArray, history: Ragged, content: FloatArray) -> FloatArray:
    """Return vectors of users followed by the direction of their items' content, at the same length.

    Args:
        vectors: ``(B, D)``.
        history: the items of each.
        content: ``(I, k)``; 0 for an item that training did not see.

    Returns:
        ``(B, D + k)``; the vectors themselves where ``k`` is 0.
    """
    if not content.shape[1]:
        return vectors
    sums = listed_sums(history, content)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    scale = np.linalg.norm(vectors, axis=1, keepdims=True) / np.where(length > 0, length, 1.0)
    return np.concatenate([vectors, sums * scale], axis=1, dtype=np.float32)


def scaled(vectors: npt.NDArray[Any], exponent: float) -> FloatArray:
    """Return ``x |x|^(exponent - 1)``; a vector of length 0 stays."""
    final: FloatArray = np.ascontiguousarray(vectors, dtype=np.float32)
    if exponent == 1:
        return final
    lengths: FloatArray = np.linalg.norm(final, axis=1, keepdims=True).astype(np.float32)
    powers = np.where(lengths > 0, lengths, 1) ** (exponent - 1)
    return final * powers.astype(np.float32)
