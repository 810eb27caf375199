"""Sinkhorn's marginals, SwAV's and ConCat's losses in loops, and prototypes that stand still at first."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from gclrec.contrast import SSL, build_contrast
from gclrec.contrast.base import TrainingStep
from gclrec.contrast.concat import ClusterContrast
from gclrec.contrast.prototypes import Prototypes, code_cross_entropy, sinkhorn
from gclrec.contrast.swav import SwappedPrediction
from gclrec.encoders import LightGCN
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.settings.config import TrainConfig
from gclrec.training.trainer import Trainer
from gclrec.views.views import make_view, parse_augmentations

USERS, ITEMS = torch.tensor([3, 1, 3, 7]), torch.tensor([2, 2, 9, 0])


def slow_sinkhorn(scores: list[list[float]], eps: float, iterations: int) -> list[list[float]]:
    """Return the plain algorithm, as it is in the paper: columns, then rows, in turn."""
    q = [[math.exp(score / eps) for score in row] for row in scores]
    rows, columns = len(q), len(q[0])
    for _ in range(iterations):
        sums = [sum(row[j] for row in q) for j in range(columns)]
        q = [[row[j] / sums[j] * rows / columns for j in range(columns)] for row in q]
        q = [[value / sum(row) for value in row] for row in q]
    return q


def slow_codes(x: Tensor, prototypes: Tensor) -> list[list[float]]:
    scores = [[torch.cosine_similarity(row, c, dim=0).item() for c in prototypes] for row in x]
    return slow_sinkhorn(scores, 0.05, 3)


def slow_cross_entropy(x: Tensor, prototypes: Tensor, codes: list[list[float]], temperature: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for row, code in zip(x, codes, strict=True):
        logits = [(row / row.norm() * c).sum() / temperature for c in prototypes]
        below = torch.stack([logit.exp() for logit in logits]).sum()
        for q, logit in zip(code, logits, strict=True):
            total = total - q * (logit.exp() / below).log() / len(x)
    return total


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 7), st.floats(0.05, 2.0), st.integers(1, 4), st.integers(0, 10**6))
def test_sinkhorn_is_the_plain_algorithm(rows: int, columns: int, eps: float, turns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(rows, columns, dtype=torch.float64, generator=generator) * 2 - 1
    expected = torch.tensor(slow_sinkhorn(scores.tolist(), eps, turns), dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores, eps, turns), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (5, 1), (1, 5)])
def test_sinkhorn_meets_its_marginals(shape: tuple[int, int]) -> None:
    scores = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows, columns = shape
    torch.testing.assert_close(sinkhorn(scores).sum(1), torch.ones(rows, dtype=torch.float64))
    codes = sinkhorn(scores, eps=0.5, iterations=500)
    torch.testing.assert_close(codes.sum(1), torch.ones(rows, dtype=torch.float64))
    share = torch.full((columns,), rows / columns, dtype=torch.float64)
    torch.testing.assert_close(codes.sum(0), share, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3, 1e9])
def test_sinkhorn_survives_scores_that_overflow_exponentials(scale: float) -> None:
    scores = torch.randn(30, 6, generator=torch.Generator().manual_seed(2)) * scale
    scores[:, 4] -= 10 * scale  # a column that nobody likes
    for turns in (1, 3, 50):
        codes = sinkhorn(scores, iterations=turns)
        assert codes.isfinite().all()
        torch.testing.assert_close(codes.sum(1), torch.ones(30))
    with pytest.raises(ValueError, match="eps"):
        sinkhorn(scores, eps=0.0)
    with pytest.raises(ValueError, match="iterations"):
        sinkhorn(scores, iterations=0)


def test_cross_entropy_with_codes_is_the_formula_with_its_gradients() -> None:
    generator = torch.Generator().manual_seed(4)
    x, c = (torch.randn(n, 3, dtype=torch.float64, generator=generator, requires_grad=True) for n in (6, 5))
    codes = torch.rand(6, 5, dtype=torch.float64, generator=generator).softmax(1)
    expected = slow_cross_entropy(x, c, codes.tolist(), 0.2)
    found = code_cross_entropy(x, c, codes, 0.2)
    assert found.item() == pytest.approx(expected.item(), abs=1e-9)
    assert torch.autograd.gradcheck(lambda a, b: code_cross_entropy(a, b, codes, 0.2), (x, c))
    for mine, plain in zip(
        torch.autograd.grad(found, (x, c)), torch.autograd.grad(expected, (x, c)), strict=True
    ):
        torch.testing.assert_close(mine, plain, atol=1e-9, rtol=1e-9)
        assert (mine != 0).all()
    with pytest.raises(ValueError, match="temperature"):
        code_cross_entropy(x, c, codes, 0.0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e18])
def test_codes_and_loss_are_finite_at_a_small_temperature(scale: float) -> None:
    prototypes = Prototypes(4, 3)
    x = (torch.randn(7, 3) * scale).requires_grad_()
    loss = code_cross_entropy(x, prototypes.vectors, prototypes.codes(x), 0.02)
    loss.backward()
    assert loss.isfinite()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    equal = torch.ones(7, 3) * scale
    torch.testing.assert_close(prototypes.codes(equal), torch.full((7, 4), 0.25))


def test_swav_predicts_each_view_from_the_other(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=torch.Generator().manual_seed(1)).double()
    contrast = SwappedPrediction(encoder, toy_graph, temperature=0.3, num_prototypes=3).double()
    chain, _ = parse_augmentations("edge_drop:0.4")
    generator = torch.Generator().manual_seed(5)
    views = tuple(make_view(chain, toy_graph, generator=generator, num_layers=2) for _ in range(2))
    main, loss = contrast(TrainingStep(encoder, toy_graph, views, USERS, ITEMS))
    assert torch.equal(main.users, encoder(toy_graph).users)
    expected = torch.zeros((), dtype=torch.float64)
    sides = [contrast.prototypes.users.vectors, contrast.prototypes.items.vectors]
    for side, nodes in enumerate(([1, 3, 7], [0, 2, 9])):
        first, second = (list(view.encode(encoder))[side][nodes] for view in views)
        for x, other in ((first, second), (second, first)):
            expected = expected + slow_cross_entropy(x, sides[side], slow_codes(other, sides[side]), 0.3) / 2
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    weights = [*encoder.parameters(), *contrast.parameters()]
    for mine, plain in zip(
        torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(mine, plain, atol=1e-6, rtol=1e-6)
        assert (mine != 0).any()


def test_concat_draws_each_end_of_a_pair_to_the_cluster_of_the_other(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=torch.Generator().manual_seed(1)).double()
    contrast = ClusterContrast(encoder, toy_graph, temperature=0.3, num_prototypes=3).double()
    main, loss = contrast(TrainingStep(encoder, toy_graph, (), USERS, ITEMS))
    users, items = main
    assert torch.equal(users, encoder(toy_graph).users)
    of_users, of_items = contrast.prototypes.vectors()
    distinct = [1, 3, 7], [0, 2, 9]  # codes are balanced over these
    user_codes = dict(zip(distinct[0], slow_codes(users[distinct[0]], of_users), strict=True))
    item_codes = dict(zip(distinct[1], slow_codes(items[distinct[1]], of_items), strict=True))
    expected = slow_cross_entropy(
        users[USERS], of_items, [item_codes[i] for i in ITEMS.tolist()], 0.3
    ) + slow_cross_entropy(items[ITEMS], of_users, [user_codes[u] for u in USERS.tolist()], 0.3)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    weights = [*encoder.parameters(), *contrast.parameters()]
    for mine, plain in zip(
        torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(mine, plain, atol=1e-6, rtol=1e-6)
        assert (mine != 0).any()


@pytest.mark.parametrize("ssl", ["swav", "concat"])
def test_prototypes_are_frozen_in_the_first_epoch_and_keep_their_length(
    toy_graph: BipartiteGraph, ssl: str
) -> None:
    config = TrainConfig(ssl=ssl, dim=4, num_layers=1, batch_size=16, num_prototypes=5, learning_rate=0.1)
    trainer = Trainer(config, toy_graph)
    prototypes = trainer.model.objective.contrast.prototypes
    start = [side.vectors.clone() for side in (prototypes.users, prototypes.items)]
    trainer.run_epoch(1)
    for before, side in zip(start, (prototypes.users, prototypes.items), strict=True):
        torch.testing.assert_close(side.vectors, before, atol=1e-6, rtol=0.0)
    trainer.run_epoch(2)
    for before, side in zip(start, (prototypes.users, prototypes.items), strict=True):
        assert (side.vectors - before).norm(dim=1).min() > 0.05
        torch.testing.assert_close(side.vectors.norm(dim=1), torch.ones(5))
        torch.testing.assert_close(side.vectors, normalize(side.vectors, dim=1))


@pytest.mark.parametrize("name", ["swav", "concat"])
def test_codes_are_balanced_among_the_rows_of_former_batches(name: str, toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=torch.Generator().manual_seed(1))
    contrast = build_contrast(
        name, encoder, toy_graph, num_prototypes=3, queue_size=5, generator=torch.Generator().manual_seed(2)
    )
    plain = build_contrast(
        name, encoder, toy_graph, num_prototypes=3, generator=torch.Generator().manual_seed(2)
    )
    chains = parse_augmentations("edge_drop:0.4")[: SSL[name].views]
    generator = torch.Generator().manual_seed(5)
    views = tuple(make_view(chain, toy_graph, generator=generator, num_layers=2) for chain in chains)
    step = TrainingStep(encoder, toy_graph, views, USERS, ITEMS)
    first = contrast(step).loss
    torch.testing.assert_close(first, plain(step).loss)  # the queue is empty
    for _ in range(2):  # 3 distinct users a batch: the queue is full after two
        contrast.prototypes.after_step(encoder)
        contrast(step)
    contrast.prototypes.after_step(encoder)
    kinds = len(views) or 1
    assert [len(queue) for queue in contrast.prototypes.queues] == [5] * 2 * kinds
    assert not torch.allclose(contrast(step).loss, first)

    sides = (contrast.prototypes.users, contrast.prototypes.items)
    for kind in range(kinds):
        seen = views[kind].encode(encoder) if views else encoder(toy_graph)
        rows = seen.rows(USERS.unique(), ITEMS.unique())
        found = contrast.prototypes.codes(*rows, kind)
        for place, (x, side, codes) in enumerate(zip(rows, sides, found, strict=True)):
            held = contrast.prototypes.queues[2 * kind + place].keys
            expected = slow_codes(torch.cat([x.detach(), held]), side.vectors.detach())[:3]
            torch.testing.assert_close(codes, torch.tensor(expected), atol=1e-4, rtol=1e-4)
