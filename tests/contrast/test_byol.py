"""Bootstrapping without negatives: targets, momentum, the score by which its methods rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from gclrec.contrast.base import TrainingStep
from gclrec.contrast.byol import TARGETS, Byol, HistoryTarget, MomentumTarget, distance
from gclrec.data.interactions import Vocabulary
from gclrec.encoders import Embeddings, LightGCN
from gclrec.evaluation.evaluator import evaluate
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.build_index import build_index
from gclrec.recall.index import Index
from gclrec.views.views import View, make_view, parse_augmentations

USERS, ITEMS = torch.tensor([3, 1, 3, 7]), torch.tensor([2, 2, 9, 0])


def encoder_of() -> LightGCN:
    generator = torch.Generator().manual_seed(1)
    return LightGCN(12, 10, dim=4, num_layers=2, generator=generator).double()


def byol_of(encoder: LightGCN, graph: BipartiteGraph, **settings: object) -> Byol:
    return Byol(encoder, graph, generator=torch.Generator().manual_seed(2), **settings).double()


def views_of(graph: BipartiteGraph) -> tuple[View, ...]:
    generator = torch.Generator().manual_seed(5)
    chain, _ = parse_augmentations("edge_drop:0.4")
    return tuple(make_view(chain, graph, generator=generator, num_layers=2) for _ in range(2))


def slow_distance(prediction: torch.Tensor, target: torch.Tensor) -> float:
    total = 0.0
    for p, t in zip(prediction, target, strict=True):
        unit_p, unit_t = p / (p @ p) ** 0.5, t / (t @ t) ** 0.5
        total += float((unit_p - unit_t) @ (unit_p - unit_t))
    return total / len(prediction)


def test_distance_is_the_formula_and_leaves_targets_alone() -> None:
    p, t = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = distance(p, t)
    assert loss.item() == pytest.approx(slow_distance(p.detach(), t.detach()), rel=1e-9)
    assert torch.autograd.gradcheck(lambda x: distance(x, t.detach()), (p,))
    assert torch.autograd.grad(loss, (p, t), allow_unused=True)[1] is None


def test_an_unknown_target_is_refused(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match="target: must be one of momentum, history, got 'x'"):
        byol_of(encoder_of(), toy_graph, target="x")


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e18])
def test_distance_is_finite(scale: float) -> None:
    p = (torch.randn(5, 3) * scale).requires_grad_()
    (gradient,) = torch.autograd.grad(distance(p, torch.zeros(5, 3)) + distance(p, torch.ones(5, 3)), p)
    assert torch.isfinite(gradient).all()


def test_the_loss_over_a_batch_of_pairs(toy_graph: BipartiteGraph) -> None:
    """The first view predicts, the twin's second view is predicted, and only the first learns."""
    encoder = encoder_of()
    byol = byol_of(encoder, toy_graph, momentum=0.5)
    assert isinstance(byol.target, MomentumTarget)
    with torch.no_grad():  # the twin must not be mistaken for the encoder
        for parameter in byol.target.twin.parameters():
            parameter.mul_(-0.5).add_(0.1)
    views = views_of(toy_graph)
    main, loss = byol(TrainingStep(encoder, toy_graph, views, USERS, ITEMS))

    online = views[0].encode(encoder)
    slow = views[1].encode(byol.target.twin.encoder)
    assert torch.equal(main.users, online.users)
    expected = slow_distance(byol.predictor(online.users[USERS]).detach(), slow.items[ITEMS])
    expected += slow_distance(byol.predictor(online.items[ITEMS]).detach(), slow.users[USERS])
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    learned = (*encoder.layer_zero, byol.predictor.weight, byol.predictor.bias)
    for gradient in torch.autograd.grad(loss, learned):
        assert (gradient != 0).any()
    assert not any(parameter.requires_grad for parameter in byol.target.parameters())


def test_history_mixes_what_was_last_seen(toy_graph: BipartiteGraph) -> None:
    encoder = encoder_of()
    byol = byol_of(encoder, toy_graph, target="history", momentum=0.3)
    target = byol.target
    assert isinstance(target, HistoryTarget)
    before = Embeddings(*(x.detach() for x in encoder(toy_graph)))
    assert torch.equal(target.users, before.users)
    with torch.no_grad():
        encoder.users += 0.7
    whole = View(toy_graph)
    _, loss = byol(TrainingStep(encoder, toy_graph, (whole, whole), USERS, ITEMS))

    now = Embeddings(*(x.detach() for x in encoder(toy_graph)))
    user_targets, item_targets = (
        0.3 * last[nodes] + 0.7 * seen[nodes]
        for last, seen, nodes in ((before.users, now.users, USERS), (before.items, now.items, ITEMS))
    )
    expected = slow_distance(byol.predictor(now.users[USERS]).detach(), item_targets)
    expected += slow_distance(byol.predictor(now.items[ITEMS]).detach(), user_targets)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    rest = torch.tensor([u for u in range(12) if u not in USERS])
    assert torch.equal(target.users, before.users)  # as long as the step lasts
    target.after_step(encoder)
    assert torch.equal(target.users[USERS], now.users[USERS])  # remembered from now on
    assert torch.equal(target.users[rest], before.users[rest])
    assert not target.users.requires_grad


@pytest.mark.parametrize("target", TARGETS)
def test_the_longer_vectors_give_the_score(toy_graph: BipartiteGraph, tmp_path: Path, target: str) -> None:
    """Score, ranking metrics and the stored index all follow ``p(u) . i + u . p(i)``."""
    encoder = encoder_of()
    byol = byol_of(encoder, toy_graph, target=target)
    users, items = encoder(toy_graph)
    weight, bias = byol.predictor.weight, byol.predictor.bias
    predicted = users @ weight.T + bias, items @ weight.T + bias
    score = (predicted[0] @ items.T + users @ predicted[1].T).detach()
    ranked = byol.ranked(Embeddings(users, items))
    assert ranked.users.shape == (12, 8)
    torch.testing.assert_close(ranked.users @ ranked.items.T, score)
    assert (score.argmax(1) != (users @ items.T).argmax(1)).any()

    user_vectors, item_vectors = (x.detach().float() for x in ranked)
    nobody = np.empty(0, dtype=np.int64)
    best = score.argmax(1).numpy()
    hits = evaluate(
        user_vectors, item_vectors, (nobody, nobody), (np.arange(12), best), ks=(1,), metrics=("recall",)
    )
    assert hits.values["all/recall@1"] == 1.0
    index = build_index(
        item_vectors.numpy(), Vocabulary(pl.Series([f"i{n}" for n in range(10)])), backend="exact"
    )
    index.save(tmp_path / "index")
    found, _ = Index.load(tmp_path / "index").search(user_vectors.numpy(), 1)
    assert found[:, 0].tolist() == best.tolist()


def test_a_zero_target_and_a_huge_one_stay_finite() -> None:
    p = torch.randn(2, 3, requires_grad=True)
    targets = torch.stack([torch.zeros(3), torch.full((3,), 1e30)])
    assert torch.isfinite(functional.normalize(targets, dim=1)).all()
    assert torch.isfinite(distance(p, targets))
