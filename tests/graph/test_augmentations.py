"""What every graph augmentation promises, over the whole table; then each one's own meaning."""

from __future__ import annotations

import math

import pytest
import torch

from gclrec.graph.augmentations import (
    AUGMENTATIONS,
    Augmentation,
    capped_to_mean,
    degree_edge_drop,
    edge_drop,
    edge_perturb,
    feature_mask,
    gca_edge_drop,
    node_drop,
    none,
)
from gclrec.graph.bipartite import BipartiteGraph

DROPS_A_SHARE = {"edge_drop", "degree_edge_drop", "gca_edge_drop"}
every_augmentation = pytest.mark.parametrize("name", AUGMENTATIONS)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def skewed_graph(num_users: int = 400, num_items: int = 300, num_edges: int = 6000) -> BipartiteGraph:
    """Popular items and active users, a few nodes without edges."""
    users = (torch.rand(4 * num_edges, generator=seeded(1)) ** 2 * (num_users - 3)).long()
    items = (torch.rand(4 * num_edges, generator=seeded(2)) ** 3 * (num_items - 3)).long()
    keys = torch.unique(users * num_items + items)
    keys = keys[torch.randperm(len(keys), generator=seeded(3))[:num_edges]]  # in no order
    return BipartiteGraph(num_users, num_items, torch.stack([keys // num_items, keys % num_items]))


@pytest.fixture(scope="module")
def graph() -> BipartiteGraph:
    graph = skewed_graph()
    return graph.with_features(torch.rand(400, 3), torch.arange(600).view(300, 2))


def keys_of(graph: BipartiteGraph) -> set[int]:
    return set((graph.edge_index[0] * graph.num_items + graph.edge_index[1]).tolist())


def same_attributes(one: BipartiteGraph, other: BipartiteGraph) -> bool:
    pairs = ((one.user_x, other.user_x), (one.item_x, other.item_x))
    return all(a is b or torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in pairs)


# -- the contract --------------------------------------------------------------------------------


@every_augmentation
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_contract(name: str, p: float, graph: BipartiteGraph) -> None:
    """The input is left alone, the generator decides all, nodes keep their numbers, nothing is twice."""
    augment = AUGMENTATIONS[name]
    edges, user_x, item_x = graph.edge_index.clone(), graph.user_x.clone(), graph.item_x.clone()
    view, again = (augment(graph, p, generator=seeded()) for _ in range(2))
    other = augment(graph, p, generator=seeded(4))

    assert torch.equal(graph.edge_index, edges)
    assert torch.equal(graph.user_x, user_x)
    assert torch.equal(graph.item_x, item_x)
    assert torch.equal(view.edge_index, again.edge_index)
    assert same_attributes(view, again)
    differs = not torch.equal(view.edge_index, other.edge_index) or not same_attributes(view, other)
    assert differs == (name != "none")
    assert (view.num_users, view.num_items) == (400, 300)
    assert len(keys_of(view)) == view.num_edges
    if name != "edge_perturb":
        assert keys_of(view) <= keys_of(graph)


@every_augmentation
def test_global_generator_is_used_if_none_is_given(name: str, graph: BipartiteGraph) -> None:
    views = []
    for _ in range(2):
        torch.manual_seed(9)
        views.append(AUGMENTATIONS[name](graph, 0.4))
    assert torch.equal(views[0].edge_index, views[1].edge_index)


@every_augmentation
def test_nothing_is_drawn_from_elsewhere(name: str, graph: BipartiteGraph) -> None:
    state = torch.get_rng_state()
    AUGMENTATIONS[name](graph, 0.4, generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)


@every_augmentation
def test_zero_is_the_identity(name: str, graph: BipartiteGraph) -> None:
    view = AUGMENTATIONS[name](graph, 0.0, generator=seeded())
    assert torch.equal(view.edge_index, graph.edge_index)
    assert same_attributes(view, graph)


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_p_out_of_range(name: str, p: float, graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\)"):
        AUGMENTATIONS[name](graph, p)


@every_augmentation
@pytest.mark.parametrize("p", [0.1, 0.3, 0.999])
def test_views_are_normalised_by_their_own_degrees(name: str, p: float, graph: BipartiteGraph) -> None:
    """Every view propagates like a graph built anew from its edges: symmetric and without NaN."""
    view = AUGMENTATIONS[name](graph, p, generator=seeded())
    rebuilt = BipartiteGraph(400, 300, view.edge_index.clone())
    x = torch.randn(400, 4, generator=seeded()), torch.randn(300, 4, generator=seeded())
    for seen, expected in zip(view.adjacency.propagate(*x), rebuilt.adjacency.propagate(*x), strict=True):
        torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)
        assert torch.isfinite(seen).all()
    # <y, A x> = <x, A y> holds for a symmetric operator only.
    y = torch.randn(400, 4, generator=seeded(5)), torch.randn(300, 4, generator=seeded(6))
    there = sum((a * b).sum() for a, b in zip(y, view.adjacency.propagate(*x), strict=True))
    back = sum((a * b).sum() for a, b in zip(x, view.adjacency.propagate(*y), strict=True))
    torch.testing.assert_close(there, back, rtol=1e-4, atol=1e-4)


@every_augmentation
@pytest.mark.parametrize("num_edges", [0, 1])
def test_graphs_with_nearly_nothing(name: str, num_edges: int) -> None:
    tiny = BipartiteGraph(2, 3, torch.zeros(2, num_edges, dtype=torch.int64))
    for seed in range(20):
        view = AUGMENTATIONS[name](tiny, 0.9, generator=seeded(seed))
        out = view.adjacency.propagate(torch.ones(2, 2), torch.ones(3, 2))
        assert all(torch.isfinite(x).all() for x in out)
        assert view.num_edges <= num_edges


@every_augmentation
def test_a_view_can_be_augmented_again(name: str, graph: BipartiteGraph) -> None:
    for first in AUGMENTATIONS.values():
        view = AUGMENTATIONS[name](first(graph, 0.3, generator=seeded()), 0.3, generator=seeded(4))
        rebuilt = BipartiteGraph(400, 300, view.edge_index.clone())
        for a, b in zip(view.degrees(), rebuilt.degrees(), strict=True):
            assert torch.equal(a, b)


# -- shares --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(DROPS_A_SHARE))
@pytest.mark.parametrize("p", [0.02, 0.1, 0.125, 0.5, 0.75, 0.95])
def test_share_dropped(name: str, p: float, graph: BipartiteGraph) -> None:
    """The number that leaves over 20 views lies within five standard deviations of a binomial."""
    trials = 20 * graph.num_edges
    generator = seeded()
    left = sum(
        graph.num_edges - AUGMENTATIONS[name](graph, p, generator=generator).num_edges for _ in range(20)
    )
    assert abs(left - p * trials) < 5 * math.sqrt(trials * p * (1 - p))


@pytest.mark.parametrize("p", [0.1, 0.6])
def test_each_edge_is_dropped_alike(p: float, graph: BipartiteGraph) -> None:
    generator, rounds = seeded(), 400
    kept = torch.zeros(graph.num_edges)
    for _ in range(rounds):
        view = edge_drop(graph, p, generator=generator)
        kept += view.contains(*graph.edge_index)
    deviation = (kept - (1 - p) * rounds) / math.sqrt(rounds * p * (1 - p))
    assert deviation.abs().max() < 5.5  # of 6,000 edges
    assert 0.95 < deviation.std() < 1.05


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_node_drop_takes_nodes_with_all_their_edges(p: float, graph: BipartiteGraph) -> None:
    generator, rounds = seeded(), 300
    before = graph.degrees()
    gone = [torch.zeros(400), torch.zeros(300)]
    for _ in range(rounds):
        view = node_drop(graph, p, generator=generator)
        emptied = [degree == 0 for degree in view.degrees()]
        for total, empty in zip(gone, emptied, strict=True):
            total += empty
        # An edge is missing only where one of its ends has lost everything.
        user, item = graph.edge_index
        lost = ~view.contains(user, item)
        assert (emptied[0][user[lost]] | emptied[1][item[lost]]).all()
    for total, degree in zip(gone, before, strict=True):
        busy = degree > 40  # so many neighbours do not all leave by chance
        share = total[busy] / rounds
        assert (share - p).abs().max() < 5 * math.sqrt(p * (1 - p) / rounds)


def test_node_drop_keeps_the_square_of_the_share(graph: BipartiteGraph) -> None:
    generator = seeded()
    shares = [node_drop(graph, 0.3, generator=generator).num_edges / graph.num_edges for _ in range(300)]
    assert abs(sum(shares) / len(shares) - 0.49) < 0.02


# -- edge_perturb --------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_perturb_replaces_by_pairs_that_did_not_exist(p: float, graph: BipartiteGraph) -> None:
    view = edge_perturb(graph, p, generator=seeded())
    old, new = keys_of(graph), keys_of(view)
    assert view.num_edges == graph.num_edges == len(new)
    added, dropped = len(new - old), len(old - new)
    assert added == dropped
    assert abs(dropped - p * 6000) < 5 * math.sqrt(6000 * p * (1 - p))


def test_perturb_adds_each_missing_pair_of_linked_nodes_alike() -> None:
    toy = BipartiteGraph(5, 6, torch.tensor([[0, 0, 1, 2, 3, 3], [0, 5, 1, 2, 3, 4]]))
    generator, rounds = seeded(), 4000
    added = torch.zeros(30)
    for _ in range(rounds):
        view = edge_perturb(toy, 0.5, generator=generator)
        keys = torch.tensor(sorted(keys_of(view) - keys_of(toy)), dtype=torch.int64)
        added[keys] += 1
    missing = torch.ones(30, dtype=torch.bool)
    missing[torch.tensor(sorted(keys_of(toy)))] = False
    missing[4 * 6 :] = False  # user 4 has no interaction and gets none
    assert not added[~missing].any()
    expected = 0.5 * 6 * rounds / 18
    deviation = (added[missing] - expected) / math.sqrt(expected)
    assert deviation.abs().max() < 4


def test_perturb_of_a_full_graph_has_nothing_to_add() -> None:
    full = BipartiteGraph(4, 5, torch.cartesian_prod(torch.arange(4), torch.arange(5)).T.contiguous())
    view = edge_perturb(full, 0.5, generator=seeded())
    assert view.num_edges < 20
    nearly = full.keep_edges(torch.arange(20) > 0)
    view = edge_perturb(nearly, 0.8, generator=seeded())
    assert 0 in keys_of(view)  # the one missing pair


# -- feature_mask --------------------------------------------------------------------------------


def test_mask_hides_attributes_as_missing(graph: BipartiteGraph) -> None:
    view = feature_mask(graph, 0.3, generator=seeded())
    assert torch.equal(view.edge_index, graph.edge_index)
    hidden_users, hidden_items = view.user_x.isnan(), view.item_x == -1
    assert torch.equal(view.user_x[~hidden_users], graph.user_x[~hidden_users])
    assert torch.equal(view.item_x[~hidden_items], graph.item_x[~hidden_items])
    for hidden in (hidden_users, hidden_items):
        count = hidden.numel()
        assert abs(int(hidden.sum()) - 0.3 * count) < 5 * math.sqrt(count * 0.21)


def test_mask_without_attributes_and_of_one_side(toy_graph: BipartiteGraph) -> None:
    assert feature_mask(toy_graph, 0.5, generator=seeded()) is toy_graph
    one_side = toy_graph.with_features(torch.rand(12, 2), None)
    view = feature_mask(one_side, 0.5, generator=seeded())
    assert view.item_x is None
    assert view.user_x.isnan().any()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.uint16, torch.complex64])
