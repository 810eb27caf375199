"""Negatives are uniform over what the user has not seen, and never a positive."""

from __future__ import annotations

import pytest
import torch

from gclrec.contrast.negatives import NEGATIVES, uniform
from gclrec.graph.bipartite import BipartiteGraph


@pytest.mark.parametrize("sampler", NEGATIVES.values(), ids=NEGATIVES)
def test_contract(sampler, toy_graph: BipartiteGraph) -> None:
    """What every sampler promises: determined by the generator, in range, never a training positive."""
    users = torch.arange(12).repeat(200)
    drawn, again = (sampler(toy_graph, users, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(drawn, again)
    assert drawn.min() >= 0
    assert drawn.max() < toy_graph.num_items
    assert not toy_graph.contains(users, drawn).any()


def test_uniform_is_uniform_over_the_missing(toy_graph: BipartiteGraph) -> None:
    draws = 30_000
    for user in (0, 5, 11):
        users = torch.full((draws,), user)
        drawn = uniform(toy_graph, users, generator=torch.Generator().manual_seed(user))
        counts = torch.bincount(drawn, minlength=toy_graph.num_items)
        missing = ~toy_graph.contains(torch.full((10,), user), torch.arange(10))
        expected = draws / int(missing.sum())
        assert (counts[~missing] == 0).all()
        assert ((counts[missing] - expected).abs() < 5 * expected**0.5).all()


def test_one_item_left() -> None:
    graph = BipartiteGraph(1, 1000, torch.stack([torch.zeros(999, dtype=torch.int64), torch.arange(1, 1000)]))
    assert (uniform(graph, torch.zeros(50, dtype=torch.int64)) == 0).all()


def test_a_user_who_has_seen_everything_is_refused_not_hung() -> None:
    graph = BipartiteGraph(1, 3, torch.tensor([[0, 0, 0], [0, 1, 2]]))
    with pytest.raises(ValueError, match="every item"):
        uniform(graph, torch.zeros(4, dtype=torch.int64))
