"""Losses against the papers' formulas as plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.losses.info_nce import info_nce
from gclrec.losses.l2 import l2
from gclrec.losses.ranking_losses import bpr


def slow_bpr(positive: list[float], negative: list[float]) -> float:
    total = 0.0
    for p, n in zip(positive, negative, strict=True):
        total -= math.log(1.0 / (1.0 + math.exp(-(p - n))))
    return total / len(positive)


def slow_info_nce(anchor: list[list[float]], positive: list[list[float]], temperature: float) -> float:
    def cosine(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

    total = 0.0
    for k, a in enumerate(anchor):
        below = sum(math.exp(cosine(a, p) / temperature) for p in positive)
        total -= math.log(math.exp(cosine(a, positive[k]) / temperature) / below)
    return total / len(anchor)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 9), st.floats(0.05, 2.0), st.integers(0, 10**6))
def test_info_nce_is_the_formula(rows: int, dim: int, temperature: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    anchor, positive = (torch.randn(rows, dim, dtype=torch.float64, generator=generator) for _ in range(2))
    expected = slow_info_nce(anchor.tolist(), positive.tolist(), temperature)
    assert info_nce(anchor, positive, temperature).item() == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=20))
def test_bpr_is_the_formula(pairs: list[tuple[float, float]]) -> None:
    positive, negative = map(list, zip(*pairs, strict=True))
    found = bpr(torch.tensor(positive, dtype=torch.float64), torch.tensor(negative, dtype=torch.float64))
    assert found.item() == pytest.approx(slow_bpr(positive, negative), rel=1e-9, abs=1e-9)


def test_gradients_are_right_and_not_zero() -> None:
    a, b = (torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: info_nce(x, y, 0.3), (a, b))
    assert torch.autograd.gradcheck(lambda x, y: bpr(x[:, 0], y[:, 0]), (a, b))
    assert torch.autograd.gradcheck(l2, (a, b))
    for gradient in torch.autograd.grad(info_nce(a, b, 0.3), (a, b)):
        assert (gradient.abs() > 0).all()


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e18])
@pytest.mark.parametrize("temperature", [0.02, 0.2, 5.0])
def test_info_nce_is_finite(scale: float, temperature: float) -> None:
    rows = (torch.randn(6, 3) * scale).requires_grad_()
    loss = info_nce(rows, rows.detach().roll(1, 0), temperature)
    loss.backward()
    assert torch.isfinite(loss)
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()


@pytest.mark.parametrize("block", [1, 18, 45, 10**6])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """The rows are worked off in blocks; values and gradients are those of the plain cross-entropy."""
    monkeypatch.setattr("gclrec.losses.log_sum_exp._BLOCK", block)
    monkeypatch.setattr("gclrec.losses.log_sum_exp._FEWEST_ROWS", 1)
    a, b = (torch.randn(9, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    logits = torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T / 0.3
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(9))
    torch.testing.assert_close(info_nce(a, b, 0.3), expected)
    found = torch.autograd.grad(3 * info_nce(a, b, 0.3), (a, b))
    for mine, plain in zip(found, torch.autograd.grad(3 * expected, (a, b)), strict=True):
        torch.testing.assert_close(mine, plain)


def test_equal_rows_give_log_b() -> None:
    rows = torch.ones(7, 3)
    assert info_nce(rows, rows, 0.1).item() == pytest.approx(math.log(7), rel=1e-5)


def test_rows_of_sixteen_bits_give_a_loss_of_single_precision() -> None:
    rows = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = info_nce(rows, rows.flip(0), 0.2)
    assert found.dtype == torch.float32
    expected = info_nce(rows.detach().double(), rows.detach().double().flip(0), 0.2)
    assert found.item() == pytest.approx(expected.item(), rel=2e-3)
    assert torch.autograd.grad(found, rows)[0].any()


def test_bpr_is_finite_for_huge_scores() -> None:
    assert bpr(torch.tensor([-1e30]), torch.tensor([1e30])).item() == pytest.approx(2e30, rel=1e-5)
    assert bpr(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(math.log(2))


def test_l2_is_half_the_square_per_row() -> None:
    assert l2(torch.full((4, 2), 3.0), torch.ones(4, 2)).item() == pytest.approx((4 * 18 + 4 * 2) / 2 / 4)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        info_nce(torch.ones(2, 3), torch.ones(3, 3))
    with pytest.raises(ValueError, match="one length"):
        info_nce(torch.ones(2, 3), torch.ones(5, 4), own=torch.tensor([0, 1]))
    for other in ((4, 1), (1,), ()):
        with pytest.raises(ValueError, match="one negative"):
            bpr(torch.ones(4), torch.ones(other))
    with pytest.raises(ValueError, match="temperature"):
        info_nce(torch.ones(2, 3), torch.ones(2, 3), 0.0)
