"""Edges in compressed rows, by user and by item, and the fast ways to take some away or put some in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.graph.propagation import Adjacency, CSRMatrix

T = TypeVar("T")

_MIX = -7046029254386353131  # 2**64 divided by the golden ratio, as a signed number
_SKETCH_BITS = 26

_BLOCK = 2**20
"""Numbers that are moved at a time."""

_HELPER = ThreadPoolExecutor(1, thread_name_prefix="gclrec-graph")
"""The thread that does the second of two things."""

_UNPACKING = Lock()
"""Two directions that are sorted at the same time take the memory to be unpacked one after the other."""


def _begin_anew() -> None:
    """Replace helper and lock in a forked process, which has neither the thread nor who would unlock."""
    global _HELPER, _UNPACKING
    _HELPER, _UNPACKING = ThreadPoolExecutor(1, thread_name_prefix="gclrec-graph"), Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


@dataclass(frozen=True, eq=False)
class SortedEdges:
    """The interactions sorted by (user, item) and, a second time, by (item, user).

    All arrays are int32 where that suffices, so that the sparse product can use them as they are.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        user_of: ``(E,)`` users in user order.
        user_to: ``(E,)`` items in user order.
        user_ptr: ``(U + 1,)`` where each user's edges begin.
        item_of: ``(E,)`` items in item order.
        item_to: ``(E,)`` users in item order.
        item_ptr: ``(I + 1,)`` where each item's edges begin.
    """

    num_users: int
    num_items: int
    user_of: Tensor
    user_to: Tensor
    user_ptr: Tensor
    item_of: Tensor
    item_to: Tensor
    item_ptr: Tensor

    @classmethod
    def of(cls, user: Tensor, item: Tensor, num_users: int, num_items: int) -> SortedEdges:
        """Arrange the pairs ``user (E,)``, ``item (E,)``, which are sorted by (user, item) already."""
        large = _is_large(len(user), num_users, num_items)
        user, item = (x.to(torch.int64 if large else torch.int32) for x in (user, item))
        if not large and item.device.type == "cpu":
            by_item = in_order(item.numpy(), user.numpy())
        else:
            order = torch.argsort(item, stable=True)
            by_item = item.index_select(0, order), user.index_select(0, order)
        user_ptr, item_ptr = _pointers(user, num_users), _pointers(by_item[0], num_items)
        return cls(num_users, num_items, user, item, user_ptr, *by_item, item_ptr)

    @classmethod
    def of_unsorted(
        cls, user: npt.NDArray[np.int64], item: npt.NDArray[np.int64], num_users: int, num_items: int
    ) -> SortedEdges:
        """Arrange distinct pairs in any order; both directions at the same time, with little memory.

        Raises:
            ValueError: a pair occurs twice.
        """
        if _is_large(len(user), num_users, num_items):
            keys = user * num_items + item
            order = np.argsort(keys, kind="stable")
            _refuse_repeated(keys[order])
            users, items = (torch.from_numpy(x[order]) for x in (user, item))
            return cls.of(users, items, num_users, num_items)

        def half(
            of: npt.NDArray[np.int64], to: npt.NDArray[np.int64], count: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            first, second = in_order(of, to)
            return first, second, _pointers(first, count)

        with ThreadPoolExecutor(2) as pool:
            by_user, by_item = pool.map(half, (user, item), (item, user), (num_users, num_items))
        return cls(num_users, num_items, *by_user, *by_item)

    @property
    def num_edges(self) -> int:
        """Number of interactions ``E``."""
        return len(self.user_of)

    @property
    def degrees(self) -> tuple[Tensor, Tensor]:
        """Number of interactions of each user ``(U,)`` and of each item ``(I,)``, int64."""
        return self.user_ptr.diff().long(), self.item_ptr.diff().long()

    @cached_property
    def item_order(self) -> Tensor:
        """``(E,)`` places in user order, listed in item order."""
        if self.user_to.dtype == torch.int32 and self.user_to.device.type == "cpu":
            places = np.arange(self.num_edges, dtype=np.int32)
            return in_order(self.user_to.numpy(), places)[1].long()
        return torch.argsort(self.user_to, stable=True)

    @cached_property
    def keys(self) -> Tensor:
        """``(E,)`` ascending numbers ``user * I + item``."""
        return self.user_of.long() * self.num_items + self.user_to

    @cached_property
    def missing_in_row(self) -> Tensor:
        """``(E,)`` ascending: ``user * I`` + how many smaller items the user does not have."""
        rank = torch.arange(self.num_edges, device=self.keys.device)
        return self.keys - (rank - self.user_ptr.index_select(0, self.user_of))

    @cached_property
    def _sketch(self) -> Tensor:
        """Bool, about 16 places for each edge: true where an edge's key is mixed to."""
        bits = min(max((16 * self.num_edges).bit_length(), 6), _SKETCH_BITS)
        sketch = torch.zeros(2**bits, dtype=torch.bool, device=self.keys.device)
        return sketch.index_fill_(0, _mixed(self.keys, bits), True)

    @cached_property
    def neighbours(self) -> tuple[Tensor, Tensor]:
        """A graph of ``U + I`` nodes, items after users: pointers ``(U + I + 1,)``, neighbours ``(2E,)``."""
        ptr = torch.cat([self.user_ptr, self.item_ptr[1:] + self.num_edges])
        return ptr, torch.cat([self.user_to + self.num_users, self.item_to])

    def adjacency(self, exponent: float = 0.5) -> Adjacency:
        """Return the adjacency with edges weighted by the degrees of these very edges.

        Args:
            exponent: ``a`` of the weights ``(d_u d_i)^-a``.
        """
        user_scale, item_scale = (_scale(degree, exponent) for degree in self.degrees)
        by_user = _weights(user_scale, self.user_of, item_scale, self.user_to)
        by_item = _weights(item_scale, self.item_of, user_scale, self.item_to)
        return Adjacency(
            CSRMatrix(self.user_ptr, self.user_to, by_user, self.num_items),
            CSRMatrix(self.item_ptr, self.item_to, by_item, self.num_users),
        )

    def holds(self, keys: Tensor) -> Tensor:
        """Return for each key ``user * I + item`` whether it is an edge, ``(B,)`` bool.

        Quick where few are: a sketch of the edges clears most keys, and only the others are looked up.
        """
        found = self._sketch.index_select(0, _mixed(keys, len(self._sketch).bit_length() - 1))
        if self.num_edges == 0:
            return found
        places = positions(found)
        wanted = keys.index_select(0, places)
        nearest = torch.searchsorted(self.keys, wanted).clamp_(max=self.num_edges - 1)
        return found.index_copy_(0, places, self.keys.index_select(0, nearest) == wanted)

    # -- fewer and other edges ------------------------------------------------------------------

    def select(self, kept: Tensor) -> SortedEdges:
        """Return the edges where ``kept (E,)``, bool in user order, is true.

        Nothing is sorted: the places of the kept edges are listed in both orders and copied out.
        """

        def half(mask: Tensor, of: Tensor, to: Tensor, ptr: Tensor) -> list[Tensor]:
            places = positions(mask)
            here = [x.index_select(0, places) for x in (of, to)]
            return [*here, _running(mask, ptr.dtype).index_select(0, ptr)]

        by_user, by_item = _both(
            lambda: half(kept, self.user_of, self.user_to, self.user_ptr),
            lambda: half(kept.index_select(0, self.item_order), self.item_of, self.item_to, self.item_ptr),
        )
        return SortedEdges(self.num_users, self.num_items, *by_user, *by_item)

    def exchange(self, dropped: Tensor, user: Tensor, item: Tensor) -> SortedEdges:
        """Return the edges without those at some places, and further ones ``(n,)``, sorted anew."""
        stays = torch.ones(self.num_edges, dtype=torch.bool, device=self.keys.device)
        stay = self.keys.index_select(0, positions(stays.index_fill_(0, dropped, False)))
        keys = ascending(torch.cat([stay, user * self.num_items + item]))
        user = torch.div(keys, self.num_items, rounding_mode="floor")
        return SortedEdges.of(user, keys - user * self.num_items, self.num_users, self.num_items)

    def patched(
        self, dropped: Tensor, new: tuple[Tensor, Tensor] | None = None, exponent: float = 0.5
    ) -> Adjacency:
        """Return the adjacency without some edges and with new ones, in these rows.

        It gives the products of ``self.exchange(dropped, *new).adjacency()`` and is made several times
        faster. Dropped edges stay where they are, with the weight 0; new ones are put at the end of
        their rows. So its products are dearer by the share of both, which pays as long as it is small.

        Args:
            dropped: places of edges in user order.
            new: users ``(n,)`` and items ``(n,)``, sorted by user; none of the pairs is an edge here.
            exponent: of the degrees, as for :meth:`adjacency`.
        """
        ends = [x.index_select(0, dropped) for x in (self.user_of, self.user_to)]
        degrees = [
            degree - torch.bincount(end, minlength=len(degree))
            for degree, end in zip(self.degrees, ends, strict=True)
        ]
        if new is not None:
            degrees = [
                degree + torch.bincount(end, minlength=len(degree))
                for degree, end in zip(degrees, new, strict=True)
            ]
        user_scale, item_scale = (_scale(degree, exponent) for degree in degrees)
        weight = _weights(user_scale, self.user_of, item_scale, self.user_to)
        weight.index_fill_(0, dropped, 0.0)
        by_user = CSRMatrix(self.user_ptr, self.user_to, weight, self.num_items)
        by_item = CSRMatrix(
            self.item_ptr, self.item_to, weight.index_select(0, self.item_order), self.num_users
        )
        if new is None:
            return Adjacency(by_user, by_item)
        user, item = new
        weight = _weights(user_scale, user, item_scale, item)
        order = torch.argsort(item.to(self.user_to.dtype), stable=True)
        return Adjacency(
            _extended(by_user, user, item, weight),
            _extended(by_item, *(x.index_select(0, order) for x in (item, user, weight))),
        )


