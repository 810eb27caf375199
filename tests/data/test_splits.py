"""Splits, by set algebra: what every split promises, and what each one adds."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.split_labels import ranks_within
from gclrec.data.splits import SPLITS, Split, make_split

COLD = ("cold_items", "cold_users")


def pairs_of(interactions: Interactions) -> set[tuple[int, int]]:
    return set(zip(interactions.user.tolist(), interactions.item.tolist(), strict=True))


def dataset_of(
    pairs: list[tuple[int, int]], times: list[int] | None = None, *, valid: str | None = "inside"
) -> Dataset:
    """A data set with published parts: every third pair is test, every third of the rest is valid."""
    frame = pl.DataFrame(pairs, schema={"user": pl.Int64, "item": pl.Int64}, orient="row")
    if times is not None:
        frame = frame.with_columns(pl.Series("time", times, dtype=pl.Float64))
    whole = Interactions.from_frame(frame)
    place = np.arange(len(whole))
    is_test, is_valid = place % 3 == 2, place % 9 == 1
    parts = {"train": whole.select(~is_test), "test": whole.select(is_test)}
    if valid == "inside":
        parts["valid"] = whole.select(is_valid)
    elif valid == "beside":
        parts["valid"] = whole.select(is_valid)
        parts["train"] = whole.select(~is_test & ~is_valid)
    return Dataset("made", whole, parts)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    pair = st.tuples(st.integers(0, 9), st.integers(0, 9))
    pairs = draw(st.lists(pair, unique=True, min_size=25, max_size=80))
    # Few distinct moments, so that ties fall on the cuts.
    times = draw(st.one_of(st.none(), st.lists(st.integers(0, 6), min_size=len(pairs), max_size=len(pairs))))
    return dataset_of(pairs, times, valid=draw(st.sampled_from(["inside", "beside", None])))


def quiet_split(dataset: Dataset, name: str, **options: object) -> Split:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        return make_split(dataset, name, **options)


def grid(num_users: int = 40, num_items: int = 30, *, times: bool = True) -> Dataset:
    generator = np.random.default_rng(3)
    chosen = np.flatnonzero(generator.random(num_users * num_items) < 0.4)
    pairs = [(int(c // num_items), int(c % num_items)) for c in chosen]
    return dataset_of(pairs, generator.integers(0, 500, len(pairs)).tolist() if times else None)


@pytest.mark.parametrize("name", SPLITS)
@settings(deadline=None, max_examples=60)
@forall(
    dataset=datasets(),
    seed=st.integers(0, 5),
    valid=st.sampled_from([0.1, 0.3]),
    test=st.sampled_from([0.2, 0.4]),
)
def test_contract(name: str, dataset: Dataset, seed: int, valid: float, test: float) -> None:
    """What every split promises; a new one is tested by being listed."""
    if name == "temporal" and (dataset.interactions.time is None or len(set(dataset.interactions.time)) < 4):
        return
    try:
        split = quiet_split(dataset, name, seed=seed, valid=valid, test=test)
    except InputError as error:
        assert name == "temporal", error  # noqa: PT017 - ties at one moment may eat the training part
        assert "no training pair" in str(error)  # noqa: PT017
        return
    again = quiet_split(dataset, name, seed=seed, valid=valid, test=test)

    train, held, final = pairs_of(split.train), pairs_of(split.valid), pairs_of(split.test)
    assert not train & held
    assert not train & final
    assert not held & final
    assert train | held | final == pairs_of(dataset.interactions)
    for part, twin in zip(
        (split.train, split.valid, split.test), (again.train, again.valid, again.test), strict=True
    ):
        assert part.users == dataset.interactions.users
        assert part.items == dataset.interactions.items
        assert np.array_equal(part.pair_keys, twin.pair_keys)  # the seed decides all
        assert len(part) == len(pairs_of(part))
    assert set(split.cold_users.tolist()) == set(range(split.train.num_users)) - {u for u, _ in train}
    assert set(split.cold_items.tolist()) == set(range(split.train.num_items)) - {i for _, i in train}

    refit = split.refit()
    assert pairs_of(refit.train) == train | held
    assert len(refit.valid) == 0
    assert pairs_of(refit.test) == final


@pytest.mark.parametrize("name", SPLITS)
def test_times_and_weights_travel_with_their_pairs(name: str) -> None:
    dataset = grid()
    pairs = dataset.interactions
    dataset = replace(dataset, interactions=replace(pairs, weight=(pairs.pair_keys % 5).astype(np.float32)))
    dataset = replace(
        dataset,
        parts={
            k: dataset.interactions.select(np.isin(pairs.pair_keys, v.pair_keys))
            for k, v in dataset.parts.items()
        },
    )
    time_of = dict(zip(pairs.pair_keys.tolist(), pairs.time.tolist(), strict=True))
    split = make_split(dataset, name)
    for part in (split.train, split.valid, split.test):
        assert part.time.tolist() == [time_of[key] for key in part.pair_keys.tolist()]
        assert part.weight.tolist() == [key % 5 for key in part.pair_keys.tolist()]


@pytest.mark.parametrize("name", SPLITS)
def test_row_order_does_not_matter(name: str) -> None:
    dataset = replace(grid(), parts={})
    times = np.random.default_rng(0).permutation(len(dataset.interactions)).astype(float)  # no ties
    dataset = replace(dataset, interactions=replace(dataset.interactions, time=times))
    if name == "given":
        cut = dataset.interactions
        dataset = replace(
            dataset,
            parts={"train": cut.select(cut.pair_keys % 3 > 0), "test": cut.select(cut.pair_keys % 3 == 0)},
        )
    shuffled = np.random.default_rng(1).permutation(len(times))
    parts = {k: v.select(np.random.default_rng(2).permutation(len(v))) for k, v in dataset.parts.items()}
    other = replace(dataset, interactions=dataset.interactions.select(shuffled), parts=parts)
    one, two = make_split(dataset, name), make_split(other, name)
    assert pairs_of(one.train) == pairs_of(two.train)
    assert pairs_of(one.test) == pairs_of(two.test)


@pytest.mark.parametrize("name", ["given", "random", "leave_one_out", *COLD])
def test_another_seed_is_another_split(name: str) -> None:
    dataset = grid(times=False)
    dataset = replace(dataset, parts={k: v for k, v in dataset.parts.items() if k != "valid"})
    one, two = (quiet_split(dataset, name, seed=seed) for seed in (0, 1))
    assert pairs_of(one.train) != pairs_of(two.train)


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_train_fraction_thins_training_only(name: str, fraction: float) -> None:
    dataset = grid()
    full, thin, thinner = (make_split(dataset, name, train_fraction=f) for f in (1.0, fraction, fraction / 4))
    assert len(thin.train) == round(fraction * len(full.train))
    assert pairs_of(thinner.train) < pairs_of(thin.train) < pairs_of(full.train)
    assert pairs_of(thin.valid) == pairs_of(full.valid)
    assert pairs_of(thin.test) == pairs_of(full.test)
    refit = thin.refit()  # a sparsity study stays one
    assert len(refit.train) == len(thin.train) + max(1, round(fraction * len(full.valid)))
    assert pairs_of(refit.train) <= pairs_of(full.train) | pairs_of(full.valid)


@pytest.mark.parametrize("name", SPLITS)
def test_every_share_is_ranked_against_the_same_candidates(name: str) -> None:
    """What a thinned split does not learn from is known all the same, and so it is no candidate."""
    full, thin = (make_split(grid(), name, train_fraction=fraction) for fraction in (1.0, 0.2))
    for part, wholes in (
        ("valid", (full, thin)),
        ("test", (full, thin)),
        ("test", (full.refit(), thin.refit())),
    ):
        left_out = []
        for split in wholes:
            besides = split.no_candidates(part)
            left_out.append(pairs_of(split.train) | (set() if besides is None else pairs_of(besides)))
            assert not left_out[-1] & pairs_of(getattr(split, part))
        assert left_out[0] == left_out[1]
    assert len(thin.train) < len(full.train)


def test_given_takes_published_validation_out_of_train() -> None:
    for kind in ("inside", "beside"):
        dataset = dataset_of(sorted(pairs_of(grid().interactions)), valid=kind)
        split = make_split(dataset, "given")
        assert pairs_of(split.valid) == pairs_of(dataset.parts["valid"])
        assert pairs_of(split.test) == pairs_of(dataset.parts["test"])
        assert not pairs_of(split.train) & pairs_of(split.valid)


def test_given_holds_out_a_share_of_train() -> None:
    dataset = dataset_of(sorted(pairs_of(grid().interactions)), valid=None)
    split = make_split(dataset, "given", valid=0.25)
    published = dataset.parts["train"]
    assert len(split.valid) == pytest.approx(0.25 * len(published), rel=0.15)
    assert pairs_of(split.valid) < pairs_of(published)
    assert pairs_of(split.test) == pairs_of(dataset.parts["test"])
    assert set(published.user.tolist()) == set(split.train.user.tolist())  # everybody keeps a training pair
    assert pairs_of(split.refit().train) == pairs_of(published)
    assert len(make_split(dataset, "given", valid=0.0).valid) == 0


def test_given_resolves_overlaps_towards_test() -> None:
    dataset = grid()
    everything = dataset.interactions
    leaky = replace(dataset, parts={"train": everything, "test": dataset.parts["test"], "valid": everything})
    with pytest.warns(InputWarning, match="training pairs are also test pairs"):
        split = make_split(replace(leaky, parts={**leaky.parts, "valid": dataset.parts["valid"]}), "given")
    assert not pairs_of(split.train) & pairs_of(split.test)


def test_given_without_parts_names_the_data_set_and_the_others() -> None:
    with pytest.raises(
        InputError, match=r"made: split 'given' .* found none; choose one of random, .*cold_users"
    ):
        make_split(replace(grid(), parts={}), "given")
    with pytest.raises(InputError, match="found only train"):
        make_split(replace(grid(), parts={"train": grid().interactions}), "given")


def test_random_keeps_the_ratio_of_each_user_and_of_all() -> None:
    dataset = grid(300, 30)
    split = make_split(dataset, "random", valid=0.1, test=0.2)
    total = len(dataset.interactions)
    assert len(split.test) == pytest.approx(0.2 * total, rel=0.05)
    assert len(split.valid) == pytest.approx(0.1 * total, rel=0.05)
    degree = dataset.interactions.user_degrees()
    assert np.all(np.abs(split.test.user_degrees() - 0.2 * degree) < 1)
    assert np.all(np.abs(split.valid.user_degrees() + split.test.user_degrees() - 0.3 * degree) < 1)
    assert np.all(split.train.user_degrees()[degree > 0] >= 1)


def test_random_shares_hold_for_users_with_few_pairs() -> None:
    pairs = [(user, item) for user in range(4000) for item in range(3)]
    split = make_split(Dataset("short", dataset_of(pairs).interactions), "random", valid=0.1, test=0.2)
    assert len(split.test) == pytest.approx(0.2 * 12000, rel=0.06)
    assert len(split.valid) == pytest.approx(0.1 * 12000, rel=0.1)


def test_leave_one_out_against_a_loop() -> None:
    dataset = grid()
    pairs = dataset.interactions
    split = make_split(dataset, "leave_one_out")
    test, valid = set(), set()
    for user in range(pairs.num_users):
        rows = [row for row in range(len(pairs)) if pairs.user[row] == user]
        rows.sort(key=lambda row: pairs.time[row])  # stable: the later row is the later pair
        if len(rows) >= 3:
            test.add((user, int(pairs.item[rows[-1]])))
            valid.add((user, int(pairs.item[rows[-2]])))
    assert pairs_of(split.test) == test
    assert pairs_of(split.valid) == valid


def test_leave_one_out_leaves_short_histories_in_train() -> None:
    dataset = Dataset(
        "short", dataset_of([(0, 1), (0, 2), (1, 1), (2, 0), (2, 1), (2, 2)], [1, 2, 3, 4, 5, 6]).interactions
    )
    split = make_split(dataset, "leave_one_out")
    assert pairs_of(split.train) == {(0, 1), (0, 2), (1, 1), (2, 0)}
    assert (pairs_of(split.valid), pairs_of(split.test)) == ({(2, 1)}, {(2, 2)})


def test_leave_one_out_says_when_it_guesses_the_order() -> None:
    with pytest.warns(InputWarning, match="random pair of each user"):
        make_split(grid(times=False), "leave_one_out", seed=4)


@settings(deadline=None, max_examples=40)
@forall(dataset=datasets())
def test_temporal_never_looks_ahead(dataset: Dataset) -> None:
    times = dataset.interactions.time
    if times is None or len(set(times.tolist())) < 5:
        return
    try:
        split = make_split(dataset, "temporal")
    except InputError:
        return
    assert len(split.test) > 0
    later = [part.time.min() if len(part) else np.inf for part in (split.valid, split.test)]
    assert split.train.time.max() < min(later)
    if len(split.valid):
        assert split.valid.time.max() < split.test.time.min()


def test_temporal_cuts_at_the_quantiles() -> None:
    pairs = [(user, item) for user in range(10) for item in range(10)]
    split = make_split(dataset_of(pairs, list(range(100))), "temporal", valid=0.1, test=0.2)
    assert (len(split.train), len(split.valid), len(split.test)) == (70, 10, 20)
    assert split.test.time.tolist() == list(range(80, 100))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (grid(times=False), "needs a time for each interaction"),
        (replace(grid(), time_is_order=True), "only in order; choose leave_one_out"),
        (dataset_of([(0, 0), (0, 1), (1, 0)], [7, 7, 7]), "all are 7"),
    ],
)
def test_temporal_refuses_without_a_clock(dataset: Dataset, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_split(dataset, "temporal")


@pytest.mark.parametrize("name", COLD)
@pytest.mark.parametrize("shots", [0, 1, 3])
def test_cold_means_at_most_so_many_training_pairs(name: str, shots: int) -> None:
    dataset = grid()
    side = "item" if name == "cold_items" else "user"
    degrees = getattr(Interactions, f"{side}_degrees")
    zero = make_split(dataset, name, cold_share=0.3)
    cold = zero.cold_items if side == "item" else zero.cold_users
    assert len(cold) == round(0.3 * np.count_nonzero(degrees(dataset.interactions)))
    in_valid, in_test = (
        set(getattr(part, side).tolist()) & set(cold.tolist()) for part in (zero.valid, zero.test)
    )
    assert not in_valid & in_test  # a cold node is for choosing or for reporting
    assert abs(len(in_valid) - len(in_test)) <= 1

    split = make_split(dataset, name, cold_share=0.3, shots=shots)
    assert np.array_equal(
        degrees(split.train)[cold], np.minimum(shots, degrees(dataset.interactions)[cold] - 1)
    )
    assert np.all(degrees(split.valid)[cold] + degrees(split.test)[cold] >= 1)
    warm = np.setdiff1d(np.arange(len(degrees(dataset.interactions))), cold)
    assert degrees(split.test)[warm].sum() > 0  # warm rows exist as well
    assert degrees(split.valid)[warm].sum() > 0
    assert np.array_equal(degrees(split.train)[warm], degrees(zero.train)[warm])  # shots move cold pairs only


@pytest.mark.parametrize("name", COLD)
def test_shots_are_the_earliest_pairs(name: str) -> None:
    dataset = grid()
    side = "item" if name == "cold_items" else "user"
    zero, split = (make_split(dataset, name, shots=shots) for shots in (0, 2))
    for node in (zero.cold_items if side == "item" else zero.cold_users).tolist():
        shown = split.train.time[getattr(split.train, side) == node]
        kept_back = np.concatenate(
            [part.time[getattr(part, side) == node] for part in (split.valid, split.test)]
        )
        assert shown.max() <= kept_back.min()


def test_cold_without_validation_is_all_test() -> None:
    split = make_split(grid(), "cold_items", valid=0.0)
    assert len(split.valid) == 0
    assert len(split.cold_items) == 6


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("shuffled", {}, "unknown split 'shuffled': choose one of given, random"),
        ("random", {"valid": -0.1}, "^valid: must be in"),
        ("random", {"valid": float("nan")}, "^valid: must be in"),
        ("random", {"test": 1.0}, "^test: must be in"),
        ("random", {"valid": 0.5, "test": 0.5}, "nothing to train on"),
        ("random", {"shots": 2}, "cold_items or cold_users"),
        ("cold_items", {"shots": -1}, "^shots: must be at least 0"),
        ("cold_items", {"cold_share": 0.0}, "^cold_share: must be in"),
        ("cold_items", {"cold_share": 1.0}, "^cold_share: must be in"),
        ("cold_items", {"cold_share": 0.999}, "too few"),
        ("cold_users", {"valid": 0.0, "test": 0.0}, "needs a validation or a test share"),
        ("random", {"train_fraction": 0.0}, "^train_fraction: must be in"),
        ("random", {"train_fraction": 1.1}, "^train_fraction: must be in"),
        ("random", {"seed": -1}, "^seed: must be at least 0"),
    ],
)
def test_bad_arguments_are_one_clear_line(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_split(grid(), name, **options)
    assert "\n" not in str(caught.value)


def test_nothing_to_split() -> None:
    empty = grid().interactions.select(np.zeros(len(grid().interactions), dtype=bool))
    with pytest.raises(InputError, match="no interactions"):
        make_split(Dataset("empty", empty))


def test_the_data_set_chooses_when_nobody_does() -> None:
    assert make_split(replace(grid(), default_split="temporal")).name == "temporal"


@pytest.mark.parametrize("values", ["noise", "close", "ties", "times"])
def test_ranks_are_those_of_a_sort_by_group_and_value(values: str) -> None:
    random = np.random.default_rng(5)
    group = random.integers(0, 40, 3000).astype(np.int32)
    value = {
        "noise": random.random(3000),
        "close": 0.5 + random.permutation(3000) * 2.0**-53,  # told apart by the last bits alone
        "ties": random.integers(0, 9, 3000) / 10,
        "times": random.integers(0, 10**9, 3000),
    }[values]
    rank = ranks_within(group, value)
    for one in range(40):
        rows = np.flatnonzero(group == one)
        assert rank[rows[np.argsort(value[rows], kind="stable")]].tolist() == list(range(len(rows)))
