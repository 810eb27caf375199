"""Random walks go where they may, as often as theory says; the view has exactly the asked size."""

from __future__ import annotations

import math

import networkx
import numpy as np
import pytest
import torch

from gclrec.graph.augmentations import random_walk
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.random_walk import walk


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def islands(count: int = 30, size: int = 5) -> BipartiteGraph:
    """Separate blocks of users and items that have all of each other, and two nodes without edges."""
    block = torch.cartesian_prod(torch.arange(size), torch.arange(size)).T
    edge_index = torch.cat([block + size * n for n in range(count)], dim=1)
    return BipartiteGraph(count * size + 1, count * size + 1, edge_index)


def node(name: tuple[str, int], graph: BipartiteGraph) -> int:
    side, number = name
    return number + (graph.num_users if side == "item" else 0)


# -- the walk ------------------------------------------------------------------------------------


def test_each_step_follows_an_edge_or_goes_back(toy_graph: BipartiteGraph) -> None:
    graph = toy_graph.to_networkx()
    edges = {(node(a, toy_graph), node(b, toy_graph)) for a, b in graph.edges}
    edges |= {(b, a) for a, b in edges}
    seeds = torch.tensor([node(name, toy_graph) for name in graph if graph.degree(name)])
    path = walk(toy_graph.edges, seeds, 200, restart=0.2, generator=seeded())
    assert path.shape == (201, len(seeds))
    assert torch.equal(path[0], seeds)
    back = 0
    for before, after in zip(path[:-1].tolist(), path[1:].tolist(), strict=True):
        for seed, a, b in zip(seeds.tolist(), before, after, strict=True):
            assert (a, b) in edges or b == seed
            back += (a, b) not in edges
    assert back > 0


@pytest.mark.parametrize("restart", [0.15, 0.5])
def test_visits_follow_the_stationary_distribution(restart: float, toy_graph: BipartiteGraph) -> None:
    """Many walks from one seed, after many steps each, against the solution of the linear system."""
    matrix = networkx.to_numpy_array(
        toy_graph.to_networkx(),
        nodelist=[("user", n) for n in range(12)] + [("item", n) for n in range(10)],
    )
    transition = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    seed = 4
    start = np.eye(22)[seed]
    expected = np.linalg.solve(np.eye(22) - (1 - restart) * transition.T, restart * start)
    assert abs(expected.sum() - 1) < 1e-12

    walks = 40_000
    path = walk(toy_graph.edges, torch.full((walks,), seed), 60, restart=restart, generator=seeded())
    seen = torch.bincount(path[-1], minlength=22).numpy()
    mask = expected > 0
    assert seen[~mask].sum() == 0
    chi_square = ((seen - walks * expected)[mask] ** 2 / (walks * expected[mask])).sum()
    freedom = mask.sum() - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def test_neighbours_are_drawn_uniformly(toy_graph: BipartiteGraph) -> None:
    user = int(toy_graph.user_degrees.argmax())
    path = walk(toy_graph.edges, torch.full((30_000,), user), 1, restart=0.0, generator=seeded())
    seen = torch.bincount(path[1] - 12, minlength=10)
    mine = toy_graph.edge_index[1][toy_graph.edge_index[0] == user]
    assert set(seen.nonzero().flatten().tolist()) == set(mine.tolist())
    expected = 30_000 / len(mine)
    assert ((seen[mine] - expected).abs() < 5 * math.sqrt(expected)).all()


def test_extreme_restarts(toy_graph: BipartiteGraph) -> None:
    seeds = torch.tensor([0, 12])
    assert (walk(toy_graph.edges, seeds, 9, restart=1.0, generator=seeded()) == seeds).all()
    path = walk(toy_graph.edges, seeds, 9, restart=0.0, generator=seeded())
    assert ((path[:-1] < 12) != (path[1:] < 12)).all()  # never back: sides alternate


