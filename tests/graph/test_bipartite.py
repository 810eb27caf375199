"""The graph: what it says about its edges, by every way of making it, against slow and obvious answers."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.graph.bipartite import EDGE_TYPE, BipartiteGraph


@st.composite
def graphs(draw: st.DrawFn) -> BipartiteGraph:
    """Any small graph, its edges in any order, some nodes without edges."""
    num_users, num_items = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    pairs = draw(
        st.lists(st.tuples(st.integers(0, num_users - 1), st.integers(0, num_items - 1)), unique=True)
    )
    edge_index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T.contiguous()
    return BipartiteGraph(num_users, num_items, edge_index)


@st.composite
def graphs_and_masks(draw: st.DrawFn) -> tuple[BipartiteGraph, torch.Tensor]:
    graph = draw(graphs())
    kept = draw(st.lists(st.booleans(), min_size=graph.num_edges, max_size=graph.num_edges))
    return graph, torch.tensor(kept, dtype=torch.bool)


def pairs_of(graph: BipartiteGraph) -> list[tuple[int, int]]:
    return [(u, i) for u, i in graph.edge_index.T.tolist()]


def assert_same(one: BipartiteGraph, other: BipartiteGraph) -> None:
    """Both graphs say the same about everything."""
    assert (one.num_users, one.num_items, one.num_edges) == (
        other.num_users,
        other.num_items,
        other.num_edges,
    )
    assert torch.equal(one.edge_index, other.edge_index)
    for a, b in zip(one.degrees(), other.degrees(), strict=True):
        assert torch.equal(a, b)
    x = torch.randn(one.num_users, 3), torch.randn(one.num_items, 3)
    for exponent in (0.5, 0.3):
        mine, theirs = (graph.weighted(exponent).propagate(*x) for graph in (one, other))
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    every_user = torch.arange(one.num_users).repeat_interleave(one.num_items)
    every_item = torch.arange(one.num_items).repeat(one.num_users)
    assert torch.equal(one.contains(every_user, every_item), other.contains(every_user, every_item))
    for user in range(one.num_users):
        n = torch.arange(one.num_items - int(one.user_degrees[user]))
        of_user = torch.full_like(n, user)
        assert torch.equal(one.nth_missing_item(of_user, n), other.nth_missing_item(of_user, n))


# -- against slow answers ------------------------------------------------------------------------


@given(graphs())
@settings(deadline=None)
def test_degrees_and_contains_are_counts(graph: BipartiteGraph) -> None:
    pairs = pairs_of(graph)
    users, items = graph.degrees()
    assert users.tolist() == [sum(u == n for u, _ in pairs) for n in range(graph.num_users)]
    assert items.tolist() == [sum(i == n for _, i in pairs) for n in range(graph.num_items)]
    assert torch.equal(graph.user_degrees, users)
    for user in range(graph.num_users):
        for item in range(graph.num_items):
            there = graph.contains(torch.tensor([user]), torch.tensor([item]))
            assert bool(there) == ((user, item) in pairs)


def test_what_is_out_of_range_is_no_interaction() -> None:
    """An item beyond the last one is not the next user's first."""
    graph = BipartiteGraph(3, 2, torch.tensor([[0, 1, 2], [1, 0, 1]]))
    users, items = torch.tensor([0, 1, 2, 1, 0, -1, 3]), torch.tensor([2, -1, -2, 0, 1, 3, -1])
    assert graph.contains(users, items).tolist() == [False, False, False, True, True, False, False]


@pytest.mark.parametrize("places", [[0, 3], [3, 0], [3, 0, 3, 3], [-1, -2], []])
def test_drop_edges_takes_places_of_any_kind(places: list[int], toy_graph: BipartiteGraph) -> None:
    kept = torch.ones(40, dtype=torch.bool)
    kept[places] = False
    view, expected = toy_graph.drop_edges(torch.tensor(places).long()), toy_graph.keep_edges(kept)
    assert torch.equal(view.edge_index, expected.edge_index)
    rows = torch.randn(12, 2), torch.randn(10, 2)
    found, wanted = (graph.adjacency.propagate(*rows) for graph in (view, expected))
    assert all(map(torch.equal, found, wanted))
    with pytest.raises(IndexError):
        toy_graph.drop_edges(torch.tensor([40]))


