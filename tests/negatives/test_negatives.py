"""Negatives are distributed as they say, and never a training item of their user."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.base import whole_weight
from gclrec.losses.ranking_losses import sampled_softmax
from gclrec.negatives.registry import (
    NEGATIVES,
    Negatives,
    Queue,
    Sampler,
    build_sampler,
    by_popularity,
    in_batch,
    mixed,
    no_negatives,
    shared,
    uniform,
)
from gclrec.negatives.sampler import seen_places


def weights(negatives: Negatives, rows: int) -> Tensor:
    """Return how much each negative counts for each row, ``(rows, N)``."""
    nothing = torch.zeros(rows, negatives.items.shape[-1])
    whole = whole_weight(negatives.log_weight, negatives.seen, nothing)
    return (nothing if whole is None else whole.expand_as(nothing)).exp()


def counted(negatives: Negatives, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return row, item and weight of every negative that counts."""
    items = negatives.items.expand(rows, -1)
    weight = weights(negatives, rows)
    row, column = weight.nonzero(as_tuple=True)
    return row, items[row, column], weight[row, column]


SHOWN = torch.tensor([[0, 0, 3, 5, 11, 11], [9, 4, 9, 9, 2, 0]])
"""Shown to users of the toy graph; some of it may be interactions."""


@pytest.mark.parametrize("log_q", [False, True])
@pytest.mark.parametrize("name", NEGATIVES)
def test_contract(name: str, log_q: bool, toy_graph: BipartiteGraph) -> None:
    """What every sampler promises: determined by the generator, in range, never a training positive."""
    users, positives = toy_graph.edge_index.repeat(1, 20)

    def drawn() -> Negatives:
        sampler = build_sampler(name, toy_graph, exposed=SHOWN, log_q=log_q)
        for seed in (2, 3):  # the second time with whatever it remembers
            result = sampler(toy_graph, users, positives, generator=Generator().manual_seed(seed))
        return result

    first, again = drawn(), drawn()
    assert torch.equal(first.items, again.items)
    assert (first.log_weight is None) == (again.log_weight is None)
    row, item, weight = counted(first, len(users))
    assert len(row) > 0
    assert item.min() >= 0
    assert item.max() < toy_graph.num_items
    assert not toy_graph.contains(users[row], item).any()
    assert torch.isfinite(weight).all()
    if first.items.dim() == 1:
        assert len(first.items.unique()) == len(first.items)


