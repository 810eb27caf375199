"""Baselines beside their formulas on dense matrices, and data whose right answer is known."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import polars as pl
import pytest
import torch

from gclrec.baselines import (
    BASELINES,
    Scorer,
    content_knn,
    ease,
    gf_cf,
    group_popularity,
    ials,
    item_knn,
    linear_map,
    popularity,
    pure_svd,
    rp3beta,
)
from gclrec.baselines.pure_svd import truncated_svd
from gclrec.common.errors import InputError, SettingError
from gclrec.data.schema import AttributeTable, Schema
from gclrec.evaluation import Ragged
from gclrec.graph.bipartite import BipartiteGraph

USERS, ITEMS = 30, 24
# The package has functions of these names.
EASE, LINEAR_MAP = (import_module(f"gclrec.baselines.{name}") for name in ("ease", "linear_map"))


@pytest.fixture
def graph() -> BipartiteGraph:
    """Return a random graph with skewed items; user 29 and item 23 have no interaction."""
    random = np.random.default_rng(5)
    chance = np.linspace(0.6, 0.1, ITEMS - 1)
    edges = np.argwhere(random.random((USERS - 1, ITEMS - 1)) < chance)
    return BipartiteGraph(USERS, ITEMS, torch.from_numpy(edges.T.copy()))


def content(count: int, seed: int = 3) -> AttributeTable:
    """Return a kind, tags (some have none) and a vector for each item, and a number that is no content."""
    random = np.random.default_rng(seed)
    tags = [[f"t{tag}" for tag in np.flatnonzero(row)] or None for row in random.random((count, 7)) < 0.3]
    columns = {
        "id": range(count),
        "kind": [f"k{kind}" for kind in random.integers(0, 3, count)],
        "tags": tags,
        "cover": random.normal(size=(count, 3)).tolist(),
        "price": random.random(count),
    }
    frame = pl.DataFrame(columns)
    return Schema.fit(frame, min_count=1).encode(frame)


def fitted(name: str, graph: BipartiteGraph, **settings: object) -> Scorer:
    entry = BASELINES[name]
    settings = {"fields": "kind"} | settings if name == "group_popularity" else settings
    counts = {None: [], "items": [graph.num_items], "users": [graph.num_users]}
    return entry.fit(graph, *map(content, counts[entry.attributes_of]), **settings)


def dense(graph: BipartiteGraph) -> np.ndarray:
    matrix = np.zeros((graph.num_users, graph.num_items))
    matrix[tuple(graph.edge_index.numpy())] = 1.0
    return matrix


def normalised(matrix: np.ndarray) -> np.ndarray:
    users, items = (np.maximum(matrix.sum(axis), 1.0) for axis in (1, 0))
    return matrix / np.sqrt(users)[:, None] / np.sqrt(items)


def check_ranking(lists: torch.Tensor, scores: np.ndarray, hidden: np.ndarray) -> None:
    """The listed items have the highest scores of those not hidden, in order; near ties may swap."""
    for row, listed in enumerate(lists.tolist()):
        open_items = [item for item in range(scores.shape[1]) if not hidden[row, item]]
        best = sorted((scores[row, item] for item in open_items), reverse=True)[: len(listed)]
        named = [item for item in listed if item >= 0]
        assert len(set(named)) == len(best)
        assert set(named) <= set(open_items)
        assert [scores[row, item] for item in named] == pytest.approx(best, rel=1e-4, abs=1e-5)


def ranked(scorer, graph: BipartiteGraph, k: int = 30) -> torch.Tensor:
    seen = Ragged.from_pairs(*graph.edge_index.numpy(), graph.num_users)
    users = np.arange(graph.num_users)[::-1].copy()
    return scorer.top_k(users, k, seen.take(users)).flip(0)


def test_popularity(graph: BipartiteGraph) -> None:
    matrix = dense(graph)
    scores = np.repeat(matrix.sum(0)[None], USERS, axis=0)
    lists = ranked(popularity(graph), graph)
    check_ranking(lists, scores, matrix > 0)
    order = sorted(range(ITEMS), key=lambda item: (-scores[0, item], item))
    assert lists[29, :ITEMS].tolist() == order  # a user without interactions sees all, ties by number


@pytest.mark.parametrize("smoothing", [0.0, 7.0])
@pytest.mark.parametrize("names", [("kind",), ("kind", "size")])
def test_group_popularity(graph: BipartiteGraph, names: tuple[str, ...], smoothing: float) -> None:
    """Groups are the users with the same values, missing ones too; the share is smoothed by that of all."""
    frame = pl.DataFrame(
        {
            "id": range(USERS),
            "kind": [("a", "b", None)[user % 3] for user in range(USERS)],
            "size": [("big", "small")[user // 2 % 2] for user in range(USERS)],
            "tags": [["x", "y"]] * USERS,
        }
    )
    table, matrix = Schema.fit(frame).encode(frame), dense(graph)
    found = group_popularity(graph, table, fields=", ".join(names), smoothing=smoothing).vectors
    rows = frame.select(names).rows()
    for user in range(USERS):
        alike = [other for other in range(USERS) if rows[other] == rows[user]]
        counts = matrix[alike].sum(0) + smoothing * matrix.sum(0) / matrix.sum()
        expected = counts / (matrix[alike].sum() + smoothing)
        np.testing.assert_allclose((found.items @ found.users[user]).numpy(), expected, atol=1e-6)


def test_groups_of_popularity_are_large_and_their_fields_are_there(graph: BipartiteGraph) -> None:
    count = 200
    wide = BipartiteGraph(count, ITEMS, torch.stack([torch.arange(count), torch.arange(count) % ITEMS]))
    frame = pl.DataFrame(
        {
            "id": range(count),
            "town": [f"t{user % 50}" for user in range(count)],  # leaves 4 users, and so is left out
            "sex": [("f", "m")[user % 2] for user in range(count)],
            "age": [("young", "old", "older")[user % 3] for user in range(count)],
        }
    )
    table = Schema.fit(frame).encode(frame)
    assert group_popularity(wide, table).vectors.users.shape == (count, 6)
    assert group_popularity(wide, table, fields="town").vectors.users.shape == (count, 50)
    with pytest.raises(SettingError, match="'colour' is not one of the categories: town, sex, age"):
        group_popularity(wide, table, fields="sex,colour")
    with pytest.raises(InputError, match="no category of the users leaves groups of 30 users"):
        group_popularity(graph, content(USERS))


@pytest.mark.parametrize("name", BASELINES)
def test_lists_among_some_items_are_the_whole_lists_without_the_others(
    name: str, graph: BipartiteGraph
) -> None:
    scorer, some = fitted(name, graph), np.array([1, 4, 5, 11, 20, 23])
    seen = Ragged.from_pairs(*graph.edge_index.numpy(), graph.num_users)
    users = np.arange(graph.num_users)
    whole, few = scorer.top_k(users, ITEMS, seen), scorer.top_k(users, 6, seen, some)
    for row, listed in zip(whole.tolist(), few.tolist(), strict=True):
        expected = [item for item in row if item in some]
        assert listed == expected + [-1] * (6 - len(expected))


@pytest.mark.parametrize("shrink", [0.0, 7.0])
@pytest.mark.parametrize("neighbours", [1, 3, 200])
def test_item_knn(graph: BipartiteGraph, neighbours: int, shrink: float) -> None:
    matrix = dense(graph)
    likers = [set(np.flatnonzero(matrix[:, item])) for item in range(ITEMS)]

    def cosine(a: int, b: int) -> float:
        shared = len(likers[a] & likers[b])
        return shared / (math.sqrt(len(likers[a]) * len(likers[b])) + shrink) if shared else 0.0

    scores = np.zeros((USERS, ITEMS))
    for target in range(ITEMS):
        others = [item for item in range(ITEMS) if item != target]
        near = sorted(others, key=lambda item: (-cosine(item, target), item))[:neighbours]
        for user in range(USERS):
            scores[user, target] = sum(cosine(item, target) for item in near if matrix[user, item])
    lists = ranked(item_knn(graph, neighbours=neighbours, shrink=shrink), graph)
    check_ranking(lists, scores, (matrix > 0) | (scores == 0))


def contents(table: AttributeTable) -> np.ndarray:
    """Return TF-IDF of kind, tags and cover by loops, a row of unit length for each item."""
    rows: list[dict[tuple[str, int], float]] = [{} for _ in range(ITEMS)]
    for column in table.columns[:3]:
        for item in range(ITEMS):
            if column.codes is None:
                found = dict(enumerate(column.numbers[item].tolist()))
            else:
                codes = column.codes[column.ptr[item] : column.ptr[item + 1]].tolist()
                found = {code: math.log(ITEMS / int((column.codes == code).sum())) for code in codes}
            length = math.sqrt(sum(value**2 for value in found.values()))
            rows[item] |= {(column.field.name, code): value / length for code, value in found.items()}
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def test_content_knn(graph: BipartiteGraph) -> None:
    """The cosine of weighted contents, by loops; item 23 has no interaction and is ranked like all others."""
    table, matrix = content(ITEMS), dense(graph)
    scores = matrix @ contents(table) @ contents(table).T
    lists = ranked(content_knn(graph, table), graph)
    check_ranking(lists, scores, (matrix > 0) | (scores == 0))
    assert (lists[:, :5] == 23).any()


@pytest.mark.parametrize("l2", [0.3, 10.0])
def test_linear_map(graph: BipartiteGraph, l2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each user's ridge regression on its own; what a cold item has does not enter the equations."""
    monkeypatch.setattr(LINEAR_MAP, "_USERS", 7)
    table, matrix = content(ITEMS), dense(graph)
    rows, warm = contents(table), matrix.any(0)
    assert not warm[23]
    scores = np.zeros((USERS, ITEMS))
    for user in range(USERS):
        penalty = l2 * np.eye(rows.shape[1])
        weights = np.linalg.solve(rows[warm].T @ rows[warm] + penalty, rows[warm].T @ matrix[user, warm])
        scores[user] = rows @ weights
    lists = ranked(linear_map(graph, table, l2=l2), graph)
    check_ranking(lists, scores, (matrix > 0) | (scores == 0))
    assert (lists[:, :8] == 23).any()


