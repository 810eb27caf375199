"""Random draws that cost little: events with a probability, and distinct numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from gclrec.common.devices import on_cpu
from gclrec.graph.csr import ascending, positions

RARE = 0.125
"""Up to this probability it is faster to draw the gaps between hits than a number for each place."""


def bernoulli(
    count: int, p: float, *, generator: Generator | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Return ``(count,)`` bool, each true with probability ``p`` independently.

    On a CPU rare hits are placed by the gaps between them, which takes about ``p * count`` random numbers;
    otherwise 32 random bits decide each place.
    """
    if p <= 0.0 or count == 0:
        return torch.zeros(count, dtype=torch.bool, device=device)
    if not on_cpu(torch.device(device)):
        return torch.rand(count, generator=generator, device=device) < p
    if p <= RARE:
        return torch.zeros(count, dtype=torch.bool).index_fill_(0, _by_gaps(count, p, generator), True)
    if p >= 1.0:
        return torch.ones(count, dtype=torch.bool)
    if p >= 1.0 - RARE:
        return torch.ones(count, dtype=torch.bool).index_fill_(0, _by_gaps(count, 1.0 - p, generator), False)
    # Each 64-bit draw is read as two signed 32-bit numbers, uniform from -2**31 on.
    bits = torch.empty((count + 1) // 2, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return bits.view(torch.int32)[:count] < round(p * 2**32) - 2**31


def places_of_hits(
    count: int, p: float, *, generator: Generator | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Return where :func:`bernoulli` is true with the same draws, ascending int64."""
    if on_cpu(torch.device(device)) and 0.0 < p <= RARE and count > 0:
        return _by_gaps(count, p, generator)
    return positions(bernoulli(count, p, generator=generator, device=device))


def _by_gaps(count: int, p: float, generator: Generator | None) -> Tensor:
    """Return the places of hits: the gaps between them are geometric, ``floor(log U / log(1 - p)) + 1``."""
    expected = p * count
    draws = math.ceil(expected + 6.0 * math.sqrt(expected) + 16.0)  # hardly ever too few
    place, found = -1, []
    while place < count - 1:
        uniform = torch.rand(draws, generator=generator, dtype=torch.float64)
        # 1 - uniform lies in (0, 1], so the logarithm is finite; a huge gap is cut at the end.
        gaps = uniform.neg_().add_(1.0).log_().div_(math.log1p(-p)).clamp_(max=float(count)).long().add_(1)
        places = gaps.cumsum_(0).add_(place)
        inside = int(torch.searchsorted(places, count))
        found.append(places[:inside])
        place = int(places[-1])
    return torch.cat(found)


def distinct(
    count: int,
    population: int,
    *,
    generator: Generator | None = None,
    device: torch.device | str = "cpu",
    forbidden: Callable[[Tensor], Tensor] | None = None,
    num_forbidden: int = 0,
) -> Tensor:
    """Return ``count`` distinct numbers of ``[0, population)``, ascending; every such set is equally likely.

    Slightly more numbers than needed are drawn with repetition. The distinct ones among them are a uniform
    set of their size, from which the surplus is removed at random. A large part of a small population is cut
    from a permutation instead.

    Args:
        count: how many.
        population: bound of the numbers.
        generator: all randomness comes from here; the global one if ``None``.
        device: where the result lies.
        forbidden: returns which of given numbers may not be drawn, bool of the same shape.
        num_forbidden: how many numbers are forbidden.

    Raises:
        ValueError: there are not that many numbers.
    """
    usable = population - num_forbidden
    if count > usable:
        raise ValueError(f"cannot draw {count} distinct numbers of {usable}")

    def allowed(drawn: Tensor) -> Tensor:
        if forbidden is None:
            return drawn
        return drawn.index_select(0, positions(forbidden(drawn).logical_not_()))

    if count * 4 > usable or usable * 4 < population:
        return ascending(allowed(torch.randperm(population, generator=generator, device=device))[:count])
    found = torch.empty(0, dtype=torch.int64, device=device)
    while len(found) < count:
        # Among n draws of N numbers about n^2 / 2N are repetitions.
        wanted = count - len(found) + count * count // usable + 16
        draws = wanted + wanted * num_forbidden * 2 // usable
        more = allowed(torch.randint(population, (draws,), generator=generator, device=device))
        found = torch.unique_consecutive(ascending(torch.cat([found, more])))
    if len(found) == count:
        return found
    stays = torch.ones(len(found), dtype=torch.bool, device=device)
    surplus = distinct(len(found) - count, len(found), generator=generator, device=device)
    return found.index_select(0, positions(stays.index_fill_(0, surplus, False)))


def hits(probabilities: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Return bool of the same shape, each true with its own probability independently."""
    uniform = torch.rand(
        probabilities.shape, generator=generator, device=probabilities.device, dtype=probabilities.dtype
    )
    return uniform < probabilities