def test_mask_of_what_cannot_be_missing(dtype: torch.dtype, toy_graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match=f"{dtype} cannot be missing"):
        feature_mask(toy_graph.with_features(torch.ones(12, 2).to(dtype), None), 0.5)


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"none"}))
def test_other_types_are_referred_to_augment(name: str, toy_graph: BipartiteGraph) -> None:
    for other in (toy_graph.edge_index, toy_graph.to_hetero_data()):
        with pytest.raises(TypeError, match=f"got {type(other).__name__}; .* gclrec.augment"):
            AUGMENTATIONS[name](other, 0.5)


# -- dropping by degree --------------------------------------------------------------------------


def kept_share(augment: Augmentation, graph: BipartiteGraph, p: float, rounds: int = 60) -> torch.Tensor:
    generator = seeded()
    kept = torch.zeros(graph.num_edges)
    for _ in range(rounds):
        kept += augment(graph, p, generator=generator).contains(*graph.edge_index)
    return kept / rounds


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_degree_edge_drop_follows_its_formula(p: float, graph: BipartiteGraph) -> None:
    users, items = graph.degrees()
    weight = (users[graph.edge_index[0]] * items[graph.edge_index[1]]).double().rsqrt()
    low, high = 0.0, 1e6
    for _ in range(200):  # the constant, by bisection
        middle = (low + high) / 2
        low, high = (middle, high) if (middle * weight).clamp(max=1).mean() < 1 - p else (low, middle)
    chance = (low * weight).clamp(max=1)
    assert abs(float(chance.mean()) - (1 - p)) < 1e-9
    share = kept_share(degree_edge_drop, graph, p, 200)
    assert (share - chance).abs().max() < 0.2
    for bottom in (0.0, 0.2, 0.4, 0.6, 0.8):
        group = (chance >= bottom) & (chance < bottom + 0.2)
        if int(group.sum()) > 50:
            assert abs(float((share - chance)[group].mean())) < 0.01
    assert share[chance == 1].eq(1).all()