@given(graphs_and_masks())
@settings(deadline=None)
def test_missing_items_are_listed_in_order(case: tuple[BipartiteGraph, torch.Tensor]) -> None:
    """Of the graph itself and of a view, which shares its sorted edges."""
    whole, mask = case
    for graph in (whole, whole.keep_edges(mask)):
        pairs = set(pairs_of(graph))
        for user in range(graph.num_users):
            missing = [item for item in range(graph.num_items) if (user, item) not in pairs]
            n = torch.arange(len(missing))
            assert graph.nth_missing_item(torch.full_like(n, user), n).tolist() == missing
        keys = torch.arange(graph.num_users * graph.num_items)
        there = graph.edges.holds(keys)
        assert {(k // graph.num_items, k % graph.num_items) for k in keys[there].tolist()} == pairs


@given(graphs())
@settings(deadline=None)
def test_components_are_those_of_networkx(graph: BipartiteGraph) -> None:
    count, users, items = graph.components()
    expected = list(networkx.connected_components(graph.to_networkx()))
    assert count == len(expected)
    labels = {("user", n): label for n, label in enumerate(users.tolist())}
    labels |= {("item", n): label for n, label in enumerate(items.tolist())}
    for component in expected:
        assert len({labels[node] for node in component}) == 1


# -- views share sorted edges, without a difference to rebuilt graphs -----------------------------


def rebuilt(graph: BipartiteGraph) -> BipartiteGraph:
    return BipartiteGraph(graph.num_users, graph.num_items, graph.edge_index.clone())


@given(graphs_and_masks())
@settings(deadline=None)
def test_keep_edges_equals_the_rebuilt_graph(case: tuple[BipartiteGraph, torch.Tensor]) -> None:
    graph, mask = case
    before = graph.edge_index.clone()
    view = graph.keep_edges(mask)
    assert torch.equal(view.edge_index, before[:, mask])
    assert view.num_edges == int(mask.sum())
    assert_same(view, rebuilt(view))
    assert torch.equal(graph.edge_index, before)

    half = torch.arange(view.num_edges) % 2 == 0  # a view of a view
    assert torch.equal(view.keep_edges(half).edge_index, before[:, mask][:, half])
    assert_same(view.keep_edges(half), rebuilt(view.keep_edges(half)))


@given(graphs_and_masks(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_keep_nodes_keeps_edges_with_both_ends(case: tuple[BipartiteGraph, torch.Tensor], random) -> None:
    whole, mask = case
    for graph in (whole, whole.keep_edges(mask)):
        users = torch.tensor([random.random() < 0.6 for _ in range(graph.num_users)])
        items = torch.tensor([random.random() < 0.6 for _ in range(graph.num_items)])
        view = graph.keep_nodes(users, items)
        assert pairs_of(view) == [(u, i) for u, i in pairs_of(graph) if users[u] and items[i]]
        assert_same(view, rebuilt(view))


@given(graphs_and_masks(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_exchange_equals_dropping_and_adding(case: tuple[BipartiteGraph, torch.Tensor], random) -> None:
    """From a graph and from a view of it; and a view of the result is again like a rebuilt one."""
    whole, mask = case
    for graph in (whole, whole.keep_edges(mask)):
        ordered = sorted(pairs_of(graph))
        stays = torch.tensor([random.random() < 0.5 for _ in ordered], dtype=torch.bool)
        dropped = stays.logical_not().nonzero().squeeze(1)
        missing = [
            (u, i)
            for u in range(graph.num_users)
            for i in range(graph.num_items)
            if (u, i) not in ordered and random.random() < 0.4
        ]
        new = torch.tensor(missing, dtype=torch.int64).reshape(-1, 2).T
        expected = sorted([pair for pair, kept in zip(ordered, stays, strict=True) if kept] + missing)
        view = graph.exchange_edges(dropped, *new)
        fast = view.adjacency  # made before the view's own rows are
        assert view.num_edges == len(expected)
        assert pairs_of(view) == expected
        assert_same(view, rebuilt(view))
        assert view.adjacency is fast
        again = graph.exchange_edges(dropped, *new)  # and the rows before the adjacency
        assert torch.equal(torch.cat(again.degrees()), torch.cat(rebuilt(view).degrees()))
        assert_same(again, rebuilt(view))
        some = torch.arange(view.num_edges) % 3 > 0
        assert_same(view.keep_edges(some), rebuilt(view.keep_edges(some)))


def test_views_share_rows_only_while_they_have_lost_little(toy_graph: BipartiteGraph) -> None:
    shared = toy_graph.adjacency.by_user.to
    for count, shares in ((33, True), (32, True), (31, False), (0, False)):
        view = toy_graph.keep_edges(torch.arange(40) < count)
        assert (view.adjacency.by_user.to is shared) == shares
        assert_same(view, rebuilt(view))
        attributes = view.with_features(torch.rand(12, 2), None)
        assert attributes.adjacency is view.adjacency


def test_add_edges(toy_graph: BipartiteGraph) -> None:
    new = torch.tensor([[11, 0], [3, 9]])
    larger = toy_graph.add_edges(new)
    assert torch.equal(larger.edge_index, torch.cat([toy_graph.edge_index, new], dim=1))
    assert_same(larger, rebuilt(larger))
    with pytest.raises(ValueError, match="twice"):
        toy_graph.add_edges(toy_graph.edge_index[:, :1])


def test_attributes_go_along(toy_graph: BipartiteGraph) -> None:
    x = torch.rand(12, 3), torch.rand(10, 2)
    graph = toy_graph.with_features(*x)
    assert graph.adjacency is toy_graph.adjacency  # the same edges, prepared once
    keep = torch.ones(40, dtype=torch.bool)
    for view in (graph.keep_edges(keep), graph.add_edges(torch.tensor([[11], [9]])), graph.to("cpu")):
        assert view.user_x is graph.user_x
        assert view.item_x is graph.item_x


def test_what_is_remembered_is_made_once_and_stays_with_the_graph(toy_graph: BipartiteGraph) -> None:
    made = []
    for _ in range(2):
        toy_graph.remember("answer", lambda: made.append(1) or 42)
    assert made == [1]
    view = toy_graph.keep_edges(torch.ones(40, dtype=torch.bool))
    assert view.remember("answer", lambda: 43) == 43


# -- there and back ------------------------------------------------------------------------------


@given(graphs())
@settings(deadline=None)
def test_round_trips(graph: BipartiteGraph) -> None:
    ordered = BipartiteGraph(
        graph.num_users,
        graph.num_items,
        torch.tensor(sorted(pairs_of(graph)), dtype=torch.int64).reshape(-1, 2).T.contiguous(),
    )
    assert_same(BipartiteGraph.from_scipy(graph.to_scipy()), ordered)
    assert_same(BipartiteGraph.from_networkx(graph.to_networkx()), ordered)
    assert_same(BipartiteGraph.from_hetero_data(graph.to_hetero_data()), graph)


def test_to_scipy_is_the_matrix_of_ones(toy_graph: BipartiteGraph) -> None:
    dense = np.zeros((12, 10), dtype=np.float32)
    for user, item in pairs_of(toy_graph):
        dense[user, item] = 1
    matrix = toy_graph.to_scipy()
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix.toarray(), dense)
    stored_zero = scipy.sparse.coo_array(
        (np.array([1.0, 0.0]), (np.array([0, 1]), np.array([1, 1]))), shape=(2, 2)
    )
    assert pairs_of(BipartiteGraph.from_scipy(stored_zero)) == [(0, 1)]


def test_hetero_data_carries_attributes_and_other_edge_types(toy_graph: BipartiteGraph) -> None:
    graph = toy_graph.with_features(torch.rand(12, 3), None)
    data = graph.to_hetero_data()
    assert data.validate()
    assert data["user"].num_nodes == 12
    assert data["item"].num_nodes == 10
    assert torch.equal(data[EDGE_TYPE].edge_index, graph.edge_index)
    back = BipartiteGraph.from_hetero_data(data)
    assert back.user_x is graph.user_x
    assert back.item_x is None
    data["user", "likes", "item"].edge_index = graph.edge_index[:, :3]
    assert BipartiteGraph.from_hetero_data(data, ("user", "likes", "item")).num_edges == 3


def test_from_interactions_sorts() -> None:
    users, items = Vocabulary.of(["a", "b"]), Vocabulary.of(["x", "y", "z"])
    pairs = Interactions(users=users, items=items, user=np.array([1, 0, 1]), item=np.array([2, 1, 0]))
    assert pairs_of(BipartiteGraph.from_interactions(pairs)) == [(0, 1), (1, 0), (1, 2)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_edges", [0, 1, 2, 5000])
@pytest.mark.parametrize("ordered", [True, False])
def test_from_interactions_equals_the_constructor(
    num_edges: int, ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever order the pairs come in, and although their arrays must not be written to."""
    monkeypatch.setattr("gclrec.graph.csr._BLOCK", 700)
    keys = np.random.default_rng(0).permutation(90 * 110)[:num_edges]
    user, item = np.divmod(np.sort(keys) if ordered else keys, 110)
    for ends in (user, item):
        ends.flags.writeable = False
    pairs = Interactions(Vocabulary.of(range(90)), Vocabulary.of(range(110)), user, item)
    graph = BipartiteGraph.from_interactions(pairs)
    expected = BipartiteGraph(90, 110, torch.from_numpy(np.stack(np.divmod(np.sort(keys), 110))))
    assert torch.equal(graph.edge_index, expected.edge_index)
    assert graph.edge_index.dtype == torch.int64
    for name in ("user_of", "user_to", "user_ptr", "item_of", "item_to", "item_ptr", "item_order"):
        assert torch.equal(getattr(graph.edges, name), getattr(expected.edges, name)), name
    assert torch.equal(graph.edges.item_order, torch.argsort(expected.edge_index[1], stable=True))
    assert graph.num_edges == num_edges
    mask = torch.arange(num_edges) % 3 > 0
    assert pairs_of(graph.keep_edges(mask)) == pairs_of(expected.keep_edges(mask))


@pytest.mark.parametrize(
    ("item", "message"), [([0, 1, 0], "twice"), ([0, 1, 3], "item 3; items are"), ([-1, 1, 0], "item -1")]
)
def test_from_interactions_refuses_what_the_constructor_refuses(item: list[int], message: str) -> None:
    pairs = Interactions(
        Vocabulary.of(["a", "b"]), Vocabulary.of(["x", "y", "z"]), np.array([1, 0, 1]), np.array(item)
    )
    with pytest.raises(ValueError, match=message):
        BipartiteGraph.from_interactions(pairs)


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        (torch.zeros(3, 4, dtype=torch.int64), r"int64 \(2, E\).*got torch.int64 \(3, 4\)"),
        (torch.zeros(2, 4), r"got torch.float32 \(2, 4\)"),
        (torch.zeros(2, dtype=torch.int64), r"\(2,\)"),
        (torch.tensor([[0, 3], [0, 0]]), "row 0 holds user 3; users are numbered 0 to 2"),
        (torch.tensor([[0, 1], [0, -1]]), "row 1 holds item -1; items are numbered 0 to 1"),
        (torch.tensor([[0, 1, 0], [1, 0, 1]]), "a pair twice"),
    ],
)
def test_bad_edges(edge_index: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BipartiteGraph(3, 2, edge_index)


def test_attributes_of_other_nodes(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match="user_x must have a row for each of 12 nodes"):
        BipartiteGraph(12, 10, toy_graph.edge_index, user_x=torch.ones(11, 3))
    with pytest.raises(ValueError, match="item_x must have a row for each of 10 nodes"):
        toy_graph.with_features(None, torch.ones(12, 3))


def test_another_edge_type_is_named(toy_graph: BipartiteGraph) -> None:
    data = toy_graph.to_hetero_data()
    with pytest.raises(ValueError, match=r"'buys', 'item'\) has no edge_index; .*interacts"):
        BipartiteGraph.from_hetero_data(data, ("user", "buys", "item"))
    data[EDGE_TYPE].adj_t = data[EDGE_TYPE].pop("edge_index")
    with pytest.raises(ValueError, match="has no edge_index"):
        BipartiteGraph.from_hetero_data(data)


def test_bad_masks(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match=r"bool \(40,\)"):
        toy_graph.keep_edges(torch.ones(39, dtype=torch.bool))
    with pytest.raises(ValueError, match="int64"):
        toy_graph.keep_edges(torch.ones(40, dtype=torch.int64))


def test_repr_tells_the_size(toy_graph: BipartiteGraph) -> None:
    assert repr(toy_graph) == "BipartiteGraph(users=12, items=10, edges=40)"
