"""Filters: a minimum rating and a k-core, with the published parts kept in step."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.filters import filtered
from gclrec.data.interactions import Dataset, Interactions


@pytest.fixture
def rated() -> Dataset:
    generator = np.random.default_rng(0)
    user, item = np.nonzero(generator.random((30, 20)) < 0.3)
    frame = pl.DataFrame({"user": user * 10, "item": item * 7, "weight": generator.integers(1, 6, len(user))})
    pairs = Interactions.from_frame(frame)
    is_test = np.arange(len(pairs)) % 4 == 0
    return Dataset("rated", pairs, {"train": pairs.select(~is_test), "test": pairs.select(is_test)})


def raw(pairs: Interactions) -> set[tuple[int, int]]:
    return set(pairs.to_frame().select("user", "item").iter_rows())


def test_without_filters_nothing_changes(rated: Dataset) -> None:
    assert filtered(rated) is rated


@pytest.mark.filterwarnings("ignore:.*-core:gclrec.common.errors.InputWarning")
@pytest.mark.parametrize(("min_rating", "k_core"), [(4.0, None), (None, 4), (3.0, 2)])
def test_parts_stay_in_step(rated: Dataset, min_rating: float | None, k_core: int | None) -> None:
    result = filtered(rated, min_rating=min_rating, k_core=k_core)
    whole = result.interactions
    assert 0 < len(whole) < len(rated.interactions)
    if min_rating is not None:
        assert whole.weight.min() >= min_rating
    if k_core is not None:
        assert min(whole.user_degrees().min(), whole.item_degrees().min()) >= k_core
    for name, part in result.parts.items():
        assert part.users == whole.users
        assert part.items == whole.items
        assert raw(part) == raw(rated.parts[name]) & raw(whole)
        rating_of = {(u, i): w for u, i, w in rated.interactions.to_frame().iter_rows()}
        assert all(w == rating_of[u, i] for u, i, w in part.to_frame().iter_rows())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_rating": 6.0}, "rated: no interaction has a rating of at least 6"),
        ({"k_core": 1000}, "rated: the 1000-core is empty"),
        ({"k_core": 0}, "rated: k-core must be at least 1"),
    ],
)
def test_nothing_left(rated: Dataset, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        filtered(rated, **options)


def test_an_emptied_part_is_reported(rated: Dataset) -> None:
    weak = rated.interactions.select(rated.interactions.weight < 3)
    with pytest.raises(InputError, match="no pair of the published test part is left"):
        filtered(
            Dataset("x", rated.interactions, {"train": rated.interactions, "test": weak}), min_rating=4.0
        )


def test_a_core_tells_what_it_keeps() -> None:
    pairs = [(user, item) for user in range(3) for item in range(3)] + [(3, 0), (4, 9)]
    frame = pl.DataFrame(pairs, schema=["user", "item"], orient="row")
    dataset = Dataset("made", Interactions.from_frame(frame))
    with pytest.warns(
        InputWarning, match="^3-core: kept 3 of 5 users, 3 of 4 items and 9 of 11 interactions$"
    ):
        filtered(dataset, k_core=3)