@pytest.mark.parametrize("count", [1, 3])
def test_uniform_is_uniform_over_the_missing(toy_graph: BipartiteGraph, count: int) -> None:
    draws = 30_000
    for user in (0, 5, 11):
        users = torch.full((draws // count,), user)
        drawn = uniform(toy_graph, users, users, count=count, generator=Generator().manual_seed(user))
        assert drawn.items.shape == (draws // count, count)
        counts = torch.bincount(drawn.items.view(-1), minlength=toy_graph.num_items)
        missing = ~toy_graph.contains(torch.full((10,), user), torch.arange(10))
        expected = draws / int(missing.sum())
        assert (counts[~missing] == 0).all()
        assert ((counts[missing] - expected).abs() < 5 * expected**0.5).all()


@pytest.mark.parametrize("alpha", [0.0, 0.75, 2.0])
def test_popularity_is_by_degree_over_the_missing(toy_graph: BipartiteGraph, alpha: float) -> None:
    draws = 40_000
    for user in (0, 5, 11):
        users = torch.full((draws // 4,), user)
        drawn = by_popularity(
            toy_graph, users, users, count=4, alpha=alpha, generator=Generator().manual_seed(user)
        )
        counts = torch.bincount(drawn.items.view(-1), minlength=toy_graph.num_items)
        share = toy_graph.degrees()[1].clamp(min=1).double() ** alpha
        share[toy_graph.contains(torch.full((10,), user), torch.arange(10))] = 0
        expected = draws * share / share.sum()
        assert (counts[share == 0] == 0).all()
        assert ((counts - expected).abs() <= 5 * expected.sqrt()).all()


@pytest.mark.parametrize("sampler", [uniform, by_popularity])
def test_one_item_left(sampler) -> None:
    graph = BipartiteGraph(1, 1000, torch.stack([torch.zeros(999, dtype=torch.int64), torch.arange(1, 1000)]))
    users = torch.zeros(50, dtype=torch.int64)
    assert (sampler(graph, users, users + 1).items == 0).all()


@pytest.mark.parametrize("sampler", [uniform, by_popularity])
def test_a_user_who_has_seen_everything_is_refused_not_hung(sampler) -> None:
    graph = BipartiteGraph(1, 3, torch.tensor([[0, 0, 0], [0, 1, 2]]))
    users = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="every item"):
        sampler(graph, users, users)


def test_popularity_with_extreme_exponents_stays_in_range() -> None:
    held = torch.rand(200, 50, generator=Generator().manual_seed(0)) < torch.linspace(0.02, 0.9, 50)
    graph = BipartiteGraph(200, 50, held.nonzero().T.contiguous())
    users = torch.arange(200).repeat(20)
    for alpha in (0.1, 10.0):
        items = by_popularity(graph, users, users, count=2, alpha=alpha, log_q=True)
        assert not graph.contains(users.repeat_interleave(2), items.items.view(-1)).any()
        assert items.log_weight is not None
        assert torch.isfinite(items.log_weight).all()


def test_seen_places_beside_loops(toy_graph: BipartiteGraph) -> None:
    """Users may occur in several rows, and the items in any order."""
    users, items = torch.tensor([3, 0, 3, 11, 5, 0]), torch.tensor([9, 0, 4, 7, 2])
    held = set(zip(*toy_graph.edge_index.tolist(), strict=True))
    expected = [
        row * 5 + column
        for row, user in enumerate(users.tolist())
        for column, item in enumerate(items.tolist())
        if (user, item) in held
    ]
    places = seen_places(toy_graph, users, items)
    assert sorted(places.tolist()) == expected
    assert expected
    assert (places // 5).diff().ge(0).all()  # row by row
    assert seen_places(toy_graph, users[:0], items).tolist() == []


def test_in_batch_counts_the_other_rows() -> None:
    """User 0 has items 0 and 1, user 1 has 1, user 2 has 2; the batch holds item 1 twice."""
    graph = BipartiteGraph(3, 4, torch.tensor([[0, 0, 1, 2], [0, 1, 1, 2]]))
    drawn = in_batch(graph, torch.tensor([0, 1, 2]), torch.tensor([1, 1, 2]))
    assert drawn.items.tolist() == [1, 2]
    times = weights(drawn, 3)
    torch.testing.assert_close(
        times, torch.tensor([[0.0, 1.0], [0.0, 1.0], [2.0, 0.0]])
    )  # neither its own item nor one that its user has otherwise
    corrected = in_batch(graph, torch.tensor([0, 1, 2]), torch.tensor([1, 1, 2]), log_q=True)
    expected = torch.tensor([2 * 2 / 4, 2 * 1 / 4])  # two other rows, degree over interactions
    torch.testing.assert_close(weights(corrected, 3), times / expected)


@pytest.mark.parametrize("name", ["in_batch", "mixed", "queue"])
def test_the_positive_is_corrected_as_yi_et_al_do(name: str, toy_graph: BipartiteGraph) -> None:
    """Every score, the positive's too, less the logarithm of how often its item is expected; loops."""
    generator = Generator().manual_seed(0)
    users, positives = toy_graph.edge_index[:, torch.randperm(40, generator=generator)[:9]]
    settings = {"mixed": {"count": 4}, "queue": {"size": 6}}.get(name, {})
    user, item = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (12, 10))
    degree = toy_graph.degrees()[1]

    def drawn(**more: bool) -> Negatives:
        sampler = build_sampler(name, toy_graph, **settings, **more)
        if name == "queue":
            sampler(toy_graph, users[:6].flip(0), positives[:6].flip(0))
        return sampler(toy_graph, users, positives, generator=Generator().manual_seed(1))

    plain = drawn()
    pairs = len(users) - 1 + (6 if name == "queue" else 0)
    expected = degree / toy_graph.num_edges * pairs + (4 / 10 if name == "mixed" else 0.0)
    times, total = weights(plain, len(users)), 0.0
    for row, (u, p) in enumerate(zip(users, positives, strict=True)):
        above = math.exp(float(user[u] @ item[p])) / float(expected[p])
        below = [
            float(times[row, place]) * math.exp(float(user[u] @ item[j])) / float(expected[j])
            for place, j in enumerate(plain.items)
        ]
        total -= math.log(above / (above + sum(below)))
    both = drawn(log_q=True, log_q_positive=True)
    assert torch.equal(both.items, plain.items)
    loss = sampled_softmax(
        *(user[users], item[positives], item[both.items]),
        *(both.log_weight, both.seen),
        temperature=1.0,
        score="dot",
    )
    assert loss.item() == pytest.approx(total / len(users), rel=1e-6)
    assert loss.item() != pytest.approx(
        sampled_softmax(
            *(user[users], item[positives], item[plain.items]),
            *drawn(log_q=True)[1:],
            temperature=1.0,
            score="dot",
        ).item(),
        rel=1e-3,
    )


def test_shared_draws_distinct_items_and_at_most_all(toy_graph: BipartiteGraph) -> None:
    users = torch.arange(12)
    assert shared(toy_graph, users, users, count=4).items.shape == (4,)
    everything = shared(toy_graph, users, users, count=99, log_q=True)
    assert everything.items.sort().values.tolist() == list(range(10))
    missing = ~toy_graph.contains(users.repeat_interleave(10), everything.items.repeat(12)).view(12, 10)
    assert torch.equal(weights(everything, 12), missing.float())


def test_at_least_one_item_is_drawn(toy_graph: BipartiteGraph) -> None:
    for sampler in (shared, mixed):
        with pytest.raises(ValueError, match="count must be at least 1, got -1"):
            sampler(toy_graph, torch.arange(3), torch.arange(3), count=-1)


def test_mixed_holds_both(toy_graph: BipartiteGraph) -> None:
    users, positives = toy_graph.edge_index[:, :6]
    drawn = mixed(toy_graph, users, positives, count=10)
    assert drawn.items.tolist() == list(range(10))
    _, item, weight = counted(drawn, 6)
    times = 1 + torch.bincount(positives, minlength=10)
    torch.testing.assert_close(weight, times[item].float())


@pytest.mark.parametrize(("share", "count"), [(0.1, 11), (0.25, 33), (0.5, None), (0.8, 400)])
def test_mixed_keeps_the_proportion(share: float, count: int | None) -> None:
    """Of a batch's own items and uniform ones together; a large catalogue, so that it sets no limit."""
    graph = BipartiteGraph(100, 5000, torch.stack([torch.arange(100), torch.arange(100)]))
    users, positives = graph.edge_index
    drawn = mixed(graph, users, positives, count=count, generator=Generator().manual_seed(0))
    row, _, weight = counted(drawn, 100)
    own = 1 + ((weights(drawn, 100)[0] == 0) & (drawn.items != 0)).sum()  # what does not count for row 0
    total = float(weight[row == 0].sum() + own)
    assert (total - 100) / total == pytest.approx(share, abs=0.01)
    assert len(mixed(graph, users, positives, count=99_900).items) == 5000


def test_none_draws_nothing(toy_graph: BipartiteGraph) -> None:
    assert no_negatives(toy_graph, torch.arange(3), torch.arange(3)).items.shape == (0,)


def skewed_graph() -> BipartiteGraph:
    """400 users and 40 items whose popularity falls from 90 % to about 5 % of the users."""
    generator = Generator().manual_seed(0)
    share = 1 / (1 + torch.arange(40).double())
    held = torch.rand(400, 40, generator=generator) < (share * 8 / share.sum()).clamp(max=0.9)
    held[torch.arange(40), torch.arange(40)] = True
    return BipartiteGraph(400, 40, held.nonzero().T.contiguous())


FROM_BATCHES: dict[str, Callable[[bool], Sampler]] = {
    "in_batch": lambda log_q: functools.partial(in_batch, log_q=log_q),
    "mixed": lambda log_q: functools.partial(mixed, count=8, log_q=log_q),
    "mixed one": lambda log_q: functools.partial(mixed, count=1, log_q=log_q),
    "queue": lambda log_q: Queue(64, log_q=log_q),
}


@pytest.mark.parametrize("name", FROM_BATCHES)
def test_the_correction_makes_in_batch_softmax_converge_to_the_full_one(name: str) -> None:
    """Gradients for the items, averaged over batches, beside those of the softmax over the catalogue."""
    graph = skewed_graph()
    generator = Generator().manual_seed(1)
    user = torch.randn(400, 6, generator=generator, dtype=torch.float64)
    item = torch.randn(40, 6, generator=generator, dtype=torch.float64).requires_grad_()
    users, positives = graph.edge_index

    def gradient(places: Tensor, negatives: Negatives) -> Tensor:
        rows = user[users[places]], item[positives[places]], item[negatives.items]
        loss = sampled_softmax(*rows, negatives.log_weight, negatives.seen, temperature=1.0, score="dot")
        return torch.autograd.grad(loss, item)[0]

    every = torch.arange(graph.num_edges)
    full = gradient(every, shared(graph, users, positives, count=40))

    def error(rows: int, log_q: bool) -> float:
        batches = 10 * graph.num_edges // rows
        total = torch.zeros_like(full)
        sampler = FROM_BATCHES[name](log_q)
        for _ in range(batches):
            places = torch.randperm(graph.num_edges, generator=generator)[:rows]
            drawn = sampler(graph, users[places], positives[places], generator=generator)
            total += gradient(places, drawn)
        return float((total / batches - full).norm() / full.norm())

    corrected, plain = ([error(rows, log_q) for rows in (32, 512)] for log_q in (True, False))
    assert corrected[0] > 2 * corrected[1]
    assert corrected[1] < 0.08
    assert min(plain) > 0.25


@pytest.mark.parametrize("name", NEGATIVES)
def test_the_correction_estimates_the_sum_over_all_items_not_seen(name: str) -> None:
    """Without bias: the mean of the weighted sums is the sum over what the user has not."""
    graph = skewed_graph()
    generator = Generator().manual_seed(2)
    value = torch.rand(40, generator=generator) + 0.5
    users, positives = graph.edge_index
    unseen = torch.ones(400, 40)
    unseen[users, positives] = 0.0
    user, total, count = 7, 0.0, 0
    shown = unseen[user].nonzero().view(-1)[:4]
    exposed = torch.stack([torch.full_like(shown, user), shown])
    sampler = build_sampler(name, graph, exposed=exposed, log_q=True)
    mine = torch.nonzero(users == user).view(-1)
    for _ in range(1500):
        other = torch.randperm(graph.num_edges, generator=generator)
        places = torch.cat([mine[:1], other[other != mine[0]][:63]])
        drawn = sampler(graph, users[places], positives[places], generator=generator)
        row, item, weight = counted(drawn, len(places))
        total += float((weight * value[item])[row == 0].sum())
        count += 1
    assert total / count == pytest.approx(float(unseen[user] @ value), rel=0.06)