def _is_large(num_edges: int, num_users: int, num_items: int) -> bool:
    """Return whether int32 does not suffice."""
    return max(2 * num_edges, num_users + num_items) >= 2**31


def in_order(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> tuple[Tensor, Tensor]:
    """Return pairs of numbers from 0 to 2**31 - 1 as int32, sorted by (first, second).

    A pair is sorted as one number, ``first * 2**32 + second``, which is several times faster than to sort
    places by it.

    Raises:
        ValueError: a pair occurs twice.
    """
    keys = np.empty(len(first), dtype=np.int64)
    for start in range(0, len(keys), _BLOCK):
        block = slice(start, start + _BLOCK)
        np.left_shift(first[block], 32, out=keys[block], dtype=np.int64)
        keys[block] |= second[block]
    if not (_ascend(keys[:1024]) and _ascend(keys)):
        keys.sort()
    _refuse_repeated(keys)
    with _UNPACKING:
        high, low = _unpacked(keys)
    return torch.from_numpy(high), torch.from_numpy(low)


def _unpacked(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return both halves of the keys; the lower one lies in their memory, of which the rest is given back."""
    count = len(keys)
    high = np.empty(count, dtype=np.int32)
    halves = keys.view(np.int32)
    lower = 0 if sys.byteorder == "little" else 1
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        high[start:stop] = halves[2 * start + 1 - lower : 2 * stop : 2]
        halves[start:stop] = halves[2 * start + lower : 2 * stop : 2]
    del halves  # nothing else may look at the memory that is given back now
    keys.resize(-(-count // 2), refcheck=False)
    return high, keys.view(np.int32)[:count]


def _ascend(keys: npt.NDArray[np.int64]) -> bool:
    return bool((keys[1:] >= keys[:-1]).all())


def _refuse_repeated(keys: npt.NDArray[np.int64]) -> None:
    for start in range(0, len(keys), _BLOCK):
        block = keys[start : start + _BLOCK + 1]
        if bool((block[1:] == block[:-1]).any()):
            raise ValueError("edge_index holds a pair twice; an interaction is stored once")


def _both(first: Callable[[], T], second: Callable[[], T]) -> tuple[T, T]:
    """Return what both give, taken at the same time where PyTorch may use several threads.

    What is done for one direction of the edges runs on one thread and waits for nothing of the other.
    """
    if torch.get_num_threads() == 1:
        return first(), second()
    waiting = _HELPER.submit(second)
    return first(), waiting.result()


def _scale(degree: Tensor, exponent: float) -> Tensor:
    return degree_scale(degree.to(torch.get_default_dtype()), exponent)


def degree_scale(degree: Tensor, exponent: float = 0.5) -> Tensor:
    """Return ``max(degree, 1)^-exponent``, what an edge's weight has of one of its ends."""
    degree = degree.clamp(min=1)
    return degree.rsqrt() if exponent == 0.5 else degree.pow(-exponent)


def _weights(of_row: Tensor, row: Tensor, of_column: Tensor, column: Tensor) -> Tensor:
    """Return the product of what both ends of each edge have, ``(E,)``."""
    if row.device.type != "cpu" or len(row) <= _BLOCK:
        return of_row.index_select(0, row).mul_(of_column.index_select(0, column))
    # Millions of numbers: NumPy asks for large pages of memory, and what lies between stays in the caches.
    weights = torch.from_numpy(np.empty(len(row), dtype=of_row.numpy().dtype))
    for out, rows, columns in zip(*(x.split(_BLOCK) for x in (weights, row, column)), strict=True):
        torch.index_select(of_row, 0, rows, out=out).mul_(of_column.index_select(0, columns))
    return weights


def _extended(half: CSRMatrix, of: Tensor, to: Tensor, weight: Tensor) -> CSRMatrix:
    """Return a half with further edges, grouped by row, at the end of their rows."""
    before = _pointers(of, len(half.ptr) - 1)
    total = len(half.to) + len(of)
    new_places = half.ptr.index_select(0, of + 1) + torch.arange(len(of), device=of.device)
    free = torch.ones(total, dtype=torch.bool, device=of.device).index_fill_(0, new_places, False)
    old_places = positions(free)
    columns, weights = (
        old.new_empty(total).scatter_(0, old_places, old).scatter_(0, new_places, new.to(old.dtype))
        for old, new in ((half.to, to), (half.weight, weight))
    )
    return CSRMatrix(half.ptr + before.to(half.ptr.dtype), columns, weights, half.num_columns)


def _mixed(keys: Tensor, bits: int) -> Tensor:
    """Return a number of so many bits for each key, spread evenly (multiplicative hashing)."""
    return (keys * _MIX).bitwise_right_shift_(63 - bits).bitwise_and_(2**bits - 1)


def positions(mask: Tensor) -> Tensor:
    """Return the places where ``mask`` is true, ascending int64.

    This and :func:`ascending` go through NumPy on a CPU, where it is several times faster.
    """
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)


def ascending(x: Tensor) -> Tensor:
    """Return the values of ``x (n,)`` in ascending order."""
    if x.device.type == "cpu":
        return torch.from_numpy(np.sort(x.numpy()))
    return x.sort().values


def _pointers(numbers: Tensor, count: int) -> Tensor:
    """Return where each of ``count`` groups begins once the numbers are sorted, ``(count + 1,)``."""
    ptr = numbers.new_zeros(count + 1)
    torch.cumsum(torch.bincount(numbers, minlength=count), 0, dtype=ptr.dtype, out=ptr[1:])
    return ptr


def _running(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return how many are true before each place and, last, in all, ``(E + 1,)``."""
    running = torch.zeros(len(mask) + 1, dtype=dtype, device=mask.device)
    torch.cumsum(mask, 0, dtype=dtype, out=running[1:])
    return running
