"""The momentum twin: a copy that is not trained and follows by the formula."""

from __future__ import annotations

import pytest
import torch

from gclrec.contrast.twin import Twin
from gclrec.encoders import LightGCN


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_the_twin_follows_by_the_formula(momentum: float) -> None:
    generator = torch.Generator().manual_seed(1)
    original = LightGCN(5, 4, 3, 1, layer_weights="learned", generator=generator).double()
    twin = Twin(original, momentum)
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert all(parameter.requires_grad for parameter in original.parameters())
    kept = [parameter.clone() for parameter in twin.parameters()]
    assert torch.equal(kept[0], original.users)
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.mul_(-2.0).add_(1.0)
    assert torch.equal(twin.encoder.layer_zero[0], kept[0])  # a copy, not the original under another name
    for _ in range(2):
        twin.follow(original)
        kept = [momentum * m + (1 - momentum) * p for m, p in zip(kept, original.parameters(), strict=True)]
    for found, expected in zip(twin.parameters(), kept, strict=True):
        torch.testing.assert_close(found, expected)
