"""NCL: both parts against plain loops, when prototypes are made, and seeds of clusterings."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gclrec.common.errors import SettingError
from gclrec.contrast.base import TrainingStep
from gclrec.contrast.ncl import NCL, kmeans
from gclrec.encoders import LightGCN
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.views import View

USERS, ITEMS = torch.tensor([3, 1, 3, 7]), torch.tensor([2, 2, 9, 0])


def setting(graph: BipartiteGraph, **settings: object) -> tuple[LightGCN, NCL, TrainingStep]:
    encoder = LightGCN(12, 10, dim=4, num_layers=3, generator=torch.Generator().manual_seed(1)).double()
    ncl = NCL(encoder, graph, generator=torch.Generator().manual_seed(2), **settings)
    return encoder, ncl, TrainingStep(encoder, graph, (View(graph),), USERS, ITEMS)


def slow_part(anchors: torch.Tensor, keys: torch.Tensor, own: dict[int, int], temperature: float) -> float:
    total = 0.0
    for node, place in own.items():
        cosines = [float(torch.cosine_similarity(anchors[node], key, dim=0)) for key in keys]
        total -= cosines[place] / temperature
        total += math.log(sum(math.exp(c / temperature) for c in cosines))
    return total / len(own)


def test_both_parts_are_the_formula(toy_graph: BipartiteGraph) -> None:
    own = {"item_weight": 1.5, "prototype_weight": 0.3, "clusters": 3, "after": 0}
    encoder, ncl, step = setting(toy_graph, temperature=0.4, **own)
    with torch.no_grad():
        ncl.begin_epoch(1, encoder, toy_graph)
    main, loss = ncl(step)
    layers = encoder(toy_graph, layers=True).layers
    torch.testing.assert_close(main.users, encoder(toy_graph).users)

    expected = 0.0
    for side, nodes, weight, centroids, clusters in (
        (0, {3, 1, 7}, 1.0, ncl.user_centroids, ncl.user_clusters),
        (1, {2, 9, 0}, 1.5, ncl.item_centroids, ncl.item_clusters),
    ):
        base = layers[0][side].detach()
        expected += weight * slow_part(layers[2][side].detach(), base, {n: n for n in nodes}, 0.4)
        expected += 0.3 * slow_part(base, centroids, {n: int(clusters[n]) for n in nodes}, 0.4)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    for gradient in torch.autograd.grad(loss, encoder.layer_zero):
        assert (gradient != 0).all()  # every node of a side is a negative
    assert not ncl.user_centroids.requires_grad


def test_prototypes_wait_and_are_made_anew_at_every_epoch(toy_graph: BipartiteGraph) -> None:
    encoder, ncl, step = setting(toy_graph, clusters=3, after=2)
    seen, losses = [], []
    for epoch in range(1, 7):
        with torch.no_grad():
            ncl.begin_epoch(epoch, encoder, toy_graph)
            losses.append(ncl(step).loss.item())
            seen.append(ncl.user_centroids.clone())
            encoder.users += 0.3 * torch.randn(12, 4, generator=torch.Generator().manual_seed(epoch))
    assert not seen[1].any()
    assert seen[2].any()
    new = [not torch.equal(a, b) for a, b in itertools.pairwise(seen)]
    assert new == [False, True, True, True, True]
    _, without, _ = setting(toy_graph, prototype_weight=0.0, clusters=3, after=0)
    without.begin_epoch(1, encoder, toy_graph)
    assert not without.user_centroids.any()
    assert losses[0] == pytest.approx(setting(toy_graph)[1](setting(toy_graph)[2]).loss.item())


def test_kmeans_finds_what_is_there_and_its_seed_decides() -> None:
    generator = torch.Generator().manual_seed(3)
    centres = torch.tensor([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    truth = torch.randint(3, (300,), generator=generator)
    x = centres[truth] + 0.1 * torch.randn(300, 3, generator=generator)
    centroids, clusters = kmeans(x, 3, seed=2)
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(3))
    assert torch.equal((clusters[:, None] == clusters), (truth[:, None] == truth))
    torch.testing.assert_close(centroids[clusters], centres[truth] / 5.0, atol=0.02, rtol=0.0)

    spread = torch.randn(500, 8, generator=generator)
    first, again, other = (kmeans(spread, 20, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_an_odd_layer_is_refused(toy_graph: BipartiteGraph) -> None:
    for layer in (0, 1, 3):
        with pytest.raises(SettingError, match=f"layer: ncl takes an even layer from 2 on, got {layer}"):
            setting(toy_graph, layer=layer)


def test_few_nodes_have_fewer_prototypes(toy_graph: BipartiteGraph) -> None:
    _, ncl, _ = setting(toy_graph, clusters=1000)
    assert ncl.user_centroids.shape == (3, 4)
    assert ncl.item_centroids.shape == (2, 4)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e15])
def test_it_is_finite(toy_graph: BipartiteGraph, scale: float) -> None:
    encoder, ncl, step = setting(toy_graph, temperature=0.02, clusters=2, after=0)
    encoder = encoder.float()
    with torch.no_grad():
        encoder.users.mul_(scale)
        encoder.items.fill_(scale)
        ncl.float().begin_epoch(1, encoder, toy_graph)
    loss = ncl(step).loss
    assert torch.isfinite(loss)
    for gradient in torch.autograd.grad(loss, encoder.layer_zero):
        assert torch.isfinite(gradient).all()
