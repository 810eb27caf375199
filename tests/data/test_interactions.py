"""Numbering of raw ids, and what is done to numbered pairs, against slow loops and sets."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Interactions, Vocabulary, normal_ids

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60)


def interactions(pairs, times=None, weights=None) -> Interactions:
    columns = {"user": [user for user, _ in pairs], "item": [item for _, item in pairs]}
    if times is not None:
        columns["time"] = times
    if weights is not None:
        columns["weight"] = weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        return Interactions.from_frame(pl.DataFrame(columns))


def raw_pairs(part: Interactions) -> list[tuple[object, object]]:
    return part.to_frame().select("user", "item").rows()


@given(st.lists(st.integers(-(2**40), 2**40)) | st.lists(st.text(max_size=4)))
@settings(deadline=None)
def test_vocabulary_numbers_sorted_distinct_ids(raw):
    vocabulary = Vocabulary.of(raw)
    assert len(vocabulary) == len(set(raw))
    assert vocabulary.ids.to_list() == sorted(set(raw), key=lambda x: x.encode() if isinstance(x, str) else x)
    rows = vocabulary.rows(raw)
    assert vocabulary.raw(rows).to_list() == raw
    assert vocabulary.rows(vocabulary.ids).tolist() == list(range(len(vocabulary)))


def test_vocabulary_of_several_columns_and_kinds():
    assert Vocabulary.of([3, 1], [2, 3]).ids.to_list() == [1, 2, 3]
    assert Vocabulary.of([3, 1], ["b"]).ids.to_list() == ["1", "3", "b"]
    assert Vocabulary.of([], ["b"]).ids.to_list() == ["b"]
    assert Vocabulary.of([], []).ids.dtype == pl.Int64
    assert Vocabulary.of([2.0, 1.0]) == Vocabulary.of([1, 2])
    assert Vocabulary.of([1]) != Vocabulary.of(["1"])


def test_vocabulary_in_the_order_given():
    assert Vocabulary.in_order(["tea", "milk"]).ids.to_list() == ["tea", "milk"]
    assert Vocabulary.in_order([3, 1, 2]).rows([1, 2, 3]).tolist() == [1, 2, 0]
    with pytest.raises(InputError, match="id 3 occurs twice"):
        Vocabulary.in_order([3, 1, 3])


def test_unknown_ids_have_no_row():
    vocabulary = Vocabulary.of([10, 20])
    assert vocabulary.rows([20, 30, 10]).tolist() == [1, -1, 0]
    assert vocabulary.rows(["20", "x"]).tolist() == [1, -1]
    assert vocabulary.rows([]).tolist() == []
    assert Vocabulary.of(["10", "a"]).rows([10, 11]).tolist() == [0, -1]
    assert vocabulary.row("20", kind="user") == 1
    with pytest.raises(
        InputError, match=r"unknown user 'bob': not among the 2 known ones \(such as 10, 20\)"
    ):
        vocabulary.row("bob", kind="user")


def test_ids_are_integers_or_text():
    assert normal_ids(pl.Series([1.0, 2.0])).to_list() == [1, 2]
    assert normal_ids(pl.Series([1, 2], dtype=pl.UInt8)).dtype == pl.Int64
    assert normal_ids(pl.Series(["b", "a"], dtype=pl.Categorical)).to_list() == ["b", "a"]
    assert normal_ids(pl.Series([2**64 - 1], dtype=pl.UInt64)).to_list() == [str(2**64 - 1)]
    with pytest.raises(InputError, match=r"row 1: found 1\.5 in column 'user', expected a whole number"):
        normal_ids(pl.Series("user", [1.5]))
    with pytest.raises(InputError, match="row 2: found nothing in column 'item', expected an id"):
        normal_ids(pl.Series("item", ["a", None]))


def test_numbered_by_a_given_vocabulary():
    frame = pl.DataFrame({"user": [5, 6], "item": ["a", "b"]})
    users, items = Vocabulary.of([4, 5, 6]), Vocabulary.of(["a", "b", "c"])
    pairs = Interactions.from_frame(frame, users=users, items=items)
    assert (pairs.num_users, pairs.num_items, len(pairs)) == (3, 3, 2)
    assert pairs.user.tolist() == [1, 2]
    assert pairs.user_degrees().tolist() == [0, 1, 1]
    assert pairs.item_degrees().tolist() == [1, 1, 0]
    with pytest.raises(InputError, match="item 'b' is not in the given vocabulary"):
        Interactions.from_frame(frame, items=Vocabulary.of(["a"]))
    with pytest.raises(InputError, match="user 5 is not in the given vocabulary"):
        Interactions.from_frame(frame, users=Vocabulary.of([]))


@given(PAIRS, st.data())
@settings(deadline=None)
def test_repeated_pair_is_kept_once_at_its_first_time(pairs, data):
    times = data.draw(st.none() | st.lists(st.integers(0, 5), min_size=len(pairs), max_size=len(pairs)))
    weights = list(range(len(pairs)))  # tells the rows apart
    columns = {"user": [u for u, _ in pairs], "item": [i for _, i in pairs], "weight": weights}
    frame = pl.DataFrame(columns if times is None else {**columns, "time": times})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = Interactions.from_frame(frame)
    first: dict[tuple[int, int], int] = {}
    for row, pair in enumerate(pairs):
        if pair not in first or (times is not None and times[row] < times[first[pair]]):
            first[pair] = row
    assert kept.weight.tolist() == sorted(first.values())
    dropped = len(pairs) - len(first)
    assert [str(w.message).split()[0] for w in caught] == ([str(dropped)] if dropped else [])


@given(PAIRS, st.integers(1, 4))
@settings(deadline=None)
def test_k_core_equals_a_slow_loop(pairs, k):
    left = set(pairs)
    while True:
        users, items = Counter(u for u, _ in left), Counter(i for _, i in left)
        stays = {(u, i) for u, i in left if users[u] >= k and items[i] >= k}
        if stays == left:
            break
        left = stays
    whole = interactions(pairs)
    if not left:
        with pytest.raises(InputError, match=f"the {k}-core is empty"):
            whole.k_core(k)
        return
    core = whole.k_core(k)
    assert set(raw_pairs(core)) == left
    assert core.user_degrees().min() >= k
    assert core.item_degrees().min() >= k
    assert core.k_core(k).to_frame().equals(core.to_frame())


def test_k_core_goes_on_until_nothing_changes():
    """A chain: each round of removals makes the next end too small."""
    chain = [(n, n) for n in range(20)] + [(n, n + 1) for n in range(20)]
    with pytest.raises(
        InputError, match="the 2-core is empty: no group of users and items has 2 interactions"
    ):
        interactions(chain).k_core(2)
    square = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("b", "z")]
    assert raw_pairs(interactions(square).k_core(2)) == square[:4]
    with pytest.raises(InputError, match="k-core must be at least 1, got 0"):
        interactions(square).k_core(0)


def test_min_rating_keeps_the_least_and_numbers_anew():
    pairs = interactions([("a", 1), ("b", 2), ("b", 3)], weights=[4.0, 3.5, 5.0], times=[3, 2, 1])
    kept = pairs.with_min_rating(4)
    assert kept.to_frame().rows() == [("a", 1, 3.0, 4.0), ("b", 3, 1.0, 5.0)]
    assert kept.items.ids.to_list() == [1, 3]
    assert pairs.num_items == 3
    with pytest.raises(InputError, match=r"no interaction has a rating of at least 6 \(the highest is 5\)"):
        pairs.with_min_rating(6)
    with pytest.raises(InputError, match="carry no rating or weight"):
        interactions([(1, 1)]).with_min_rating(1)


@given(PAIRS, PAIRS)
@settings(deadline=None)
def test_set_algebra(left, right):
    users = Vocabulary.of(list(range(8)))
    frames = [
        pl.DataFrame(sorted(set(pairs)), schema=["user", "item"], orient="row") for pairs in (left, right)
    ]
    first, second = (Interactions.from_frame(frame, users=users, items=users) for frame in frames)
    rest = first.without(second)
    assert set(raw_pairs(rest)) == set(left) - set(right)
    shared = first.select(first.shared_with(second))
    assert set(raw_pairs(shared)) == set(left) & set(right)
    both = rest.joined(second)
    assert set(raw_pairs(both)) == set(left) | set(right)
    assert raw_pairs(both.sorted()) == sorted(set(left) | set(right))
    assert (
        first.without(second.select(np.zeros(len(second), dtype=bool))).user.tolist() == first.user.tolist()
    )


def test_joined_pairs_carry_only_what_both_carry():
    dated = interactions([(0, 0), (1, 1)], times=[1, 2], weights=[1, 2])
    plain = interactions([(0, 1), (1, 0)], weights=[3, 4])
    joined = dated.joined(plain)
    assert joined.time is None
    assert joined.weight.tolist() == [1, 2, 3, 4]


def test_compacted_drops_users_and_items_without_pairs():
    pairs = interactions([("a", 10), ("b", 20), ("c", 30)], times=[1, 2, 3])
    part = pairs.select(np.array([2, 0]))
    assert (part.num_users, part.num_items) == (3, 3)
    small = part.compacted()
    assert (small.num_users, small.num_items) == (2, 2)
    assert small.to_frame().rows() == part.to_frame().rows() == [("c", 30, 3.0), ("a", 10, 1.0)]
