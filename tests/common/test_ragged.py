"""Ragged lists against Python lists."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged

LISTS = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=6)


@settings(deadline=None)
@given(LISTS, st.data())
def test_rows(lists: list[list[int]], data) -> None:
    ragged = Ragged.from_lists(lists)
    assert len(ragged) == len(lists)
    assert ragged.tolist() == lists
    assert ragged.lengths.tolist() == [len(values) for values in lists]
    assert ragged.owners().tolist() == [row for row, values in enumerate(lists) for _ in values]
    rows = data.draw(st.lists(st.integers(-1, len(lists) - 1), max_size=8))
    assert ragged.take(rows).tolist() == [lists[row] if row >= 0 else [] for row in rows]
    assert ragged.take(torch.tensor(rows, dtype=torch.int64)).tolist() == ragged.take(rows).tolist()


@settings(deadline=None)
@given(LISTS, st.sets(st.integers(0, 9)))
def test_values(lists: list[list[int]], wanted: set[int]) -> None:
    ragged = Ragged.from_lists(lists)
    mask = np.isin(ragged.values, list(wanted))
    assert ragged.keep(mask).tolist() == [[v for v in values if v in wanted] for values in lists]
    last_places = [[v for place, v in enumerate(values) if v not in values[place + 1 :]] for values in lists]
    assert ragged.newest().tolist() == last_places
    other = [[*values[::-1][:2], 11] for values in lists]
    assert ragged.followed_by(Ragged.from_lists(other)).tolist() == lists + other
    union = [sorted({*ours, *theirs}) for ours, theirs in zip(lists, other, strict=True)]
    assert ragged.union(Ragged.from_lists(other)).tolist() == union


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9))))
def test_pairs(pairs: list[tuple[int, int]]) -> None:
    rows, values = [row for row, _ in pairs], [value for _, value in pairs]
    grouped = [[value for row, value in pairs if row == wanted] for wanted in range(5)]
    assert Ragged.from_pairs(rows, values, 5).tolist() == grouped
    distinct = Ragged.from_pairs(rows, values, 5, distinct=True)
    assert distinct.tolist() == [sorted(set(values)) for values in grouped]


def test_no_rows() -> None:
    for ragged in (
        Ragged.from_lists([]),
        Ragged.empty(0),
        Ragged.from_pairs([], [], 0),
        Ragged.empty(3).take([]),
    ):
        assert len(ragged) == len(ragged.values) == 0
    assert Ragged.empty(2).tolist() == [[], []]


@pytest.mark.parametrize(
    ("indptr", "values", "said"),
    [
        ([0, 1], [3, 4], "2 offsets from 0 to 1, expected them to rise from 0 to 2"),
        ([1, 2], [3, 4], "2 offsets from 1 to 2"),
        ([0, 2, 1], [3], "3 offsets from 0 to 1"),
        ([], [], "0 offsets"),
    ],
)
def test_refuses_bad_offsets(indptr: list[int], values: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Ragged(np.array(indptr), np.array(values))