def test_a_strong_penalty_makes_linear_map_content_knn(graph: BipartiteGraph) -> None:
    table, some = content(ITEMS), np.arange(12, ITEMS)
    users = np.arange(USERS - 1)
    strong, knn = linear_map(graph, table, l2=1e5), content_knn(graph, table)
    assert torch.equal(strong.top_k(users, 3, None, some), knn.top_k(users, 3, None, some))


@pytest.mark.parametrize("name", ["content_knn", "linear_map"])
def test_content_needs_more_than_numbers(graph: BipartiteGraph, name: str) -> None:
    frame = pl.DataFrame({"id": range(ITEMS), "price": np.arange(ITEMS) / 2})
    with pytest.raises(InputError, match=f"{name}: the item attributes are single numbers only"):
        BASELINES[name].fit(graph, Schema.fit(frame).encode(frame))


@pytest.mark.parametrize("dim", [1, 5, 100])
def test_pure_svd(graph: BipartiteGraph, dim: int) -> None:
    matrix = dense(graph)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    scores = (left[:, :dim] * values[:dim]) @ right[:dim]
    scorer = pure_svd(graph, dim=dim)
    found = (scorer.vectors.users @ scorer.vectors.items.T).numpy()
    assert found == pytest.approx(scores, abs=1e-4)
    check_ranking(ranked(scorer, graph), found, matrix > 0)


