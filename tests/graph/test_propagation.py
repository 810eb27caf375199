"""The sparse product against dense algebra, its derivatives, and PyG's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.csr import SortedEdges
from gclrec.graph.half import in_half
from gclrec.graph.items_alone import of_items
from gclrec.graph.propagation import Adjacency, Composed, CSRMatrix, layered
from gclrec.graph.sparsify import Sparsifier


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def dense_of(graph: BipartiteGraph) -> Tensor:
    """D^-1/2 A D^-1/2 written out, users before items; rows of isolated nodes are zero."""
    matrix = torch.zeros(graph.num_users + graph.num_items, graph.num_users + graph.num_items)
    for user, item in graph.edge_index.T.tolist():
        matrix[user, graph.num_users + item] = matrix[graph.num_users + item, user] = 1.0
    scale = torch.tensor([row.sum().item() ** -0.5 if row.any() else 0.0 for row in matrix])
    return scale[:, None] * matrix * scale


def split(x: Tensor, graph: BipartiteGraph) -> tuple[Tensor, Tensor]:
    return x[: graph.num_users], x[graph.num_users :]


def test_propagate_is_the_dense_product(toy_graph: BipartiteGraph) -> None:
    x = torch.randn(22, 5)
    expected = dense_of(toy_graph) @ x
    torch.testing.assert_close(torch.cat(toy_graph.adjacency.propagate(*split(x, toy_graph))), expected)


@pytest.mark.parametrize(
    "weights", [(1.0,), (0.25,) * 4, (0.0, 0.5, 0.5), (0.0, 0.0, 1.0), (0.5, 0.0, 0.5), (2.0, -1.0)]
)
def test_polynomial_is_the_sum_of_powers(toy_graph: BipartiteGraph, weights: tuple[float, ...]) -> None:
    x = torch.randn(22, 5)
    dense, power, expected = dense_of(toy_graph), x, torch.zeros_like(x)
    for weight in weights:
        expected, power = expected + weight * power, dense @ power
    result = toy_graph.adjacency.polynomial(*split(x, toy_graph), weights)
    torch.testing.assert_close(torch.cat(result), expected)


POWERS = [(1.0,), (0.5, 2.0), (0.0, 0.0), (0.0, 0.5, 1.0), (0.3, 0.0, 0.5, 1.0), (1.0, 2.0, 0.0, 0.0, 3.0)]


@pytest.mark.parametrize("kind", ["edges", "low_rank"])
@pytest.mark.parametrize("weights", POWERS)
def test_of_items_is_the_polynomial_with_users_at_zero(
    toy_graph: BipartiteGraph, weights: tuple[float, ...], kind: str
) -> None:
    operator = toy_graph.adjacency if kind == "edges" else toy_graph.low_rank(3)
    items = torch.randn(10, 4, requires_grad=True)
    seen = of_items(operator, items, weights)
    expected = operator.polynomial(torch.zeros(12, 4), items, weights)
    torch.testing.assert_close(seen, expected)
    upstream = torch.randn(12, 4), torch.randn(10, 4)
    grads = [torch.autograd.grad(pair, items, upstream)[0] for pair in (seen, expected)]
    torch.testing.assert_close(*grads)
    if kind == "edges":
        few = torch.randn(10, 1, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: of_items(operator, x, weights), (few,))
        assert torch.autograd.gradgradcheck(lambda x: of_items(operator, x, weights), (few,))
        with pytest.raises(ValueError, match="10 items, got rows for 9"):
            of_items(operator, torch.zeros(9, 4), weights)


@pytest.mark.parametrize("kind", ["edges", "sample", "low_rank"])
@pytest.mark.parametrize("weights", POWERS)
@pytest.mark.parametrize("users", [[], [7], [0, 3, 4, 11]])
def test_of_items_for_some_users_has_their_rows(
    toy_graph: BipartiteGraph, users: list[int], weights: tuple[float, ...], kind: str
) -> None:
    """User 11 has no edge; gradients and second derivatives are those of the whole table's rows."""
    operator = {
        "edges": lambda: toy_graph.adjacency,
        "sample": lambda: Sparsifier(toy_graph.adjacency, 0.5).draw(),
        "low_rank": lambda: toy_graph.low_rank(3),
    }[kind]()
    wanted = torch.tensor(users, dtype=torch.long)
    items = torch.randn(10, 2, requires_grad=True)
    every, sums = of_items(operator, items, weights)
    seen = of_items(operator, items, weights, users=wanted)
    torch.testing.assert_close(seen, (every[wanted], sums))
    upstream = torch.randn(len(users), 2), torch.randn(10, 2)
    grads = [
        torch.autograd.grad(pair, items, upstream, create_graph=True)[0]
        for pair in ((every[wanted], sums), seen)
    ]
    torch.testing.assert_close(*grads)
    if kind != "low_rank":
        assert torch.autograd.gradgradcheck(lambda x: of_items(operator, x, weights, users=wanted), (items,))


