"""Projection heads: the formula, a start of their own, and that nothing but the loss sees them."""

from __future__ import annotations

import pytest
import torch

from gclrec.contrast import SSL, build_contrast
from gclrec.contrast.base import BeginsEpochs, TrainingStep
from gclrec.contrast.cross_layer import node_contrast
from gclrec.contrast.heads import Heads, ProjectionHead
from gclrec.contrast.two_views import TwoViews
from gclrec.encoders import Embeddings, LightGCN
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.views import make_view, parse_augmentations
from tests.encoders.content.test_content import BOTH


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_head_is_the_formula(layers: int) -> None:
    head = ProjectionHead(4, layers, generator=torch.Generator().manual_seed(0)).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    parameters = list(head.parameters())
    assert len(parameters) == 2 * layers
    for row, found in zip(x, head(x), strict=True):
        value = row.tolist()
        for layer in range(layers):
            weight, bias = (part.tolist() for part in parameters[2 * layer : 2 * layer + 2])
            if layer:
                value = [max(0.0, number) for number in value]
            value = [
                sum(w * v for w, v in zip(line, value, strict=True)) + b
                for line, b in zip(weight, bias, strict=True)
            ]
        assert found.tolist() == pytest.approx(value, abs=1e-9)


def test_the_start_comes_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (Heads(4, 2, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for one, same, different in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)
        assert one.abs().max() <= 0.5  # 1 / sqrt(4)
    users, items = first(Embeddings(torch.ones(1, 4), torch.ones(1, 4)))
    assert not torch.equal(users, items)  # each side has its own


def test_without_layers_the_embeddings_pass() -> None:
    heads = Heads(4)
    given = Embeddings(torch.ones(2, 4), torch.zeros(3, 4))
    assert list(heads.parameters()) == []
    assert all(a is b for a, b in zip(heads(given), given, strict=True))
    with pytest.raises(ValueError, match="num_layers"):
        ProjectionHead(4, 0)


def test_the_loss_sees_the_head_and_the_ranking_does_not(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=torch.Generator().manual_seed(1))
    chain, _ = parse_augmentations("edge_drop:0.4")
    generator = torch.Generator().manual_seed(5)
    first, second = (make_view(chain, toy_graph, generator=generator, num_layers=2) for _ in range(2))
    users, items = torch.tensor([3, 1, 3, 7]), torch.tensor([2, 2, 9, 0])
    contrast = TwoViews(encoder, toy_graph, head_layers=2, temperature=0.3, generator=generator)
    main, loss = contrast(TrainingStep(encoder, toy_graph, (first, second), users, items))
    assert torch.equal(main.users, encoder(toy_graph).users)
    assert torch.equal(main.items, encoder(toy_graph).items)
    views = [contrast.heads(view.encode(encoder)) for view in (first, second)]
    assert views[0].users.shape == (12, 4)
    torch.testing.assert_close(loss, node_contrast(*views, users, items, 0.3))
    gradients = torch.autograd.grad(loss, list(contrast.parameters()))
    assert all((gradient != 0).any() for gradient in gradients)


COMPARING = ["infonce", "moco", "swav", "concat", "byol", "ncl", "content"]


def as_they_are(module: torch.nn.Module) -> None:
    """Make every head linear with the identity, which changes nothing."""
    for part in module.modules():
        if isinstance(part, ProjectionHead):
            for parameter in part.parameters():
                torch.nn.init.eye_(parameter) if parameter.ndim == 2 else torch.nn.init.zeros_(parameter)


@pytest.mark.parametrize("name", COMPARING)
def test_the_identity_changes_nothing_and_another_head_does(name: str, toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=torch.Generator().manual_seed(1))
    chains = parse_augmentations("edge_drop:0.4")[: SSL[name].views]
    generator = torch.Generator().manual_seed(5)
    views = tuple(make_view(chain, toy_graph, generator=generator, num_layers=2) for chain in chains)
    users, items = torch.tensor([3, 1, 3, 7]), torch.tensor([2, 2, 9, 0])

    def loss_of(layers: int, *, identity: bool = False) -> tuple[torch.Tensor, torch.nn.Module]:
        made = build_contrast(
            name,
            encoder,
            toy_graph,
            attributes=BOTH,
            generator=torch.Generator().manual_seed(3),
            head_layers=layers,
        )
        if identity:
            as_they_are(made)
        for part in made.modules():
            if isinstance(part, BeginsEpochs):
                part.begin_epoch(7, encoder, toy_graph)
        drawn = torch.Generator().manual_seed(4)
        return made(TrainingStep(encoder, toy_graph, views, users, items, drawn)).loss, made

    without, same = loss_of(0)[0], loss_of(1, identity=True)[0]
    torch.testing.assert_close(without, same)
    other, made = loss_of(2)
    assert not torch.allclose(without, other)
    heads = [p for part in made.modules() if isinstance(part, ProjectionHead) for p in part.parameters()]
    learned = [p for p in heads if p.requires_grad]
    gradients = torch.autograd.grad(other, learned)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any((gradient != 0).any() for gradient in gradients)


@pytest.mark.parametrize("name", ["moco", "byol"])
def test_heads_of_the_twin_follow(name: str, toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2)
    made = build_contrast(name, encoder, toy_graph, momentum=0.75, head_layers=1)
    before = [p.detach().clone() for p in made.twin_heads.parameters()]
    with torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.add_(1.0)
    made.after_step(encoder)
    for old, new, original in zip(before, made.twin_heads.parameters(), made.heads.parameters(), strict=True):
        assert not new.requires_grad
        torch.testing.assert_close(new, 0.75 * old + 0.25 * original.detach())


def test_byol_ranks_by_what_the_head_makes(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2)
    made = build_contrast("byol", encoder, toy_graph, head_layers=2)
    final = encoder(toy_graph)
    ranked, projected = made.ranked(final), made.heads(final)
    score = (
        made.predictor(projected.users) @ projected.items.T
        + projected.users @ made.predictor(projected.items).T
    )
    torch.testing.assert_close(ranked.users @ ranked.items.T, score)
