"""Users encoded by the items that they took last.

A history encoder is made as ``History(dim, length, *, init_std, generator)`` and called with the vectors of
items ``(I, D)`` and rows ``(B, n)`` of item numbers, the newest last and ``-1`` for none; it returns
``(B, D)``, zero where a row holds no item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import copy
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from gclrec.encoders.two_tower.refiners import linear_layer


class Sequences(nn.Module):
    """The items of each user in order, as tensors that move with the module that holds them.

    They are data, not learned, and so not part of ``state_dict``.

    Args:
        user: ``(E,)`` int64 user of each interaction.
        item: ``(E,)`` int64 its item; no pair may occur twice.
        num_users: ``U``.
        num_items: ``I``.
        time: ``(E,)`` when; pairs of the same time, or all if ``None``, keep the order given.
        length: items of a history, at most: the newest ones.

    Raises:
        ValueError: ``length`` is below 1.

    Example:
        >>> user, item = torch.tensor([0, 0, 0, 1]), torch.tensor([5, 3, 4, 3])
        >>> sequences = Sequences(user, item, 2, 6, time=torch.tensor([3, 1, 2, 1]), length=2)
        >>> sequences.newest().tolist()
        [[4, 5], [-1, 3]]
        >>> sequences.before(torch.tensor([0, 0]), torch.tensor([5, 3])).tolist()
        [[3, 4], [-1, -1]]
    """

    items: Tensor
    ptr: Tensor
    keys: Tensor
    places: Tensor

    def __init__(
        self,
        user: Tensor,
        item: Tensor,
        num_users: int,
        num_items: int,
        *,
        time: Tensor | None = None,
        length: int = 20,
    ) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self.length, self.num_items = length, num_items
        order = torch.arange(len(user)) if time is None else torch.argsort(time, stable=True)
        order = order[torch.argsort(user[order], stable=True)]
        user, item = user[order], item[order]
        keys, places = (user * num_items + item).sort()
        ptr = functional.pad(torch.bincount(user, minlength=num_users).cumsum(0), (1, 0))
        for name, tensor in (("items", item), ("ptr", ptr), ("keys", keys), ("places", places)):
            self.register_buffer(name, tensor, persistent=False)

    def cut(self, length: int) -> Sequences:
        """Return the same items with histories of another length."""
        if length == self.length:
            return self
        result = copy(self)
        result.length = length
        return result

    def newest(self, users: Tensor | None = None) -> Tensor:
        """Return the newest items of some users, or of all, ``(B, n)``: the newest last, ``-1`` in front."""
        if users is None:
            return self._until(self.ptr[:-1], self.ptr[1:])
        return self._until(self.ptr[users], self.ptr[users + 1])

    def before(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the history of each user just before one of its items, ``(B, n)``."""
        place = self.places[torch.searchsorted(self.keys, users * self.num_items + items)]
        return self._until(self.ptr[users], place)

    def _until(self, begin: Tensor, end: Tensor) -> Tensor:
        at = end[:, None] + torch.arange(-self.length, 0, device=end.device)
        return torch.where(at >= begin[:, None], self.items[at.clamp(min=0)], -1)


class HistoryMean(nn.Module):
    """The mean of the vectors of the last items."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def forward(self, items: Tensor, rows: Tensor) -> Tensor:
        """Return the means."""
        there = (rows >= 0).to(items.dtype)
        share = there / there.sum(1, keepdim=True).clamp(min=1.0)
        return functional.embedding_bag(rows.clamp(min=0), items, mode="sum", per_sample_weights=share)


class HistoryAttention(nn.Module):
    r"""Attention of the newest item over the last items (the newest row of SASRec's layer, [1]).

    .. math:: h = m_1 + V \sum_j a_j m_j, \qquad a = \mathrm{softmax}_j\big((A m_1)^\top m_j / \sqrt{D}\big),
        \qquad m_j = x_{i_j} + p_j

    with :math:`i_1` the newest item and a learned vector :math:`p_j` for each place, counted from the newest
    and drawn with ``init_std``. There is one head; the matrices of queries and keys are one matrix ``A``,
    since only their product counts.

    [1] Kang, McAuley, ICDM 2018, https://arxiv.org/abs/1808.09781
    """

    def __init__(
        self, dim: int, length: int, *, init_std: float = 0.1, generator: Generator | None = None
    ) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.empty(length, dim).normal_(0.0, init_std, generator=generator))
        self.query = linear_layer(dim, dim, bias=False, generator=generator)
        self.value = linear_layer(dim, dim, bias=False, generator=generator)

    def forward(self, items: Tensor, rows: Tensor) -> Tensor:
        """Return the vectors of histories."""
        there = rows >= 0
        x = functional.embedding(rows.clamp(min=0), items) + self.places
        last = (there.long() * torch.arange(1, rows.shape[1] + 1, device=rows.device)).argmax(1)
        newest = x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
        logits = torch.einsum("bd,bnd->bn", self.query(newest), x) / math.sqrt(x.shape[2])
        some = there.any(1, keepdim=True)
        shares = logits.masked_fill(~there & some, -torch.inf).softmax(1)
        found = newest + self.value(torch.einsum("bn,bnd->bd", shares, x))
        return cast("Tensor", found * some.to(found.dtype))


HISTORIES: Mapping[str, Callable[..., nn.Module]] = {"mean": HistoryMean, "attention": HistoryAttention}
"""How a history becomes a vector."""
