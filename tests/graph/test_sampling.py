"""Random draws: right shares, no place preferred, no number twice, every set alike."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gclrec.graph.sampling import bernoulli, distinct, hits


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("p", [0.0, 0.001, 0.1, 0.125, 0.13, 0.3, 0.5, 0.87, 0.9, 0.9995, 1.0])
def test_bernoulli_share(p: float) -> None:
    count = 200_001
    drawn = bernoulli(count, p, generator=seeded())
    assert drawn.shape == (count,)
    assert drawn.dtype == torch.bool
    assert abs(int(drawn.sum()) - p * count) <= 5 * math.sqrt(count * p * (1 - p))


@pytest.mark.parametrize("p", [0.05, 0.3, 0.95])
def test_bernoulli_places_and_neighbours_are_independent(p: float) -> None:
    generator = seeded()
    rows = torch.stack([bernoulli(64, p, generator=generator) for _ in range(20_000)]).double()
    assert (rows.mean(0) - p).abs().max() < 5 * math.sqrt(p * (1 - p) / 20_000)
    both = (rows[:, 1:] * rows[:, :-1]).mean(0)
    assert (both - p * p).abs().max() < 5 * math.sqrt(p * p / 20_000)


def test_bernoulli_of_nothing() -> None:
    for p in (0.0, 0.1, 0.5, 1.0):
        assert bernoulli(0, p).shape == (0,)


def test_distinct_numbers_ascend() -> None:
    for count, population in ((0, 5), (5, 5), (3, 10), (1000, 10**12), (3000, 20_000), (1, 1)):
        drawn = distinct(count, population, generator=seeded())
        assert drawn.dtype == torch.int64
        assert len(drawn) == count
        assert (drawn.diff() > 0).all()
        assert count == 0 or (int(drawn[0]) >= 0 and int(drawn[-1]) < population)
    with pytest.raises(ValueError, match="cannot draw 6 distinct numbers of 5"):
        distinct(6, 5)


@pytest.mark.parametrize(("count", "population"), [(2, 9), (3, 6)])
def test_every_set_is_equally_likely(count: int, population: int) -> None:
    """Both ways: by drawing with repetition, and from a permutation."""
    generator, rounds = seeded(), 12_000
    seen = dict.fromkeys(itertools.combinations(range(population), count), 0)
    for _ in range(rounds):
        seen[tuple(distinct(count, population, generator=generator).tolist())] += 1
    expected = rounds / len(seen)
    chi_square = sum((n - expected) ** 2 / expected for n in seen.values())
    assert chi_square < len(seen) + 4 * math.sqrt(2 * len(seen))


@pytest.mark.parametrize(("count", "population"), [(1, 12), (2, 6)])
def test_every_set_of_what_is_allowed_is_equally_likely(count: int, population: int) -> None:
    generator, rounds = seeded(), 12_000
    allowed = [n for n in range(population) if n % 3]
    seen = dict.fromkeys(itertools.combinations(allowed, count), 0)
    for _ in range(rounds):
        drawn = distinct(
            count,
            population,
            generator=generator,
            forbidden=lambda x: x % 3 == 0,
            num_forbidden=population - len(allowed),
        )
        seen[tuple(drawn.tolist())] += 1
    expected = rounds / len(seen)
    chi_square = sum((n - expected) ** 2 / expected for n in seen.values())
    assert chi_square < len(seen) + 4 * math.sqrt(2 * len(seen))


def test_all_that_is_allowed_can_be_drawn() -> None:
    for population in (40, 4000):
        drawn = distinct(
            population // 4 - 1,
            population,
            generator=seeded(),
            forbidden=lambda x: x % 4 > 0,
            num_forbidden=population * 3 // 4,
        )
        assert (drawn % 4 == 0).all()
        assert len(drawn.unique()) == population // 4 - 1
    with pytest.raises(ValueError, match="cannot draw 11 distinct numbers of 10"):
        distinct(11, 40, forbidden=lambda x: x % 4 > 0, num_forbidden=30)


def test_hits_follow_their_own_probabilities() -> None:
    chances = torch.tensor([0.0, 0.2, 0.9, 1.0]).repeat(50_000, 1)
    share = hits(chances, generator=seeded()).double().mean(0)
    assert (share - chances[0]).abs().max() < 0.01
    assert share[0] == 0
    assert share[3] == 1
