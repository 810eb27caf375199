import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gclrec.evaluation import ITEM_GROUPS, USER_GROUPS
from gclrec.evaluation.groups import BALANCED, figure_of, popularity_thirds

degree_lists = st.lists(st.integers(0, 30), min_size=1, max_size=60).map(np.array)

PARTITIONS = [
    (USER_GROUPS, ["warm_users", "near_cold_users", "cold_users"]),
    (ITEM_GROUPS, ["warm_items", "near_cold_items", "cold_items"]),
    (ITEM_GROUPS, ["head_items", "mid_items", "tail_items"]),
]


@pytest.mark.parametrize(
    ("table", "names"), PARTITIONS, ids=lambda value: value[0] if isinstance(value, list) else ""
)
@given(degrees=degree_lists, near_cold=st.integers(0, 10))
def test_groups_partition(table, names, degrees, near_cold):
    masks = [table[name](degrees, near_cold) for name in names]
    assert all(mask.dtype == np.bool_ and mask.shape == degrees.shape for mask in masks)
    assert (np.sum(masks, axis=0) == 1).all()


def test_every_group_is_in_a_partition():
    listed = {name for _, names in PARTITIONS for name in names}
    assert listed | {"all"} == {*USER_GROUPS, *ITEM_GROUPS}
    assert USER_GROUPS["all"](np.array([0, 3]), 5).all()


def test_warmth_by_degree():
    degrees = np.array([0, 1, 5, 6])
    assert USER_GROUPS["cold_users"](degrees, 5).tolist() == [True, False, False, False]
    assert USER_GROUPS["near_cold_users"](degrees, 5).tolist() == [False, True, True, False]
    assert USER_GROUPS["warm_users"](degrees, 5).tolist() == [False, False, False, True]
    assert not ITEM_GROUPS["near_cold_items"](degrees, 0).any()


@given(degrees=degree_lists)
def test_thirds_hold_what_they_say(degrees):
    thirds, total = popularity_thirds(degrees), degrees.sum()
    line = sorted(range(len(degrees)), key=lambda item: (-degrees[item], item))
    assert thirds[line].tolist() == sorted(thirds)  # head, then mid, then tail, equal degrees by number
    for last in (0, 1):
        part = [item for item in line if thirds[item] <= last]
        if total:  # the fewest items that hold at least a third, or two thirds
            assert 3 * degrees[part].sum() >= (last + 1) * total
            assert 3 * degrees[part[:-1]].sum() < (last + 1) * total
    assert (thirds[degrees == 0] == 2).all()


def test_thirds_are_about_equal_on_a_long_tail():
    degrees = (10_000 / np.arange(1, 5001)).astype(np.int64)
    shares = np.bincount(popularity_thirds(degrees), weights=degrees) / degrees.sum()
    np.testing.assert_allclose(shares, 1 / 3, atol=0.06)


def test_balanced_is_the_mean_of_what_there_is():
    for group, (warm, cold) in BALANCED.items():
        assert {warm, cold} <= {*USER_GROUPS, *ITEM_GROUPS}
        values = {f"{warm}/ndcg@5": 0.2, f"{cold}/ndcg@5": 0.6, "all/ndcg@5": 0.9, f"{cold}/ndcg@9": 0.1}
        assert figure_of(values, f"{group}/ndcg@5") == pytest.approx(0.4)
        assert figure_of(values, f"{group}/ndcg@9") == 0.1
        assert figure_of(values, f"{group}/recall@5") is None
        assert figure_of(values, "all/ndcg@5") == 0.9