def test_bad_arguments(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match=r"restart must lie in \[0, 1\], got 1.5"):
        walk(toy_graph.edges, torch.tensor([0]), 3, restart=1.5)
    with pytest.raises(ValueError, match="no neighbour"):
        walk(toy_graph.edges, torch.tensor([0, 11]), 3)  # user 11 has none
    with pytest.raises(ValueError, match="num_walks must be at least 1"):
        random_walk(toy_graph, 0.5, num_walks=0)


# -- the view ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("num_walks", [None, 1, 7])
def test_share_and_induced_subgraph(p: float, num_walks: int | None) -> None:
    """On complete blocks every visited node shows, so the number of nodes left can be counted."""
    graph = islands(count=40, size=8)
    view = random_walk(graph, p, generator=seeded(), num_walks=num_walks)
    users, items = (degree > 0 for degree in view.degrees())
    left = int(users.sum() + items.sum())
    wanted = round((1 - p) * 640)
    alone = 40  # a visited node shows no edge if nothing else of its block was visited: one a block at most
    assert wanted - alone <= left <= wanted
    user, item = graph.edge_index
    assert torch.equal(view.contains(user, item), users[user] & items[item])


@pytest.mark.parametrize("seed", range(5))
def test_only_what_seeds_can_reach_is_visited(seed: int) -> None:
    """With one walk that may fill its whole block before the next seed is needed."""
    graph = islands(count=6, size=4)
    view = random_walk(graph, 0.8, generator=seeded(seed), num_walks=1)
    whole = graph.to_networkx()
    components = list(networkx.connected_components(whole))
    visited = {n for n, degree in view.to_networkx().degree if degree}
    # 10 of 48 nodes in blocks of 8: a walk of 32 steps fills most of a block, so few blocks are touched.
    touched = [component for component in components if component & visited]
    assert 1 <= len(touched) <= 4
    assert visited <= set().union(*touched)


def test_more_walks_than_are_needed_favour_no_number() -> None:
    """With a walk from every node it is as if nodes were dropped, users and items alike."""
    kept = torch.zeros(2, 150)
    for seed in range(40):
        view = random_walk(islands(), 0.5, num_walks=1000, generator=seeded(seed))
        kept += torch.stack([degree > 0 for degree in view.degrees()])[:, :150]
    share = kept.view(2, 2, 75).mean(2) / 40  # of the first and of the last users, and of such items
    assert share.min() > 0.4
    assert share.max() < 0.6


def test_a_single_walk_stays_in_its_component() -> None:
    graph = islands(count=6, size=4)
    seeds = torch.tensor([0, 5, 9 + 25])
    path = walk(graph.edges, seeds, 100, generator=seeded())
    components = list(networkx.connected_components(graph.to_networkx()))
    for number, seed in enumerate(seeds.tolist()):
        home = next(c for c in components if seed in {node(name, graph) for name in c})
        assert set(path[:, number].tolist()) <= {node(name, graph) for name in home}


def test_isolated_nodes_do_not_count() -> None:
    lonely = BipartiteGraph(100, 100, torch.tensor([[0, 1], [0, 1]]))
    view = random_walk(lonely, 0.5, generator=seeded())
    assert view.num_edges <= 1
    assert random_walk(lonely, 0.01, generator=seeded()).num_edges == 2


def test_walks_keep_more_edges_than_dropping_nodes() -> None:
    from gclrec.graph.augmentations import node_drop

    users = (torch.rand(6000, generator=seeded(1)) ** 2 * 300).long()
    items = (torch.rand(6000, generator=seeded(2)) ** 3 * 300).long()
    keys = torch.unique(users * 300 + items)
    graph = BipartiteGraph(300, 300, torch.stack([keys // 300, keys % 300]))
    walked = random_walk(graph, 0.5, generator=seeded()).num_edges
    dropped = node_drop(graph, 0.5, generator=seeded()).num_edges
    assert walked > 1.4 * dropped
