"""Fractal expansion: a large data set with the structure of a small one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import SettingError
from gclrec.data.interactions import IntArray, Interactions

_Floats = npt.NDArray[np.float64]

_LEAST_KEPT = 0.1  # the lowest entry of the reduced matrix, relative to the highest
_ALIKE = 32  # users that trade places in a block: neighbours in order of degree


@dataclass(frozen=True, eq=False)
class Expansion:
    r"""A randomised Kronecker product of interactions with a small matrix of their own shape ([1]).

    .. math:: \tilde R = \hat R \otimes R

    :math:`\hat R` is the matrix of interactions reduced to ``M`` rows and ``N`` columns with the same leading
    singular values. Block ``(a, b)`` of the result is the original matrix in which each interaction stays
    with probability :math:`\hat R_{ab}` and users trade rows at random with users of about the same degree,
    anew in each block. So degrees, the spectrum and the similarity of items within a block follow the
    original, while a user of the expansion is a mixture of ``N`` users of the original.

    Args:
        pairs: the original interactions.
        keep: ``(M, N)`` probabilities; block row ``a`` holds the ``a``-th copy of all users, block column
            ``b`` the ``b``-th copy of all items.
        seed: of all random choices.

    [1] Belletti et al., Scalable Realistic Recommendation Datasets through Fractal Expansions,
    https://arxiv.org/abs/1901.08910
    """

    pairs: Interactions
    keep: _Floats
    seed: int = 0

    @classmethod
    def of(
        cls, pairs: Interactions, rows: int, *, item_factor: int | None = None, seed: int = 0
    ) -> Expansion:
        """Plan an expansion to about ``rows`` interactions.

        There are about ``rows / E`` times as many users, so that a user has about as many interactions as
        before.

        Args:
            pairs: the original; at least two users, two items and one interaction.
            rows: at least as many as ``pairs`` has.
            item_factor: how many times as many items there are, at least 1; about the square root of the
                users' factor if ``None``.
            seed: of all random choices; at least 0.

        Raises:
            SettingError: a number is out of range.
        """
        if len(pairs) == 0 or rows < len(pairs):
            expected = f"at least the {len(pairs):,} interactions of the data itself"
            raise SettingError("rows", f"found {rows:,}, expected {expected}")
        for name, value, least in (("seed", seed, 0), ("item_factor", item_factor, 1)):
            if value is not None and value < least:
                raise SettingError(name, f"found {value}, expected at least {least}")
        ratio = rows / len(pairs)
        user_factor = round(ratio)
        item_factor = round(user_factor**0.5) if item_factor is None else item_factor
        if user_factor * item_factor < ratio:
            user_factor += 1
        return cls(pairs, _scaled(reduced_matrix(pairs, user_factor, item_factor), ratio), seed)

    @property
    def num_users(self) -> int:
        """Users of the expansion; those who lose all interactions are counted."""
        return len(self.keep) * self.pairs.num_users

    @property
    def num_items(self) -> int:
        """Items of the expansion, likewise."""
        return int(self.keep.shape[1]) * self.pairs.num_items

    def blocks(self) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
        """Yield users, items and places in :attr:`pairs` of the interactions of each block row, shuffled.

        Memory is bounded by the original. Each block has its own random stream, so all are alike wherever
        the others end.
        """
        pairs, (rows, columns) = self.pairs, self.keep.shape
        by_degree = np.argsort(-pairs.user_degrees(), kind="stable")
        window = np.arange(pairs.num_users) // _ALIKE
        new_name = np.empty(pairs.num_users, dtype=np.int64)
        for row in range(rows):
            users, items, places = [], [], []
            for column in range(columns):
                random = np.random.default_rng([self.seed, row, column])
                kept = np.flatnonzero(random.random(len(pairs), dtype=np.float32) < self.keep[row, column])
                new_name[by_degree] = by_degree[np.argsort(window + random.random(len(window)))]
                users.append(row + rows * new_name[pairs.user[kept]])
                items.append(column + columns * pairs.item[kept].astype(np.int64))
                places.append(kept)
            order = np.random.default_rng([self.seed, row]).permutation(sum(map(len, places)))
            user, item, place = (np.concatenate(part)[order] for part in (users, items, places))
            yield user, item, place

    def tables(self, *, text_ids: bool = False) -> Iterator[pl.DataFrame]:
        """Yield the interactions as tables: ``user``, ``item`` and, if known, ``time`` and ``weight``.

        Args:
            text_ids: ids of 16 hexadecimal digits, as in a click log, in place of whole numbers.
        """
        for user, item, place in self.blocks():
            ids = {"user": user, "item": item}
            columns: dict[str, Any] = {
                name: _hexadecimal(rows, side) if text_ids else rows
                for side, (name, rows) in enumerate(ids.items())
            }
            for name in ("time", "weight"):
                values = getattr(self.pairs, name)
                if values is not None:
                    columns[name] = values[place]
            yield pl.DataFrame(columns)


def reduced_matrix(pairs: Interactions, rows: int, columns: int) -> _Floats:
    r"""Return a ``(rows, columns)`` matrix with the leading singular values of the interactions.

    .. math:: \hat R = \hat U \,\mathrm{diag}(s_1 \dots s_k)\, \hat V^\top, \quad k = \min(M, N)

    Singular vectors of users are averaged over ``rows`` groups of equal size in order of degree, those of
    items over ``columns`` groups, and made orthonormal again by the polar factor. The result is scaled to
    the highest entry 1 and no entry below a tenth of it.
    """
    import scipy.sparse
    import scipy.sparse.linalg

    matrix = scipy.sparse.csr_array(
        (np.ones(len(pairs)), (pairs.user, pairs.item)), shape=(pairs.num_users, pairs.num_items)
    )
    rank = min(rows, columns, *(size - 1 for size in matrix.shape))
    if rank < 1:
        return np.ones((rows, columns))
    start = np.random.default_rng(0).random(min(matrix.shape))  # ARPACK starts at random otherwise
    left, values, right = scipy.sparse.linalg.svds(matrix, k=rank, v0=start)
    users = _averaged(left, pairs.user_degrees(), rows)
    items = _averaged(right.T, pairs.item_degrees(), columns)
    reduced: _Floats = (users * values) @ items.T
    reduced *= np.sign(reduced.sum())
    low, high = reduced.min(), reduced.max()
    return (
        np.ones_like(reduced)
        if high == low
        else _LEAST_KEPT + (1 - _LEAST_KEPT) * (reduced - low) / (high - low)
    )


def _averaged(vectors: _Floats, degree: IntArray, groups: int) -> _Floats:
    """Return ``(groups, k)`` orthonormal columns: means of rows in order of degree, by their polar factor."""
    parts = np.array_split(np.argsort(-degree, kind="stable"), groups)
    means = np.stack(
        [vectors[part].mean(axis=0) if len(part) else np.zeros(vectors.shape[1]) for part in parts]
    )
    left, _, right = np.linalg.svd(means, full_matrices=False)
    polar: _Floats = left @ right
    return polar


def _scaled(weights: _Floats, total: float) -> _Floats:
    """Return ``min(1, c * weights)`` with the factor ``c`` that makes the sum ``total``."""
    low, high = 0.0, 1.0 / weights.min()
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(1.0, middle * weights).sum() < total else (low, middle)
    scaled: _Floats = np.minimum(1.0, high * weights)
    return scaled


def _hexadecimal(numbers: IntArray, side: int) -> pl.Series:
    """Return an id of 16 digits for each number: SplitMix64, which is one to one ([1]).

    [1] Steele et al., Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    distinct, place = np.unique(numbers, return_inverse=True)
    mixed = distinct.astype(np.uint64) * np.uint64(2) + np.uint64(side)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    digits = (mixed ^ (mixed >> np.uint64(31))).astype(">u8").tobytes().hex()
    ids = pl.Series([digits[start : start + 16] for start in range(0, len(digits), 16)], dtype=pl.String)
    return ids.gather(place)
