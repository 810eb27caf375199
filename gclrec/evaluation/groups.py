"""Who is warm, near-cold and cold, and which items are head, mid and tail: by training interactions alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

Group = Callable[[IntArray, int], BoolArray]


def everyone(degrees: IntArray, _near_cold: int) -> BoolArray:
    """Return all rows."""
    return np.ones(len(degrees), dtype=np.bool_)


def warm(degrees: IntArray, near_cold: int) -> BoolArray:
    """Return rows with more than ``near_cold`` training interactions."""
    return np.asarray(degrees > near_cold, dtype=np.bool_)


def nearly_cold(degrees: IntArray, near_cold: int) -> BoolArray:
    """Return rows with 1 to ``near_cold`` training interactions."""
    return np.asarray((degrees > 0) & (degrees <= near_cold), dtype=np.bool_)


def cold(degrees: IntArray, _near_cold: int) -> BoolArray:
    """Return rows without any training interaction."""
    return np.asarray(degrees == 0, dtype=np.bool_)


def head(degrees: IntArray, _near_cold: int) -> BoolArray:
    """Return the fewest most popular items that hold at least a third of all training interactions."""
    return np.asarray(popularity_thirds(degrees) == 0, dtype=np.bool_)


def mid(degrees: IntArray, _near_cold: int) -> BoolArray:
    """Return the items that follow the head, up to two thirds of all training interactions."""
    return np.asarray(popularity_thirds(degrees) == 1, dtype=np.bool_)


def tail(degrees: IntArray, _near_cold: int) -> BoolArray:
    """Return the remaining items, cold ones included."""
    return np.asarray(popularity_thirds(degrees) == 2, dtype=np.bool_)


def popularity_thirds(degrees: IntArray) -> IntArray:
    """Return 0, 1 or 2 for each item: does it lie in the head, the mid or the tail of popularity?

    Items are lined up by training interactions, equal ones by number, and the line is cut so that each part
    receives about a third of all interactions: an item is in the head if the items before it hold less than
    a third, in the mid if they hold less than two thirds, and in the tail otherwise.

    Example:
        >>> popularity_thirds(np.array([1, 4, 2, 1, 1, 0])).tolist()
        [2, 0, 1, 2, 2, 2]
    """
    return popularity_parts(degrees, 3)


def popularity_parts(degrees: IntArray, parts: int) -> IntArray:
    """Return the part of popularity in ``[0, parts)`` that each item lies in: 0 is the most popular.

    As :func:`popularity_thirds`, for any number of parts: an item is in the first part if the items before
    it hold less than ``1 / parts`` of all interactions, and so on. Items without any are in the last.

    Example:
        >>> popularity_parts(np.array([1, 4, 2, 1, 1, 0]), 2).tolist()
        [1, 0, 0, 1, 1, 1]
    """
    order = np.argsort(-degrees, kind="stable")
    total = int(degrees.sum())
    before = np.cumsum(degrees[order]) - degrees[order]
    part = np.full(len(degrees), parts - 1, dtype=np.int64)
    part[order] -= sum(((parts * before < cut * total).astype(np.int64) for cut in range(1, parts)), start=0)
    return part


USER_GROUPS: dict[str, Group] = {
    "all": everyone,
    "warm_users": warm,
    "near_cold_users": nearly_cold,
    "cold_users": cold,
}
"""Groups of users, each ``(degrees (U,), near_cold) -> (U,)`` mask."""

ITEM_GROUPS: dict[str, Group] = {
    "warm_items": warm,
    "near_cold_items": nearly_cold,
    "cold_items": cold,
    "head_items": head,
    "mid_items": mid,
    "tail_items": tail,
}
"""Groups of items, each ``(degrees (I,), near_cold) -> (I,)`` mask."""
