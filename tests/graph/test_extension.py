"""Operators with fewer and with more nodes, beside graphs that are made anew."""

from __future__ import annotations

import pytest
import torch

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.extension import Links, operator_degrees, with_nodes, without_nodes
from gclrec.graph.propagation import CSRMatrix


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def half(dense: torch.Tensor) -> CSRMatrix:
    csr = dense.to_sparse_csr()
    return CSRMatrix(csr.crow_indices(), csr.col_indices(), csr.values().float(), dense.shape[1])


def links(dense: torch.Tensor) -> Links:
    return Links(half(dense), half(dense.T.contiguous()))


def dense(operator, users: int, items: int) -> torch.Tensor:
    """The user-item block of an operator, read off by unit vectors; the other block is its transpose."""
    zero = torch.zeros
    there = operator.propagate(zero(users, items), torch.eye(items))[0]
    back = operator.propagate(torch.eye(users), zero(items, users))[1]
    torch.testing.assert_close(there, back.T)
    return there


def test_degrees_are_those_of_the_graph_and_of_its_views(toy_graph: BipartiteGraph) -> None:
    dropped = toy_graph.keep_edges(torch.arange(40) % 9 > 0)  # keeps rows, with weights 0
    few = toy_graph.keep_edges(torch.arange(40) % 5 == 0)  # has rows of its own
    for graph in (toy_graph, dropped, few):
        found = operator_degrees(graph.adjacency)
        for mine, expected in zip(found, BipartiteGraph(12, 10, graph.edge_index).degrees(), strict=True):
            assert torch.equal(mine, expected)
    assert operator_degrees(toy_graph.low_rank(3)) is None


@pytest.mark.parametrize("sides", ["users", "items", "both"])
@pytest.mark.parametrize("exponent", [0.5, 0.3, 0.0])
def test_without_nodes_is_the_graph_without_them(
    toy_graph: BipartiteGraph, sides: str, exponent: float
) -> None:
    users = torch.rand(12, generator=seeded()) < 0.3 if sides != "items" else None
    items = torch.rand(10, generator=seeded(2)) < 0.3 if sides != "users" else None
    view = toy_graph.keep_edges(torch.arange(40) % 9 > 0)
    adjacency = view.weighted(exponent)
    found, left = without_nodes(adjacency, users, items, operator_degrees(adjacency), exponent)
    kept_users = torch.ones(12, dtype=torch.bool) if users is None else ~users
    kept_items = torch.ones(10, dtype=torch.bool) if items is None else ~items
    smaller = BipartiteGraph(12, 10, view.edge_index).keep_nodes(kept_users, kept_items)
    torch.testing.assert_close(dense(found, 12, 10), dense(smaller.weighted(exponent), 12, 10))
    for mine, expected in zip(left, smaller.degrees(), strict=True):
        assert torch.equal(mine.long(), expected)


def test_without_nodes_of_a_low_rank_operator(toy_graph: BipartiteGraph) -> None:
    low, items = toy_graph.low_rank(3), torch.arange(10) < 4
    found = dense(without_nodes(low, None, items, toy_graph.degrees())[0], 12, 10)
    expected = dense(low, 12, 10)
    expected[:, :4] = 0.0
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("sides", ["users", "items", "both"])
@pytest.mark.parametrize("exponent", [0.5, 0.3, 0.0])
def test_with_nodes_is_the_larger_graph(toy_graph: BipartiteGraph, sides: str, exponent: float) -> None:
    of_users = (torch.rand(12, 5, generator=seeded()) < 0.4).float() if sides != "items" else None
    of_items = (torch.rand(10, 3, generator=seeded(2)) < 0.4).float() if sides != "users" else None
    view = toy_graph.keep_edges(torch.arange(40) % 9 > 0)
    found = with_nodes(
        view.weighted(exponent),
        None if of_users is None else links(of_users),
        None if of_items is None else links(of_items),
        operator_degrees(view.adjacency),
        exponent,
    )
    edges = [view.edge_index]
    if of_users is not None:
        edges.append(of_users.nonzero().T + torch.tensor([[0], [10]]))
    if of_items is not None:
        edges.append(of_items.nonzero().T.flip(0) + torch.tensor([[12], [0]]))
    left, right = 12 + (0 if of_items is None else 3), 10 + (0 if of_users is None else 5)
    larger = BipartiteGraph(left, right, torch.cat(edges, dim=1))
    assert (found.num_users, found.num_items) == (left, right)
    expected = dense(larger.weighted(exponent), left, right)
    torch.testing.assert_close(dense(found, left, right), expected)

    x = torch.randn(left, 4, generator=seeded()), torch.randn(right, 4, generator=seeded(4))
    for mine, theirs in zip(
        found.polynomial(*x, [0.5, 0.0, 0.3, 0.2]),
        larger.weighted(exponent).polynomial(*x, [0.5, 0.0, 0.3, 0.2]),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_gradients(toy_graph: BipartiteGraph) -> None:
    of_items = (torch.rand(10, 3, generator=seeded(2)) < 0.4).float()
    degrees = toy_graph.degrees()
    smaller, degrees = without_nodes(toy_graph.adjacency, torch.arange(12) < 3, None, degrees)
    operator = with_nodes(smaller, None, links(of_items), degrees)
    users = torch.randn(15, 2, dtype=torch.float64, generator=seeded(), requires_grad=True)
    items = torch.randn(10, 2, dtype=torch.float64, generator=seeded(1), requires_grad=True)
    options = {"eps": 1e-3, "atol": 1e-5}  # the weights are float32, the products linear
    assert torch.autograd.gradcheck(operator.propagate, (users, items), **options)
    assert torch.autograd.gradcheck(
        lambda u, i: operator.polynomial(u, i, [0.2, 0.5, 0.3]), (users, items), **options
    )


def test_an_operator_that_cannot_be_taken_apart_is_refused(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(TypeError, match="of type object"):
        without_nodes(object(), None, None, toy_graph.degrees())
