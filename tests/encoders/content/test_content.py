"""Attributes in layer 0 and as nodes: cold nodes, hidden ids, hidden fields, and the fast path."""

from __future__ import annotations

from functools import partial

import polars as pl
import pytest
import torch

from gclrec.data.schema import Attributes, Schema
from gclrec.encoders import ATTRIBUTE_USES, USER_VECTORS, Content, LightGCN, PyGEncoder, ValueNodes
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.training.build import with_fields
from gclrec.views.views import VIEWS, make_view, parse_augmentations

ITEMS = pl.DataFrame(
    {
        "id": range(10),
        "kind": ["a", "b", "a", "b", "a", None, "b", "a", "a", "b"],
        "tags": [
            ["x"],
            ["x", "y"],
            ["y"],
            None,
            ["z", "x"],
            ["z"],
            ["y"],
            ["x", "y", "z"],
            ["z"],
            ["x", "z"],
        ],
    }
)
USERS = pl.DataFrame({"id": range(12), "age": [None, *range(11)], "sex": ["m", "f"] * 6}).cast(
    {"age": pl.Float64}
)
SCHEMAS = {"user": Schema.fit(USERS), "item": Schema.fit(ITEMS)}
BOTH = Attributes(SCHEMAS["user"].encode(USERS), SCHEMAS["item"].encode(ITEMS))
ONLY_ITEMS = Attributes(items=BOTH.items)
USERS_ALONE = Attributes(users=BOTH.users)