@pytest.mark.parametrize(("rank", "low_pass"), [(3, 0.3), (8, 2.0), (500, 1.0), (3, 0.0)])
def test_gf_cf(graph: BipartiteGraph, rank: int, low_pass: float) -> None:
    matrix = dense(graph)
    half = normalised(matrix)
    _, _, right = np.linalg.svd(half, full_matrices=False)
    root = np.sqrt(matrix.sum(0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    ideal = np.diag(inverse) @ right[:rank].T @ right[:rank] @ np.diag(root)
    scores = matrix @ (half.T @ half + low_pass * ideal)
    lists = ranked(gf_cf(graph, rank=rank, low_pass=low_pass), graph)
    check_ranking(lists, scores, (matrix > 0) | (np.abs(scores) < 1e-12))


@pytest.mark.parametrize(("exponent", "damping"), [(1.0, 0.6), (0.0, 0.0), (1.7, 1.2)])
@pytest.mark.parametrize("neighbours", [1, 3, 200])
def test_rp3beta(graph: BipartiteGraph, neighbours: int, exponent: float, damping: float) -> None:
    """Every walk by itself: from each item of the user to each of its users and on to each of theirs."""
    matrix = dense(graph)
    users, items = matrix.sum(1), matrix.sum(0)
    weights = np.zeros((ITEMS, ITEMS))
    for i in range(ITEMS):
        for v in np.flatnonzero(matrix[:, i]):
            for j in np.flatnonzero(matrix[v]):
                weights[i, j] += (1 / items[i] / users[v]) ** exponent / items[j] ** damping
    np.fill_diagonal(weights, 0.0)
    scores = np.zeros((USERS, ITEMS))
    for i in range(ITEMS):
        for j in sorted(range(ITEMS), key=lambda j: (-weights[i, j], j))[:neighbours]:
            scores[:, j] += matrix[:, i] * weights[i, j]
    lists = ranked(rp3beta(graph, neighbours=neighbours, exponent=exponent, damping=damping), graph)
    check_ranking(lists, scores, (matrix > 0) | (scores == 0))


@pytest.mark.parametrize("l2", [0.5, 250.0])
def test_ease(graph: BipartiteGraph, l2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each column is the ridge regression of its item on all others, whatever blocks are written."""
    monkeypatch.setattr(EASE, "_COLUMNS", 7)
    matrix = dense(graph)
    expected = np.zeros((ITEMS, ITEMS))
    for item in range(ITEMS):
        others = [other for other in range(ITEMS) if other != item]
        x = matrix[:, others]
        expected[others, item] = np.linalg.solve(x.T @ x + l2 * np.eye(ITEMS - 1), x.T @ matrix[:, item])
    scorer = ease(graph, l2=l2)
    assert scorer.weights == pytest.approx(expected, abs=1e-10)
    scores = matrix @ expected
    check_ranking(ranked(scorer, graph), scores, (matrix > 0) | (np.abs(scores) < 1e-12))


def test_an_l2_too_small_to_solve_with_is_refused() -> None:
    """Two items of the same users: without an L2 their weights are not determined."""
    graph = BipartiteGraph(3, 2, torch.tensor([[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1]]))
    with pytest.raises(InputError, match="an l2 of 1e-300 is too small"):
        ease(graph, l2=1e-300)


def test_ease_is_refused_where_its_weights_do_not_fit(
    graph: BipartiteGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 16.0 * ITEMS**2
    monkeypatch.setattr(EASE, "free_bytes", lambda: needed)
    ease(graph)
    monkeypatch.setattr(EASE, "free_bytes", lambda: needed - 1)
    with pytest.raises(
        InputError, match=f"between {ITEMS} items take .* GiB .* enough for {ITEMS - 1} items"
    ):
        ease(graph)


def slow_ials(matrix: np.ndarray, start: np.ndarray, weight: float, l2: float, power: float, rounds: int):
    """One node at a time, every pair with its weight; returns users and items."""
    count, dim = matrix.shape, start.shape[1]
    everything = [matrix.sum(1) + weight * count[1], matrix.sum(0) + weight * count[0]]
    total = sum(part.sum() for part in everything)
    l2 *= total / sum((part**power).sum() for part in everything)

    def solved(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        found = np.zeros((len(rows), dim))
        for node, row in enumerate(rows):
            left = l2 * (row.sum() + weight * len(row)) ** power * np.eye(dim)
            for other, value in enumerate(row):
                left += (value + weight) * np.outer(others[other], others[other])
            found[node] = np.linalg.solve(left, row @ others)
        return found

    items = start
    users = solved(matrix, items)
    for _ in range(rounds):
        items = solved(matrix.T, users)
        users = solved(matrix, items)
    return users, items


@pytest.mark.parametrize(("weight", "l2", "power"), [(0.1, 0.01, 1.0), (0.5, 0.1, 0.0), (1.0, 0.002, 0.6)])
def test_ials(
    graph: BipartiteGraph, weight: float, l2: float, power: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weighted least squares of all pairs; the blocks that are solved together do not count."""
    monkeypatch.setattr("gclrec.baselines.least_squares._NUMBERS", 5 * 5 * 7)
    dim, rounds = 5, 3
    start = torch.randn(ITEMS, dim, generator=torch.Generator().manual_seed(4)) * 0.2 / math.sqrt(dim)
    users, items = slow_ials(dense(graph), start.double().numpy(), weight, l2, power, rounds)
    settings = {"unobserved": weight, "l2": l2, "l2_exponent": power}
    scorer = ials(graph, dim=dim, iterations=rounds, start_scale=0.2, seed=4, **settings)
    assert scorer.vectors.users.numpy() == pytest.approx(users, abs=2e-4)
    assert scorer.vectors.items.numpy() == pytest.approx(items, abs=2e-4)
    assert np.abs(items).mean() > 0.05


def test_rounds_of_ials_lower_what_it_minimises(graph: BipartiteGraph) -> None:
    matrix, weight, l2 = dense(graph), 0.2, 0.02

    def loss(rounds: int) -> float:
        users, items = (
            part.double().numpy()
            for part in ials(graph, dim=4, unobserved=weight, l2=l2, iterations=rounds).vectors
        )
        scores = users @ items.T
        masses = matrix.sum(1) + weight * ITEMS, matrix.sum(0) + weight * USERS
        sizes = [(mass * (part**2).sum(1)).sum() for mass, part in zip(masses, (users, items), strict=True)]
        return float((matrix * (scores - 1) ** 2).sum() + weight * (scores**2).sum() + l2 * sum(sizes))

    losses = [loss(rounds) for rounds in (1, 2, 4, 8)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.99 * losses[0]


def test_many_directions_of_a_larger_matrix_are_nearly_the_best() -> None:
    random = np.random.default_rng(1)
    edges = torch.from_numpy(np.argwhere(random.random((400, 300)) < 0.05).T.copy())
    graph = BipartiteGraph(400, 300, edges)
    half = normalised(dense(graph))
    found = truncated_svd(graph.adjacency, 60)
    best = np.linalg.svd(half, compute_uv=False)
    approximation = (found.user_vectors * found.values) @ found.item_vectors.T
    lost = np.linalg.norm(half - approximation.numpy())
    assert lost <= 1.01 * math.sqrt((best[60:] ** 2).sum())
    assert (found.item_vectors.T @ found.item_vectors).numpy() == pytest.approx(np.eye(60), abs=1e-4)


def test_blocks_change_nothing(graph: BipartiteGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    edges = torch.from_numpy(np.argwhere(random.random((200, 150)) < 0.1).T.copy())
    larger = BipartiteGraph(200, 150, edges)
    whole = {name: ranked(fitted(name, larger), larger, k=10) for name in BASELINES}
    monkeypatch.setattr("gclrec.baselines.scorers._SCORES", 1)
    for name in BASELINES:
        assert torch.equal(ranked(fitted(name, larger), larger, k=10), whole[name]), name


@pytest.mark.parametrize("name", BASELINES)
def test_contract(graph: BipartiteGraph, name: str) -> None:
    """What every baseline promises; a new one is tested by being listed."""
    scorer, again = (fitted(name, graph) for _ in range(2))
    lists = ranked(scorer, graph)
    assert torch.equal(lists, ranked(again, graph))  # the same in every fit
    assert lists.shape == (USERS, 30)
    matrix = dense(graph)
    for user, row in enumerate(lists.tolist()):
        named = int((matrix[user] == 0).sum()) if scorer.vectors is not None else sum(x >= 0 for x in row)
        assert all(item >= 0 and not matrix[user, item] for item in row[:named])
        assert set(row[named:]) <= {-1}
    if scorer.vectors is None:  # nothing links a user without interactions to any item
        assert lists[29].tolist() == [-1] * 30
    assert scorer.top_k([], 5).shape == (0, 5)
    assert scorer.top_k([3], 5).shape == (1, 5)  # nothing is left out where nothing is said
    if scorer.vectors is not None:
        products = scorer.vectors.users @ scorer.vectors.items.T
        check_ranking(lists, products.numpy(), matrix > 0)


@pytest.mark.parametrize("name", ["item_knn", "pure_svd", "gf_cf", "rp3beta", "ease", "ials"])
def test_checkerboard_is_solved(name: str) -> None:
    """Users and items of one colour belong together; the one item held out of each user comes first."""
    colour = (np.add.outer(np.arange(24), np.arange(16)) % 2) == 0
    held = np.array([(user % 2) + 2 * (user // 2 % 8) for user in range(24)])
    colour[np.arange(24), held] = False
    graph = BipartiteGraph(24, 16, torch.from_numpy(np.argwhere(colour).T.copy()))
    settings = {"pure_svd": {"dim": 2}, "ials": {"dim": 2}, "gf_cf": {"rank": 2}}.get(name, {})
    lists = ranked(BASELINES[name].fit(graph, **settings), graph, k=1)
    assert lists[:, 0].tolist() == held.tolist()
