"""The synthetic data set: exact counts, and a signal that models can find and popularity cannot."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.data import synthetic
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.splits import make_split
from gclrec.data.synthetic import SPAN, START, make_synthetic


@pytest.fixture(scope="module")
def default() -> Dataset:
    return make_synthetic()


def matrix(pairs: Interactions) -> np.ndarray:
    dense = np.zeros((pairs.num_users, pairs.num_items), dtype=np.float32)
    dense[pairs.user, pairs.item] = 1.0
    return dense


def recall_at_20(scores: np.ndarray, seen: np.ndarray, test: np.ndarray) -> float:
    scores = np.where(seen > 0, -np.inf, scores)
    top = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    users = np.flatnonzero(test.sum(axis=1))
    hits = np.take_along_axis(test, top, axis=1).sum(axis=1)
    return float((hits[users] / test[users].sum(axis=1)).mean())


def attribute_vectors(table: pl.DataFrame) -> np.ndarray:
    """One-hot category, tags and price quartile of each item; a missing value is all zeros."""
    bands = (4 * pl.col("price").rank("ordinal") // (pl.col("price").count() + 1)).cast(pl.String)
    words = table.select(
        "id",
        pl.concat_list(
            pl.concat_list(pl.col("category")).fill_null([]),
            pl.col("tags").fill_null([]),
            pl.concat_list(bands),
        ).alias("word"),
    )
    long = words.with_row_index("row").explode("word").drop_nulls("word")
    codes = long["word"].rank("dense").cast(pl.Int64).to_numpy() - 1
    dense = np.zeros((len(table), codes.max() + 1), dtype=np.float32)
    dense[long["row"].to_numpy(), codes] = 1.0
    return dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-9)


def test_shape_of_the_default(default: Dataset) -> None:
    pairs = default.interactions
    assert (pairs.num_users, pairs.num_items, len(pairs)) == (2000, 3000, 60_000)
    assert len(np.unique(pairs.pair_keys)) == 60_000
    assert default.synthetic
    assert default.name == "synthetic"
    assert pairs.user_degrees().min() >= 5
    assert pairs.user_degrees().max() <= 1000
    assert np.all(np.diff(pairs.time) >= 0)
    assert pairs.time.min() >= START
    assert pairs.time.max() <= START + SPAN
    assert np.array_equal(pairs.time, np.round(pairs.time))


def test_long_tails(default: Dataset) -> None:
    """A few users and items have much, most have little: what recall has to live with."""
    for degrees, share in (
        (default.interactions.user_degrees(), 0.4),
        (default.interactions.item_degrees(), 0.5),
    ):
        ordered = np.sort(degrees)[::-1]
        assert ordered[: len(ordered) // 5].sum() > share * ordered.sum()
        assert np.median(degrees) < degrees.mean()


def test_the_seed_decides_all() -> None:
    one, two, other = (make_synthetic(60, 80, 600, seed=seed) for seed in (1, 1, 2))
    assert one.interactions.to_frame().equals(two.interactions.to_frame())
    assert one.user_attributes.equals(two.user_attributes)
    assert one.item_attributes.equals(two.item_attributes)
    assert not one.interactions.to_frame().equals(other.interactions.to_frame())


@pytest.mark.parametrize(
    "size",
    [(1, 10, 5), (20, 30, 250), (50, 20, 500), (500, 40, 2500), (30, 2000, 20_000), (3000, 300, 30_000)],
)
def test_exact_counts_in_any_shape(size: tuple[int, int, int]) -> None:
    pairs = make_synthetic(*size).interactions
    assert (pairs.num_users, pairs.num_items, len(pairs)) == size
    assert len(np.unique(pairs.pair_keys)) == len(pairs)
    assert pairs.user_degrees().min() >= 5


def test_users_short_of_items_get_popular_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_ROUNDS", 1)
    pairs = make_synthetic(40, 60, 1200).interactions
    assert len(np.unique(pairs.pair_keys)) == len(pairs) == 1200
    assert pairs.user_degrees().min() >= 5


def test_nothing_happens_before_release() -> None:
    pairs = make_synthetic(300, 400, 6000, seed=5).interactions
    interests = 10  # round(sqrt(400) / 2)
    world = synthetic._make_world(300, 400, interests, np.random.default_rng(5))
    assert np.all(pairs.time - START >= world.release[pairs.item])
    assert np.all(pairs.time - START >= world.joined[pairs.user] - 1)
    assert 0.3 < (world.release > 0).mean() < 0.9


def test_later_items_are_cold_in_a_temporal_split(default: Dataset) -> None:
    split = make_split(default, "temporal")
    assert len(np.intersect1d(split.cold_items, split.test.item)) > 30


def test_default_is_fast() -> None:
    start = time.process_time()  # of this process alone, however busy the machine is
    make_synthetic()
    assert time.process_time() - start < 4.0


def test_collaborative_filtering_beats_popularity(default: Dataset) -> None:
    split = make_split(default, "random")
    train, test = matrix(split.train), matrix(split.test)
    unit = train / np.maximum(np.linalg.norm(train, axis=0, keepdims=True), 1e-9)
    similar = unit.T @ unit
    np.fill_diagonal(similar, 0.0)
    popular = recall_at_20(np.tile(train.sum(axis=0), (len(train), 1)), train, test)
    neighbours = recall_at_20(train @ similar, train, test)
    assert neighbours > 1.5 * popular


def test_item_attributes_find_cold_items(default: Dataset) -> None:
    """Cold items are scored by how like they are to what the user took, and ranked among themselves."""
    split = make_split(default, "cold_items")
    train, test = matrix(split.train), matrix(split.test)
    cold = np.intersect1d(split.cold_items, split.test.item)
    vectors = attribute_vectors(default.item_attributes)
    scores = (train @ vectors) @ vectors[cold].T
    by_attributes = recall_at_20(scores, np.zeros_like(scores), test[:, cold])
    by_chance = recall_at_20(
        np.random.default_rng(0).random(scores.shape), np.zeros_like(scores), test[:, cold]
    )
    assert by_attributes > 2 * by_chance


def test_user_attributes_find_the_taste_of_cold_users(default: Dataset) -> None:
    """A new user's segment tells the items' category better than the most taken category does."""
    pairs = default.interactions
    segment = default.user_attributes["segment"].gather(pairs.user)
    category = default.item_attributes["category"].gather(pairs.item)
    both = pl.DataFrame({"segment": segment, "category": category}).drop_nulls()
    same = (both["segment"] == both["category"]).mean()
    favourite = both["category"].value_counts(normalize=True)["proportion"].max()
    assert same > 1.5 * favourite

    budget = default.user_attributes["budget"].gather(pairs.user)
    price = default.item_attributes["price"].gather(pairs.item)
    logs = pl.DataFrame({"budget": budget.log(), "price": price.log()}).drop_nulls()
    assert np.corrcoef(logs.to_numpy().T)[0, 1] > 0.3


def test_attribute_tables(default: Dataset) -> None:
    for table, ids, fields in (
        (default.user_attributes, default.interactions.users.ids, ["id", "segment", "likes", "budget"]),
        (default.item_attributes, default.interactions.items.ids, ["id", "category", "tags", "price"]),
    ):
        assert table.columns == fields
        assert table["id"].to_list() == ids.to_list()
        assert table.dtypes == [pl.String, pl.String, pl.List(pl.String), pl.Float64]
        gaps = table.select(pl.all().exclude("id").null_count()).row(0)
        assert all(0.02 * len(table) < gap < 0.07 * len(table) for gap in gaps)
        many = table[fields[2]].drop_nulls()
        assert (many.list.len() == many.list.n_unique()).all()
        assert many.list.len().min() >= 1
        assert many.list.len().max() > 1


@pytest.mark.parametrize(
    ("size", "seed", "message"),
    [
        ((0, 30, 100), 0, "needs 1 user, 10 items or more"),
        ((10, 9, 50), 0, "needs 1 user, 10 items or more"),
        ((100, 100, 499), 0, "500 to 5,000 interactions .* got 499"),
        ((100, 100, 5001), 0, "500 to 5,000 interactions .* got 5,001"),
        ((100, 100, 1000), -1, "seed"),
    ],
)
def test_numbers_that_do_not_fit(size: tuple[int, int, int], seed: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_synthetic(*size, seed=seed)
