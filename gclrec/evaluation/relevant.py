"""Test pairs to be found, and the checks of what is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import BoolArray, IntArray, Interactions, RowArray

Pairs: TypeAlias = Interactions | Tensor | tuple[npt.ArrayLike | Tensor, npt.ArrayLike | Tensor]
"""Interactions, or users and items as two arrays or tensors, or an ``edge_index (2, E)``."""


@dataclass(frozen=True, eq=False)
class Relevant:
    """Distinct test pairs, sorted by user and item, and how many each user has."""

    num_items: int
    keys: RowArray
    user: RowArray
    item: RowArray
    per_user: IntArray

    @classmethod
    def of(cls, pairs: tuple[RowArray, RowArray], num_users: int, num_items: int) -> Relevant:
        """Return the pairs in this form."""
        keys = np.unique(np.multiply(pairs[0], num_items, dtype=np.int64) + pairs[1])
        user, item = np.divmod(keys, max(num_items, 1))
        per_user: IntArray = np.bincount(user, minlength=num_users)
        return cls(num_items, keys, user, item, per_user)

    def users_of(self, items: IntArray) -> IntArray:
        """Return how many of some items are test items of each user, ``(U,)``."""
        return np.bincount(self.user[np.isin(self.item, items)], minlength=len(self.per_user))

    def contains(self, user: RowArray, item: RowArray) -> BoolArray:
        """Return for each pair whether it is a test pair; never for item ``-1``."""
        if not len(self.keys):
            return np.zeros(np.broadcast_shapes(user.shape, item.shape), dtype=np.bool_)
        wanted = np.multiply(user, self.num_items, dtype=np.int64) + item
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.asarray((self.keys[at] == wanted) & (item >= 0), dtype=np.bool_)


def seen_by(users: RowArray, train: Interactions, exclude: Interactions | None) -> Ragged:
    """Return what the lists of ``(B,)`` users leave out: their training items, and further pairs if given."""
    hidden = [(part.user, part.item) for part in (train, exclude) if part is not None]
    return Ragged.of_rows(users, hidden, train.num_users)


def checked_pairs(pairs: Pairs, name: str, num_users: int, num_items: int) -> tuple[RowArray, RowArray]:
    """Return user and item rows, checked against the numbers of users and items."""
    if isinstance(pairs, Interactions):
        user, item = pairs.user, pairs.item
        if (pairs.num_users, pairs.num_items) != (num_users, num_items):
            found = f"{pairs.num_users:,} users and {pairs.num_items:,} items"
            raise InputError(f"{name}: found {found}, expected {num_users:,} and {num_items:,}")
    else:
        if len(pairs) != 2:
            raise InputError(f"{name}: found {len(pairs)} parts, expected users and items")
        user, item = (whole_rows(part, name) for part in pairs)
    if user.ndim != 1 or user.shape != item.shape:
        raise InputError(f"{name}: found users {user.shape} and items {item.shape}, expected (E,) each")
    for kind, rows, size in (("user", user, num_users), ("item", item, num_items)):
        if len(rows) and (rows.min() < 0 or rows.max() >= size):
            raise InputError(
                f"{name}: {kind} rows run from {rows.min()} to {rows.max()}, expected [0, {size})"
            )
    return user, item


def whole_rows(rows: npt.ArrayLike | Tensor, name: str) -> IntArray:
    """Return row numbers as int64; ``name`` names them in the error about others."""
    given = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise InputError(f"{name}: found {given.dtype}, expected the row numbers of users and items")
    return given.astype(np.int64, copy=False)


def check_lists(items: IntArray, users: IntArray, test: Relevant, k: int) -> None:
    """Raise ``InputError`` unless the lists are valid and complete."""
    if items.ndim != 2 or users.shape != items.shape[:1]:
        raise InputError(f"found items {items.shape} and users {users.shape}, expected (B, K) and (B,)")
    if items.shape[1] < k:
        raise InputError(f"the lists have {items.shape[1]} places, the largest cut needs {k}")
    if items.size and (items.min() < -1 or items.max() >= test.num_items):
        raise InputError(
            f"items run from {items.min()} to {items.max()}, expected -1 or [0, {test.num_items})"
        )
    if len(users) and (users.min() < 0 or users.max() >= len(test.per_user)):
        raise InputError(f"users run from {users.min()} to {users.max()}, expected [0, {len(test.per_user)})")
    listed = np.bincount(users, minlength=len(test.per_user))
    if (listed > 1).any():
        raise InputError(f"user {int(listed.argmax())} has {int(listed.max())} lists, expected one each")
    if missing := int(((test.per_user > 0) & (listed == 0)).sum()):
        raise InputError(f"{missing:,} users with test pairs have no list")
    ordered = np.sort(items, axis=1)
    repeated = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    if repeated.any():
        raise InputError(f"the list of user {int(users[repeated.argmax()])} names an item more than once")
