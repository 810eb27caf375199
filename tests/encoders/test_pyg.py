"""Convolutions of PyG as encoders: the edges they see, beside the layers written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gclrec.encoders import CONVOLUTIONS, PyGEncoder
from gclrec.encoders.pyg import sage_conv
from gclrec.graph.augmentations import edge_drop
from gclrec.graph.bipartite import BipartiteGraph

every_conv = pytest.mark.parametrize("conv", CONVOLUTIONS.values(), ids=CONVOLUTIONS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@every_conv
def test_is_its_layers(conv, toy_graph: BipartiteGraph) -> None:
    encoder = PyGEncoder(12, 10, conv, dim=4, num_layers=2, generator=seeded())
    user, item = toy_graph.edge_index
    edges = torch.stack([torch.cat([user, item + 12]), torch.cat([item + 12, user])])
    zero = torch.cat([encoder.users, encoder.items])
    one = functional.leaky_relu(encoder.convs[0](zero, edges))
    expected = (zero + one + encoder.convs[1](one, edges)) / 3
    seen = encoder(toy_graph)
    torch.testing.assert_close(torch.cat([seen.users, seen.items]), expected)


def test_sage_is_a_mean_over_neighbours(toy_graph: BipartiteGraph) -> None:
    encoder = PyGEncoder(12, 10, sage_conv, dim=4, num_layers=1, layer_weights="last", generator=seeded())
    conv = encoder.convs[0]
    for user in range(12):
        items = toy_graph.edge_index[1, toy_graph.edge_index[0] == user]
        mean = encoder.items[items].mean(0) if len(items) else torch.zeros(4)
        expected = conv.lin_l(mean) + conv.lin_r(encoder.users[user])
        torch.testing.assert_close(encoder(toy_graph).users[user], expected)


@every_conv
def test_what_counts_as_a_graph(conv, toy_graph: BipartiteGraph) -> None:
    encoder = PyGEncoder(12, 10, conv, dim=4, num_layers=2, generator=seeded())
    view = edge_drop(toy_graph, 0.1, generator=seeded())
    expected = encoder(view).users
    for graph in (view.edge_index, view.adjacency, [view.adjacency] * 2):
        torch.testing.assert_close(encoder(graph).users, expected)
    assert not torch.allclose(encoder(toy_graph).users, expected)
    with pytest.raises(ValueError, match="one operator for each of 2 layers, got 1"):
        encoder([view.adjacency])
    with pytest.raises(TypeError, match="needs edges, and an operator of type LowRank has none"):
        encoder(toy_graph.low_rank(2))


@pytest.mark.parametrize("layer_weights", ["mean", "mean_without_0", "last", "learned"])
def test_layers_and_gradients(layer_weights: str, toy_graph: BipartiteGraph) -> None:
    encoder = PyGEncoder(12, 10, dim=4, num_layers=2, layer_weights=layer_weights, generator=seeded())
    seen = encoder(toy_graph, layers=True)
    assert len(seen.layers) == 3
    weights = {
        "mean": [1 / 3] * 3,
        "mean_without_0": [0, 0.5, 0.5],
        "last": [0, 0, 1],
        "learned": [1 / 3] * 3,
    }
    combined = sum(w * layer[1] for w, layer in zip(weights[layer_weights], seen.layers, strict=True))
    torch.testing.assert_close(seen.items, combined)
    (seen.users.square().sum() + seen.items.square().sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_start_comes_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    one, again, other = (PyGEncoder(5, 4, dim=4, generator=seeded(n)) for n in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for mine, same, different in zip(*(e.parameters() for e in (one, again, other)), strict=True):
        assert torch.equal(mine, same)
        assert not torch.equal(mine, different)


def test_bad_layers() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        PyGEncoder(3, 2, num_layers=0, layer_weights="mean_without_0")
