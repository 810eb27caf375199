"""Counting, sorting and looking up millions of numbers without copies of all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

_BLOCK = 2**22


def counts(rows: npt.NDArray[np.integer], count: int) -> npt.NDArray[np.int64]:
    """Return how often each row number occurs; np.bincount makes an int64 copy of what it counts."""
    found = np.zeros(count, dtype=np.int64)
    for start in range(0, len(rows), _BLOCK):
        found += np.bincount(rows[start : start + _BLOCK], minlength=count)
    return found


def renumbered(
    rows: npt.NDArray[np.integer], kept: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int32]:
    """Return the place of each row among those that are kept, which are ascending."""
    place = np.empty(count, dtype=np.int32)
    place[kept] = np.arange(len(kept), dtype=np.int32)
    found: npt.NDArray[np.int32] = place[rows]
    return found


def sort_in_place(keys: npt.NDArray[np.int64]) -> None:
    """Sort in place, in two halves at the same time, since np.sort uses one core."""
    middle = len(keys) // 2
    if middle:
        keys.partition(middle)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(np.ndarray.sort, (keys[:middle], keys[middle:])))


def is_in(keys: npt.NDArray[np.int64], ordered: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return whether each key is among the sorted ones; np.isin hashes, which is slower."""
    known = np.append(ordered, -1)
    found = np.empty(len(keys), dtype=np.bool_)
    for start in range(0, len(keys), _BLOCK):
        block = keys[start : start + _BLOCK]
        found[start : start + _BLOCK] = known[np.searchsorted(ordered, block)] == block
    return found
