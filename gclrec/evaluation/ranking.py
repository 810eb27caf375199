"""Exact top-k: the best unseen items of each user by inner product, in blocks, ties by item number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gclrec.common.devices import on_cpu
from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray

Vectors = Tensor | npt.NDArray[np.floating]

# Scores held at a time: enough rows for a fast matrix product, few enough to stay in the cache.
CPU_SCORES, _CUDA_SCORES = 2**25, 2**27
_SMALLEST_CHUNK = 32  # with shorter chunks, a pass for their maxima costs more than it saves


def as_vectors(vectors: Vectors, name: str) -> Tensor:
    """Return ``(rows, D)`` vectors in the type that they are scored in: float64, or else float32.

    Raises:
        InputError: the shape is wrong, or a row is not finite; the message names the first such row.
    """
    tensor = torch.as_tensor(vectors).detach()
    if tensor.ndim != 2:
        raise InputError(f"{name}: found shape {tuple(tensor.shape)}, expected two dimensions (rows, D)")
    if tensor.dtype != torch.float64:
        tensor = tensor.to(torch.float32)
    finite = tensor.isfinite()
    if not finite.all():
        row = int(finite.all(1).logical_not().nonzero()[0])
        raise InputError(f"{name}: row {row} holds NaN or infinity, expected finite numbers")
    return tensor


@torch.no_grad()
def top_k(
    user_vectors: Vectors,
    item_vectors: Vectors,
    k: int,
    *,
    seen: Ragged | None = None,
    block_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Return the ``k`` unseen items with the largest inner product for every user.

    .. math:: s_{ui} = x_u^\top x_i

    Items are in order of score, equal scores in order of item number, also where the list is cut, so the
    result depends on the scores alone. A list with fewer than ``k`` unseen items ends with item ``-1`` and
    score ``-inf``.

    Scores are computed for a block of users at a time. The items are divided into chunks. At least ``k``
    items reach the ``k``-th largest maximum of a chunk, so only chunks whose maximum reaches this bound are
    searched, and only items that reach it are sorted. This is exact.

    Args:
        user_vectors: ``(B, D)``; half precision and integers are scored in float32.
        item_vectors: ``(I, D)``, on the same device.
        k: length of the lists, at least 1; may exceed ``I``.
        seen: row ``b`` lists what user ``b`` must not get; nothing is left out if ``None``.
        block_size: users scored at a time; chosen by the number of items if ``None``. It bounds memory
            (``block_size * I`` scores) and can change only the rounding of scores.

    Returns:
        Items ``(B, k)`` int64 and scores ``(B, k)`` in the type they were computed in.

    Raises:
        InputError: shapes do not fit, a vector is not finite, a score overflows, or ``k`` is below 1.
    """
    users, items = as_vectors(user_vectors, "user_vectors"), as_vectors(item_vectors, "item_vectors")
    _check(users, items, k, seen, block_size)
    dtype = torch.promote_types(users.dtype, items.dtype)
    users, items = users.to(dtype), items.to(dtype)
    best = torch.full((len(users), k), -1, dtype=torch.int64, device=users.device)
    best_scores = torch.full((len(users), k), -math.inf, dtype=dtype, device=users.device)
    if not len(users) or not len(items):
        return best, best_scores

    layout = _Layout.of(len(items), k)
    columns = layout.arrange(items).T
    padding = layout.column(torch.arange(layout.num_items, layout.width, device=users.device))
    length = min(k, layout.num_items)
    for start, stop, buffer in _blocks(users, layout, block_size):
        scores = buffer[: stop - start]
        torch.mm(users[start:stop], columns, out=scores)
        scores.index_fill_(1, padding, -math.inf)
        if seen is not None:
            _hide_seen(scores, seen, start, stop, layout)
        best[start:stop, :length], best_scores[start:stop, :length] = _best(scores, length, layout)
    return best, best_scores


def places_among(candidates: IntArray, num_items: int) -> IntArray:
    """Return the place of each item among the candidates, ``(I,)``; -1 for one that is none.

    Args:
        candidates: item rows, ascending.
        num_items: ``I``.
    """
    places = np.full(num_items, -1, dtype=np.int64)
    places[candidates] = np.arange(len(candidates))
    return places


