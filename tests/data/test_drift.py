"""Validation that drifts: the invented times as slow loops, and what becomes of the parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from gclrec.data.describe import item_dispersion
from gclrec.data.drift import invented_times
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.splits import DRIFTING, Split, make_split
from gclrec.data.synthetic import make_synthetic


@pytest.fixture(scope="module")
def made() -> Dataset:
    made = make_synthetic(600, 300, 15_000)
    drawn = make_split(made, "random", valid=0.0)
    return replace(made, parts={"train": drawn.train, "test": drawn.test})


def keys(part: Interactions) -> set[int]:
    return set(part.pair_keys.tolist())


def slow_times(
    pairs: Interactions, luck: np.ndarray, drift: float, generator: np.random.Generator
) -> list[float]:
    place = generator.standard_normal(pairs.num_items)
    ends = list(zip(pairs.user.tolist(), pairs.item.tolist(), strict=True))
    for _ in range(2):
        of_users = {u: np.mean([place[i] for v, i in ends if v == u]) for u, _ in ends}
        place = [
            np.mean([of_users[u] for u, j in ends if j == i]) if i in pairs.item else 0.0
            for i in range(pairs.num_items)
        ]
    each = np.array([place[i] for _, i in ends])
    each = (each - each.mean()) / each.std()
    return [drift * s + scipy.stats.norm.ppf(x) for s, x in zip(each, luck, strict=True)]


def test_times_are_their_formula() -> None:
    pairs = make_synthetic(15, 20, 90).interactions
    luck = np.random.default_rng(1).random(len(pairs))
    found = invented_times(pairs, luck, 1.5, np.random.default_rng(2))
    np.testing.assert_allclose(found, slow_times(pairs, luck, 1.5, np.random.default_rng(2)), atol=1e-9)


def test_one_user_or_one_item_has_no_place_to_go() -> None:
    pairs = make_synthetic(15, 20, 90).interactions
    one = pairs.select(pairs.item == pairs.item[0])
    luck = np.linspace(0.1, 0.9, len(one))
    times = invented_times(one, luck, 2.0, np.random.default_rng(0))
    np.testing.assert_allclose(times, scipy.stats.norm.ppf(luck), atol=1e-9)


@pytest.mark.parametrize("name", DRIFTING)
def test_only_which_pairs_are_held_out_changes(name: str, made: Dataset) -> None:
    plain, drifted = (make_split(made, name, valid_drift=drift, seed=4) for drift in (0.0, 1.0))
    assert keys(drifted.test) == keys(plain.test)
    assert keys(drifted.train) | keys(drifted.valid) == keys(plain.train) | keys(plain.valid)
    assert not keys(drifted.train) & keys(drifted.valid)
    assert np.array_equal(drifted.valid.user_degrees(), plain.valid.user_degrees())
    assert keys(drifted.valid) != keys(plain.valid)
    assert keys(make_split(made, name, valid_drift=1.0, seed=4).valid) == keys(drifted.valid)
    assert keys(make_split(made, name, valid_drift=1.0, seed=5).valid) != keys(drifted.valid)
    assert keys(drifted.refit().train) == keys(plain.refit().train)


def test_a_published_validation_part_is_drawn_anew(made: Dataset) -> None:
    train = made.parts["train"]
    parts = made.parts | {"valid": train.select(train.pair_keys % 7 == 0)}
    plain, drifted = (make_split(replace(made, parts=parts), "given", valid_drift=d) for d in (0.0, 1.0))
    assert keys(plain.valid) == keys(parts["valid"]) != keys(drifted.valid)
    assert np.array_equal(drifted.valid.user_degrees(), plain.valid.user_degrees())


def test_row_order_does_not_matter(made: Dataset) -> None:
    order = np.random.default_rng(3).permutation(len(made.parts["train"]))
    other = replace(made, parts=made.parts | {"train": made.parts["train"].select(order)})
    one, two = (make_split(each, "given", valid_drift=1.0) for each in (made, other))
    assert keys(one.valid) == keys(two.valid)


def test_the_more_drift_the_less_it_is_like_train(made: Dataset) -> None:
    def spread(drift: float) -> float:
        split: Split = make_split(made, "random", valid_drift=drift)
        found = item_dispersion(split.train, split.valid)
        assert found is not None
        return found

    random, some, much = (spread(drift) for drift in (0.0, 1.0, 3.0))
    assert random == pytest.approx(1.0, abs=0.15)
    assert random + 0.2 < some < much - 0.5


def test_without_validation_there_is_nothing_to_drift(made: Dataset) -> None:
    assert len(make_split(made, "random", valid=0.0, valid_drift=1.0).valid) == 0