def test_the_two_ways_to_drop_by_degree_are_opposite(graph: BipartiteGraph) -> None:
    degree = graph.degrees()[1][graph.edge_index[1]]
    tail, head = degree <= 10, degree > 60
    plain = kept_share(edge_drop, graph, 0.4)
    by_degree = kept_share(degree_edge_drop, graph, 0.4)
    gca = kept_share(gca_edge_drop, graph, 0.4)
    assert by_degree[tail].mean() > plain[tail].mean() + 0.1 > gca[tail].mean() + 0.15
    assert by_degree[head].mean() < plain[head].mean() - 0.05 < gca[head].mean() - 0.1


def test_gca_never_exceeds_its_bound(graph: BipartiteGraph) -> None:
    gca_edge_drop(graph, 0.35, generator=seeded())
    chances = graph.remember(("gca_edge_drop", 0.35), lambda: None)
    assert chances.max() <= 0.7
    assert abs(float(chances.mean()) - 0.35) < 1e-5


def star_and_block() -> BipartiteGraph:
    """A user with 99 items that nobody else has, and 20 users who all have the same 20 items."""
    star = [(0, i) for i in range(99)]
    block = [(1 + u, 99 + i) for u in range(20) for i in range(20)]
    return BipartiteGraph(21, 119, torch.tensor(star + block).T.contiguous())