def top_k_among(
    user_vectors: Vectors,
    item_vectors: Vectors,
    candidates: IntArray,
    k: int,
    *,
    seen: Ragged | None = None,
    block_size: int | None = None,
) -> Tensor:
    """Return the items ``(B, k)`` of :func:`top_k` as if some items were all there are.

    Args:
        user_vectors: ``(B, D)``.
        item_vectors: ``(I, D)``.
        candidates: the rows of those items, ascending.
        k: length of the lists.
        seen: row ``b`` lists what user ``b`` must not get.
        block_size: see :func:`top_k`.
    """
    rows = torch.from_numpy(candidates)
    vectors = torch.as_tensor(item_vectors)
    if seen is not None:
        seen = seen.renumbered(places_among(candidates, len(vectors)))
    there = vectors[rows.to(vectors.device)]
    return named(top_k(user_vectors, there, k, seen=seen, block_size=block_size)[0].cpu(), rows)


def named(places: Tensor, candidates: Tensor) -> Tensor:
    """Return the item rows of places among the candidates; an empty place, -1, stays."""
    if not len(candidates):
        return places
    return torch.where(places >= 0, candidates[places], -1)


@torch.no_grad()
def top_k_scaled(
    user_vectors: Vectors, item_vectors: Vectors, scales: Tensor, k: int, *, seen: Ragged
) -> Tensor:
    r"""Return the lists of :func:`top_k` for several lengths of the items, from one product.

    .. math:: s_{ui} = c_i \, x_u^\top x_i

    Args:
        user_vectors: ``(B, D)``.
        item_vectors: ``(I, D)``.
        scales: ``(S, I)`` positive factors :math:`c_i`, a row for each ranking.
        k: length of the lists, at least 1.
        seen: row ``b`` lists what user ``b`` must not get.

    Returns:
        Items ``(S, B, k)`` int64.
    """
    users, items = as_vectors(user_vectors, "user_vectors"), as_vectors(item_vectors, "item_vectors")
    _check(users, items, k, seen, None)
    best = torch.full((len(scales), len(users), k), -1, dtype=torch.int64, device=users.device)
    if not best.numel() or not len(items):
        return best
    layout, length = _Layout.of(len(items), k), min(k, len(items))
    columns, factors = layout.arrange(items).T, layout.arrange(scales.to(items).T).T.contiguous()
    padding = layout.column(torch.arange(layout.num_items, layout.width, device=users.device))
    for start, stop, block in _blocks(users, layout):
        products = users[start:stop] @ columns
        for ranking, factor in enumerate(factors):
            scores = torch.mul(products, factor, out=block[: stop - start])
            scores.index_fill_(1, padding, -math.inf)
            _hide_seen(scores, seen, start, stop, layout)
            best[ranking, start:stop, :length] = _best(scores, length, layout)[0]
    return best


