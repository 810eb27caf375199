"""Tensor functions with a backward pass of their own, against those of PyTorch."""

from __future__ import annotations

import pytest
import torch

from gclrec.graph.functional import unit


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3), (0, 3)])
def test_unit_and_its_gradient_equal_those_of_torch(shape: tuple[int, ...]) -> None:
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    slow, fast = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    expected = torch.nn.functional.normalize(slow, dim=-1)
    torch.testing.assert_close(unit(fast), expected)
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (wanted,) = torch.autograd.grad(expected, slow, upstream)
    (found,) = torch.autograd.grad(unit(fast), fast, upstream)
    torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradcheck(unit, (fast,))


def test_a_row_of_zeros_has_no_direction_and_gets_no_gradient() -> None:
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    found = unit(rows)
    assert found.tolist() == [[0.0, 0.0], pytest.approx([0.6, 0.8])]
    (gradient,) = torch.autograd.grad(found.sum(), rows)
    assert gradient[0].tolist() == [0.0, 0.0]
    assert gradient.isfinite().all()
