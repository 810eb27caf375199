"""Histories: their order, what a pair may see, and both ways to a vector as slow loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gclrec.encoders import HISTORIES, Sequences, TwoTower
from gclrec.graph.bipartite import BipartiteGraph
from tests.encoders.content.test_content import BOTH, ONLY_ITEMS, seeded

pytestmark = pytest.mark.filterwarnings("ignore:attributes age:gclrec.common.errors.InputWarning")
every_history = pytest.mark.parametrize("history", HISTORIES)


def sequences_of(graph: BipartiteGraph, length: int = 3) -> Sequences:
    time = torch.randperm(graph.num_edges, generator=seeded(9))
    return Sequences(*graph.edge_index, graph.num_users, graph.num_items, time=time, length=length)


def padded(items: list[int], length: int) -> list[int]:
    kept = items[-length:]
    return [-1] * (length - len(kept)) + kept


@settings(deadline=None, max_examples=60)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=20, unique=True),
    times=st.lists(st.integers(0, 4), min_size=20, max_size=20),
    length=st.integers(1, 6),
    timed=st.booleans(),
)
def test_order_is_time_then_place(
    pairs: list[tuple[int, int]], times: list[int], length: int, timed: bool
) -> None:
    user, item = torch.tensor(pairs).T
    time = torch.tensor(times[: len(pairs)]) if timed else None
    sequences = Sequences(user, item, 5, 7, time=time, length=length)
    places = sorted(range(len(pairs)), key=lambda n: times[n]) if timed else range(len(pairs))
    histories = [[pairs[n][1] for n in places if pairs[n][0] == u] for u in range(5)]
    newest = [padded(items, length) for items in histories]
    assert sequences.newest().tolist() == newest
    assert sequences.newest(torch.tensor([3, 0, 3])).tolist() == [newest[3], newest[0], newest[3]]
    before = [padded(histories[u][: histories[u].index(i)], length) for u, i in pairs]
    assert sequences.before(user, item).tolist() == before
    assert not sequences.state_dict()


def mean(module: torch.nn.Module, items: Tensor, history: list[int]) -> Tensor:
    return sum(items[i] for i in history) / len(history)


def attention(module: torch.nn.Module, items: Tensor, history: list[int]) -> Tensor:
    length = len(module.places)
    known = [items[i] + module.places[length - len(history) + n] for n, i in enumerate(history)]
    question = module.query.weight @ known[-1] / math.sqrt(items.shape[1])
    weights = [(question @ x).exp() for x in known]
    mixed = sum(w * x for w, x in zip(weights, known, strict=True)) / sum(weights)
    return known[-1] + module.value.weight @ mixed


LOOPS = {"mean": mean, "attention": attention}


@every_history
def test_histories_are_their_formulas(history: str) -> None:
    module = HISTORIES[history](6, 4, init_std=0.5, generator=seeded()).double()
    items = torch.randn(9, 6, generator=seeded(1), dtype=torch.float64)
    kept = [[5], [2, 3], [8, 0, 1, 2], [4, 4, 4]]
    rows = torch.tensor([padded(h, 4) for h in kept] + [[-1] * 4])
    found = module(items, rows)
    for row, past in zip(found, kept, strict=False):
        torch.testing.assert_close(row, LOOPS[history](module, items, past))
    assert not found[4].any()
    turned = module(items, torch.tensor([[1, 0, 8, 2]]))[0]
    assert torch.allclose(turned, found[2]) == (history == "mean")  # only attention sees the order


@every_history
def test_gradients(history: str) -> None:
    module = HISTORIES[history](3, 4, init_std=0.5, generator=seeded()).double()
    items = torch.randn(6, 3, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    rows = torch.tensor(
        [[-1, 2, 3, 0], [-1, -1, -1, -1], [1, -1, 2, -1]]
    )  # with holes, as a mask leaves them
    assert torch.autograd.gradcheck(lambda x: module(x, rows), (items,))
    module(items, rows).square().sum().backward()
    assert items.grad[[0, 1, 2, 3]].ne(0).all()
    assert not items.grad[[4, 5]].any()
    assert all(p.grad.ne(0).any() for p in module.parameters())


@every_history
@pytest.mark.parametrize("attributes", [None, ONLY_ITEMS, BOTH], ids=["ids", "items", "both"])
def test_a_user_is_encoded_by_fields_and_history(
    history: str, attributes: object, toy_graph: BipartiteGraph
) -> None:
    sequences = sequences_of(toy_graph)
    encoder = TwoTower(
        12, 10, attributes, 4, sequences=sequences, history=history, num_layers=0, generator=seeded()
    ).eval()
    users, items = encoder(toy_graph)
    tower = encoder.towers["user"]
    for user, row in enumerate(sequences.newest().tolist()):
        past = [i for i in row if i >= 0]
        expected = encoder.users[user] + (LOOPS[history](encoder.history, items, past) if past else 0)
        if attributes is BOTH:
            expected = expected + tower.fields(BOTH.users)[user].sum(0)
        torch.testing.assert_close(users[user], expected)
    no_field = tower.fields.missing.sum(0) if attributes is BOTH else 0
    one = encoder.encode_history(items, torch.tensor([[-1, -1, 5]]))[0]
    torch.testing.assert_close(one, LOOPS[history](encoder.history, items, [5]) + no_field)


@every_history
def test_a_pair_sees_what_came_before_it(history: str, toy_graph: BipartiteGraph) -> None:
    """Its own item, and later ones, change nothing of the user that it is learned from."""
    encoder = TwoTower(
        12, 10, None, 4, sequences=sequences_of(toy_graph), history=history, generator=seeded()
    )
    final = encoder()
    users, items = toy_graph.edge_index
    seen = encoder.users_before(final, users, items)
    assert seen.shape == (toy_graph.num_edges, 4)
    before = encoder.sequences.before(users, items)
    for pair in range(toy_graph.num_edges):
        grad = torch.autograd.grad(seen[pair].sum(), encoder.items, retain_graph=True)[0]
        assert set(grad.any(1).nonzero()[:, 0].tolist()) == {i for i in before[pair].tolist() if i >= 0}
        assert int(items[pair]) not in before[pair].tolist()
    plain = TwoTower(12, 10, ONLY_ITEMS, 4, generator=seeded())
    final = plain()
    assert torch.equal(plain.users_before(final, users, items), final.users[users])


def test_a_hidden_id_hides_every_other_history(toy_graph: BipartiteGraph) -> None:
    """In training a user has everything, only a history, or neither id nor history."""
    sequences = sequences_of(toy_graph)
    encoder = TwoTower(
        12, 10, None, 4, sequences=sequences, history="mean", id_dropout=0.5, generator=seeded()
    )
    encoder.draws = seeded(3)
    nobody = encoder.towers["user"](None, torch.zeros(1, 4))
    users, items = toy_graph.edge_index
    counts = torch.zeros(2, 3)
    for _ in range(200):
        final = encoder()
        rows = sequences.newest(), sequences.before(users, items)
        found = final.users, encoder.users_before(final, users, items)
        encoder.eval()
        whole = (
            encoder.encode_history(final.items, rows[0], torch.arange(12)),
            encoder.encode_history(final.items, rows[1], users),
        )
        stranger = [encoder.encode_history(final.items, each) for each in rows]
        encoder.train()
        for place in range(2):
            told = (rows[place] >= 0).any(1)
            kinds = (whole[place], stranger[place], nobody)
            same = torch.stack([(found[place] - kind).abs().amax(1) < 1e-6 for kind in kinds])
            assert same.any(0).all()
            counts[place] += same[:, told].sum(1)
    shares = counts / counts.sum(1, keepdim=True)
    torch.testing.assert_close(shares, torch.tensor([[0.5, 0.25, 0.25]] * 2), atol=0.03, rtol=0)


@every_history
def test_a_user_is_encoded_by_any_history(history: str, toy_graph: BipartiteGraph) -> None:
    """With the user's own number the result equals a full pass; without it only the history counts."""
    sequences = sequences_of(toy_graph)
    encoder = TwoTower(12, 10, BOTH, 4, sequences=sequences, history=history, generator=seeded()).eval()
    users, items = encoder()
    numbers = torch.tensor([3, -1, 0, 3, -1])
    rows = sequences.newest(torch.tensor([3, 3, 0, 5, 0]))
    found = encoder.encode_history(items, rows, numbers)
    torch.testing.assert_close(found[[0, 2]], users[[3, 0]])
    torch.testing.assert_close(found[[1, 4]], encoder.encode_history(items, rows[[1, 4]]))
    assert not torch.allclose(found[3], found[0])


def test_bad_arguments(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sequences_of(toy_graph, 0)
    with pytest.raises(ValueError, match="one of mean, attention, got 'sum'"):
        TwoTower(12, 10, None, 4, sequences=sequences_of(toy_graph), history="sum")
    with pytest.raises(ValueError, match="without histories"):
        TwoTower(12, 10, None, 4).encode_history(torch.ones(10, 4), torch.zeros(1, 3, dtype=torch.int64))
    tower = TwoTower(12, 10, ONLY_ITEMS, 4, sequences=sequences_of(toy_graph), history="mean").towers["user"]
    with pytest.raises(ValueError, match="a table of its fields, or ids"):
        tower(None)