def test_some_rows_and_the_transpose_of_a_matrix(toy_graph: BipartiteGraph) -> None:
    matrix, rows = toy_graph.adjacency.by_user, torch.tensor([5, 0, 11, 5])
    dense = matrix.matmul(torch.eye(10))
    some = matrix.rows(rows)
    torch.testing.assert_close(some.matmul(torch.eye(10)), dense[rows])
    torch.testing.assert_close(some.transposed.matmul(torch.eye(4)), dense[rows].T)
    assert (some.transposed.ptr.dtype, some.transposed.num_columns) == (torch.int32, 4)


@pytest.mark.parametrize("draw", [False, True])
def test_half_precision_rounds_and_is_its_own_adjoint(toy_graph: BipartiteGraph, draw: bool) -> None:
    """Numbers of 8 bits: an error of 2^-9 for each rounding, of which a power has three."""
    whole: Adjacency | Composed = toy_graph.adjacency
    whole = Sparsifier(toy_graph.adjacency, 0.5).draw() if draw else whole
    half = in_half(whole)
    users, items = torch.rand(12, 3), torch.rand(10, 3)
    for exact, rounded in zip(whole.propagate(users, items), half.propagate(users, items), strict=True):
        assert exact.dtype == rounded.dtype
        assert not torch.equal(exact, rounded)
        torch.testing.assert_close(rounded, exact, rtol=2**-7, atol=0)
    back = half.transposed.propagate(users, items)
    torch.testing.assert_close(back, whole.transposed.propagate(users, items), rtol=2**-7, atol=0)
    for wanted in (None, torch.tensor([2, 9])):
        parts = [of_items(each, items, (0.0, 0.5, 1.0, 0.5), users=wanted) for each in (whole, half)]
        assert parts[1][0].dtype == items.dtype
        torch.testing.assert_close(*parts, rtol=2**-6, atol=0)
        grads = []
        for each in (whole, half):
            x = items.clone().requires_grad_()
            of_users, of_all = of_items(each, x, (0.0, 0.5, 1.0, 0.5), users=wanted)
            (of_users.sum() + 2 * of_all.sum()).backward()
            assert x.grad is not None
            grads.append(x.grad)
        torch.testing.assert_close(*grads, rtol=2**-6, atol=0)


@pytest.mark.parametrize("weights", [(0.25,) * 4, (0.0, 0.5, 0.3, 0.2), (0.0, 0.0, 0.0, 0.0)])
@pytest.mark.parametrize("shifted", [False, True])
def test_layered_is_a_plain_loop(
    toy_graph: BipartiteGraph, weights: tuple[float, ...], shifted: bool
) -> None:
    """Its value, its layers, and the gradient of a sum of all of them, against autograd through the loop."""
    views = [toy_graph.keep_edges(torch.rand(toy_graph.num_edges) < share) for share in (0.9, 0.6, 0.3)]
    operators = [view.adjacency for view in views]
    added = {layer: (torch.randn(12, 2), torch.randn(10, 2)) for layer in (1, 2, 3)}

    def change(layer: int, users: Tensor, items: Tensor) -> None:
        users += added[layer][0]
        items += added[layer][1]

    users, items = (torch.randn(n, 2, requires_grad=True) for n in (12, 10))
    found = layered(operators, users, items, weights, change=change if shifted else None)
    rows = torch.cat([users, items])
    layers, total = [rows], weights[0] * rows
    for layer, view in enumerate(views, start=1):
        rows = dense_of(view) @ rows + (torch.cat(added[layer]) if shifted else 0.0)
        layers.append(rows)
        total = total + weights[layer] * rows
    torch.testing.assert_close(torch.cat(found[:2]), total)
    for mine, expected in zip(found[2], layers, strict=True):
        torch.testing.assert_close(torch.cat(mine), expected)
    pulls = [torch.randn(22, 2) for _ in range(5)]
    for used in ((0,), (1,), (3,), (0, 2), (0, 1, 2, 3, 4), (4,)):  # 0 is the sum, n + 1 is layer n
        mine = [torch.cat(found[:2]), *(torch.cat(layer) for layer in found[2])]
        expected = [total, *layers]
        for outputs, store in ((mine, []), (expected, [])):
            value = torch.stack([(outputs[n] * pulls[n]).sum() for n in used]).sum()
            grads = torch.autograd.grad(value, (users, items), retain_graph=True, materialize_grads=True)
            store.append(torch.cat(grads))
            outputs.append(store[0])
        torch.testing.assert_close(mine[-1], expected[-1])


