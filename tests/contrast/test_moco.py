"""MoCo: the twin, the queue (order, wrap-around, own keys, no gradient) and the loss, step by step."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.contrast.base import TrainingStep
from gclrec.contrast.moco import KeyQueue, MomentumContrast, Twin, queue_contrast
from gclrec.encoders import LightGCN
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.views import make_view, parse_augmentations


def numbered(*ids: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return keys that say whose they are."""
    rows = torch.tensor(ids)
    return rows.double().unsqueeze(1).expand(-1, 2) / 10, rows


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9), st.lists(st.integers(0, 14), max_size=8))
def test_the_queue_holds_the_latest_keys_in_places_that_wrap_around(size: int, pushes: list[int]) -> None:
    queue = KeyQueue(size, 2).double()
    slow: dict[int, int] = {}  # place: id
    latest: list[int] = []
    count = 0
    for push in pushes:
        ids = list(range(count, count + push))
        queue.push(*numbered(*ids))
        for number in ids:
            slow[number % size] = number
        latest, count = (latest + ids)[-size:], count + push
        assert len(queue) == len(latest)
        assert sorted(queue.ids.tolist()) == latest
        assert queue.ids.tolist() == [slow[place] for place in sorted(slow)]
        assert torch.equal(queue.keys, numbered(*queue.ids.tolist())[0])


def test_each_key_has_an_id() -> None:
    queue = KeyQueue(4, 2)
    with pytest.raises(ValueError, match="2 keys and 3 ids"):
        queue.push(torch.ones(2, 2), torch.arange(3))
    assert len(queue) == 0


def test_a_queue_goes_on_from_its_state() -> None:
    first, second = KeyQueue(4, 2).double(), KeyQueue(4, 2).double()
    first.push(*numbered(1, 2, 3, 4, 5))
    second.load_state_dict(first.state_dict())
    for queue in (first, second):
        queue.push(*numbered(6, 7))
        assert queue.ids.tolist() == [5, 6, 7, 4]
    half = KeyQueue(4, 2).double()
    half.push(*numbered(1))
    second.load_state_dict(half.state_dict())
    assert second.ids.tolist() == [1]
    with pytest.raises(ValueError, match="size"):
        KeyQueue(0, 2)


def slow_queue_contrast(
    query: torch.Tensor,
    key: torch.Tensor,
    ids: list[int],
    old: torch.Tensor,
    old_ids: list[int],
    temperature: float,
) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for k, node in enumerate(ids):

        def term(other: torch.Tensor, k: int = k) -> torch.Tensor:
            return (torch.cosine_similarity(query[k], other, dim=0) / temperature).exp()

        below = sum(term(other) for other in key)
        below += sum(term(other) for other, whose in zip(old, old_ids, strict=True) if whose != node)
        total = total - (term(key[k]) / below).log() / len(ids)
    return total


@pytest.mark.parametrize("filled", [0, 3, 11])
def test_queue_contrast_is_the_formula_and_no_gradient_enters_keys(filled: int) -> None:
    generator = torch.Generator().manual_seed(3)
    query, key, old = (
        torch.randn(n, 3, dtype=torch.float64, generator=generator, requires_grad=True)
        for n in (4, 4, filled)
    )
    ids, old_ids = [1, 4, 5, 9], [4, 4, 2, 11, 9, 0, 1, 5, 9, 3, 4][:filled]
    queue = KeyQueue(7, 3).double()
    queue.push(old.detach(), torch.tensor(old_ids, dtype=torch.int64))
    held = [list(old[-7:]), old_ids[-7:]]
    expected = slow_queue_contrast(query, key.detach(), ids, *held, 0.2)
    found = queue_contrast(query, key, torch.tensor(ids), queue, 0.2)
    assert found.item() == pytest.approx(expected.item(), abs=1e-9)
    mine, plain = (torch.autograd.grad(loss, query, retain_graph=True)[0] for loss in (found, expected))
    torch.testing.assert_close(mine, plain, atol=1e-9, rtol=1e-9)
    assert (mine != 0).all()
    assert torch.autograd.grad(found, key, allow_unused=True) == (None,)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e18])
def test_queue_contrast_is_finite_at_a_small_temperature(scale: float) -> None:
    query = (torch.randn(5, 3) * scale).requires_grad_()
    queue = KeyQueue(8, 3)
    queue.push(torch.randn(20, 3) * scale, torch.arange(20) % 6)
    loss = queue_contrast(query, torch.randn(5, 3) * scale, torch.arange(5), queue, 0.02)
    loss.backward()
    assert loss.isfinite()
    assert query.grad is not None
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_the_twin_follows_by_the_formula(momentum: float) -> None:
    generator = torch.Generator().manual_seed(1)
    original = LightGCN(5, 4, 3, 1, layer_weights="learned", generator=generator).double()
    twin = Twin(original, momentum)
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert all(parameter.requires_grad for parameter in original.parameters())
    kept = [parameter.clone() for parameter in twin.parameters()]
    assert torch.equal(kept[0], original.users)
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.mul_(-2.0).add_(1.0)
    assert torch.equal(twin.encoder.layer_zero[0], kept[0])  # a copy, not the original under another name
    for _ in range(2):
        twin.after_step(original)
        kept = [momentum * m + (1 - momentum) * p for m, p in zip(kept, original.parameters(), strict=True)]
    for found, expected in zip(twin.parameters(), kept, strict=True):
        torch.testing.assert_close(found, expected)


def test_moco_step_by_step(toy_graph: BipartiteGraph) -> None:
    """Queries by the encoder, keys by the twin as it was; then the twin follows and the keys are pushed."""
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=torch.Generator().manual_seed(1)).double()
    contrast = MomentumContrast(encoder, toy_graph, temperature=0.3, momentum=0.8, queue_size=5).double()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1.0)
    chain, _ = parse_augmentations("edge_drop:0.4")
    generator = torch.Generator().manual_seed(5)
    twin = copy.deepcopy(encoder)
    held: list[list[tuple[int, torch.Tensor]]] = [[], []]
    for users, items in (([3, 1, 3, 7], [2, 2, 9, 0]), ([3, 4, 0, 7], [2, 5, 9, 1]), ([8], [2])):
        views = tuple(make_view(chain, toy_graph, generator=generator, num_layers=2) for _ in range(2))
        step = TrainingStep(encoder, toy_graph, views, torch.tensor(users), torch.tensor(items))
        main, loss = contrast(step)
        assert torch.equal(main.users, encoder(toy_graph).users)
        expected = 0.0
        queries, keys = views[0].encode(encoder), [side.detach() for side in views[1].encode(twin)]
        for side, batch in enumerate((users, items)):
            nodes = sorted(set(batch))
            old = [key for _, key in held[side]], [node for node, _ in held[side]]
            query, key = list(queries)[side][nodes], keys[side][nodes]
            expected += slow_queue_contrast(query, key, nodes, *old, 0.3).item()
            held[side] = (held[side] + list(zip(nodes, key, strict=True)))[-5:]
        assert loss.item() == pytest.approx(expected, abs=1e-9)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        contrast.after_step(encoder)
        contrast.twin.after_step(encoder)
        with torch.no_grad():
            for mine, its in zip(twin.parameters(), encoder.parameters(), strict=True):
                mine.copy_(0.8 * mine + 0.2 * its)
        for queue, side in zip((contrast.users, contrast.items), held, strict=True):
            assert sorted(queue.ids.tolist()) == sorted(node for node, _ in side)
        for parameter in contrast.twin.parameters():
            assert parameter.grad is None
    assert math.isfinite(loss.item())
