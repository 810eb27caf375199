"""Edges sorted by user and by item, and fast ways to remove, add and replace some of them."""

from __future__ import annotations

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

from gclrec.common.devices import on_cpu
from gclrec.graph.propagation import Adjacency, CSRMatrix

_T = TypeVar("_T")

_BLOCK = 2**20
"""Numbers processed at a time, so that intermediate results stay in the processor's caches."""

_MULTIPLIER = -7046029254386353131
"""2**64 divided by the golden ratio, as a signed number: the multiplier of Fibonacci hashing."""

_MAX_SKETCH_BITS = 26


@dataclass(frozen=True, eq=False)
class SortedEdges:
    """The interactions sorted by (user, item) and, a second time, by (item, user).

    *User order* and *item order* are the two sortings. All arrays are int32 where that suffices, so that the
    sparse product can use them without conversion.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        user_of: ``(E,)`` users in user order.
        user_to: ``(E,)`` items in user order.
        user_ptr: ``(U + 1,)`` where the edges of each user begin in user order.
        item_of: ``(E,)`` items in item order.
        item_to: ``(E,)`` users in item order.
        item_ptr: ``(I + 1,)`` where the edges of each item begin in item order.
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
        """Make them from pairs ``user (E,)``, ``item (E,)`` that are in user order already."""
        large = _needs_int64(len(user), num_users, num_items)
        user, item = (x.to(torch.int64 if large else torch.int32) for x in (user, item))
        if not large and on_cpu(item.device):
            by_item = _unpacked(_sorted_keys(item.numpy(), user.numpy()))
        else:
            order = torch.argsort(item, stable=True)
            by_item = item.index_select(0, order), user.index_select(0, order)
        user_ptr, item_ptr = _pointers(user, num_users), _pointers(by_item[0], num_items)
        return cls(num_users, num_items, user, item, user_ptr, *by_item, item_ptr)

    @classmethod
    def of_unsorted(
        cls, user: npt.NDArray[np.integer], item: npt.NDArray[np.integer], num_users: int, num_items: int
    ) -> SortedEdges:
        """Make them from distinct pairs in any order; both directions are sorted at the same time.

        Raises:
            ValueError: a pair occurs twice.
        """
        if _needs_int64(len(user), num_users, num_items):
            keys = np.multiply(user, num_items, dtype=np.int64) + item
            order = np.argsort(keys, kind="stable")
            _check_distinct(keys[order])
            users, items = (torch.from_numpy(x[order]) for x in (user, item))
            return cls.of(users, items, num_users, num_items)
        unpacking = Lock()  # unpacking takes more memory, so only one direction does it at a time

        def direction(
            of: npt.NDArray[np.integer], to: npt.NDArray[np.integer], count: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            keys = _sorted_keys(of, to)
            with unpacking:
                first, second = _unpacked(keys)
            return first, second, _pointers(first, count)

        with ThreadPoolExecutor(2) as pool:
            by_user, by_item = pool.map(direction, (user, item), (item, user), (num_users, num_items))
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
        """``(E,)`` places in user order, listed in item order: ``user_to[item_order]`` is ``item_of``."""
        if self.user_to.dtype == torch.int32 and on_cpu(self.user_to.device):
            places = np.arange(self.num_edges, dtype=np.int32)
            return _unpacked(_sorted_keys(self.user_to.numpy(), places))[1].long()
        return torch.argsort(self.user_to, stable=True)

    @cached_property
    def keys(self) -> Tensor:
        """``(E,)`` ascending: each edge as one number ``user * I + item``."""
        return self.user_of.long() * self.num_items + self.user_to

    @cached_property
    def missing_in_row(self) -> Tensor:
        """``(E,)`` ascending: ``user * I`` plus the number of smaller items that the user does not have."""
        rank = torch.arange(self.num_edges, device=self.keys.device)
        return self.keys - (rank - self.user_ptr.index_select(0, self.user_of))

    @cached_property
    def neighbours(self) -> tuple[Tensor, Tensor]:
        """All nodes in one graph, items after users: pointers ``(U + I + 1,)``, neighbours ``(2E,)``."""
        ptr = torch.cat([self.user_ptr, self.item_ptr[1:] + self.num_edges])
        return ptr, torch.cat([self.user_to + self.num_users, self.item_to])

    def adjacency(self, exponent: float = 0.5) -> Adjacency:
        """Return the adjacency whose edges have the weights ``(d_u d_i)^-exponent``."""
        user_scale, item_scale = (_scale(degree, exponent) for degree in self.degrees)
        by_user = _weights(user_scale, self.user_of, item_scale, self.user_to)
        by_item = _weights(item_scale, self.item_of, user_scale, self.item_to)
        return Adjacency(
            CSRMatrix(self.user_ptr, self.user_to, by_user, self.num_items),
            CSRMatrix(self.item_ptr, self.item_to, by_item, self.num_users),
        )

    def holds(self, keys: Tensor) -> Tensor:
        """Return for each key ``user * I + item`` whether it is an edge, ``(B,)`` bool.

        A Bloom filter with one hash function: a key whose bit is not set is no edge, which settles most
        keys of a sparse graph with one memory access each. Only the others are searched for.
        """
        found = self._sketch.index_select(0, _hashed(keys, len(self._sketch).bit_length() - 1))
        if self.num_edges == 0:
            return found
        places = positions(found)
        wanted = keys.index_select(0, places)
        nearest = torch.searchsorted(self.keys, wanted).clamp_(max=self.num_edges - 1)
        return found.index_copy_(0, places, self.keys.index_select(0, nearest) == wanted)

    @cached_property
    def _sketch(self) -> Tensor:
        """``(2**bits,)`` bool, about 16 for each edge: true at the hash of each edge's key."""
        bits = min(max((16 * self.num_edges).bit_length(), 6), _MAX_SKETCH_BITS)
        sketch = torch.zeros(2**bits, dtype=torch.bool, device=self.keys.device)
        return sketch.index_fill_(0, _hashed(self.keys, bits), True)

    def select(self, kept: Tensor) -> SortedEdges:
        """Return the edges where ``kept (E,)``, bool in user order, is true.

        Both sortings survive the removal of edges, so nothing is sorted again. A row begins where as many
        kept edges lie before it as there are true values before its old beginning.
        """

        def direction(mask: Tensor, of: Tensor, to: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            places = positions(mask)
            before = torch.zeros(len(mask) + 1, dtype=ptr.dtype, device=mask.device)
            torch.cumsum(mask, 0, dtype=ptr.dtype, out=before[1:])
            return of.index_select(0, places), to.index_select(0, places), before.index_select(0, ptr)

        by_user, by_item = _both(
            lambda: direction(kept, self.user_of, self.user_to, self.user_ptr),
            lambda: direction(
                kept.index_select(0, self.item_order), self.item_of, self.item_to, self.item_ptr
            ),
        )
        return SortedEdges(self.num_users, self.num_items, *by_user, *by_item)

    def exchange(self, dropped: Tensor, user: Tensor, item: Tensor) -> SortedEdges:
        """Return the edges without those at ``dropped`` and with new ones ``(n,)``, sorted again."""
        stays = torch.ones(self.num_edges, dtype=torch.bool, device=self.keys.device)
        stay = self.keys.index_select(0, positions(stays.index_fill_(0, dropped, False)))
        keys = ascending(torch.cat([stay, user * self.num_items + item]))
        user = torch.div(keys, self.num_items, rounding_mode="floor")
        return SortedEdges.of(user, keys - user * self.num_items, self.num_users, self.num_items)

    def patched(
        self, dropped: Tensor, new: tuple[Tensor, Tensor] | None = None, exponent: float = 0.5
    ) -> Adjacency:
        """Return the adjacency without some edges and with new ones, made by patching the rows of this one.

        Its products equal those of ``self.exchange(dropped, *new).adjacency(exponent)``, and it is made
        several times faster, since nothing is sorted or moved: a dropped edge stays in its row with weight
        0, and new edges stand at the end of their rows (the order within a row does not matter for a
        product). Products cost more by the share of both, which pays while it is small.

        Args:
            dropped: places of edges in user order.
            new: users ``(n,)`` and items ``(n,)``, sorted by user; none of the pairs is an edge.
            exponent: ``a`` of the weights ``(d_u d_i)^-a``, with the degrees after the change.
        """
        degrees = list(self.degrees)
        for side, ends in enumerate((self.user_of, self.user_to)):
            degrees[side] -= torch.bincount(ends.index_select(0, dropped), minlength=len(degrees[side]))
            if new is not None:
                degrees[side] += torch.bincount(new[side], minlength=len(degrees[side]))
        user_scale, item_scale = (_scale(degree, exponent) for degree in degrees)
        weight = _weights(user_scale, self.user_of, item_scale, self.user_to).index_fill_(0, dropped, 0.0)
        by_user = CSRMatrix(self.user_ptr, self.user_to, weight, self.num_items)
        weight = weight.index_select(0, self.item_order)
        by_item = CSRMatrix(self.item_ptr, self.item_to, weight, self.num_users)
        if new is None:
            return Adjacency(by_user, by_item)
        user, item = new
        weight = _weights(user_scale, user, item_scale, item)
        order = torch.argsort(item.to(self.user_to.dtype), stable=True)
        return Adjacency(
            _extended(by_user, user, item, weight),
            _extended(by_item, *(x.index_select(0, order) for x in (item, user, weight))),
        )


def check_edges(edge_index: Tensor, num_users: int, num_items: int) -> None:
    """Raise ``ValueError`` unless ``edge_index`` is int64 ``(2, E)`` and its numbers are in range."""
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
        found = f"{edge_index.dtype} {tuple(edge_index.shape)}"
        raise ValueError(f"edge_index must be int64 (2, E), row 0 users and row 1 items; got {found}")
    if edge_index.shape[1] == 0:
        return
    for row, count in enumerate((num_users, num_items)):
        low, high = edge_index[row].aminmax()
        check_range(int(low), int(high), row, count)


def check_range(low: int, high: int, row: int, count: int) -> None:
    """Raise ``ValueError`` unless the lowest and the highest number of a row lie in ``[0, count)``."""
    if low < 0 or high >= count:
        kind, wrong = ("user", "item")[row], low if low < 0 else high
        raise ValueError(f"edge_index row {row} holds {kind} {wrong}; {kind}s are numbered 0 to {count - 1}")


def degree_scale(degree: Tensor, exponent: float = 0.5) -> Tensor:
    """Return ``max(degree, 1)^-exponent``, the factor of an edge's weight that comes from one of its ends."""
    degree = degree.clamp(min=1)
    return degree.rsqrt() if exponent == 0.5 else degree.pow(-exponent)


def positions(mask: Tensor) -> Tensor:
    """Return the places where ``mask`` is true, ascending int64; by NumPy on a CPU, which is faster."""
    if on_cpu(mask.device):
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)


