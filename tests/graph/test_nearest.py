"""Nearest rows by shared neighbours, against plain loops over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.graph.nearest import nearest_rows, nearest_table


def slow(matrix: np.ndarray, count: int, shrink: float) -> list[list[tuple[int, float]]]:
    found = []
    for a, row in enumerate(matrix):
        near = []
        for b, other in enumerate(matrix):
            shared = int((row * other).sum())
            if a != b and shared:
                near.append((b, shared / (np.sqrt(float(row.sum() * other.sum())) + shrink)))
        found.append(sorted(near, key=lambda pair: (-pair[1], pair[0]))[:count])
    return found


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 9), st.integers(1, 7), st.integers(1, 4), st.sampled_from([0.0, 2.5]), st.integers(0, 999)
)
def test_it_is_the_formula(rows: int, columns: int, count: int, shrink: float, seed: int) -> None:
    matrix = (np.random.default_rng(seed).random((rows, columns)) < 0.4).astype(np.float32)
    sparse = scipy.sparse.csr_array(matrix)
    near, target, cosine = nearest_rows(sparse, count, shrink=shrink)
    expected = slow(matrix, count, shrink)
    assert list(zip(near.tolist(), target.tolist(), strict=True)) == [
        (b, a) for a, pairs in enumerate(expected) for b, _ in pairs
    ]
    assert cosine.tolist() == pytest.approx([c for pairs in expected for _, c in pairs], rel=1e-6)

    table, found = nearest_table(sparse, count)
    assert found.tolist() == [len(pairs) for pairs in slow(matrix, count, 0.0)]
    for a, pairs in enumerate(slow(matrix, count, 0.0)):
        assert table[a].tolist() == [b for b, _ in pairs] + [a] * (count - len(pairs))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = scipy.sparse.csr_array((np.random.default_rng(1).random((23, 9)) < 0.4).astype(np.float32))
    whole = nearest_rows(matrix, 3)
    monkeypatch.setattr("gclrec.graph.nearest._ROWS", 4)
    for mine, other in zip(nearest_rows(matrix, 3), whole, strict=True):
        assert (mine == other).all()
