"""Random draws that cost little: hits with a probability, and distinct numbers."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

_FEW = 0.125
"""Up to this probability it is faster to draw the gaps between hits than a number for each place."""


def bernoulli(
    count: int, p: float, *, generator: Generator | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Return ``(count,)`` bool, each true with probability ``p`` independently.

    On a CPU rare hits are placed by the gaps between them (which are geometric), so that about
    ``p * count`` random numbers are needed; otherwise 32 random bits decide each place.
    """
    if p <= 0.0 or count == 0:
        return torch.zeros(count, dtype=torch.bool, device=device)
    if torch.device(device).type != "cpu":
        return torch.rand(count, generator=generator, device=device) < p
    if p <= _FEW:
        return _by_gaps(count, p, generator)
    if p >= 1.0 - _FEW:
        return _by_gaps(count, 1.0 - p, generator).logical_not_() if p < 1.0 else torch.ones(count).bool()
    bits = torch.empty((count + 1) // 2, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return bits.view(torch.int32)[:count] < round(p * 2**32) - 2**31


def _by_gaps(count: int, p: float, generator: Generator | None) -> Tensor:
    hits = torch.zeros(count, dtype=torch.bool)
    expected = p * count
    draws = math.ceil(expected + 6.0 * math.sqrt(expected) + 16.0)
    place = -1
    while place < count - 1:
        uniform = torch.rand(draws, generator=generator, dtype=torch.float64)
        # 1 - uniform lies in (0, 1], so the logarithm is finite; a huge gap is cut at the end.
        gaps = uniform.neg_().add_(1.0).log_().div_(math.log1p(-p)).clamp_(max=float(count)).long().add_(1)
        places = gaps.cumsum_(0).add_(place)
        hits.index_fill_(0, places[places < count], True)
        place = int(places[-1])
    return hits


def distinct(
    count: int, population: int, *, generator: Generator | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Return ``count`` distinct numbers of ``[0, population)``, ascending; every such set is equally likely.

    Numbers are drawn with repetition until ``count`` different ones have come up, which are a sample
    without repetition; a large part of a small population is cut from a permutation instead.

    Raises:
        ValueError: there are not that many numbers.
    """
    if count > population:
        raise ValueError(f"cannot draw {count} distinct numbers of {population}")
    if count * 4 > population:
        return torch.randperm(population, generator=generator, device=device)[:count].sort().values
    found = torch.empty(0, dtype=torch.int64, device=device)
    while len(found) < count:
        more = torch.randint(population, (count - len(found),), generator=generator, device=device)
        found = torch.unique_consecutive(torch.cat([found, more]).sort().values)
    return found


def hits(probabilities: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Return bool of the same shape, each true with its own probability independently."""
    uniform = torch.rand(
        probabilities.shape, generator=generator, device=probabilities.device, dtype=probabilities.dtype
    )
    return uniform < probabilities

