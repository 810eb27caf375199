"""Encoders alone: how layers are combined, what is learned, what is prepared only once."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from torch_geometric.data import HeteroData

from gclrec.common.errors import SettingError
from gclrec.data.schema import Attributes, Schema
from gclrec.encoders import (
    EGCF,
    ENCODERS,
    LAYER_WEIGHTS,
    MF,
    USER_VECTORS,
    EncoderInputs,
    LightGCN,
    Perturbation,
)
from gclrec.graph.bipartite import BipartiteGraph

WEIGHTS = {
    "mean": [0.25, 0.25, 0.25, 0.25],
    "mean_without_0": [0.0, 1 / 3, 1 / 3, 1 / 3],
    "last": [0.0, 0.0, 0.0, 1.0],
    "learned": [0.25, 0.25, 0.25, 0.25],  # to begin with
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_layers(encoder: LightGCN, graph: BipartiteGraph) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each layer by loops over the edges, as equation 3 of the paper has it."""
    users, items = (x.detach().double() for x in encoder.layer_zero)
    degree_u, degree_i = (d.double() for d in graph.degrees())

    def step(users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        new_u, new_i = torch.zeros_like(users), torch.zeros_like(items)
        for u, i in graph.edge_index.T.tolist():
            scale = (degree_u[u] * degree_i[i]) ** -encoder.degree_exponent
            new_u[u] += scale * items[i]
            new_i[i] += scale * users[u]
        return new_u, new_i

    if encoder.user_vectors == "items":
        assert not users.any()
        users = step(users, items)[0]
    layers = [(users, items)]
    for _ in range(encoder.num_layers):
        layers.append(step(*layers[-1]))
    return layers


@pytest.mark.parametrize("user_vectors", USER_VECTORS)
@pytest.mark.parametrize("layer_weights", LAYER_WEIGHTS)
@pytest.mark.parametrize("layers", [False, True])
@pytest.mark.parametrize("exponent", [0.5, 0.3, 0.0])
@pytest.mark.parametrize("given", ["graph", "view", "edges"])
def test_lightgcn_is_its_formula(
    layer_weights: str,
    user_vectors: str,
    layers: bool,
    exponent: float,
    given: str,
    toy_graph: BipartiteGraph,
) -> None:
    settings = {
        "layer_weights": layer_weights,
        "degree_exponent": exponent,
        "user_vectors": user_vectors,
    }
    encoder = LightGCN(12, 10, dim=6, num_layers=3, generator=seeded(), **settings)
    graph = toy_graph.keep_edges(torch.arange(40) % 9 > 0) if given == "view" else toy_graph
    expected = slow_layers(encoder, BipartiteGraph(12, 10, graph.edge_index))
    seen = encoder(graph.edge_index if given == "edges" else graph, layers=layers)
    for side, final in enumerate(seen):
        wanted = sum(w * layer[side] for w, layer in zip(WEIGHTS[layer_weights], expected, strict=True))
        torch.testing.assert_close(final.double(), wanted, rtol=1e-5, atol=1e-5)
    assert len(seen.layers) == (4 if layers else 0)
    for layer, wanted in zip(seen.layers, expected, strict=False):
        for a, b in zip(layer, wanted, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("user_vectors", USER_VECTORS)
@pytest.mark.parametrize("layer_weights", LAYER_WEIGHTS)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_both_ways_through_the_layers_have_the_same_gradient(
    num_layers: int, layer_weights: str, user_vectors: str, toy_graph: BipartiteGraph
) -> None:
    """The polynomial in one go and layer by layer."""
    settings = {"num_layers": num_layers, "layer_weights": layer_weights, "user_vectors": user_vectors}
    grads = []
    for layers in (False, True):
        encoder = LightGCN(12, 10, dim=6, generator=seeded(), **settings)
        seen = encoder(toy_graph, layers=layers)
        (seen.users.square().sum() + (seen.items * 3).square().sum()).backward()
        grads.append([p.grad for p in encoder.parameters()])
    for one, other in zip(*grads, strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_users_without_vectors_are_what_their_items_make_of_them(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=6, num_layers=0, user_vectors="items", generator=seeded())
    assert {name for name, _ in encoder.named_parameters()} == {"items"}
    assert set(encoder.state_dict()) == {"items"}
    seen = encoder(toy_graph)
    torch.testing.assert_close(seen.items, encoder.items)
    torch.testing.assert_close(
        seen.users, toy_graph.adjacency.propagate(torch.zeros(12, 6), encoder.items)[0]
    )
    assert not seen.users[11].any()  # the user without an interaction
    with pytest.raises(ValueError, match="user_vectors: must be one of free, items, got 'none'"):
        LightGCN(12, 10, user_vectors="none")


@pytest.mark.parametrize("user_vectors", ["items", "free"])
def test_some_users_are_rows_of_all(user_vectors: str, toy_graph: BipartiteGraph) -> None:
    """Where other users cost something they are left out, elsewhere all are there."""
    encoder = LightGCN(12, 10, dim=6, num_layers=2, user_vectors=user_vectors, generator=seeded())
    wanted, users, items = torch.tensor([1, 4, 11]), torch.tensor([4, 4, 1]), torch.tensor([0, 9])
    some = encoder.encode_some(toy_graph, wanted)
    assert len(some.users) == (3 if user_vectors == "items" else 12)
    for one, other in zip(some.rows(users, items), encoder(toy_graph).rows(users, items), strict=True):
        torch.testing.assert_close(one, other)


def test_learned_weights_are_learned(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=6, layer_weights="learned", generator=seeded())
    assert {name for name, _ in encoder.named_parameters()} == {"users", "items", "layer_logits"}
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1.0)
    for _ in range(5):
        optimizer.zero_grad()
        encoder(toy_graph).users.square().sum().neg().backward()
        optimizer.step()
    assert encoder.layer_logits.detach().std() > 0


@pytest.mark.parametrize("layer_weights", LAYER_WEIGHTS)
def test_perturbation_acts_on_the_input_and_on_each_layer(
    layer_weights: str, toy_graph: BipartiteGraph
) -> None:
    encoder = ENCODERS["lightgcn"].make(12, 10, dim=4, num_layers=2, layer_weights=layer_weights)
    seen = []

    def shift(layer: int, users: torch.Tensor, items: torch.Tensor) -> None:
        seen.append(layer)
        users += layer
        items -= layer

    perturb = Perturbation(lambda users, items: (2 * users, 3 * items), shift)
    out = encoder(toy_graph, perturb=perturb, layers=True)
    assert seen == [1, 2]
    users, items = 2 * encoder.users, 3 * encoder.items
    layers = [(users, items)]
    for layer in (1, 2):
        users, items = toy_graph.adjacency.propagate(users, items)
        users, items = users + layer, items - layer
        layers.append((users, items))
    weights = encoder.fixed_weights() or encoder.layer_logits.softmax(0).tolist()
    for side in (0, 1):
        total = sum(weight * layer[side] for weight, layer in zip(weights, layers, strict=True))
        torch.testing.assert_close((out.users, out.items)[side], total)
        for mine, layer in zip(out.layers, layers, strict=True):
            torch.testing.assert_close(mine[side], layer[side])
    without = encoder(toy_graph, perturb=Perturbation(perturb.on_input))
    assert not torch.equal(without.users, encoder(toy_graph).users)


def test_perturbation_of_plain_vectors(toy_graph: BipartiteGraph) -> None:
    encoder = ENCODERS["mf"].make(12, 10, dim=4)
    perturb = Perturbation(lambda users, items: (2 * users, 3 * items), lambda _, users, items: users.add_(1))
    out = encoder(toy_graph, perturb=perturb)
    torch.testing.assert_close(out.users, 2 * encoder.users + 1)
    torch.testing.assert_close(out.items, 3 * encoder.items)
    assert torch.equal(encoder(toy_graph, perturb=Perturbation()).users, encoder.users)


def test_perturbation_of_egcf(toy_graph: BipartiteGraph) -> None:
    encoder = EGCF(12, 10, dim=4, num_layers=2, generator=seeded())
    perturb = Perturbation(
        lambda users, items: (2 * users, 2 * items), lambda n, u, i: (u.add_(n), i.sub_(n))
    )
    out = encoder(toy_graph, perturb=perturb)
    rows = tuple(2 * x for x in encoder(toy_graph, layers=True).layers[0])
    layers = []
    for layer in (1, 2):
        users, items = (x.tanh() for x in toy_graph.adjacency.propagate(*rows))
        rows = users + layer, items - layer
        layers.append(rows)
    torch.testing.assert_close(out.users, layers[0][0] + layers[1][0])
    torch.testing.assert_close(out.items, layers[0][1] + layers[1][1])


def test_what_counts_as_a_graph(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=seeded())
    expected = encoder(toy_graph).users
    for graph in (toy_graph.edge_index, toy_graph.adjacency, [toy_graph.adjacency] * 2):
        assert torch.equal(encoder(graph).users, expected)
    other = toy_graph.keep_edges(torch.arange(40) % 2 == 0)
    mixed = encoder([toy_graph.adjacency, other.adjacency], layers=True)
    first = toy_graph.adjacency.propagate(*encoder.layer_zero)
    torch.testing.assert_close(mixed.layers[2][0], other.adjacency.propagate(*first)[0])
    with pytest.raises(ValueError, match="one operator for each of 2 layers, got 1"):
        encoder([toy_graph.adjacency])
    with pytest.raises(ValueError, match="item 9; items are numbered 0 to 8"):
        LightGCN(12, 9)(torch.tensor([[0], [9]]))


def test_edge_index_is_prepared_once_and_anew_when_it_changes(
    toy_graph: BipartiteGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=seeded())
    made = []
    monkeypatch.setattr(
        "gclrec.encoders.layers.BipartiteGraph",
        type(
            "Counted",
            (BipartiteGraph,),
            {"__init__": lambda s, *a: made.append(1) or BipartiteGraph.__init__(s, *a)},
        ),
    )
    edge_index = toy_graph.edge_index.clone()
    first = encoder(edge_index).users
    assert torch.equal(encoder(edge_index).users, first)
    assert len(made) == 1

    edge_index[1, 0] = 9  # in place
    changed = encoder(edge_index).users
    assert len(made) == 2
    assert not torch.equal(changed, first)

    again = encoder(toy_graph.edge_index).users  # another tensor
    assert len(made) == 3
    assert torch.equal(again, first)
    encoder(edge_index)
    assert len(made) == 4


def test_inference_mode_and_training_afterwards(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=seeded())
    edge_index = toy_graph.edge_index.clone()
    expected = encoder(toy_graph).users
    with torch.inference_mode():
        for edges in (edge_index, edge_index.clone(), edge_index):
            assert torch.equal(encoder(edges).users, expected)
    encoder(edge_index).users.sum().backward()
    assert encoder.items.grad is not None
    assert encoder.items.grad.any()
    with torch.inference_mode():
        convolution = ENCODERS["sage"].make(12, 10, num_layers=1)
        convolution(toy_graph)
    ENCODERS["sage"].make(12, 10, num_layers=1)(toy_graph).users.sum().backward()


@pytest.mark.parametrize("encoder", [LightGCN(12, 10), EGCF(12, 10)], ids=["lightgcn", "egcf"])
def test_what_is_no_graph_is_named(encoder: torch.nn.Module, toy_graph: BipartiteGraph) -> None:
    data, edges = toy_graph.to_hetero_data(), toy_graph.edge_index
    for other in (data, edges.numpy(), toy_graph.to_scipy(), edges.tolist(), None):
        with pytest.raises(TypeError, match=f"edge_index .2, E. .* got {type(other).__name__}"):
            encoder(other)


def test_a_changed_graph_is_seen_by_its_own_degrees(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=1, generator=seeded())
    view = toy_graph.keep_edges(torch.arange(40) < 20)
    rebuilt = BipartiteGraph(12, 10, toy_graph.edge_index[:, :20])
    assert torch.equal(encoder(view).items, encoder(rebuilt).items)


def test_isolated_nodes_keep_their_share(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=3, generator=seeded())
    users, items = encoder(toy_graph)
    torch.testing.assert_close(users[11], encoder.users[11] / 4)
    torch.testing.assert_close(items[9], encoder.items[9] / 4)


USES = [(name, use) for name, kind in ENCODERS.items() for use in ("none", *kind.attribute_uses)]


@pytest.mark.parametrize(("name", "use"), USES)
def test_every_encoder_learns_on_a_plain_hetero_data(name: str, use: str) -> None:
    """Three users, three items with attributes, of which one has no interaction; a plain PyTorch loop."""
    data = HeteroData()
    data["item"].genre = ["war", "love", "war"]
    data["user", "rates", "item"].edge_index = torch.tensor([[0, 1, 2], [0, 0, 1]])
    edges = data["user", "rates", "item"].edge_index
    frame = pl.DataFrame({"id": range(3), "genre": data["item"].genre})
    table = Schema.fit(frame, min_count=1).encode(frame)
    inputs = EncoderInputs(Attributes(items=table), generator=seeded())
    encoder = ENCODERS[name].make(3, 3, inputs, dim=8, **({} if use == "none" else {"attributes": use}))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
    for _ in range(60):
        users, items = encoder(edges)
        loss = torch.nn.functional.cross_entropy(users[edges[0]] @ items[:2].T, edges[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_attributes_are_refused_where_they_have_no_use() -> None:
    for name, use, able in (
        ("sage", "nodes", "none, input, map"),
        ("two_tower", "map", "none, input"),
        ("mf", "input", "none, map"),
    ):
        with pytest.raises(SettingError, match=f"attributes: must be one of {able}, got '{use}'"):
            ENCODERS[name].make(3, 3, attributes=use)
    with pytest.raises(SettingError, match="attributes: there are none to use as input"):
        ENCODERS["lightgcn"].make(3, 3, attributes="input")


@pytest.mark.parametrize("name", ENCODERS)
def test_start_comes_from_the_generator(name: str) -> None:
    one, again, other = (ENCODERS[name].make(50, 40, EncoderInputs(generator=seeded(n))) for n in (0, 0, 1))
    for start, same in zip(one.parameters(), again.parameters(), strict=True):
        assert torch.equal(start, same)
    assert not torch.equal(one.items, other.items)
    assert abs(float(one.items.detach().std()) - 0.1) < 0.01
    assert one.layer_zero[1] is one.items
    assert one.layer_zero[0].shape == (50, 64)


def test_egcf_is_its_formula(toy_graph: BipartiteGraph) -> None:
    """By loops over the edges in float64; users come from items alone, so only those are learned."""
    encoder = EGCF(12, 10, dim=4, num_layers=3, generator=seeded()).double()
    degree_u, degree_i = (d.double() for d in toy_graph.degrees())

    def step(users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        new_u, new_i = torch.zeros_like(users), torch.zeros_like(items)
        for u, i in toy_graph.edge_index.T.tolist():
            scale = 1 / (degree_u[u] * degree_i[i]).sqrt()
            new_u[u] += scale * items[i]
            new_i[i] += scale * users[u]
        return new_u.tanh(), new_i.tanh()

    items = encoder.items.detach()
    layers = [(step(torch.zeros(12, 4, dtype=torch.float64), items)[0], items)]
    for _ in range(3):
        layers.append(step(*layers[-1]))
    seen = encoder(toy_graph, layers=True)
    for side, final in enumerate(seen):
        torch.testing.assert_close(final, sum(layer[side] for layer in layers[1:]))
        for mine, expected in zip(seen.layers, layers, strict=True):
            torch.testing.assert_close(mine[side], expected[side])
    assert not seen.users[11].any()
    assert not encoder.layer_zero[0].any()
    assert [name for name, _ in encoder.named_parameters()] == ["items"]
    (gradient,) = torch.autograd.grad(seen.users.square().sum(), encoder.parameters())
    assert (gradient[:9] != 0).any(1).all()
    with pytest.raises(ValueError, match="at least 1, got 0"):
        EGCF(12, 10, num_layers=0)


def test_repr_tells_the_sizes() -> None:
    sizes = "num_users=12, num_items=10, dim=64"
    layers = "num_layers=3, layer_weights='mean', degree_exponent=0.5, user_vectors='free'"
    assert repr(LightGCN(12, 10)) == f"LightGCN({sizes}, {layers})"
    assert repr(EGCF(12, 10)) == f"EGCF({sizes}, num_layers=3)"
    assert repr(MF(12, 10)) == f"MF({sizes})"
    assert f"{sizes}, num_layers=2, layer_weights='mean'" in repr(ENCODERS["sage"].make(12, 10, num_layers=2))


def test_mf_ignores_the_graph(toy_graph: BipartiteGraph) -> None:
    encoder = MF(12, 10, dim=4)
    for graph in (None, toy_graph, toy_graph.edge_index):
        out = encoder(graph, layers=True)
        assert out.users is encoder.users
        assert len(out.layers) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer_weights": "median"}, "one of mean, mean_without_0, last, learned, got 'median'"),
        ({"num_layers": -1}, "at least 0, got -1"),
        ({"num_layers": 0, "layer_weights": "mean_without_0"}, "at least 1, got 0"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LightGCN(3, 2, **arguments)


@pytest.mark.parametrize("layer_weights", ["mean", "last", "learned"])
def test_no_layers_is_matrix_factorisation(layer_weights: str, toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=0, layer_weights=layer_weights)
    torch.testing.assert_close(encoder(toy_graph).users, encoder.users)
