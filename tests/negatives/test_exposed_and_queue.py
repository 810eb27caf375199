"""Negatives that come from a table of exposures or from the last batches."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.ranking_losses import sampled_softmax
from gclrec.negatives.registry import Exposed, Queue, build_sampler, in_batch, uniform

from .test_negatives import weights

GRAPH = BipartiteGraph(4, 12, torch.tensor([[0, 0, 1, 2, 2, 3], [0, 1, 1, 2, 3, 11]]))
SHOWN = torch.tensor([[0, 0, 0, 2, 0], [5, 7, 1, 9, 8]])
"""Users 1 and 3 were shown nothing; (0, 1) is a training pair."""


def draws(sampler: Exposed, user: int, rows: int = 4000) -> Tensor:
    users = torch.full((rows,), user)
    negatives = sampler(GRAPH, users, users, generator=Generator().manual_seed(user))
    return torch.bincount(negatives.items.view(-1), minlength=12)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_exposed_keep_the_proportion(share: float, count: int) -> None:
    """Item by item: its chance from the exposed plus its chance from the uniform ones."""
    sampler = Exposed(GRAPH, SHOWN, share=share, count=count)
    for user, shown, seen in ((0, [5, 7, 8], [0, 1]), (2, [9], [2, 3]), (1, [], [1]), (3, [], [11])):
        counts = draws(sampler, user)
        total = 4000 * count
        assert int(counts.sum()) == total
        chance = torch.full((12,), (1 - share if shown else 1.0) / (12 - len(seen)), dtype=torch.float64)
        chance[seen] = 0.0
        chance[shown] += share / max(len(shown), 1)
        spread = 5 * (total * chance * (1 - chance)).sqrt()
        assert ((counts - total * chance).abs() <= spread + 1e-6).all()


def test_exposed_pairs_that_are_interactions_never_count() -> None:
    sampler = Exposed(GRAPH, SHOWN, share=1.0)
    assert sorted(map(tuple, sampler.exposed.edge_index.T.tolist())) == [(0, 5), (0, 7), (0, 8), (2, 9)]
    only_known = Exposed(GRAPH, GRAPH.edge_index, share=1.0)
    assert draws(only_known, 0)[:2].tolist() == [0, 0]
    assert draws(only_known, 0)[2:].min() > 0  # uniform ones instead


def test_the_weight_of_an_exposed_item_is_one_over_its_expected_number() -> None:
    negatives = Exposed(GRAPH, SHOWN, share=0.4, count=3, log_q=True)(
        GRAPH, torch.tensor([0, 1]).repeat(200), torch.zeros(400, dtype=torch.int64)
    )
    assert negatives.log_weight is not None
    shown = torch.isin(negatives.items[::2], torch.tensor([5, 7, 8]))
    expected = torch.where(shown, 3 * (0.4 / 3 + 0.6 / 10), 3 * 0.6 / 10)
    torch.testing.assert_close(negatives.log_weight[::2].exp(), 1 / expected)
    torch.testing.assert_close(negatives.log_weight[1::2].exp(), torch.full((200, 3), 11 / 3))
    assert shown.any()
    assert not shown.all()


def test_unknown_samplers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one of uniform, popularity, .*, got 'unif'"):
        build_sampler("unif", GRAPH)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        Queue(0)


def test_a_batch_that_is_refused_leaves_the_queue_alone() -> None:
    queue = Queue(4)
    with pytest.raises(IndexError):
        queue(GRAPH, torch.tensor([0]), torch.tensor([12]))
    assert queue.items.tolist() == [-1] * 4


def test_invalid_settings_of_exposed_are_refused() -> None:
    with pytest.raises(ValueError, match="table"):
        build_sampler("exposed", GRAPH)
    with pytest.raises(ValueError, match="share"):
        Exposed(GRAPH, SHOWN, share=1.1)
    with pytest.raises(ValueError, match="log_q"):
        Exposed(GRAPH, SHOWN, share=1.0, log_q=True)


def test_the_queue_holds_the_last_pairs_in_order() -> None:
    """Batches of 3 into a queue of 7: it fills, wraps around and drops the oldest first."""
    queue, fed = Queue(7), []
    generator = Generator().manual_seed(0)
    users = torch.tensor([0, 1, 3])
    for _ in range(6):
        items = torch.randint(12, (3,), generator=generator)
        before = queue.items[queue.items >= 0].tolist()
        assert before == fed[-7:]
        queue(GRAPH, users, items)
        fed += items.tolist()
    queue(GRAPH, torch.zeros(9, dtype=torch.int64), torch.arange(9))  # a batch that is larger than it
    assert queue.items.tolist() == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("log_q", [False, True])
def test_the_queue_beside_loops(log_q: bool) -> None:
    """Every item of the other rows and the queue counts, but those that the user has."""
    queue = Queue(5, log_q=log_q)
    batches = [([0, 1], [0, 1]), ([2, 3], [2, 11]), ([2, 0], [3, 1]), ([1, 2], [1, 2])]
    history: list[int] = []
    degree = GRAPH.degrees()[1].tolist()
    for users, items in batches:
        found = queue(GRAPH, torch.tensor(users), torch.tensor(items))
        weight_of = weights(found, len(users))
        among = items + history[-5:]
        for row, user in enumerate(users):
            for item in range(12):
                seen = bool(GRAPH.contains(torch.tensor([user]), torch.tensor([item])))
                weight = 0.0 if seen else float(among.count(item))
                if log_q and weight:
                    weight /= (len(items) - 1 + len(history[-5:])) * degree[item] / GRAPH.num_edges
                column = (found.items == item).nonzero().view(-1)
                got = float(weight_of[row, column]) if len(column) else 0.0
                assert got == pytest.approx(weight)
        history += items


def test_an_empty_queue_is_in_batch_and_its_items_get_a_gradient() -> None:
    users, positives = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 11])
    queue = Queue(8, log_q=True)
    first, plain = queue(GRAPH, users, positives), in_batch(GRAPH, users, positives, log_q=True)
    assert torch.equal(first.items, plain.items)
    assert torch.equal(weights(first, 3), weights(plain, 3))

    second = queue(GRAPH, torch.tensor([1]), torch.tensor([1]))  # 0, 2 and 11 are in the queue only
    table = torch.randn(12, 4, generator=Generator().manual_seed(1)).requires_grad_()
    user = torch.randn(1, 4, generator=Generator().manual_seed(2))
    loss = sampled_softmax(user, table[[1]], table[second.items], second.log_weight, second.seen)
    (gradient,) = torch.autograd.grad(loss, table)
    assert gradient.abs().sum(1).gt(0).nonzero().view(-1).tolist() == [0, 1, 2, 11]


def test_the_queue_is_in_its_state() -> None:
    users, positives = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 11])
    queue, other = Queue(4), Queue(4)
    queue(GRAPH, users, positives)
    other.load_state_dict(queue.state_dict())
    for mine, theirs in zip(queue(GRAPH, users, positives), other(GRAPH, users, positives), strict=True):
        assert torch.equal(mine, theirs)
    assert not isinstance(build_sampler("uniform", GRAPH), torch.nn.Module)  # what remembers nothing
    assert uniform(GRAPH, users, positives).items.shape == (3, 1)
