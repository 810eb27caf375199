"""The dense product is a product, in whatever way it is taken."""

from __future__ import annotations

import pytest
import torch

from gclrec.graph.dense import matmul
from gclrec.graph.functional import unit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 7), (300, 64, 500), (0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_it_is_the_product(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    n, k, m = shape
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(size, generator=generator, dtype=dtype) for size in ((n, k), (k, m)))
    expected = (a.double() @ b.double()).to(dtype)
    for left in (a, a.T.contiguous().T, torch.cat([a, a])[:n]):
        for right in (b, b.T.contiguous().T, torch.cat([b, b], dim=1)[:, :m]):
            found = matmul(left, right)
            assert found.shape == (n, m)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_is_as_exact_as_single_precision_goes() -> None:
    """No kernel in half precision: the error is that of sums of 64 rounded products."""
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(500, 64, generator=generator), torch.randn(64, 500, generator=generator)
    error = (matmul(a, b).double() - a.double() @ b.double()).abs().max()
    assert error < 64 * 2**-24 * float(a.abs().max() * b.abs().max())


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
