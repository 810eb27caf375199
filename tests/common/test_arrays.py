"""Numbers of many rows in blocks, against NumPy on all of them at once."""

from __future__ import annotations

import numpy as np
import pytest

from gclrec.common import arrays


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_add_up(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(arrays, "_BLOCK", block)
    random = np.random.default_rng(0)
    rows = random.integers(0, 50, 200).astype(np.int32)
    np.testing.assert_array_equal(arrays.counts(rows, 60), np.bincount(rows, minlength=60))
    known = np.unique(random.integers(0, 80, 40))
    keys = random.integers(0, 80, 200)
    np.testing.assert_array_equal(arrays.is_in(keys, known), np.isin(keys, known))
    assert not arrays.is_in(keys, known[:0]).any()


def test_rows_are_renumbered_and_sorted() -> None:
    rows = np.array([9, 2, 2, 7], dtype=np.int32)
    assert arrays.renumbered(rows, np.array([2, 7, 9]), 10).tolist() == [2, 0, 0, 1]
    for size in (0, 1, 2, 101):
        keys = np.random.default_rng(size).integers(0, 50, size)
        expected = np.sort(keys)
        arrays.sort_in_place(keys)
        assert keys.tolist() == expected.tolist()