pytestmark = pytest.mark.filterwarnings("ignore:attributes age:gclrec.common.errors.InputWarning")
every_use = pytest.mark.parametrize("use", ATTRIBUTE_USES)
every_exponent = pytest.mark.parametrize("exponent", [0.5, 0.3])
every_side = pytest.mark.parametrize(
    "attributes", [BOTH, ONLY_ITEMS, USERS_ALONE], ids=["both", "items", "users"]
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(
    use: str,
    graph: BipartiteGraph,
    attributes: Attributes = BOTH,
    *,
    id_dropout: float = 0.0,
    encoder: type[LightGCN] | type[PyGEncoder] = LightGCN,
    num_layers: int = 2,
    **settings: object,
) -> LightGCN:
    content = ATTRIBUTE_USES[use](
        attributes, 6, degrees=graph.degrees(), id_dropout=id_dropout, generator=seeded(1)
    )
    return encoder(12, 10, dim=6, num_layers=num_layers, generator=seeded(), content=content, **settings)


@every_side
def test_input_is_ids_plus_fields(attributes: Attributes, toy_graph: BipartiteGraph) -> None:
    encoder = made("input", toy_graph, attributes)
    layers = encoder(toy_graph, layers=True).layers
    for side, ids, cold, start in zip(("user", "item"), encoder.layer_zero, (11, 9), layers[0], strict=True):
        expected = ids.clone()
        expected[cold] = 0.0  # no interaction: its id has never been trained
        if getattr(attributes, f"{side}s") is not None:
            expected = expected + encoder.encode_content(side, getattr(attributes, f"{side}s"))
        torch.testing.assert_close(start, expected)


@every_side
@every_exponent
def test_nodes_are_a_larger_graph(attributes: Attributes, exponent: float, toy_graph: BipartiteGraph) -> None:
    """The same as LightGCN over one bipartite graph of users, items and values."""
    encoder = made("nodes", toy_graph, attributes, degree_exponent=exponent)
    edges, values = [toy_graph.edge_index], {"user": torch.empty(0, 6), "item": torch.empty(0, 6)}
    for side, behind in (("user", 10), ("item", 12)):
        table = getattr(attributes, f"{side}s")
        if table is None:
            continue
        values[side] = encoder.content.values[side].vectors
        first = behind
        for column in table.columns:
            if column.codes is None:
                continue
            for row in range(table.num_rows):
                for code in column.codes[column.ptr[row] : column.ptr[row + 1]]:
                    pair = [[row], [first + int(code)]]
                    edges.append(torch.tensor(pair if side == "user" else pair[::-1]))
            first += column.field.width
    users, items = (x.detach().clone() for x in encoder.layer_zero)
    users[11] = items[9] = 0.0
    left, right = torch.cat([users, values["item"]]), torch.cat([items, values["user"]])
    larger = BipartiteGraph(len(left), len(right), torch.cat(edges, dim=1))
    expected = larger.weighted(exponent).polynomial(left, right, [1 / 3] * 3)
    seen = encoder(toy_graph)
    torch.testing.assert_close(seen.users, expected[0][:12])
    torch.testing.assert_close(seen.items, expected[1][:10])


@every_use
@every_side
@pytest.mark.parametrize("layer_weights", ["mean", "learned"])
def test_both_ways_through_the_layers_agree(
    use: str, attributes: Attributes, layer_weights: str, toy_graph: BipartiteGraph
) -> None:
    grads = []
    for layers in (False, True):
        encoder = made(use, toy_graph, attributes, layer_weights=layer_weights)
        seen = encoder(toy_graph, layers=layers)
        (seen.users.square().sum() + 3 * seen.items.square().sum()).backward()
        grads.append({name: p.grad for name, p in encoder.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-4, atol=1e-6)
    for name, grad in grads[0].items():
        unused = name.endswith(("bias", "missing"))  # no vectors here, and not every field has gaps
        assert unused or grad.abs().sum() > 0, name
    assert grads[0]["users"][11].eq(0).all()
    assert grads[0]["items"][9].eq(0).all()


@every_use
def test_the_fast_path_is_taken(use: str, toy_graph: BipartiteGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = made(use, toy_graph, id_dropout=0.3)

    def slow(*_: object, **__: object) -> None:
        raise AssertionError("layer by layer")

    monkeypatch.setattr("gclrec.encoders.lightgcn.layered", slow)
    assert encoder(toy_graph).users.shape == (12, 6)


@every_use
@every_exponent
@pytest.mark.parametrize("user_vectors", USER_VECTORS)
def test_a_cold_item_is_where_its_attributes_say(
    use: str, exponent: float, user_vectors: str, toy_graph: BipartiteGraph
) -> None:
    encoder = made(use, toy_graph, degree_exponent=exponent, user_vectors=user_vectors).eval()
    before = encoder(toy_graph).items[9]
    with torch.no_grad():
        encoder.items[9].normal_(generator=seeded(5))
    torch.testing.assert_close(encoder(toy_graph).items[9], before)  # its own vector plays no part
    assert before.abs().sum() > 0
    late = SCHEMAS["item"].encode(ITEMS[9:])
    cold = encoder.encode_cold("item", late, toy_graph)
    torch.testing.assert_close(cold[0], before, rtol=1e-4, atol=1e-6)
    assert encoder.encode_content("item", late).shape == (1, 6)


@every_use
@pytest.mark.parametrize("layer_weights", ["mean", "learned", "last"])
@pytest.mark.parametrize("user_vectors", USER_VECTORS)
@pytest.mark.parametrize("num_layers", [0, 1, 2])
def test_cold_users_too(
    use: str, layer_weights: str, user_vectors: str, num_layers: int, toy_graph: BipartiteGraph
) -> None:
    settings = {"layer_weights": layer_weights, "user_vectors": user_vectors, "num_layers": num_layers}
    encoder = made(use, toy_graph, USERS_ALONE, **settings).eval()
    cold = encoder.encode_cold("user", SCHEMAS["user"].encode(USERS[11:]), toy_graph)
    torch.testing.assert_close(cold[0], encoder(toy_graph).users[11], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="no attributes of items"):
        encoder.encode_content("item", BOTH.items)
    with pytest.raises(ValueError, match="same schema"):
        encoder.encode_content("user", Schema.fit(USERS.select("id", "sex")).encode(USERS))


def test_encoders_without_attributes_say_so(toy_graph: BipartiteGraph) -> None:
    for encoder in (LightGCN(12, 10), PyGEncoder(12, 10)):
        with pytest.raises(ValueError, match="without attributes"):
            encoder.encode_content("item", BOTH.items)


@every_use
def test_hidden_ids_are_drawn_anew_in_training_and_never_else(use: str, toy_graph: BipartiteGraph) -> None:
    encoder = made(use, toy_graph, id_dropout=0.5)
    state = torch.get_rng_state()
    encoder.draws = seeded(7)
    one, other = encoder(toy_graph).items, encoder(toy_graph).items
    encoder.draws = seeded(7)
    assert torch.equal(encoder(toy_graph).items, one)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    encoder.eval()
    torch.testing.assert_close(encoder(toy_graph).items, made(use, toy_graph)(toy_graph).items)


@every_use
@pytest.mark.parametrize("encoder", [LightGCN, partial(LightGCN, degree_exponent=0.3), PyGEncoder])
def test_a_hidden_node_is_encoded_as_a_cold_one(
    use: str, encoder: type[LightGCN] | type[PyGEncoder], toy_graph: BipartiteGraph
) -> None:
    """In training a node is drawn; in evaluation the same node has no interactions: no difference."""
    if use == "nodes" and encoder is PyGEncoder:
        pytest.skip("convolutions take no value nodes")
    training = made(use, toy_graph, id_dropout=0.4, encoder=encoder)
    training.draws = seeded(3)
    start = training.content.start(*training.layer_zero, generator=seeded(3))
    users, items = start.alone
    assert 0 < int(users.sum()) < 12
    assert 0 < int(items.sum()) < 10
    smaller = BipartiteGraph(12, 10, toy_graph.edge_index).keep_nodes(~users, ~items)
    cold = made(use, smaller, encoder=encoder)
    cold.load_state_dict(training.state_dict())
    # Nodes that have lost all their neighbours keep their ids in training, since they are not hidden.
    cold.content.ids.cold_user, cold.content.ids.cold_item = (
        out | (degree == 0) for out, degree in zip((users, items), toy_graph.degrees(), strict=True)
    )
    for mine, theirs in zip(training(toy_graph), cold.eval()(smaller), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_ids_are_dropped_only_where_there_is_something_else(toy_graph: BipartiteGraph) -> None:
    start = made("input", toy_graph, ONLY_ITEMS, id_dropout=0.5).content.start(
        torch.ones(12, 6), torch.ones(10, 6), generator=seeded()
    )
    assert start.alone[0] is None
    assert start.alone[1].any()


@every_use
def test_feature_mask_hides_fields(use: str, toy_graph: BipartiteGraph) -> None:
    encoder = made(use, toy_graph).eval()
    graph = with_fields(toy_graph, BOTH)
    chain, _ = parse_augmentations("feature_mask:0.5")
    view = make_view(chain, graph, generator=seeded(4), num_layers=2)
    users, items = view.hidden
    assert (users.shape, items.shape) == ((12, 2), (10, 2))
    assert 0.2 < float(torch.cat([users, items]).float().mean()) < 0.8
    torch.testing.assert_close(view.encode(encoder).items, encoder(toy_graph, hidden=(users, items)).items)
    # A hidden field is as if the table had said nothing.
    blank = [
        table.select(
            "id",
            *(
                pl.when(pl.Series(~mask[:, n].numpy())).then(pl.col(name)).alias(name)
                for n, name in enumerate(table.columns[1:])
            ),
        )
        for table, mask in ((USERS, users), (ITEMS, items))
    ]
    lacking = Attributes(*(SCHEMAS[side].encode(frame) for side, frame in zip(SCHEMAS, blank, strict=True)))
    other = made(use, toy_graph, lacking).eval()
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(other(toy_graph).items, view.encode(encoder).items)
    torch.testing.assert_close(other(toy_graph).users, view.encode(encoder).users)


@every_use
@pytest.mark.parametrize("name", VIEWS)
def test_every_view_with_feature_mask(use: str, name: str, toy_graph: BipartiteGraph) -> None:
    """Hidden fields survive whatever stands in the graph's place, and gradients flow."""
    for attributes in (BOTH, ONLY_ITEMS):
        encoder = made(use, toy_graph, attributes, id_dropout=0.2)
        encoder.draws = seeded()
        chain, _ = parse_augmentations(f"{name}+feature_mask", 0.4)
        view = make_view(chain, with_fields(toy_graph, attributes), generator=seeded(), num_layers=2)
        assert view.hidden[1].any()
        seen = view.encode(encoder)
        (seen.users.square().sum() + seen.items.square().sum()).backward()
        assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)
        assert encoder.items.grad.abs().sum() > 0


@every_use
def test_without_feature_mask_nothing_is_hidden(use: str, toy_graph: BipartiteGraph) -> None:
    chain, _ = parse_augmentations("edge_drop:0.3")
    view = make_view(chain, with_fields(toy_graph, BOTH), generator=seeded(), num_layers=2)
    assert view.hidden == (None, None)


def test_bad_arguments(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(ValueError, match="no attributes, neither"):
        Content(Attributes())
    with pytest.raises(ValueError, match="id_dropout: must lie in"):
        Content(BOTH, id_dropout=1.0)
    ages = Schema.fit(USERS.select("id", "age")).encode(USERS)
    with pytest.raises(ValueError, match="only numbers or vectors"):
        ValueNodes(Attributes(users=ages))
    encoder = LightGCN(12, 10, dim=6, content=ValueNodes(BOTH, 6))
    with pytest.raises(ValueError, match="give degrees"):
        encoder(toy_graph.low_rank(3))


def test_the_larger_graph_is_made_once_and_anew_for_a_view(
    toy_graph: BipartiteGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, made_of = made("nodes", toy_graph), []
    whole = ValueNodes._larger
    monkeypatch.setattr(ValueNodes, "_larger", lambda *x: made_of.append(x[1]) or whole(*x))
    view = toy_graph.keep_edges(torch.arange(40) % 2 == 0)
    expected = [encoder(graph).items for graph in (toy_graph, view)]
    for _ in range(2):
        assert torch.equal(encoder(toy_graph).items, expected[0])
    assert torch.equal(encoder(view).items, expected[1])
    assert [x is toy_graph.adjacency for x in made_of] == [True, False, True, False]
    hidden = (None, torch.ones(10, 2, dtype=torch.bool))
    assert not torch.allclose(encoder(view, hidden=hidden).items, expected[1])
    assert torch.equal(encoder(view).items, expected[1])


def test_numbers_are_no_nodes_and_that_is_reported() -> None:
    with pytest.warns(UserWarning, match="attributes age: numbers and vectors have no values"):
        ValueNodes(BOTH)
