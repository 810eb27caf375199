"""Edges in compressed rows, by user and by item, and the fast ways to take some away or put some in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gclrec.graph.propagation import Adjacency, Half


@dataclass(frozen=True, eq=False)
class Arrangement:
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
    def of(cls, user: Tensor, item: Tensor, num_users: int, num_items: int) -> Arrangement:
        """Arrange the pairs ``user (E,)``, ``item (E,)``, which are sorted by (user, item) already."""
        large = max(2 * len(user), num_users + num_items) >= 2**31
        user, item = (x.to(torch.int64 if large else torch.int32) for x in (user, item))
        order = torch.argsort(item, stable=True)
        return cls(
            num_users=num_users,
            num_items=num_items,
            user_of=user,
            user_to=item,
            user_ptr=_pointers(user, num_users),
            item_of=item.index_select(0, order),
            item_to=user.index_select(0, order),
            item_ptr=_pointers(item, num_items),
        )

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
        return torch.argsort(self.user_to, stable=True)

    @cached_property
    def keys(self) -> Tensor:
        """``(E,)`` ascending numbers ``user * I + item``."""
        return self.user_of.long() * self.num_items + self.user_to

    @cached_property
    def item_keys(self) -> Tensor:
        """``(E,)`` ascending numbers ``item * U + user``."""
        return self.item_of.long() * self.num_users + self.item_to

    @cached_property
    def missing_before(self) -> Tensor:
        """``(E,)`` ascending: how many of all pairs that are *not* edges have a smaller key."""
        return self.keys - torch.arange(self.num_edges, device=self.keys.device)

    @cached_property
    def missing_in_row(self) -> Tensor:
        """``(E,)`` ascending: ``user * I`` + how many smaller items the user does not have."""
        return self.missing_before + self.user_ptr.index_select(0, self.user_of)

    @cached_property
    def neighbours(self) -> tuple[Tensor, Tensor]:
        """A graph of ``U + I`` nodes, items after users: pointers ``(U + I + 1,)``, neighbours ``(2E,)``."""
        ptr = torch.cat([self.user_ptr, self.item_ptr[1:] + self.num_edges])
        return ptr, torch.cat([self.user_to + self.num_users, self.item_to])

    @cached_property
    def adjacency(self) -> Adjacency:
        """The symmetrically normalised adjacency, by the degrees of these very edges."""
        user_scale, item_scale = (
            degree.clamp(min=1).to(torch.get_default_dtype()).rsqrt() for degree in self.degrees
        )
        by_user = user_scale.index_select(0, self.user_of).mul_(item_scale.index_select(0, self.user_to))
        by_item = item_scale.index_select(0, self.item_of).mul_(user_scale.index_select(0, self.item_to))
        return Adjacency(
            Half(self.user_ptr, self.user_to, by_user, self.num_items),
            Half(self.item_ptr, self.item_to, by_item, self.num_users),
        )

    def select(self, kept: Tensor) -> Arrangement:
        """Return the edges where ``kept (E,)``, bool in user order, is true.

        Nothing is sorted: the places of the kept edges are listed in both orders and copied out. That is
        a little dearer than giving dropped edges the weight 0, but every product of the view is then
        cheaper by the share that was dropped, which from 3 % on outweighs it.
        """
        halves = []
        for mask, of, to, ptr in (
            (kept, self.user_of, self.user_to, self.user_ptr),
            (kept.index_select(0, self.item_order), self.item_of, self.item_to, self.item_ptr),
        ):
            places = positions(mask)
            halves += [x.index_select(0, places) for x in (of, to)]
            halves.append(_running(mask, ptr.dtype).index_select(0, ptr))
        return Arrangement(self.num_users, self.num_items, *halves)

    def missing(self, ranks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the users and items of pairs that are no edges, and the number of edges before each.

        Args:
            ranks: ``(n,)`` numbers in ``[0, U * I - E)`` among the missing pairs by (user, item); it is
                quick if they ascend. Pair ``rank + j`` of all pairs is meant when ``j`` edges lie before it.
        """
        before = search(self.missing_before, ranks, right=True)
        keys = ranks + before
        user = torch.div(keys, self.num_items, rounding_mode="floor")
        return user, keys - user * self.num_items, before

    def exchange(self, kept: Tensor, ranks: Tensor) -> Arrangement:
        """Return the edges where ``kept`` is true and further ones, which are merged into their places.

        Args:
            kept: ``(E,)`` bool in user order.
            ranks: ``(n,)`` ascending: which of the missing pairs come in, as in :meth:`missing`.
        """
        user, item, before = self.missing(ranks)
        user_half = _merge(kept, self.user_to, self.user_ptr, before, user, item)
        item_keys = ascending(item * self.num_users + user)
        before = search(self.item_keys, item_keys)
        item = torch.div(item_keys, self.num_users, rounding_mode="floor")
        user = item_keys - item * self.num_users
        kept = kept.index_select(0, self.item_order)
        item_half = _merge(kept, self.item_to, self.item_ptr, before, item, user)
        return Arrangement(self.num_users, self.num_items, *user_half, *item_half)


