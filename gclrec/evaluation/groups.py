"""Groups of users and items: warm, near-cold, cold, head, mid and tail, by training interactions alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gclrec.data.interactions import BoolArray, IntArray

Group = Callable[[IntArray, int], BoolArray]
"""From the degrees of all rows ``(N,)`` and the bound of near-cold to the rows in the group, ``(N,)``."""


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


def _third(number: int) -> Group:
    return lambda degrees, _: popularity_thirds(degrees) == number


_WARM: Group = lambda degrees, near_cold: degrees > near_cold  # noqa: E731
_NEAR_COLD: Group = lambda degrees, near_cold: (degrees > 0) & (degrees <= near_cold)  # noqa: E731
_COLD: Group = lambda degrees, _: degrees == 0  # noqa: E731

USER_GROUPS: dict[str, Group] = {
    "all": lambda degrees, _: np.ones(len(degrees), dtype=np.bool_),
    "warm_users": _WARM,
    "near_cold_users": _NEAR_COLD,
    "cold_users": _COLD,
}
ITEM_GROUPS: dict[str, Group] = {
    "warm_items": _WARM,
    "near_cold_items": _NEAR_COLD,
    "cold_items": _COLD,
    "head_items": _third(0),
    "mid_items": _third(1),
    "tail_items": _third(2),
}
"""By training interactions: cold are those without any, near-cold those with 1 to ``near_cold``, warm those
with more; head, mid and tail are the parts of :func:`popularity_thirds`."""

AMONG_GROUPS: dict[str, Group] = {"cold_among_cold": _COLD}
"""Groups of items that are ranked among themselves: their figures are of lists without any other item."""

BALANCED: Mapping[str, tuple[str, ...]] = {
    "balanced_items": ("warm_items", "cold_items"),
    "balanced_users": ("warm_users", "cold_users"),
}
"""Groups whose figures are the means of those of other groups, which count alike whatever their sizes."""


def figure_of(values: Mapping[str, float], name: str) -> float | None:
    """Return a figure by its name, ``None`` where its group has no case.

    A figure of a group in :data:`BALANCED` is the mean over its parts that have cases.

    Args:
        values: figures by ``GROUP/METRIC@K``.
        name: such as ``balanced_items/recall@20``.

    Example:
        >>> figure_of({"warm_items/ndcg@5": 0.25, "cold_items/ndcg@5": 0.75}, "balanced_items/ndcg@5")
        0.5
    """
    group, _, metric = name.partition("/")
    found = [values.get(f"{part}/{metric}") for part in BALANCED.get(group, (group,))]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None
