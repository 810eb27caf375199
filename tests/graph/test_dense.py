"""The dense product is a product, in whatever way it is taken."""

from __future__ import annotations

import pytest
import torch

from gclrec.graph.dense import matmul


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
