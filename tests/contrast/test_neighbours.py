"""Supervised contrast against the papers' formulas as plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gclrec.contrast.base import TrainingStep
from gclrec.contrast.neighbours import FORMS, Interacted, Nearest, _drawn, sccf, unseen
from gclrec.encoders import Embeddings, LightGCN
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.views import View, make_view, parse_augmentations

USERS, ITEMS = torch.tensor([3, 1, 3, 7]), torch.tensor([2, 2, 9, 0])
T = 0.4


def close(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def log_sum(logits: list[float]) -> float:
    return math.log(sum(math.exp(x) for x in logits))


def slow_unseen(graph: BipartiteGraph, users: Tensor, items: Tensor) -> float:
    total = 0.0
    known = set(zip(*graph.edge_index.tolist(), strict=True))
    for u, i in zip(USERS.tolist(), ITEMS.tolist(), strict=True):
        below = [close(users[u], items[j]) / T for j in (0, 2, 9) if (u, j) not in known]
        if below:
            total += (log_sum(below) - close(users[u], items[i]) / T) / len(USERS)
    return total


def slow_egcf(graph: BipartiteGraph, users: Tensor, items: Tensor) -> float:
    total = 0.0
    for table, nodes in ((users, [1, 3, 7]), (items, [0, 2, 9])):
        for n in nodes:
            total += (log_sum([close(table[n], table[m]) / T for m in nodes]) - 1.0 / T) / len(nodes)
    for u, i in zip(USERS.tolist(), ITEMS.tolist(), strict=True):
        below = log_sum([close(users[u], items[j]) / T for j in (0, 2, 9)])
        total += (below - close(users[u], items[i]) / T) / len(USERS)
    return total


def slow_lightccf(graph: BipartiteGraph, users: Tensor, items: Tensor) -> float:
    total = 0.0
    pairs = list(zip(USERS.tolist(), ITEMS.tolist(), strict=True))
    for u, i in pairs:
        below = [(close(users[u], items[j]) + close(users[u], users[v])) / T for v, j in pairs]
        total += (log_sum(below) - close(users[u], items[i]) / T) / len(pairs)
    return total


def slow_sccf(graph: BipartiteGraph, users: Tensor, items: Tensor) -> float:
    def s(u: int, i: int) -> float:
        c = close(users[u], items[i])
        return math.exp(c / T) + math.exp(c * c / T)

    pairs = list(zip(USERS.tolist(), ITEMS.tolist(), strict=True))
    above = sum(math.log(s(u, i)) for u, i in pairs) / len(pairs)
    return math.log(sum(s(u, i) for u, _ in pairs for _, i in pairs) / len(pairs) ** 2) - above


SLOW = {"unseen": slow_unseen, "egcf": slow_egcf, "lightccf": slow_lightccf, "sccf": slow_sccf}


def tables(*, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    users, items = (scale * torch.randn(n, 5, generator=generator, dtype=dtype) for n in (12, 10))
    return users.requires_grad_(), items.requires_grad_()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_its_formula_with_its_gradient(toy_graph: BipartiteGraph, form: str) -> None:
    users, items = tables()

    def of(u: Tensor, i: Tensor) -> Tensor:
        return FORMS[form](Embeddings(u, i), toy_graph, USERS, ITEMS, T)

    expected = SLOW[form](toy_graph, users.detach(), items.detach())
    assert of(users, items).item() == pytest.approx(expected, rel=1e-9)

    assert torch.autograd.gradcheck(of, (users, items))
    for gradient, nodes in zip(
        torch.autograd.grad(of(users, items), (users, items)), (USERS, ITEMS), strict=True
    ):
        assert (gradient[nodes] != 0).any(1).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e18])
def test_every_form_is_finite(toy_graph: BipartiteGraph, form: str, scale: float) -> None:
    users, items = tables(scale=scale, dtype=torch.float32)
    equal = torch.full((12, 5), 1.0 + scale).requires_grad_()
    for one, other in ((users, items), (users, equal), (equal, equal)):
        loss = FORMS[form](Embeddings(one, other), toy_graph, USERS, ITEMS, 0.02)
        assert torch.isfinite(loss)
        for gradient in torch.autograd.grad(loss, (one, other)):
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("block", [1, 5, 8])
def test_blocks_change_nothing(
    monkeypatch: pytest.MonkeyPatch, toy_graph: BipartiteGraph, block: int
) -> None:
    users, items = tables()
    whole = sccf(Embeddings(users, items), toy_graph, USERS, ITEMS, T)
    expected = torch.autograd.grad(whole, (users, items))
    monkeypatch.setattr("gclrec.contrast.neighbours._BLOCK", block)
    parts = sccf(Embeddings(users, items), toy_graph, USERS, ITEMS, T)
    torch.testing.assert_close(parts, whole)
    for mine, other in zip(torch.autograd.grad(parts, (users, items)), expected, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("form", FORMS)
def test_interacted_ranks_on_the_view_it_contrasts(toy_graph: BipartiteGraph, form: str) -> None:
    encoder = LightGCN(12, 10, dim=5, num_layers=2, generator=torch.Generator().manual_seed(1)).double()
    chain, _ = parse_augmentations("edge_drop:0.4")
    view = make_view(chain, toy_graph, generator=torch.Generator().manual_seed(2), num_layers=2)
    main, loss = Interacted(encoder, toy_graph, temperature=T, form=form)(
        TrainingStep(encoder, toy_graph, (view,), USERS, ITEMS)
    )
    seen = view.encode(encoder)
    assert torch.equal(main.items, seen.items)
    expected = SLOW[form](toy_graph, seen.users.detach(), seen.items.detach())
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_unseen_does_not_push_a_user_from_items_it_has(toy_graph: BipartiteGraph) -> None:
    known = set(zip(*toy_graph.edge_index.tolist(), strict=True))
    own, other = (i for i in range(9) if (0, i) in known), (i for i in range(9) if (0, i) not in known)
    positive, seen, negative = next(own), next(own), next(other)
    pairs = torch.tensor([0, 1, 2]), torch.tensor([positive, seen, negative])

    def gradient_of_user(moved: int | None = None) -> Tensor:
        users, items = tables()
        if moved is not None:
            items.data[moved].neg_()
        return torch.autograd.grad(unseen(Embeddings(users, items), toy_graph, *pairs, T), users)[0][0]

    assert torch.equal(gradient_of_user(seen), gradient_of_user())
    for node in (positive, negative):
        assert not torch.allclose(gradient_of_user(node), gradient_of_user())


def test_unseen_of_a_user_who_has_seen_the_whole_batch_is_0(toy_graph: BipartiteGraph) -> None:
    users, items = tables()
    user = int(toy_graph.edge_index[0, 0])
    own = toy_graph.edge_index[1][toy_graph.edge_index[0] == user]
    alone = unseen(Embeddings(users, items), toy_graph, torch.full_like(own, user), own, T)
    assert alone.item() == 0.0
    for gradient in torch.autograd.grad(alone, (users, items)):
        assert not gradient.any()


def slow_nearest(first: Embeddings, second: Embeddings, near: tuple[list[int], list[int]]) -> float:
    """NESCL's loss: anchors of the first view, positives and negatives of the second."""
    batch = [second.users[n] for n in (1, 3, 7)] + [second.items[n] for n in (0, 2, 9)]
    total = 0.0
    for row, (u, i) in enumerate(zip(USERS.tolist(), ITEMS.tolist(), strict=True)):
        for anchor, positives in (
            (first.users[u], (second.users[u], second.items[i], second.users[near[0][row]])),
            (first.items[i], (second.items[i], second.users[u], second.items[near[1][row]])),
        ):
            below = sum(math.exp(close(anchor, n) / T) for n in batch)
            shares = [math.exp(close(anchor, p) / T) / below for p in positives]
            total -= math.log(sum(shares) / 3) / len(USERS)
    return total


