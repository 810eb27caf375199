"""``torch.compile`` around losses and encoders: the same numbers, with the same gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gclrec.encoders import EGCF, LightGCN, PyGEncoder
from gclrec.losses.info_nce import info_nce
from gclrec.losses.ranking_losses import alignment_uniformity, bilateral_softmax, sampled_softmax
from gclrec.views.augment import augment

EDGES = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 2]])


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


def compiled(function: Callable, called: list[str]) -> Callable:
    """Compile as far as PyTorch's own operations, without a compiler of C; their names are noted."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def noted(module: torch.fx.GraphModule, _: list) -> Callable:
        called.extend(str(node.target) for node in module.graph.nodes)
        return make_boxed_func(module)

    return torch.compile(function, backend=aot_autograd(fw_compiler=noted))


@pytest.mark.parametrize("loss", [info_nce, sampled_softmax, bilateral_softmax, alignment_uniformity])
def test_losses(loss: Callable[..., Tensor]) -> None:
    rows = [torch.randn(8, 4, requires_grad=True) for _ in range(2 if loss is info_nce else 3)]
    called: list[str] = []
    expected = torch.autograd.grad(loss(*rows), rows, materialize_grads=True)
    found = torch.autograd.grad(compiled(loss, called)(*rows), rows, materialize_grads=True)
    torch.testing.assert_close(found, expected)
    assert any("exp" in name for name in called)
    assert not any("mkldnn" in name for name in called)  # other backends cannot compile these


@pytest.mark.parametrize("make", [LightGCN, EGCF, PyGEncoder])
def test_encoders(make: Callable[..., nn.Module]) -> None:
    encoder = make(4, 3, dim=8)
    users, items = compiled(encoder, [])(EDGES.clone())
    for found, expected in zip((users, items), encoder(EDGES), strict=True):
        torch.testing.assert_close(found, expected)
    (users.square().sum() + items.square().sum()).backward()
    assert all(x.grad is not None and x.grad.any() for x in encoder.parameters())


def test_augmented_edges() -> None:
    found = compiled(lambda edges: augment(edges, "edge_drop", p=0.0) + 1, [])(EDGES.clone())
    assert torch.equal(found, EDGES + 1)
