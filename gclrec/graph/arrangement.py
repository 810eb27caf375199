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
        """Both halves as one graph of ``U + I`` nodes, items after users: ``ptr (U + I + 1,)``, ``to (2E,)``."""
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

    def exchange(self, kept: Tensor, user: Tensor, item: Tensor) -> Arrangement:
        """Return the edges where ``kept (E,)`` is true, and further ones merged into their places.

        Args:
            kept: bool in user order.
            user: ``(n,)`` users of the further edges, none of which is an edge of these, kept or not.
            item: ``(n,)`` items of the further edges; the pairs are sorted by (user, item).
        """
        by_item = torch.argsort(item.to(self.user_to.dtype), stable=True)
        halves = []
        for mask, keys, of, to, ptr, new_of, new_to, width in (
            (kept, self.keys, self.user_of, self.user_to, self.user_ptr, user, item, self.num_items),
            (
                kept.index_select(0, self.item_order),
                self.item_keys,
                self.item_of,
                self.item_to,
                self.item_ptr,
                item.index_select(0, by_item),
                user.index_select(0, by_item),
                self.num_users,
            ),
        ):
            running = _running(mask, torch.int64)
            # A further edge stands behind those that are new and smaller, and those kept and smaller.
            before = running.index_select(0, search(keys, new_of * width + new_to))
            new_places = before + torch.arange(len(before), device=before.device)
            free = torch.ones(int(running[-1]) + len(before), dtype=torch.bool, device=kept.device)
            old_places = positions(free.index_fill_(0, new_places, False))
            chosen = positions(mask)
            for old, new in ((of, new_of), (to, new_to)):
                merged = old.new_empty(len(free)).scatter_(0, old_places, old.index_select(0, chosen))
                halves.append(merged.scatter_(0, new_places, new.to(old.dtype)))
            halves.append(running.index_select(0, ptr).to(ptr.dtype) + _pointers(new_of, len(ptr) - 1).to(ptr))
        return Arrangement(self.num_users, self.num_items, *halves)


def positions(mask: Tensor) -> Tensor:
    """Return the places where ``mask`` is true, ascending int64 (NumPy finds them faster on a CPU)."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)


def search(ascending: Tensor, wanted: Tensor, *, right: bool = False) -> Tensor:
    """Return how many of ``ascending`` lie below each of ``wanted`` (with ``right``: or are equal)."""
    if wanted.device.type == "cpu":
        side = "right" if right else "left"
        return torch.from_numpy(np.searchsorted(ascending.numpy(), wanted.numpy(), side=side))
    return torch.searchsorted(ascending, wanted, right=right)


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