def _blocks(
    users: Tensor, layout: _Layout, block_size: int | None = None
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield the ends of each block of users and a buffer for its scores."""
    budget = CPU_SCORES if on_cpu(users.device) else _CUDA_SCORES
    block = min(len(users), block_size or min(max(budget // layout.width, 64), 8192))
    buffer = torch.empty(block, layout.width, dtype=users.dtype, device=users.device)
    for start in range(0, len(users), block):
        yield start, min(start + block, len(users)), buffer


@torch.no_grad()
def top_k_of_scores(scores: Tensor, k: int, *, seen: Ragged | None = None) -> tuple[Tensor, Tensor]:
    """Return the ``k`` unseen items with the highest score for every user, ordered as by :func:`top_k`.

    Args:
        scores: ``(B, I)`` in any floating type; not modified.
        k: length of the lists, at least 1; may exceed ``I``.
        seen: row ``b`` lists what user ``b`` must not get; nothing is left out if ``None``.

    Returns:
        Items ``(B, k)`` int64 and scores ``(B, k)``.

    Raises:
        InputError: a shape is wrong, a score is NaN, ``seen`` names an unknown item, or ``k`` is below 1.
    """
    if scores.ndim != 2 or k < 1 or (seen is not None and len(seen) != len(scores)):
        found = f"scores {tuple(scores.shape)}, k {k}" + ("" if seen is None else f", {len(seen)} seen lists")
        raise InputError(f"found {found}; expected scores (B, I), k of at least 1 and one seen list a user")
    if seen is not None:
        _check_items(seen, scores.shape[1])
    best = torch.full((len(scores), k), -1, dtype=torch.int64, device=scores.device)
    best_scores = torch.full((len(scores), k), -math.inf, dtype=scores.dtype, device=scores.device)
    if scores.numel():
        layout = _Layout.of(scores.shape[1], k)
        padded = torch.nn.functional.pad(scores, (0, layout.width - layout.num_items), value=-math.inf)
        dealt = padded.view(len(scores), layout.chunk, layout.chunks).transpose(1, 2)
        arranged = dealt.reshape(len(scores), layout.width)
        if arranged.data_ptr() == scores.data_ptr():
            arranged = scores.clone()
        if seen is not None:
            _hide_seen(arranged, seen, 0, len(scores), layout)
        length = min(k, layout.num_items)
        best[:, :length], best_scores[:, :length] = _best(arranged, length, layout)
    return best, best_scores


@dataclass(frozen=True)
class _Layout:
    """The order of columns in a block of scores: item ``i`` is in chunk ``i % chunks``.

    This spreads neighbours that resemble each other, such as items numbered by popularity, over the chunks,
    which keeps the bound of :func:`top_k` tight.
    """

    num_items: int
    chunk: int
    chunks: int

    @classmethod
    def of(cls, num_items: int, k: int) -> _Layout:
        # The work a user is a selection among I / chunk maxima and a scan of k * chunk scores. The factor is
        # the ratio of their measured costs; half or twice the length is nearly as good.
        chunk = 2 ** round(math.log2(2.5 * math.sqrt(num_items / min(k, num_items))))
        if chunk < _SMALLEST_CHUNK:
            chunk = 1
        return cls(num_items, chunk, -(-num_items // chunk))

    @property
    def width(self) -> int:
        return self.chunk * self.chunks

    def arrange(self, items: Tensor) -> Tensor:
        """Return the item vectors in column order, with zeros for padding."""
        padded = torch.nn.functional.pad(items, (0, 0, 0, self.width - self.num_items))
        return padded.view(self.chunk, self.chunks, -1).transpose(0, 1).reshape(self.width, -1)

    def column(self, item: Tensor) -> Tensor:
        row = torch.div(item, self.chunks, rounding_mode="floor")
        return (item - row * self.chunks) * self.chunk + row

    def item(self, column: Tensor) -> Tensor:
        chunk = torch.div(column, self.chunk, rounding_mode="floor")
        return (column - chunk * self.chunk) * self.chunks + chunk


def _hide_seen(scores: Tensor, seen: Ragged, start: int, stop: int, layout: _Layout) -> None:
    """Give the seen items of users ``[start, stop)`` the score ``-inf``."""
    indptr = torch.from_numpy(seen.indptr[start : stop + 1])
    item = torch.from_numpy(seen.values[indptr[0] : indptr[-1]]).to(scores.device)
    row = torch.arange(stop - start, device=scores.device).repeat_interleave(indptr.diff().to(scores.device))
    scores.view(-1).index_fill_(0, row * layout.width + layout.column(item), -math.inf)


def _best(scores: Tensor, k: int, layout: _Layout) -> tuple[Tensor, Tensor]:
    """Return the best ``k`` items of each row of a ``(b, width)`` block of scores."""
    rows = len(scores)
    maxima = scores.view(rows, layout.chunks, layout.chunk).amax(2) if layout.chunk > 1 else scores
    if maxima.isnan().any():
        raise InputError("scores: found NaN, expected vectors whose inner products do not overflow")
    # At least k scores of a row reach the bound; excluded ones (-inf) never do.
    bound = maxima.topk(k, dim=1, sorted=False).values.amin(1).clamp_min(torch.finfo(scores.dtype).min)

    # Rows where many more than k chunks or items reach the bound contain a large tie.
    reached = maxima >= bound[:, None]
    wide = reached.sum(1) > 2 * k
    reached &= ~wide[:, None]
    chunk = reached.view(-1).nonzero().view(-1)
    chunk_row = torch.div(chunk, layout.chunks, rounding_mode="floor")
    candidates = scores.view(-1, layout.chunk)[chunk]
    place = (candidates >= bound[chunk_row, None]).view(-1).nonzero().view(-1)
    which = torch.div(place, layout.chunk, rounding_mode="floor")
    row = chunk_row[which]
    item = (place - which * layout.chunk) * layout.chunks + chunk[which] - row * layout.chunks
    score = candidates.view(-1)[place]

    count = torch.bincount(row, minlength=rows)
    if (count > 4 * k + 64).any():
        wide |= count > 4 * k + 64
        keep = ~wide[row]
        row, item, score = row[keep], item[keep], score[keep]
        count = count.masked_fill(wide, 0)
    width = max(int(count.max()), k)
    at = row * width + torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    padded_items = torch.full((rows, width), -1, device=row.device)
    padded_scores = torch.full((rows, width), -math.inf, dtype=scores.dtype, device=row.device)
    padded_items.view(-1)[at] = item
    padded_scores.view(-1)[at] = score
    items, values = _sorted(padded_items, padded_scores, k)
    if wide.any():
        items[wide], values[wide] = _best_among_ties(scores[wide], k, layout)
    return items, values


def _sorted(items: Tensor, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Order rows by score, equal scores by item, and return the first ``k`` columns."""
    values, order = scores.sort(dim=1, descending=True)
    best = items.gather(1, order[:, :k])
    tied = (values[:, :-1] == values[:, 1:])[:, :k] & (values[:, 1 : k + 1] > -math.inf)
    rows = tied.any(1).nonzero().view(-1)
    if len(rows):
        by_item, order = items[rows].sort(dim=1)
        _, order = scores[rows].gather(1, order).sort(dim=1, descending=True, stable=True)
        best[rows] = by_item.gather(1, order[:, :k])
    return best, values[:, :k]


def _best_among_ties(scores: Tensor, k: int, layout: _Layout) -> tuple[Tensor, Tensor]:
    """Return the best ``k`` items of rows with large ties, without sorting all items."""
    values, columns = scores.topk(k, dim=1, sorted=False)
    last = values.amin(1, keepdim=True)
    items = layout.item(columns)
    # The selection has every item above the last score, but any items at it: find those of least number.
    numbers = layout.item(torch.arange(layout.width, device=scores.device)).to(torch.int32)
    level = (
        torch.where(scores == last, numbers, layout.width).topk(k, dim=1, largest=False, sorted=False).values
    )
    items = torch.cat([items, level.to(torch.int64)], dim=1)
    level_scores = last.expand_as(values).masked_fill(level == layout.width, -math.inf)
    values = torch.cat([values.masked_fill(values == last, -math.inf), level_scores], dim=1)
    return _sorted(items, values, k)


def _check(users: Tensor, items: Tensor, k: int, seen: Ragged | None, block_size: int | None) -> None:
    if users.shape[1] != items.shape[1]:
        raise InputError(
            f"user_vectors have {users.shape[1]} dimensions and item_vectors {items.shape[1]}: must be equal"
        )
    if users.device != items.device:
        raise InputError(
            f"user_vectors are on {users.device} and item_vectors on {items.device}: must be one device"
        )
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    if block_size is not None and block_size < 1:
        raise InputError(f"block_size must be at least 1, got {block_size}")
    if seen is None:
        return
    if len(seen) != len(users):
        raise InputError(f"seen lists {len(seen):,} users, user_vectors {len(users):,}: must be equal")
    _check_items(seen, len(items))


def _check_items(seen: Ragged, num_items: int) -> None:
    low, high = (int(seen.values.min()), int(seen.values.max())) if len(seen.values) else (0, -1)
    if low < 0 or high >= num_items:
        wrong = low if low < 0 else high
        raise InputError(f"seen names item {wrong}, items are numbered 0 to {num_items - 1}")
