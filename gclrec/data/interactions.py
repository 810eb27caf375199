"""User-item interactions: raw ids at the interface, row numbers inside."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.arrays import counts, is_in, renumbered, sort_in_place
from gclrec.common.errors import InputError, InputWarning, SettingError
from gclrec.data.io.ids import exact_ids, id_series, python_id, whole_numbers
from gclrec.data.io.numbering import CODED, distinct_ids, numbered, places_of

IntArray = npt.NDArray[np.int64]
RowArray = npt.NDArray[np.int32 | np.int64]
"""Row numbers of users or items."""
REPEATS = {
    "first": "at its first time",
    "last": "at its last time",
    "max": "with its highest weight",
    "sum": "at its first time, with the sum of its weights",
}
"""Which of the rows of a repeated pair stays."""

TimeArray = npt.NDArray[Any]
"""Times: int64, or float64 where they are no whole numbers."""
BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Raw ids of users or items, in row order: row ``r`` belongs to ``ids[r]``.

    Args:
        ids: distinct raw ids, ``Int64`` or ``String``.

    Example:
        >>> vocabulary = Vocabulary.of(["tea", "milk", "tea"])
        >>> vocabulary.ids.to_list()
        ['milk', 'tea']
        >>> vocabulary.rows(["tea", "wine"]).tolist()
        [1, -1]
    """

    ids: pl.Series

    @classmethod
    def of(cls, *columns: pl.Series | Sequence[Any]) -> Vocabulary:
        """Return the *sorted* distinct ids of one or several columns (all integers, or all strings)."""
        series = [
            distinct_ids(_plain_ids(column if isinstance(column, pl.Series) else id_series(column)))
            for column in columns
        ]
        if len(series) == 1 and len(series[0]):
            return cls(series[0].rename("id"))
        if len({s.dtype for s in series if len(s)}) > 1:
            numbers = pl.concat([s for s in series if s.dtype == pl.Int64]).cast(pl.String)
            series = [s.cast(pl.String) for s in series]
            twice = pl.concat(series).filter(pl.concat(series).is_in((numbers + ".0").implode()))
            if len(twice):
                number = twice[0].removesuffix(".0")
                raise InputError(f"found the ids {number!r} and {twice[0]!r}, expected one spelling")
        dtype = next((s.dtype for s in series if len(s)), pl.Int64())
        merged = pl.concat([s.cast(dtype).rename("id") for s in series])
        return cls(merged.unique().sort())

    @classmethod
    def in_order(cls, ids: pl.Series | npt.NDArray[Any] | Sequence[Any]) -> Vocabulary:
        """Return a vocabulary in the order of the ids, so that row ``r`` is ``ids[r]``.

        Raises:
            InputError: an id is missing or occurs twice.
        """
        series = id_series(ids)
        if series.n_unique() < len(series):
            raise InputError(f"id {series.filter(series.is_duplicated())[0]!r} occurs twice, expected once")
        return cls(series)

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.ids.equals(other.ids)

    __hash__ = None  # type: ignore[assignment]

    def rows(self, raw: pl.Series | Sequence[Any]) -> IntArray:
        """Return the row numbers of raw ids, ``-1`` for unknown ids.

        Raises:
            InputError: an id is neither a number nor text, or is a number spelled in another way.
        """
        return self._places(raw if isinstance(raw, pl.Series) else id_series(raw)).astype(np.int64)

    def _places(self, raw: pl.Series) -> npt.NDArray[np.int32]:
        """Return :meth:`rows` in half the memory."""
        wanted = _plain_ids(raw)
        if self.ids.dtype == pl.Int64 and wanted.dtype != pl.Int64:
            wanted = whole_numbers(wanted)
        elif not isinstance(wanted.dtype, CODED):
            wanted = wanted.cast(self.ids.dtype)
        return places_of(wanted, self.ids)

    def row(self, raw: object, *, kind: str = "id") -> int:
        """Return the row of one raw id.

        Raises:
            InputError: the id is unknown.
        """
        try:
            found = int(self.rows([python_id(raw)])[0])
        except InputError as error:
            raise InputError(f"{kind}: {error}") from None
        if found < 0:
            example = ", ".join(map(str, self.ids.head(3).to_list()))
            raise InputError(
                f"unknown {kind} {python_id(raw)!r}: not among the {len(self):,} known ones "
                f"(such as {example})"
            )
        return found

    def raw(self, rows: npt.ArrayLike) -> pl.Series:
        """Return the raw ids of row numbers."""
        return self.ids.gather(np.asarray(rows, dtype=np.int64))


def normal_ids(ids: pl.Series) -> pl.Series:
    """Return ids as ``Int64`` or ``String``, the types of a vocabulary; see :mod:`gclrec.data.io.ids`.

    Raises:
        InputError: an id is missing, is no whole number, or is neither number nor text.
    """
    return exact_ids(ids, ids.name or "id", lambda row: f"row {row + 1}", numbers=False)