def test_first_and_second_derivatives(toy_graph: BipartiteGraph) -> None:
    users, items = (torch.randn(n, 2, requires_grad=True) for n in (12, 10))

    def of_product(u: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        return toy_graph.adjacency.propagate(u, i)

    def of_polynomial(u: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        return toy_graph.adjacency.polynomial(u, i, (0.4, 0.3, 0.2, 0.1))

    def of_layers(u: Tensor, i: Tensor) -> tuple[Tensor, ...]:
        *sums, rows = layered([toy_graph.adjacency] * 2, u, i, (0.4, 0.3, 0.3))
        return *sums, *rows[1], *rows[2]

    for function in (of_product, of_polynomial, of_layers):
        assert torch.autograd.gradcheck(function, (users, items))
        assert torch.autograd.gradgradcheck(function, (users, items))
        grads = torch.autograd.grad(sum(x.square().sum() for x in function(users, items)), (users, items))
        assert all(grad.abs().sum() > 0 for grad in grads)


def test_gradient_of_one_side_only(toy_graph: BipartiteGraph) -> None:
    users, items = torch.randn(12, 3, requires_grad=True), torch.randn(10, 3)
    toy_graph.adjacency.propagate(users, items)[1].sum().backward()
    dense = dense_of(toy_graph)
    torch.testing.assert_close(users.grad, (dense[:, 12:].sum(1)[:12, None]).expand(12, 3))


def test_both_widths_of_integers_agree(toy_graph: BipartiteGraph) -> None:
    narrow = toy_graph.adjacency
    assert narrow.by_user.to.dtype == torch.int32
    wide = Adjacency(
        *(
            CSRMatrix(half.ptr.long(), half.to.long(), half.weight, half.num_columns)
            for half in (narrow.by_user, narrow.by_item)
        )
    )
    x = torch.randn(12, 4), torch.randn(10, 4)
    for a, b in zip(narrow.propagate(*x), wide.propagate(*x), strict=True):
        assert torch.equal(a, b)


def test_isolated_nodes_get_zero_and_stay_finite() -> None:
    empty = BipartiteGraph(3, 2, torch.empty(2, 0, dtype=torch.int64))
    users, items = (torch.randn(n, 2, requires_grad=True) for n in (3, 2))
    out = empty.adjacency.propagate(users, items)
    assert not out[0].any()
    assert not out[1].any()
    final = empty.adjacency.polynomial(users, items, (0.5, 0.5))
    torch.testing.assert_close(final[0], users / 2)
    (final[0].sum() + final[1].sum()).backward()
    torch.testing.assert_close(users.grad, torch.full((3, 2), 0.5))


def test_wrong_number_of_rows(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match="12 users and 10 items, got rows for 10 users and 12 items"):
        toy_graph.adjacency.propagate(torch.zeros(10, 2), torch.zeros(12, 2))


def test_rows_that_do_not_lie_together(toy_graph: BipartiteGraph) -> None:
    """A transposed or sliced input gives the same result."""
    x = torch.randn(5, 22).T
    torch.testing.assert_close(
        torch.cat(toy_graph.adjacency.propagate(*split(x, toy_graph))), dense_of(toy_graph) @ x
    )


def test_single_precision_input_keeps_its_type(toy_graph: BipartiteGraph) -> None:
    users, items = toy_graph.adjacency.propagate(torch.randn(12, 2).float(), torch.randn(10, 2).float())
    assert users.dtype == items.dtype == torch.float32


def test_lightgcn_of_pyg_gives_the_same_embeddings(toy_graph: BipartiteGraph) -> None:
    from torch_geometric.nn.models import LightGCN as PyGLightGCN

    from gclrec.encoders import LightGCN

    user, item = toy_graph.edge_index
    both = torch.cat([torch.stack([user, item + 12]), torch.stack([item + 12, user])], dim=1)
    theirs = PyGLightGCN(num_nodes=22, embedding_dim=6, num_layers=3)
    ours = LightGCN(12, 10, dim=6, num_layers=3)
    with torch.no_grad():
        ours.users.copy_(theirs.embedding.weight[:12])
        ours.items.copy_(theirs.embedding.weight[12:])
    torch.testing.assert_close(torch.cat(tuple(ours(toy_graph))), theirs.get_embedding(both))


def test_sorted_edges_hold_both_directions(toy_graph: BipartiteGraph) -> None:
    edges = toy_graph.edges
    assert isinstance(edges, SortedEdges)
    by_user = list(zip(edges.user_of.tolist(), edges.user_to.tolist(), strict=True))
    by_item = list(zip(edges.item_of.tolist(), edges.item_to.tolist(), strict=True))
    assert by_user == sorted(map(tuple, toy_graph.edge_index.T.tolist()))
    assert by_item == sorted((i, u) for u, i in by_user)
    assert torch.equal(edges.user_to[edges.item_order], edges.item_of)
    ptr, to = edges.neighbours
    for node in range(22):
        expected = [12 + i for u, i in by_user if u == node] + [u for i, u in by_item if 12 + i == node]
        assert to[ptr[node] : ptr[node + 1]].tolist() == expected