def _merge(
    kept: Tensor, to: Tensor, ptr: Tensor, before: Tensor, new_of: Tensor, new_to: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``of, to, ptr`` of one half when new edges join those kept; ``before`` counts old ones."""
    running = _running(kept, ptr.dtype)
    count = torch.arange(len(before), device=before.device)
    # A new edge stands behind the new ones that are smaller and the kept ones that are smaller.
    new_places = running.index_select(0, before) + count
    free = torch.ones(int(running[-1]) + len(before), dtype=torch.bool, device=kept.device)
    old_places = positions(free.index_fill_(0, new_places, False))
    merged = to.new_empty(len(free)).scatter_(0, old_places, to.index_select(0, positions(kept)))
    merged.scatter_(0, new_places, new_to.to(to.dtype))
    ptr = running.index_select(0, ptr) + _pointers(new_of, len(ptr) - 1).to(ptr.dtype)
    return _owners(ptr, len(free)), merged, ptr


def positions(mask: Tensor) -> Tensor:
    """Return the places where ``mask`` is true, ascending int64.

    This and the two that follow go through NumPy on a CPU, where it is several times faster.
    """
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)


def ascending(x: Tensor) -> Tensor:
    """Return the values of ``x (n,)`` in ascending order."""
    if x.device.type == "cpu":
        return torch.from_numpy(np.sort(x.numpy()))
    return x.sort().values


def search(among: Tensor, wanted: Tensor, *, right: bool = False) -> Tensor:
    """Return how many of ``among``, ascending, lie below each of ``wanted`` (``right``: or equal it)."""
    if wanted.device.type == "cpu":
        places = np.searchsorted(among.numpy(), wanted.numpy(), side="right" if right else "left")
        return torch.from_numpy(places)
    return torch.searchsorted(among, wanted, right=right)


def _pointers(numbers: Tensor, count: int) -> Tensor:
    """Return where each of ``count`` groups begins once the numbers are sorted, ``(count + 1,)``."""
    ptr = numbers.new_zeros(count + 1)
    torch.cumsum(torch.bincount(numbers, minlength=count), 0, dtype=ptr.dtype, out=ptr[1:])
    return ptr


def _owners(ptr: Tensor, total: int) -> Tensor:
    """Return which row each of ``total`` places belongs to, ``(E,)``."""
    return torch.repeat_interleave(ptr.diff(), output_size=total)


def _running(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return how many are true before each place and, last, in all, ``(E + 1,)``."""
    running = torch.zeros(len(mask) + 1, dtype=dtype, device=mask.device)
    torch.cumsum(mask, 0, dtype=dtype, out=running[1:])
    return running