def _plain_ids(ids: pl.Series) -> pl.Series:
    """Return ids as :func:`normal_ids` does, but leave coded text, which is faster to number."""
    kept = isinstance(ids.dtype, CODED) and ids.null_count() == 0
    return ids if kept else normal_ids(ids)


def _numbered(ids: pl.Series, vocabulary: Vocabulary | None) -> tuple[Vocabulary, npt.NDArray[np.int32]]:
    """Return the vocabulary, made of the ids if ``None``, and the row of each id."""
    if vocabulary is not None:
        rows = vocabulary._places(ids)
        if len(rows) and rows.min() < 0:
            raise InputError(f"{ids.name} {ids[int(np.argmin(rows))]!r} is not in the given vocabulary")
        return vocabulary, rows
    known, rows = numbered(_plain_ids(ids))
    return Vocabulary(known.rename("id")), rows


@dataclass(frozen=True, eq=False)
class Interactions:
    """Numbered user-item pairs with the vocabularies that name them.

    Args:
        users: raw user ids by row number; may hold users without any pair.
        items: raw item ids by row number; likewise.
        user: ``(E,)`` user rows in ``[0, U)``, kept as int32.
        item: ``(E,)`` item rows in ``[0, I)``, kept as int32.
        time: ``(E,)`` seconds or any number that grows with time, int64 if all are whole, else float64;
            ``None`` without times.
        weight: ``(E,)`` float32, such as a rating; ``None`` without weights.
    """

    users: Vocabulary
    items: Vocabulary
    user: RowArray
    item: RowArray
    time: TimeArray | None = None
    weight: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for role in ("user", "item"):  # other types are converted once, so that all arrays are alike
            rows = np.asarray(getattr(self, role))
            object.__setattr__(self, role, rows.astype(np.int32, copy=False))

    @classmethod
    def from_frame(
        cls,
        frame: pl.DataFrame,
        *,
        users: Vocabulary | None = None,
        items: Vocabulary | None = None,
        repeats: bool = False,
    ) -> Interactions:
        """Number a table with the columns ``user``, ``item`` and optionally ``time``, ``weight``.

        A repeated pair is kept once, at its first time (its first row without times), since recall is about
        new pairs; an :class:`~gclrec.InputWarning` gives the number of dropped rows.

        Args:
            frame: one row for each interaction; ids of any type.
            users: vocabulary of the users; made from the table if ``None``.
            items: vocabulary of the items; likewise.
            repeats: keep repeated pairs; :meth:`deduplicated` drops them later.

        Raises:
            InputError: an id is missing or is not in the given vocabulary.
        """
        with ThreadPoolExecutor(2) as pool:  # users and items at the same time
            (users, user), (items, item) = pool.map(_numbered, (frame["user"], frame["item"]), (users, items))
        columns = frame.columns
        time = None
        if "time" in columns:
            dtype = pl.Int64 if frame["time"].dtype.is_integer() else pl.Float64
            time = frame["time"].cast(dtype).to_numpy()
        weight = frame["weight"].cast(pl.Float32).to_numpy() if "weight" in columns else None
        pairs = cls(users, items, user, item, time, weight)
        return pairs if repeats else pairs.deduplicated()

    def __len__(self) -> int:
        return len(self.user)

    @property
    def num_users(self) -> int:
        """Number of users ``U``, those without interactions included."""
        return len(self.users)

    @property
    def num_items(self) -> int:
        """Number of items ``I``, those without interactions included."""
        return len(self.items)

    @property
    def pair_keys(self) -> IntArray:
        """``(E,)`` int64 key of each pair, ``user * I + item``; made anew each time, since it is large."""
        keys: IntArray = np.multiply(self.user, self.num_items, dtype=np.int64)
        keys += self.item
        return keys

    def user_degrees(self) -> IntArray:
        """Return the number of interactions of each user, ``(U,)``."""
        return counts(self.user, self.num_users)

    def item_degrees(self) -> IntArray:
        """Return the number of interactions of each item, ``(I,)``."""
        return counts(self.item, self.num_items)

    def select(self, which: BoolArray | IntArray) -> Interactions:
        """Return the pairs at a mask or at positions, with the same vocabularies."""
        return replace(
            self,
            user=self.user[which],
            item=self.item[which],
            time=None if self.time is None else self.time[which],
            weight=None if self.weight is None else self.weight[which],
        )

    def without(self, other: Interactions) -> Interactions:
        """Return the pairs that are not in ``other`` (same vocabularies)."""
        return self.select(~self.shared_with(other))

    def shared_with(self, other: Interactions) -> BoolArray:
        """Return whether each pair is in ``other`` (same vocabularies), ``(E,)``."""
        return is_in(self.pair_keys, np.sort(other.pair_keys))

    def joined(self, *others: Interactions) -> Interactions:
        """Return the pairs of all (same vocabularies), with times and weights if all have them.

        No pair may occur twice.
        """
        columns: dict[str, Any] = {}
        for role in ("user", "item", "time", "weight"):
            values = [getattr(part, role) for part in (self, *others)]
            columns[role] = None if any(value is None for value in values) else np.concatenate(values)
        return replace(self, **columns)

    def sorted(self) -> Interactions:
        """Return the pairs ordered by user, then item."""
        return self.select(np.argsort(self.pair_keys, kind="stable"))

    def deduplicated(self, repeats: str = "first") -> Interactions:
        """Return each pair once; an :class:`~gclrec.InputWarning` gives the number of dropped rows.

        Args:
            repeats: which of its rows stays, a name in :data:`REPEATS`. Without times, and among equal ones,
                the first or last row counts.

        Raises:
            InputError: there is no such name, or it is about weights and there are none.
        """
        if repeats not in REPEATS:
            raise SettingError("repeats", f"found {repeats!r}, expected one of {', '.join(REPEATS)}")
        if repeats in ("max", "sum") and self.weight is None:
            raise SettingError("repeats", f"{repeats!r} is about ratings or weights, and there are none")
        ordered = self.pair_keys
        sort_in_place(ordered)  # np.unique hashes, which is slower
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        del ordered
        if not len(repeated):
            return self
        keys = self.pair_keys
        among = np.flatnonzero(is_in(keys, repeated))
        if self.time is not None:
            among = among[np.argsort(self.time[among], kind="stable")]
        if repeats == "last":
            among = among[::-1]
        if repeats == "max" and self.weight is not None:
            among = among[np.argsort(-self.weight[among], kind="stable")]
        among = among[np.argsort(keys[among], kind="stable")]
        again = np.append(False, keys[among[1:]] == keys[among[:-1]])
        stays = np.ones(len(keys), dtype=np.bool_)
        stays[among[again]] = False
        message = f"{np.count_nonzero(again):,} repeated pairs: each pair is kept once, {REPEATS[repeats]}"
        warnings.warn(message, InputWarning, stacklevel=2)
        whole = self
        if repeats == "sum" and self.weight is not None:
            weight = self.weight.copy()
            weight[among[~again]] = np.bincount(np.cumsum(~again) - 1, weights=weight[among])
            whole = replace(self, weight=weight)
        return whole.select(stays)

    def compacted(self) -> Interactions:
        """Return the same pairs without the users and items that have none."""
        users, items = (np.flatnonzero(degrees) for degrees in (self.user_degrees(), self.item_degrees()))
        return replace(
            self,
            users=Vocabulary(self.users.raw(users)),
            items=Vocabulary(self.items.raw(items)),
            user=renumbered(self.user, users, self.num_users),
            item=renumbered(self.item, items, self.num_items),
        )

    def with_min_rating(self, minimum: float) -> Interactions:
        """Return the pairs whose weight is at least ``minimum``, numbered anew.

        Raises:
            InputError: the pairs carry no weight, or none is left.
        """
        if self.weight is None:
            raise InputError("a minimum rating was asked for, but the interactions carry no rating or weight")
        kept = self.select(self.weight >= minimum)
        if len(kept) == 0:
            raise InputError(
                f"no interaction has a rating of at least {minimum:g} (the highest is {self.weight.max():g})"
            )
        return kept.compacted()

    def k_core(self, k: int) -> Interactions:
        """Return the largest subset in which every user and item has at least ``k`` interactions.

        Users and items below ``k`` are removed, which may bring others below ``k``, until a fixed point.

        Raises:
            InputError: ``k`` is not positive, or nothing is left.
        """
        if k < 1:
            raise InputError(f"k-core must be at least 1, got {k}")
        part = self
        while len(part):
            stays = (part.user_degrees()[part.user] >= k) & (part.item_degrees()[part.item] >= k)
            if stays.all():
                return part.compacted()
            part = part.select(stays)
        raise InputError(f"the {k}-core is empty: no group of users and items has {k} interactions each")

    def to_frame(self) -> pl.DataFrame:
        """Return the pairs in raw ids: ``user``, ``item`` and, if known, ``time``, ``weight``."""
        columns: dict[str, Any] = {"user": self.users.raw(self.user), "item": self.items.raw(self.item)}
        if self.time is not None:
            columns["time"] = self.time
        if self.weight is not None:
            columns["weight"] = self.weight
        return pl.DataFrame(columns)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions with a name, their published parts and attributes.

    Args:
        name: name in the catalogue, or the path.
        interactions: all pairs, including those of all parts.
        parts: published ``train``, ``test`` and maybe ``valid`` pairs, with the vocabularies of
            ``interactions``; empty without a published split. ``valid`` may be a subset of ``train``.
        user_attributes: a table whose first column ``id`` holds raw user ids; ``None`` without one.
        item_attributes: the same for items.
        default_split: the name in ``SPLITS`` that is used when none is asked for.
        synthetic: whether the data is generated.
        files: the files that were read.
        time_is_order: whether times are positions in each user's sequence (0, 1, 2 ...) and no common clock.
    """

    name: str
    interactions: Interactions
    parts: Mapping[str, Interactions] = field(default_factory=dict)
    user_attributes: pl.DataFrame | None = None
    item_attributes: pl.DataFrame | None = None
    default_split: str = "random"
    synthetic: bool = False
    time_is_order: bool = False
    files: tuple[str, ...] = ()
