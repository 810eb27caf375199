"""Lists of different lengths in two arrays, such as the items of each user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gclrec.common.errors import InputError


@dataclass(frozen=True, eq=False)
class Ragged:
    """``N`` lists of row numbers: list ``n`` is ``values[indptr[n]:indptr[n + 1]]``.

    Args:
        indptr: ``(N + 1,)`` int64 offsets, from 0 to ``E``, which do not decrease.
        values: ``(E,)`` int64.

    Raises:
        InputError: the offsets decrease or do not cover the values.

    Example:
        >>> seen = Ragged.from_pairs([2, 0, 2], [7, 5, 1], num_rows=3)
        >>> seen.tolist()
        [[5], [], [7, 1]]
        >>> seen[2]
        array([7, 1])
        >>> seen.take([2, 1]).indptr
        array([0, 2, 2])
    """

    indptr: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("indptr", "values"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int64))
        indptr, count = self.indptr, len(self.values)
        if not len(indptr) or indptr[0] != 0 or indptr[-1] != count or (indptr[1:] < indptr[:-1]).any():
            found = f"{len(indptr):,} offsets" + (
                f" from {indptr[0]:,} to {indptr[-1]:,}" if len(indptr) else ""
            )
            raise InputError(f"ragged lists: found {found}, expected them to rise from 0 to {count:,}")

    @classmethod
    def from_pairs(
        cls, row: npt.ArrayLike, value: npt.ArrayLike, num_rows: int, *, distinct: bool = False
    ) -> Ragged:
        """Group ``(E,)`` pairs by row; the values of a row stay in the order of the pairs.

        Args:
            row: ``(E,)`` the list that each value belongs to.
            value: ``(E,)`` the values.
            num_rows: number of lists.
            distinct: sort the values of each list and keep each value once.

        Raises:
            InputError: a row is outside ``[0, num_rows)``, a value is negative, or the lengths differ.

        Example:
            >>> Ragged.from_pairs([1, 0, 1, 1], [7, 5, 2, 7], num_rows=2, distinct=True).tolist()
            [[5], [2, 7]]
        """
        rows, values = np.asarray(row, dtype=np.int64), np.asarray(value, dtype=np.int64)
        if rows.shape != values.shape or rows.ndim != 1:
            raise InputError(f"pairs: found rows {rows.shape} and values {values.shape}, expected (E,) each")
        if len(rows) and (rows.min() < 0 or rows.max() >= num_rows or values.min() < 0):
            raise InputError(f"pairs: rows must lie in [0, {num_rows}) and values must not be negative")
        if distinct:
            span = int(values.max(initial=0)) + 1
            keys = np.sort(rows * span + values)  # faster than np.unique, which hashes
            rows, values = np.divmod(keys[np.diff(keys, prepend=-1) != 0], span)
        else:
            values = values[np.argsort(rows, kind="stable")]
        return cls(_offsets(np.bincount(rows, minlength=num_rows)), values)

    @classmethod
    def of_rows(
        cls, rows: npt.ArrayLike, pairs: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]], num_rows: int
    ) -> Ragged:
        """Group the pairs of ``(B,)`` distinct rows, in that order; pairs of other rows are passed over.

        The same as :meth:`from_pairs` of all pairs, table after table, and :meth:`take`; much faster for few
        rows.

        Args:
            rows: ``(B,)`` the lists to make.
            pairs: tables of ``(E,)`` rows and values.
            num_rows: number of lists that the rows of pairs are from.

        Example:
            >>> Ragged.of_rows([2, 0], [([2, 1, 0], [7, 5, 1]), ([2], [4])], num_rows=3).tolist()
            [[7, 4], [1]]
        """
        asked = np.asarray(rows, dtype=np.int64)
        place = np.full(num_rows, -1, dtype=np.int64)
        place[asked] = np.arange(len(asked))
        owners, values = [], []
        for row, value in pairs:
            at = np.flatnonzero(place[np.asarray(row)] >= 0)
            owners.append(place[np.asarray(row)[at]])
            values.append(np.asarray(value)[at])
        return cls.from_pairs(np.concatenate(owners), np.concatenate(values), len(asked))

    @classmethod
    def from_lists(cls, lists: Iterable[npt.ArrayLike]) -> Ragged:
        """Join lists of row numbers.

        Example:
            >>> Ragged.from_lists([[3, 1], [], [2]]).indptr
            array([0, 2, 2, 3])
        """
        parts = [np.asarray(part, dtype=np.int64) for part in lists]
        empty = np.empty(0, dtype=np.int64)
        return cls(_offsets(np.array([len(part) for part in parts])), np.concatenate([empty, *parts]))

    @classmethod
    def empty(cls, num_rows: int) -> Ragged:
        """Return ``num_rows`` empty lists."""
        return cls(np.zeros(num_rows + 1, dtype=np.int64), np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, row: int) -> npt.NDArray[np.int64]:
        return self.values[self.indptr[row] : self.indptr[row + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``(N,)`` lengths of the lists."""
        return np.diff(self.indptr)

    def owners(self) -> npt.NDArray[np.int64]:
        """Return ``(E,)`` the list that each value belongs to.

        Example:
            >>> Ragged.from_lists([[3, 1], [], [2]]).owners()
            array([0, 0, 2])
        """
        return np.repeat(np.arange(len(self)), self.lengths)

    def tolist(self) -> list[list[int]]:
        """Return the lists as Python lists."""
        return [self[row].tolist() for row in range(len(self))]

    def take(self, rows: npt.ArrayLike) -> Ragged:
        """Return the lists of ``(B,)`` rows, in that order; a negative row gives an empty list.

        Example:
            >>> Ragged.from_lists([[7, 8], [], [9]]).take([2, -1, 0]).tolist()
            [[9], [], [7, 8]]
        """
        rows = np.asarray(rows, dtype=np.int64)
        start, stop = self.indptr[rows], self.indptr[rows + 1]
        indptr = _offsets(np.where(rows < 0, 0, stop - start))
        shift = np.repeat(start - indptr[:-1], np.diff(indptr))
        return Ragged(indptr, self.values[np.arange(len(shift)) + shift])

    def keep(self, mask: npt.NDArray[np.bool_]) -> Ragged:
        """Return the lists without the values whose place in ``mask``, ``(E,)``, is false.

        Example:
            >>> lists = Ragged.from_lists([[7, 8], [], [9]])
            >>> lists.keep(lists.values != 7).tolist()
            [[8], [], [9]]
        """
        return Ragged(_offsets(mask)[self.indptr], self.values[mask])

    def renumbered(self, number: npt.NDArray[np.int64]) -> Ragged:
        """Return the lists with ``number[value]`` for each value, without those that get a negative one.

        Example:
            >>> Ragged.from_lists([[0, 2], [1], [2, 1]]).renumbered(np.array([5, -1, 6])).tolist()
            [[5, 6], [], [6]]
        """
        kept = self.keep(number[self.values] >= 0)
        return Ragged(kept.indptr, number[kept.values])

    def followed_by(self, other: Ragged) -> Ragged:
        """Return these lists and then those of ``other``."""
        indptr = np.concatenate([self.indptr, other.indptr[1:] + len(self.values)])
        return Ragged(indptr, np.concatenate([self.values, other.values]))

    def union(self, other: Ragged) -> Ragged:
        """Return the sorted distinct values that are in either of two lists, list by list.

        Example:
            >>> Ragged.from_lists([[7, 2], []]).union(Ragged.from_lists([[2], [1]])).tolist()
            [[2, 7], [1]]
        """
        rows = np.concatenate([self.owners(), other.owners()])
        return Ragged.from_pairs(rows, np.concatenate([self.values, other.values]), len(self), distinct=True)

    def newest(self) -> Ragged:
        """Return the lists with each value once, at the last of its places.

        Example:
            >>> Ragged.from_lists([[7, 2, 7], [5]]).newest().tolist()
            [[2, 7], [5]]
        """
        keys = self.owners() * (int(self.values.max(initial=0)) + 1) + self.values
        _, from_behind = np.unique(keys[::-1], return_index=True)
        mask = np.zeros(len(keys), dtype=np.bool_)
        mask[len(keys) - 1 - from_behind] = True
        return self.keep(mask)


def _offsets(lengths: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
