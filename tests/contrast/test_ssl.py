"""The passes that each kind of self-supervision takes."""

from __future__ import annotations

import torch

from gclrec.contrast.ssl import SSL, cross_layer, infonce
from gclrec.contrast.views import make_view, parse_augmentations
from gclrec.encoders import LightGCN
from gclrec.graph.bipartite import BipartiteGraph


def prepared(text: str, graph: BipartiteGraph):
    generator = torch.Generator().manual_seed(2)
    first, second = parse_augmentations(text)
    return tuple(make_view(chain, graph, generator=generator, num_layers=2) for chain in (first, second))


def test_names() -> None:
    assert set(SSL) == {"infonce", "cross_layer"}


def test_infonce_ranks_on_the_whole_graph_and_contrasts_its_views(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2)
    views = prepared("edge_drop:0.5", toy_graph)
    passes = infonce(encoder, toy_graph, views)
    assert torch.equal(passes.main.users, encoder(toy_graph).users)
    assert torch.equal(passes.first.items, views[0].encode(encoder).items)
    assert torch.equal(passes.second.users, views[1].encode(encoder).users)
    assert not torch.equal(passes.first.users, passes.second.users)


def test_cross_layer_is_one_pass_and_its_layer(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, layer_weights="mean_without_0")
    views = prepared("none", toy_graph)
    for layer in (0, 1, 2):
        passes = cross_layer(encoder, toy_graph, views, layer=layer)
        expected = encoder(toy_graph, layers=True)
        assert passes.main is passes.first
        torch.testing.assert_close(passes.main.users, expected.users)
        torch.testing.assert_close(passes.second.users, expected.layers[layer][0])
        torch.testing.assert_close(passes.second.items, expected.layers[layer][1])