def test_nearest_is_its_formula(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=5, num_layers=2, generator=torch.Generator().manual_seed(1)).double()
    contrast = Nearest(encoder, toy_graph, temperature=T, count=1)  # one, so there is no draw
    chain, _ = parse_augmentations("edge_drop:0.4")
    generator = torch.Generator().manual_seed(2)
    views = tuple(make_view(chain, toy_graph, generator=generator, num_layers=2) for _ in range(2))
    main, loss = contrast(TrainingStep(encoder, toy_graph, views, USERS, ITEMS))
    assert torch.equal(main.users, encoder(toy_graph).users)
    near = contrast.near_users[USERS, 0].tolist(), contrast.near_items[ITEMS, 0].tolist()
    assert near[1][2] == 9  # an item that nobody has is its own neighbour
    first, second = (Embeddings(*(x.detach() for x in view.encode(encoder))) for view in views)
    assert loss.item() == pytest.approx(slow_nearest(first, second, near), rel=1e-6)
    for gradient in torch.autograd.grad(loss, encoder.layer_zero):
        assert (gradient != 0).any()


def test_one_of_the_nearest_is_drawn_evenly(toy_graph: BipartiteGraph) -> None:
    contrast = Nearest(LightGCN(12, 10, dim=4), toy_graph, count=3)
    table, counts = contrast.near_users, contrast.user_counts
    many = torch.zeros(3000, dtype=torch.int64)
    drawn = _drawn(table, counts, many, torch.Generator().manual_seed(1))
    share = torch.bincount(drawn, minlength=12)[table[0]] / 3000
    assert counts[0] >= 3
    torch.testing.assert_close(share, torch.full((3,), 1 / 3), atol=0.03, rtol=0.0)
    assert torch.equal(drawn, _drawn(table, counts, many, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e15])
def test_nearest_is_finite(toy_graph: BipartiteGraph, scale: float) -> None:
    encoder = LightGCN(12, 10, dim=5, num_layers=2)
    with torch.no_grad():
        encoder.users.fill_(scale)
        encoder.items.mul_(scale)
    whole = View(toy_graph)
    contrast = Nearest(encoder, toy_graph, temperature=0.02)
    loss = contrast(TrainingStep(encoder, toy_graph, (whole, whole), USERS, ITEMS)).loss
    assert torch.isfinite(loss)
    for gradient in torch.autograd.grad(loss, encoder.layer_zero):
        assert torch.isfinite(gradient).all()
