"""Intervals that cover and tests that keep their level, with chance in users and in seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gclrec.common.errors import InputError
from gclrec.data.interactions import Float64Array
from gclrec.experiments.significance import holm, intervals, paired_test, standard_error

BOUND = 3.3
"""Standard deviations of a binomial count that a rate may be off."""


def draw(
    random: np.random.Generator, seeds: int, users: int, *, of_seed: float, of_user: float, rest: float
) -> Float64Array:
    """Return ``(S, U)`` scores with mean 0; those of users are skewed, as recall is."""
    user_part = of_user * (random.exponential(size=users) - 1)
    seed_part = of_seed * random.normal(size=(seeds, 1))
    return seed_part + user_part + rest * random.normal(size=(seeds, users))


# Seeds that matter as much as users do; users alone; both and a large rest.
WORLDS = {
    "seeds": {"of_seed": 0.1, "of_user": 1.0, "rest": 0.3},
    "users": {"of_seed": 0.0, "of_user": 1.0, "rest": 0.3},
    "both": {"of_seed": 0.1, "of_user": 1.0, "rest": 1.0},
}


@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_cover_at_their_rate(world: str, num_seeds: int) -> None:
    random = np.random.default_rng(1)
    repeats = 400
    columns = np.stack([draw(random, num_seeds, 100, **WORLDS[world]) for _ in range(repeats)])
    found = [intervals(column[None], repetitions=200, seed=n) for n, column in enumerate(columns)]
    covered = np.mean([(f.low[0] <= 0 <= f.high[0]) for f in found])
    margin = BOUND * np.sqrt(0.95 * 0.05 / repeats)
    assert 0.95 - margin - 0.02 <= covered <= min(0.95 + margin + 0.02, 0.999)  # 2 %: skewed, few seeds


def test_quantiles_alone_would_be_too_narrow() -> None:
    """The stretch is what makes few seeds cover: where seeds rule, the plain bootstrap misses far more."""
    random = np.random.default_rng(2)
    columns = np.stack([draw(random, 3, 100, of_seed=1.0, of_user=0.3, rest=0.3) for _ in range(300)])
    from gclrec.experiments.significance import _samples

    plain, ours = 0, 0
    for n, column in enumerate(columns):
        low, high = np.quantile(_samples(column[None], 200, n)[:, 0], [0.025, 0.975])
        plain += low <= 0 <= high
        found = intervals(column[None], repetitions=200, seed=n)
        ours += bool(found.low[0] <= 0 <= found.high[0])
    assert plain / 300 < 0.85
    assert ours / 300 > 0.95 - BOUND * np.sqrt(0.95 * 0.05 / 300)


def test_familywise_error_under_the_null() -> None:
    """Two runs of the same method on other seeds: Holm keeps 5 %, a test over users alone does not."""
    random = np.random.default_rng(3)
    repeats, variants, groups = 400, 3, ("all", "half", "few")
    ours = users_alone = 0
    for _ in range(repeats):
        runs = np.stack(
            [draw(random, 5, 120, of_seed=0.1, of_user=0.0, rest=0.5) for _ in range(variants + 1)]
        )
        differences = runs[1:] - runs[:1]
        members = [differences, differences[:, :, :60], differences[:, :, :20]]
        p = np.concatenate([paired_test(part) for part in members])
        assert len(p) == variants * len(groups)
        ours += bool((holm(p) < 0.05).any())
        naive = np.concatenate([stats.ttest_1samp(part.mean(axis=1), 0, axis=1).pvalue for part in members])
        users_alone += bool((holm(naive) < 0.05).any())
    assert ours / repeats <= 0.05 + BOUND * np.sqrt(0.05 * 0.95 / repeats)
    assert users_alone / repeats > 0.2


def test_level_of_one_test() -> None:
    """Near 5 %, not only below it, in the least friendly mixture of seeds and users (measured: 6.7 %)."""
    random = np.random.default_rng(4)
    columns = np.stack([draw(random, 5, 100, of_seed=0.2, of_user=0.3, rest=0.5) for _ in range(2000)])
    rate = float((paired_test(columns) < 0.05).mean())
    assert 0.03 <= rate <= 0.08


def test_a_true_difference_is_found() -> None:
    random = np.random.default_rng(5)
    shifted = 0.3 + np.stack([draw(random, 5, 200, of_seed=0.02, of_user=0.3, rest=0.3) for _ in range(50)])
    assert (paired_test(shifted) < 0.05).mean() > 0.95


def test_one_seed_is_the_plain_t_test() -> None:
    x = np.random.default_rng(6).normal(0.2, 1.0, size=(4, 1, 30))
    np.testing.assert_allclose(paired_test(x), stats.ttest_1samp(x[:, 0], 0, axis=1).pvalue)
    error, df = standard_error(x)
    np.testing.assert_allclose(error, stats.sem(x[:, 0], axis=1))
    assert (df == 29).all()


def test_standard_error_is_the_slow_formula() -> None:
    x = np.random.default_rng(7).exponential(size=(1, 3, 5))
    (table,) = x
    grand = sum(table[s, u] for s in range(3) for u in range(5)) / 15
    seeds = [sum(table[s]) / 5 for s in range(3)]
    users = [sum(table[:, u]) / 3 for u in range(5)]
    of_seeds = sum((m - grand) ** 2 for m in seeds) / 2 / 3
    of_users = sum((m - grand) ** 2 for m in users) / 4 / 5
    rest = sum((table[s, u] - seeds[s] - users[u] + grand) ** 2 for s in range(3) for u in range(5)) / 8 / 15
    variance = max(of_seeds, of_users, of_seeds + of_users - rest)
    error, df = standard_error(x)
    assert error[0] == pytest.approx(variance**0.5)
    freedom = variance**2 / (of_seeds**2 / 2 + of_users**2 / 4 + rest**2 / 8)
    assert df[0] == pytest.approx(max(freedom, 1.0))


def test_intervals_are_seeded_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(8).exponential(size=(3, 4, 50))
    first, second = (intervals(x, seed=1, repetitions=300) for _ in range(2))
    assert np.array_equal(first.low, second.low)
    assert not np.array_equal(first.low, intervals(x, seed=2, repetitions=300).low)
    monkeypatch.setattr("gclrec.experiments.significance._BLOCK", 50 * 7)
    in_blocks = intervals(x, seed=1, repetitions=300).high
    np.testing.assert_allclose(
        in_blocks, first.high, rtol=1e-13
    )  # a BLAS may add up other blocks in another order
    assert (first.low < first.mean).all()
    assert (first.mean < first.high).all()


def test_many_seeds_and_users_need_no_stretch() -> None:
    """With enough of both the interval is the plain percentile one."""
    from gclrec.experiments.significance import _samples

    x = draw(np.random.default_rng(9), 60, 400, of_seed=0.1, of_user=1.0, rest=0.1)[None]
    found = intervals(x)
    low, high = np.quantile(_samples(x, 2000, 0)[:, 0], [0.025, 0.975])
    assert found.low[0] == pytest.approx(low, abs=0.06 * (high - low))
    assert found.high[0] == pytest.approx(high, abs=0.06 * (high - low))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_rule(p: list[float]) -> None:
    """Adjusted values below 5 % are those that the textbook procedure rejects."""
    adjusted = holm(p)
    for level in (0.05, 0.2):
        rejected, ranked = set(), sorted(range(len(p)), key=lambda place: p[place])
        for step, place in enumerate(ranked):
            if p[place] * (len(p) - step) > level:
                break
            rejected.add(place)
        assert {place for place in range(len(p)) if adjusted[place] <= level} == rejected
    assert (adjusted >= np.array(p)).all()


def test_nothing_to_measure_by() -> None:
    assert paired_test(np.zeros((1, 2, 5))) == [1.0]
    assert np.isnan(paired_test(np.ones((1, 2, 5)))).all()
    alone = intervals(np.ones((1, 3, 1)))
    assert np.isnan(alone.low).all()
    same = intervals(np.full((1, 3, 4), 0.25))
    assert same.low[0] == same.high[0] == 0.25
    for bad in (np.ones((2, 3)), np.ones((1, 0, 3)), np.full((1, 2, 2), np.nan)):
        with pytest.raises(InputError, match="scores"):
            intervals(bad)
    with pytest.raises(InputError, match="level"):
        intervals(np.ones((1, 2, 2)), level=1.0)