@pytest.mark.parametrize("p", [0.05, 0.1, 0.3])
def test_gca_follows_its_formula(p: float, graph: BipartiteGraph) -> None:
    """Importance is the logarithm of the mean degree of both ends; loops, where no chance is cut off."""
    for given in (graph, star_and_block()):
        users, items = (degree.tolist() for degree in given.degrees())
        importance = [math.log((users[u] + items[i]) / 2) for u, i in given.edge_index.T.tolist()]
        highest, mean = max(importance), sum(importance) / len(importance)
        expected = [(highest - s) / (highest - mean) * p for s in importance]
        gca_edge_drop(given, p, generator=seeded())
        chances = given.remember(("gca_edge_drop", p), lambda: None)
        if max(expected) <= 0.7:
            torch.testing.assert_close(chances, torch.tensor(expected), rtol=1e-4, atol=1e-6)
        else:  # the paper cuts off; here the rest is scaled up, so that the mean stays p
            assert (chances >= torch.tensor(expected).clamp(max=0.7) - 1e-5).all()


def test_gca_keeps_the_edges_of_a_hub() -> None:
    graph = star_and_block()
    share = kept_share(gca_edge_drop, graph, 0.4, 200)
    assert share[:99].eq(1).all()  # the mean degree is 50 there and 20 in the block
    alone = BipartiteGraph(1, 99, torch.stack([torch.zeros(99, dtype=torch.int64), torch.arange(99)]))
    share = kept_share(gca_edge_drop, alone, 0.3, 800)
    assert (share - 0.7).abs().max() < 5 * math.sqrt(0.21 / 800)  # all alike


def test_equal_degrees_are_plain_dropping() -> None:
    regular = BipartiteGraph(6, 6, torch.stack([torch.arange(36) // 6, torch.arange(36) % 6]))
    for augment in (degree_edge_drop, gca_edge_drop):
        share = kept_share(augment, regular, 0.3, 800)
        assert (share - 0.7).abs().max() < 5 * math.sqrt(0.21 / 800)


def test_capped_to_mean() -> None:
    weights = torch.tensor([0.0, 1.0, 2.0, 3.0, 50.0])
    result = capped_to_mean(weights, 0.4, 1.0)
    torch.testing.assert_close(result, torch.tensor([0.0, 1 / 6, 2 / 6, 3 / 6, 1.0]))
    torch.testing.assert_close(capped_to_mean(weights, 0.9, 1.0), torch.tensor([0.5, 1.0, 1.0, 1.0, 1.0]))
    torch.testing.assert_close(capped_to_mean(torch.zeros(4), 0.3, 1.0), torch.full((4,), 0.3))
    assert capped_to_mean(torch.zeros(0), 0.3, 1.0).shape == (0,)


# -- the table -----------------------------------------------------------------------------------


def test_table() -> None:
    assert next(iter(AUGMENTATIONS)) == "none"
    for name, augment in AUGMENTATIONS.items():
        assert augment.__name__ == name
        assert "https://" in augment.__doc__ or name == "none"
    assert none(graph := BipartiteGraph(1, 1, torch.zeros(2, 1, dtype=torch.int64)), 0.3) is graph
