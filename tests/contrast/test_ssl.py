"""The passes that each kind of self-supervision takes, and the table of them."""

from __future__ import annotations

import pytest
import torch

from gclrec.contrast import SSL, build_contrast
from gclrec.contrast.base import TrainingStep
from gclrec.contrast.cross_layer import CrossLayer, node_contrast
from gclrec.contrast.two_views import TwoViews
from gclrec.encoders import Content, Embeddings, LightGCN, Sequences, TwoTower
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.views import View, make_view, parse_augmentations
from tests.encoders.content.test_content import BOTH

USERS, ITEMS = torch.tensor([3, 1, 3, 7]), torch.tensor([2, 2, 9, 0])


def prepared(text: str, graph: BipartiteGraph, count: int = 2) -> tuple[View, ...]:
    generator = torch.Generator().manual_seed(2)
    chains = parse_augmentations(text)[:count]
    return tuple(make_view(chain, graph, generator=generator, num_layers=2) for chain in chains)


def test_two_views_rank_on_the_whole_graph_and_contrast_its_views(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2)
    views = prepared("edge_drop:0.5", toy_graph)
    main, loss = TwoViews(encoder, toy_graph, temperature=0.3)(
        TrainingStep(encoder, toy_graph, views, USERS, ITEMS)
    )
    assert torch.equal(main.users, encoder(toy_graph).users)
    first, second = (view.encode(encoder) for view in views)
    assert not torch.equal(first.users, second.users)
    torch.testing.assert_close(loss, node_contrast(first, second, USERS, ITEMS, 0.3))


def test_node_contrast_counts_a_repeated_node_once() -> None:
    generator = torch.Generator().manual_seed(1)
    one, two = (
        Embeddings(*(torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (8, 10)))
        for _ in range(2)
    )
    expected = 0.0
    for a, b, nodes in ((one.users, two.users, [1, 3, 7]), (one.items, two.items, [0, 2, 9])):
        for n in nodes:
            logits = torch.stack([torch.cosine_similarity(a[n], b[m], dim=0) / 0.2 for m in nodes])
            own = torch.cosine_similarity(a[n], b[n], dim=0) / 0.2
            expected += float(torch.log(logits.exp().sum()) - own) / len(nodes)
    assert float(node_contrast(one, two, USERS, ITEMS, 0.2)) == pytest.approx(expected, rel=1e-6)


def test_all_nodes_are_the_negatives_of_each_distinct_node_of_the_batch(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=torch.Generator().manual_seed(1)).double()
    views = prepared("edge_drop:0.5", toy_graph)
    contrast = TwoViews(encoder, toy_graph, temperature=0.3, negatives="all")
    _, loss = contrast(TrainingStep(encoder, toy_graph, views, USERS, ITEMS))
    expected = torch.zeros((), dtype=torch.float64)
    first, second = (view.encode(encoder) for view in views)
    for a, b, nodes in ((first.users, second.users, [1, 3, 7]), (first.items, second.items, [0, 2, 9])):
        for n in nodes:
            cosines = torch.stack([torch.cosine_similarity(a[n], other, dim=0) for other in b])
            below = (cosines / 0.3).exp().sum()
            expected = expected - ((cosines[n] / 0.3).exp() / below).log() / len(nodes)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    for mine, plain in zip(
        torch.autograd.grad(loss, encoder.layer_zero),
        torch.autograd.grad(expected, encoder.layer_zero),
        strict=True,
    ):
        torch.testing.assert_close(mine, plain)
        assert (mine != 0).any()
    with pytest.raises(ValueError, match="negatives"):
        TwoViews(encoder, toy_graph, negatives="some")


def test_cross_layer_is_one_pass_and_its_layer(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, layer_weights="mean_without_0")
    step = TrainingStep(encoder, toy_graph, prepared("none", toy_graph, 1), USERS, ITEMS)
    for layer in (0, 1, 2):
        main, loss = CrossLayer(encoder, toy_graph, layer=layer, temperature=0.4)(step)
        expected = encoder(toy_graph, layers=True)
        torch.testing.assert_close(main.users, expected.users)
        other = Embeddings(*expected.layers[layer])
        torch.testing.assert_close(loss, node_contrast(expected, other, USERS, ITEMS, 0.4))


@pytest.mark.filterwarnings("ignore:attributes age:gclrec.common.errors.InputWarning")
@pytest.mark.parametrize("name", [name for name, kind in SSL.items() if kind.make is not None])
def test_every_kind_gives_a_loss_with_a_gradient(toy_graph: BipartiteGraph, name: str) -> None:
    content = Content(BOTH, 4) if "features" in name else None
    encoder = LightGCN(
        12, 10, dim=4, num_layers=2, content=content, generator=torch.Generator().manual_seed(1)
    )
    if name == "histories":
        encoder = TwoTower(
            12, 10, BOTH, 4, sequences=Sequences(*toy_graph.edge_index, 12, 10), history="mean"
        )
    contrast = build_contrast(
        name, encoder, toy_graph, attributes=BOTH, generator=torch.Generator().manual_seed(3)
    )
    views = prepared("edge_drop:0.5", toy_graph, SSL[name].views)
    assert len(views) == SSL[name].views
    main, loss = contrast(
        TrainingStep(encoder, toy_graph, views, USERS, ITEMS, torch.Generator().manual_seed(4))
    )
    assert main.users.shape == (12, 4)
    assert loss.shape == ()
    assert loss.isfinite()
    learned = tuple(content.encoders["item"].weights) if name == "features" else encoder.layer_zero
    learned = (encoder.items,) if name == "histories" else learned
    for gradient in torch.autograd.grad(loss, learned):
        assert (gradient != 0).any()


def test_none_is_no_contrast(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match="no contrast"):
        build_contrast("none", LightGCN(12, 10, dim=4), toy_graph)
