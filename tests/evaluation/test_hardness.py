"""The hardness curve beside the gradients that it is about."""

from __future__ import annotations

import math

import pytest
import torch

from gclrec.evaluation.hardness import embedding_hardness, hardness_curve
from gclrec.graph.bipartite import BipartiteGraph


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tau", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("score", ["cosine", "dot"])
def test_it_is_the_share_of_the_gradient(tau: float, share: float, score: str) -> None:
    """Of the softmax loss for each score, by autograd: the highest scores' part of the negatives' part."""
    user, positive, negatives = rows(6, 4), rows(6, 4, seed=1), rows(20, 4, seed=2)
    counts = torch.rand(6, 20, generator=torch.Generator().manual_seed(3)) < 0.8
    found = float(hardness_curve(user, negatives, [tau], hardest=[share], counts=counts, score=score))

    unit = torch.nn.functional.normalize if score == "cosine" else (lambda x, dim: x)
    total = 0.0
    for k in range(6):
        scores = (unit(user[k : k + 1], dim=1) @ unit(negatives, dim=1).T)[0][counts[k]].requires_grad_()
        above = (unit(user[k : k + 1], dim=1) * unit(positive[k : k + 1], dim=1)).sum()
        loss = torch.logsumexp(torch.cat([above.view(1), scores]) / tau, 0) - above / tau
        (gradient,) = torch.autograd.grad(loss, scores)
        hardest = scores.detach().argsort(descending=True)[: math.ceil(share * len(scores) - 1e-9)]
        total += float(gradient[hardest].sum() / gradient.sum()) / 6
    assert found == pytest.approx(total, rel=1e-6)


def test_the_ends_of_the_curve() -> None:
    users = rows(50, 8)
    others = ~torch.eye(50, dtype=torch.bool)
    curve = hardness_curve(users, users, [1e-3, 0.1, 0.2, 1.0, 1e6], hardest=[0.1, 0.5], counts=others)
    assert curve.shape == (5, 2)
    assert (curve.diff(dim=0) < 0).all()  # the warmer, the more even
    assert curve[0].tolist() == pytest.approx([1.0, 1.0])
    assert curve[-1].tolist() == pytest.approx([5 / 49, 25 / 49], abs=1e-4)
    for extreme in (torch.ones(5, 3), torch.zeros(5, 3), torch.full((5, 3), 1e18)):
        even = hardness_curve(extreme, extreme, [0.02], hardest=[0.2])
        assert float(even) == pytest.approx(0.2)
    assert hardness_curve(users, users, [0.1], counts=torch.zeros(50, 50, dtype=torch.bool)).isnan().all()


def test_own_negatives_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    users, shared = rows(7, 4), rows(9, 4, seed=1)
    expected = hardness_curve(users, shared, [0.1, 0.5])
    own = shared.expand(7, 9, 4)
    torch.testing.assert_close(hardness_curve(users, own, [0.1, 0.5]), expected)
    monkeypatch.setattr("gclrec.evaluation.hardness._BLOCK", 20)
    for negatives in (shared, own):
        torch.testing.assert_close(hardness_curve(users, negatives, [0.1, 0.5]), expected)


def test_what_is_out_of_range_is_refused() -> None:
    users = rows(3, 2)
    with pytest.raises(ValueError, match="temperatures"):
        hardness_curve(users, users, [0.1, 0.0])
    with pytest.raises(ValueError, match="shares"):
        hardness_curve(users, users, [0.1], hardest=[0.0])


def test_of_embeddings(toy_graph: BipartiteGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users against what they have not; nodes of a side against each other; those without edges left out."""
    users, items = rows(12, 4).float(), rows(10, 4, seed=1).float()
    curves = embedding_hardness(users, items, toy_graph, [0.1, 0.4], hardest=(0.2,))
    have = toy_graph.user_degrees > 0
    missing = torch.ones(12, 10, dtype=torch.bool)
    missing[tuple(toy_graph.edge_index)] = False
    expected = hardness_curve(users[have], items, [0.1, 0.4], hardest=(0.2,), counts=missing[have])
    torch.testing.assert_close(curves["user-item"], expected)
    assert list(curves) == ["user-item", "users", "items"]
    kept = items[toy_graph.degrees()[1] > 0]
    others = ~torch.eye(len(kept), dtype=torch.bool)
    torch.testing.assert_close(
        curves["items"], hardness_curve(kept, kept, [0.1, 0.4], hardest=(0.2,), counts=others)
    )
    monkeypatch.setattr("gclrec.evaluation.hardness._BLOCK", 30)
    again = embedding_hardness(users, items, toy_graph, [0.1, 0.4], hardest=(0.2,))
    torch.testing.assert_close(again["user-item"], expected)
    few = embedding_hardness(
        users, items, toy_graph, [0.1], rows=3, generator=torch.Generator().manual_seed(0)
    )
    assert all(0.0 < float(curve[0, 0]) <= 1.0 for curve in few.values())
