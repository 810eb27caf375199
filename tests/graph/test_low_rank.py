"""The low-rank operator against the dense singular value decomposition."""

from __future__ import annotations

import pytest
import torch

from gclrec.graph.augmentations import AUGMENTATIONS, edge_drop
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.low_rank import LowRank
from gclrec.graph.propagation import Adjacency


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def graph() -> BipartiteGraph:
    users = (torch.rand(3000, generator=seeded(1)) ** 2 * 118).long()
    items = (torch.rand(3000, generator=seeded(2)) ** 2 * 78).long()
    keys = torch.unique(users * 80 + items)
    return BipartiteGraph(120, 80, torch.stack([keys // 80, keys % 80]))


def half(adjacency: Adjacency) -> torch.Tensor:
    """The dense (U, I) half of an operator."""
    identity = torch.eye(adjacency.num_items)
    return adjacency.propagate(torch.zeros(adjacency.num_users, len(identity)), identity)[0]


def best(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank], values[:rank]


@pytest.mark.parametrize("rank", [1, 5, 20])
def test_is_the_truncated_svd(graph: BipartiteGraph, rank: int) -> None:
    expected, values = best(half(graph.adjacency), rank)
    low_rank = LowRank.of(graph.adjacency, rank)
    torch.testing.assert_close(low_rank.values, values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(half(low_rank), expected, rtol=0, atol=2e-3)
    for vectors in (low_rank.user_vectors, low_rank.item_vectors):
        torch.testing.assert_close(vectors.T @ vectors, torch.eye(rank))
    assert low_rank.values[0] <= 1 + 1e-9


def test_seed_hardly_matters(graph: BipartiteGraph) -> None:
    one, other = (LowRank.of(graph.adjacency, 5, seed=seed) for seed in (0, 1))
    torch.testing.assert_close(one.values, other.values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(half(one), half(other), rtol=0, atol=2e-3)


def test_rank_beyond_the_graph_is_the_adjacency_itself(toy_graph: BipartiteGraph) -> None:
    low_rank = LowRank.of(toy_graph.adjacency, 50)
    assert len(low_rank.values) == 10
    torch.testing.assert_close(half(low_rank), half(toy_graph.adjacency))


def test_polynomial_is_repeated_propagation(graph: BipartiteGraph) -> None:
    low_rank = LowRank.of(graph.adjacency, 4)
    weights = (0.3, -0.2, 0.5, 0.1, 0.7)
    x = torch.randn(120, 3, generator=seeded()), torch.randn(80, 3, generator=seeded())
    power, expected = x, [torch.zeros_like(side) for side in x]
    for weight in weights:
        expected = [total + weight * side for total, side in zip(expected, power, strict=True)]
        power = low_rank.propagate(*power)
    for seen, wanted in zip(low_rank.polynomial(*x, weights), expected, strict=True):
        torch.testing.assert_close(seen, wanted)
    without_input = low_rank.polynomial(*x, (0.0, 1.0))
    assert without_input[0].shape == (120, 3)


def test_layers_as_lightgcl_writes_them(graph: BipartiteGraph) -> None:
    """Low rank after two steps of the adjacency is three steps of the low-rank operator."""
    low_rank = LowRank.of(graph.adjacency, 6)
    x = torch.randn(120, 3, generator=seeded()), torch.randn(80, 3, generator=seeded())
    theirs = low_rank.propagate(*graph.adjacency.propagate(*graph.adjacency.propagate(*x)))
    ours = low_rank.propagate(*low_rank.propagate(*low_rank.propagate(*x)))
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-3)


def test_gradients(toy_graph: BipartiteGraph) -> None:
    low_rank = LowRank.of(toy_graph.adjacency, 3)
    x = [torch.randn(n, 2, requires_grad=True) for n in (12, 10)]
    for weights in ((0.0, 1.0), (0.25, 0.25, 0.25, 0.25)):
        assert torch.autograd.gradcheck(lambda u, i, w=weights: low_rank.polynomial(u, i, w), x)


def test_refined_is_nearly_the_best_for_a_view(graph: BipartiteGraph) -> None:
    """Of what the best operator of the rank explains, one step from the whole graph's has nearly all."""
    base = LowRank.of(graph.adjacency, 5)
    view = edge_drop(graph, 0.3, generator=seeded())
    matrix = half(view.adjacency)
    optimum = (matrix - best(matrix, 5)[0]).norm()
    assert (matrix - half(base.refined(view.adjacency))).norm() < 1.02 * optimum
    again = base.refined(graph.adjacency)
    torch.testing.assert_close(half(again), half(base), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_refined_leaves_isolated_nodes_alone(name: str, graph: BipartiteGraph) -> None:
    view = AUGMENTATIONS[name](graph, 0.8, generator=seeded())
    low_rank = LowRank.of(graph.adjacency, 5).refined(view.adjacency)
    out = low_rank.propagate(torch.ones(120, 2), torch.ones(80, 2))
    for x, degree in zip(out, view.degrees(), strict=True):
        assert torch.isfinite(x).all()
        assert x[degree == 0].abs().sum() < 1e-9


def test_a_graph_without_edges() -> None:
    empty = BipartiteGraph(4, 3, torch.empty(2, 0, dtype=torch.int64))
    users, items = LowRank.of(empty.adjacency, 2).polynomial(torch.ones(4, 2), torch.ones(3, 2), (0.5, 0.5))
    torch.testing.assert_close(users, torch.full((4, 2), 0.5))
    torch.testing.assert_close(items, torch.full((3, 2), 0.5))


def test_separate_blocks_have_one_direction_each() -> None:
    """The largest value, 1, occurs once for each connected component."""
    block = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T
    graph = BipartiteGraph(12, 12, torch.cat([block + 3 * n for n in range(4)], dim=1))
    torch.testing.assert_close(LowRank.of(graph.adjacency, 4).values, torch.ones(4))


def test_every_copy_of_a_repeated_value_is_found() -> None:
    """Each of 40 components has the value 1, and many others besides, which a single start vector misses."""
    inside = torch.rand(40, 10, 8, generator=seeded()) < 0.5
    block, user, item = inside.nonzero(as_tuple=True)
    graph = BipartiteGraph(400, 320, torch.stack([block * 10 + user, block * 8 + item]))
    _, values = best(half(graph.adjacency), 64)
    assert int((values > 1 - 1e-6).sum()) >= 40
    low_rank = LowRank.of(graph.adjacency, 64)
    torch.testing.assert_close(low_rank.values, values, rtol=1e-5, atol=1e-6)


def test_found_once_for_each_rank(graph: BipartiteGraph) -> None:
    assert graph.low_rank(3) is graph.low_rank(3)
    assert len(graph.low_rank(2).values) == 2
    with pytest.raises(ValueError, match="at least 1, got 0"):
        graph.low_rank(0)


def test_single_precision(toy_graph: BipartiteGraph) -> None:
    out = toy_graph.low_rank(3).propagate(torch.ones(12, 2).float(), torch.ones(10, 2).float())
    assert out[0].dtype == torch.float32
