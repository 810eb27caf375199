"""Contrast with all rows of a table: the formula as plain loops, gradients, blocks, extremes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.contrast.among import info_nce_among, mean_log_sum_exp


def slow(anchor: torch.Tensor, keys: torch.Tensor, positive: torch.Tensor, temperature: float) -> float:
    total = 0.0
    for a, p in zip(anchor, positive.tolist(), strict=True):
        cosines = [float(torch.cosine_similarity(a, key, dim=0)) for key in keys]
        below = sum(math.exp(c / temperature) for c in cosines)
        total -= math.log(math.exp(cosines[p] / temperature) / below)
    return total / len(anchor)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(1, 9), st.floats(0.05, 2.0), st.integers(0, 10**6))
def test_it_is_the_formula(rows: int, count: int, temperature: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    anchor, keys = (torch.randn(n, 4, dtype=torch.float64, generator=generator) for n in (rows, count))
    positive = torch.randint(count, (rows,), generator=generator)
    expected = slow(anchor, keys, positive, temperature)
    assert info_nce_among(anchor, keys, positive, temperature).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("block", [1, 7, 23, 10**6])
def test_blocks_change_neither_value_nor_gradient(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("gclrec.contrast.among._BLOCK", block)
    q, k = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (9, 6))
    expected = torch.logsumexp(q @ k.T, 1).mean()
    torch.testing.assert_close(mean_log_sum_exp(q, k), expected)
    found = torch.autograd.grad(3 * mean_log_sum_exp(q, k), (q, k))
    for mine, plain in zip(found, torch.autograd.grad(3 * expected, (q, k)), strict=True):
        torch.testing.assert_close(mine, plain)
        assert (mine != 0).all()
    positive = torch.tensor([0, 5, 5, 1, 2, 3, 4, 0, 1])
    assert torch.autograd.gradcheck(lambda x, y: info_nce_among(x, y, positive, 0.3), (q, k))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e18])
@pytest.mark.parametrize("temperature", [0.02, 0.2, 5.0])
def test_it_is_finite(scale: float, temperature: float) -> None:
    rows = (torch.randn(6, 3) * scale).requires_grad_()
    loss = info_nce_among(rows[:4], rows, torch.tensor([5, 1, 1, 0]), temperature)
    (gradient,) = torch.autograd.grad(loss, rows)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_equal_rows_give_log_n() -> None:
    rows = torch.ones(7, 3)
    assert info_nce_among(rows[:2], rows, torch.tensor([3, 6]), 0.02).item() == pytest.approx(math.log(7))