def ascending(x: Tensor) -> Tensor:
    """Return the values of ``x (n,)`` in ascending order; by NumPy on a CPU, which is faster."""
    if on_cpu(x.device):
        return torch.from_numpy(np.sort(x.numpy()))
    return x.sort().values


def _needs_int64(num_edges: int, num_users: int, num_items: int) -> bool:
    return max(2 * num_edges, num_users + num_items) >= 2**31


def _sorted_keys(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return pairs of numbers from 0 to 2**31 - 1, packed as ``first * 2**32 + second`` and sorted.

    Sorting the packed numbers is several times faster than ``argsort`` or ``lexsort``.

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
    _check_distinct(keys)
    return keys


def _unpacked(keys: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Split packed pairs into ``first`` and ``second``, int32; ``keys`` must not be used afterwards.

    ``second`` takes over the memory of the keys, whose other half is released. As int32, the key at ``n``
    lies at ``2n`` and ``2n + 1``; its lower half moves down to ``n``. Going upwards this never overwrites
    what has not been read, and NumPy copies a block first where source and target overlap.
    """
    count = len(keys)
    first = np.empty(count, dtype=np.int32)
    halves = keys.view(np.int32)
    lower = 0 if sys.byteorder == "little" else 1
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        first[start:stop] = halves[2 * start + 1 - lower : 2 * stop : 2]
        halves[start:stop] = halves[2 * start + lower : 2 * stop : 2]
    del halves  # resize must be the only user of the memory
    keys.resize(-(-count // 2), refcheck=False)
    return torch.from_numpy(first), torch.from_numpy(keys.view(np.int32)[:count])


def _ascend(keys: npt.NDArray[np.int64]) -> bool:
    return bool((keys[1:] >= keys[:-1]).all())


def _check_distinct(keys: npt.NDArray[np.int64]) -> None:
    for start in range(0, len(keys), _BLOCK):
        block = keys[start : start + _BLOCK + 1]
        if bool((block[1:] == block[:-1]).any()):
            raise ValueError("edge_index holds a pair twice; an interaction is stored once")


def _both(first: Callable[[], _T], second: Callable[[], _T]) -> tuple[_T, _T]:
    """Call two functions of single-threaded work, at the same time if PyTorch may use several threads."""
    if torch.get_num_threads() == 1:
        return first(), second()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second)
        return first(), waiting.result()


def _scale(degree: Tensor, exponent: float) -> Tensor:
    return degree_scale(degree.to(torch.get_default_dtype()), exponent)


def _weights(of_row: Tensor, row: Tensor, of_column: Tensor, column: Tensor) -> Tensor:
    """Return the product of the two scales of each edge, ``(E,)``."""
    if not on_cpu(row.device) or len(row) <= _BLOCK:
        return of_row.index_select(0, row).mul_(of_column.index_select(0, column))
    # For millions of edges NumPy's memory comes in large pages, and blocks keep the factors in the caches.
    weights = torch.from_numpy(np.empty(len(row), dtype=of_row.numpy().dtype))
    for out, rows, columns in zip(*(x.split(_BLOCK) for x in (weights, row, column)), strict=True):
        torch.index_select(of_row, 0, rows, out=out).mul_(of_column.index_select(0, columns))
    return weights


def _extended(matrix: CSRMatrix, of: Tensor, to: Tensor, weight: Tensor) -> CSRMatrix:
    """Return a matrix with further entries, grouped by row, at the end of their rows.

    The ``n``-th new entry lies behind all old entries of its row and of the rows before, ``ptr[of + 1]``, and
    behind the ``n`` new entries before it. The old entries fill the other places in their old order.
    """
    added = _pointers(of, len(matrix.ptr) - 1)
    total = len(matrix.to) + len(of)
    new_places = matrix.ptr.index_select(0, of + 1) + torch.arange(len(of), device=of.device)
    free = torch.ones(total, dtype=torch.bool, device=of.device).index_fill_(0, new_places, False)
    old_places = positions(free)
    columns, weights = (
        old.new_empty(total).scatter_(0, old_places, old).scatter_(0, new_places, new.to(old.dtype))
        for old, new in ((matrix.to, to), (matrix.weight, weight))
    )
    return CSRMatrix(matrix.ptr + added.to(matrix.ptr.dtype), columns, weights, matrix.num_columns)


def _hashed(keys: Tensor, bits: int) -> Tensor:
    """Return a number of ``bits`` bits for each key: the highest bits below the sign of ``key * multiplier``.

    The product wraps around at 64 bits, and its highest bits depend on all bits of the key. The shift is
    arithmetic: it fills in copies of the sign bit, which the mask removes.
    """
    return (keys * _MULTIPLIER).bitwise_right_shift_(63 - bits).bitwise_and_(2**bits - 1)


def _pointers(numbers: Tensor, count: int) -> Tensor:
    """Return where each of ``count`` groups begins once the numbers are sorted, ``(count + 1,)``."""
    ptr = numbers.new_zeros(count + 1)
    torch.cumsum(torch.bincount(numbers, minlength=count), 0, dtype=ptr.dtype, out=ptr[1:])
    return ptr
