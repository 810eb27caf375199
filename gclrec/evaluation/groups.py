"""Groups of users and items: warm, near-cold, cold, head, mid and tail, by training interactions alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gclrec.data.interactions import BoolArray, IntArray

Group = Callable[[IntArray, int], BoolArray]
"""From the degrees of all rows ``(N,)`` and the bound of near-cold to the rows in the group, ``(N,)``."""


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
    """Return the items after the head, up to two thirds of all training interactions."""
    return np.asarray(popularity_thirds(degrees) == 1, dtype=np.bool_)


def tail(degrees: IntArray, _near_cold: int) -> BoolArray:
    """Return the items after the mid, cold ones included."""
    return np.asarray(popularity_thirds(degrees) == 2, dtype=np.bool_)


def popularity_thirds(degrees: IntArray) -> IntArray:
    """Return for each item whether it lies in the head (0), the mid (1) or the tail (2) of popularity.

    Items are sorted by training interactions, equal ones by number, and cut so that each part has about a
    third of all interactions: the head are the fewest most popular items that hold at least a third, the
    mid follows up to two thirds, and the tail is the rest, cold items included.

    Example:
        >>> popularity_thirds(np.array([1, 4, 2, 1, 1, 0])).tolist()
        [2, 0, 1, 2, 2, 2]
    """
    return popularity_parts(degrees, 3)


def popularity_parts(degrees: IntArray, parts: int) -> IntArray:
    """Return the part of popularity in ``[0, parts)`` of each item; 0 is the most popular.

    Like :func:`popularity_thirds` for any number of parts: an item is in the first part if the items before
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

ITEM_GROUPS: dict[str, Group] = {
    "warm_items": warm,
    "near_cold_items": nearly_cold,
    "cold_items": cold,
    "head_items": head,
    "mid_items": mid,
    "tail_items": tail,
}
