"""Views: the grammar, what each name does to a pass of the encoder, and every composition of two."""

from __future__ import annotations

import math

import pytest
import torch

from gclrec.common.errors import InputError
from gclrec.encoders import MF, LightGCN
from gclrec.graph.augmentations import AUGMENTATIONS, edge_drop
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.perturbations import add_noise_, mask_dimensions, noise_directions
from gclrec.views.views import VIEWS, Step, View, make_view, parse_augmentations, view_graph

every_view = pytest.mark.parametrize("name", VIEWS)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view_of(
    text: str,
    graph: BipartiteGraph,
    seed: int = 3,
    num_layers: int = 3,
    p: float = 0.4,
    degree_exponent: float = 0.5,
) -> View:
    chain, _ = parse_augmentations(text, p)
    settings = {"num_layers": num_layers, "degree_exponent": degree_exponent}
    return make_view(chain, graph, generator=seeded(seed), **settings)


@pytest.fixture
def encoder() -> LightGCN:
    return LightGCN(12, 10, dim=8, num_layers=3, generator=seeded(0))


# -- the grammar ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("none", "none:0.1", "none:0.1"),
        ("edge_drop", "edge_drop:0.1", "edge_drop:0.1"),
        ("edge_drop:0.2", "edge_drop:0.2", "edge_drop:0.2"),
        ("edge_drop:0.2+feature_mask,random_walk", "edge_drop:0.2+feature_mask:0.1", "random_walk:0.1"),
        (" edge_drop : 0.2 + noise , svd ", "edge_drop:0.2+noise:0.1", "svd:5"),
        ("svd:32,noise:2", "svd:32", "noise:2"),
    ],
)
def test_parse(text: str, first: str, second: str) -> None:
    chains = parse_augmentations(text)
    assert tuple("+".join(map(str, chain)) for chain in chains) == (first, second)


def test_default_strength_is_for_those_without_their_own() -> None:
    chain, _ = parse_augmentations("edge_drop+node_drop:0.2+svd", 0.3)
    assert chain == (Step("edge_drop", 0.3), Step("node_drop", 0.2), Step("svd", 5))


@pytest.mark.parametrize(
    ("text", "p", "words"),
    [
        ("edge_drpo", 0.1, ["'edge_drpo' is not known", *VIEWS]),
        ("", 0.1, ["'' is not known"]),
        ("edge_drop+", 0.1, ["'' is not known"]),
        ("edge_drop,,noise", 0.1, ["'' is not known"]),
        ("none,none,none", 0.1, ["two views, but 3"]),
        ("edge_drop:x", 0.1, ["'x' behind 'edge_drop' is no number", "share of the interactions"]),
        ("edge_drop:", 0.1, ["'' behind 'edge_drop'"]),
        ("edge_drop:1", 0.1, ["edge_drop takes a number in [0, 1)", "got 1"]),
        ("edge_drop", 1.5, ["got 1.5"]),
        ("node_drop:-0.1", 0.1, ["got -0.1"]),
        ("feature_mask:nan", 0.1, ["got nan"]),
        ("noise:-1", 0.1, ["noise takes a number at least 0", "got -1"]),
        ("noise:inf", 0.1, ["got inf"]),
        ("svd:0", 0.1, ["svd takes a whole number at least 1 (rank)"]),
        ("svd:2.5", 0.1, ["got 2.5"]),
    ],
)
def test_parse_errors_are_one_clear_line(text: str, p: float, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_augmentations(text, p)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{text!r}" in message
    for word in words:
        assert word in message


# -- every view ----------------------------------------------------------------------------------


@every_view
def test_determined_by_the_generator_and_input_untouched(
    name: str, toy_graph: BipartiteGraph, encoder: LightGCN
) -> None:
    edges = toy_graph.edge_index.clone()
    before = [x.detach().clone() for x in encoder.layer_zero]
    state = torch.get_rng_state()
    first, again, other = (view_of(name, toy_graph, seed).encode(encoder) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.users, again.users)
    assert torch.equal(first.items, again.items)
    assert torch.equal(first.users, other.users) == (name in {"none", "svd"})
    assert torch.equal(toy_graph.edge_index, edges)
    for seen, expected in zip(encoder.layer_zero, before, strict=True):
        assert torch.equal(seen, expected)


@every_view
def test_zero_is_the_identity(name: str, toy_graph: BipartiteGraph, encoder: LightGCN) -> None:
    # The strength of svd is a rank; the full one leaves all as it is.
    text = "svd:10" if name == "svd" else f"{name}:0"
    plain, seen = encoder(toy_graph), view_of(text, toy_graph).encode(encoder)
    torch.testing.assert_close(seen.users, plain.users)
    torch.testing.assert_close(seen.items, plain.items)


@every_view
def test_layers_can_be_had(name: str, toy_graph: BipartiteGraph, encoder: LightGCN) -> None:
    seen = view_of(name, toy_graph).encode(encoder, layers=True)
    assert len(seen.layers) == 4
    torch.testing.assert_close(seen.users, sum(users for users, _ in seen.layers) / 4)


@every_view
def test_encoders_without_layers(name: str, toy_graph: BipartiteGraph) -> None:
    for encoder in (LightGCN(12, 10, dim=4, num_layers=0), MF(12, 10, dim=4)):
        seen = view_of(name, toy_graph, num_layers=0).encode(encoder)
        assert torch.isfinite(seen.users).all()


@pytest.mark.parametrize("second", VIEWS)
@every_view
def test_every_composition_of_two(
    name: str, second: str, toy_graph: BipartiteGraph, encoder: LightGCN
) -> None:
    """No NaN, at a moderate and at an extreme strength, and every gradient that should flow does."""
    for p in (0.4, 0.99):
        seen = view_of(f"{name}+{second}", toy_graph, p=p).encode(encoder)
        assert torch.isfinite(seen.users).all()
        assert torch.isfinite(seen.items).all()
        encoder.zero_grad()
        (seen.users.square().sum() + seen.items.square().sum()).backward()
        for parameter in encoder.parameters():
            assert torch.isfinite(parameter.grad).all()
            assert p == 0.99 or parameter.grad.abs().sum() > 0


@every_view
def test_works_on_a_graph_that_has_lost_everything(name: str, encoder: LightGCN) -> None:
    empty = BipartiteGraph(12, 10, torch.empty(2, 0, dtype=torch.int64))
    seen = view_of(name, empty).encode(encoder)
    assert torch.isfinite(seen.users).all()


@every_view
def test_attributes_take_the_place_of_dimensions(name: str, toy_graph: BipartiteGraph) -> None:
    graph = toy_graph.with_features(torch.rand(12, 40), None)
    view = view_of(name, graph)
    if name == "feature_mask":
        assert view.graph.user_x.isnan().any()
        assert torch.equal(view.hidden[0], view.graph.user_x.isnan())
        assert view.hidden[1] is None
        users, items = view.perturb.on_input(torch.ones(12, 8), torch.ones(10, 8))
        assert users.eq(1).all()  # they have attributes
        assert items.eq(0).any()  # they have not
    elif isinstance(view.graph, BipartiteGraph):
        assert view.graph.user_x is graph.user_x
    if name != "feature_mask":
        assert view.hidden == (None, None)


# -- graph steps and what stands in place of a graph ---------------------------------------------


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "feature_mask"])
def test_graph_augmentations_are_passed_on(name: str, toy_graph: BipartiteGraph) -> None:
    view = view_of(name, toy_graph)
    expected = AUGMENTATIONS[name](toy_graph, 0.4, generator=seeded())
    assert torch.equal(view.graph.edge_index, expected.edge_index)
    assert view.perturb is None


def test_steps_act_in_the_order_written(toy_graph: BipartiteGraph) -> None:
    view = view_of("edge_drop:0.3+edge_perturb:0.5", toy_graph)
    generator = seeded()
    dropped = edge_drop(toy_graph, 0.3, generator=generator)
    expected = AUGMENTATIONS["edge_perturb"](dropped, 0.5, generator=generator)
    assert torch.equal(view.graph.edge_index, expected.edge_index)


def test_layer_edge_drop_draws_a_graph_for_each_layer(toy_graph: BipartiteGraph, encoder: LightGCN) -> None:
    view = view_of("layer_edge_drop", toy_graph)
    generator = seeded()
    graphs = [edge_drop(toy_graph, 0.4, generator=generator) for _ in range(3)]
    users, items = encoder.layer_zero
    total = users
    for graph in graphs:
        users, items = graph.adjacency.propagate(users, items)
        total = total + users
    torch.testing.assert_close(view.encode(encoder).users, total / 4)
    assert len({tuple(graph.edge_index.flatten().tolist()) for graph in graphs}) == 3


def test_layer_edge_drop_follows_graph_steps_wherever_it_is_written(toy_graph: BipartiteGraph) -> None:
    for text in ("layer_edge_drop:0.2+node_drop:0.3", "node_drop:0.3+layer_edge_drop:0.2"):
        view = view_of(text, toy_graph)
        generator = seeded()
        base = AUGMENTATIONS["node_drop"](toy_graph, 0.3, generator=generator)
        for operator in view.graph:
            expected = edge_drop(base, 0.2, generator=generator)
            assert torch.equal(operator.by_user.weight, expected.adjacency.by_user.weight)
    chain, _ = parse_augmentations("layer_edge_drop:0.2+node_drop:0.3")
    seen = view_graph(chain, toy_graph, generator=seeded())
    generator = seeded()
    base = AUGMENTATIONS["node_drop"](toy_graph, 0.3, generator=generator)
    assert torch.equal(seen.edge_index, edge_drop(base, 0.2, generator=generator).edge_index)


def test_svd_is_found_once_and_refined_for_a_view(toy_graph: BipartiteGraph) -> None:
    view = view_of("svd:3", toy_graph)
    assert view.graph is toy_graph.low_rank(3)
    assert view_of("svd:3", toy_graph).graph is view.graph
    composed = view_of("svd:3+edge_drop", toy_graph)
    dropped = edge_drop(toy_graph, 0.4, generator=seeded())
    expected = toy_graph.low_rank(3).refined(dropped.adjacency)
    torch.testing.assert_close(composed.graph.values, expected.values)
    assert len(view_of("svd:3+svd:2", toy_graph).graph.values) == 2
    each = view_of("svd:3+layer_edge_drop", toy_graph).graph
    weighted = view_of("svd:3", toy_graph, degree_exponent=0.3).graph
    assert weighted is toy_graph.low_rank(3, 0.3)
    assert weighted.values[0] > 1.5 > view.graph.values[0]
    layer = view_of("layer_edge_drop", toy_graph, degree_exponent=0.3).graph[0]
    dropped = edge_drop(toy_graph, 0.4, generator=seeded())
    assert torch.equal(layer.by_user.weight, dropped.weighted(0.3).by_user.weight)
    assert [len(operator.values) for operator in each] == [3, 3, 3]


# -- noise and masks -----------------------------------------------------------------------------


def directions(count: int, dim: int, like: torch.Tensor | None = None) -> torch.Tensor:
    return noise_directions(count, dim, generator=seeded(), like=like)


def test_noise_has_the_asked_length_and_the_signs_of_its_row() -> None:
    x = torch.randn(9000, 64, generator=seeded())
    for eps in (0.1, 2.0):
        noise = add_noise_(x.clone(), eps, directions(4096, 64), generator=seeded()) - x
        torch.testing.assert_close(noise.norm(dim=1), torch.full((9000,), eps), rtol=1e-4, atol=1e-5)
        assert (noise * x.sign() >= -1e-6).all()


def test_noise_is_uniform_before_it_is_scaled() -> None:
    """In each row the noise is proportional to numbers uniform in (0, 1): mean 1/2, variance 1/12."""
    ones = torch.ones(20_000, 256, dtype=torch.float64)
    noise = add_noise_(ones.clone(), 1.0, directions(20_000, 256, ones), generator=seeded()) - 1.0
    ratio = float((noise.mean() / noise.square().mean().sqrt()).detach())
    assert abs(ratio - 0.5 / math.sqrt(1 / 3)) < 1e-3
    correlation = torch.corrcoef(noise[:, :8].T)[~torch.eye(8, dtype=torch.bool)]
    assert correlation.abs().max() < 0.04


def test_every_direction_is_picked_alike() -> None:
    """A block starts from any of the places that leave it room, equally often."""
    some = directions(2048 + 3, 64)
    generator = seeded()
    found = torch.zeros(4)
    for _ in range(400):
        noise = add_noise_(torch.ones(2048, 64), 1.0, some, generator=generator) - 1.0
        place = (noise[0] - some[:4]).abs().sum(1).argmin()
        torch.testing.assert_close(noise, some[place : place + 2048], atol=1e-5, rtol=1e-4)
        found[place] += 1
    assert found.min() > 100 - 5 * math.sqrt(75)


def test_noise_adds_nothing_where_there_is_nothing() -> None:
    x = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, -1.0]])
    noisy = add_noise_(x.clone(), 0.5, directions(10, 3), generator=seeded())
    assert torch.equal(noisy[0], x[0])
    assert noisy[1, 1] == 0
    assert noisy[1, 0] > 1
    assert noisy[1, 2] < -1


def test_noise_lets_the_gradient_through(toy_graph: BipartiteGraph) -> None:
    x = torch.randn(12, 3, requires_grad=True), torch.randn(10, 3, requires_grad=True)
    noisy = view_of("noise:0.3", toy_graph).perturb.shifted(1, *x)
    upstream = torch.randn(12, 3), torch.randn(10, 3)
    torch.autograd.backward(noisy, upstream)
    for rows, changed, gradient in zip(x, noisy, upstream, strict=True):
        assert not torch.equal(rows, changed)
        assert torch.equal(rows.grad, gradient)


def test_noise_acts_behind_each_layer_and_not_on_the_input(
    toy_graph: BipartiteGraph, encoder: LightGCN
) -> None:
    layers = view_of("noise:0.1", toy_graph).encode(encoder, layers=True).layers
    assert layers[0][0] is encoder.users
    users, items = encoder.layer_zero
    for layer in (1, 2, 3):
        clean = toy_graph.adjacency.propagate(users, items)
        users, items = layers[layer]
        for noisy, plain, degree in zip((users, items), clean, toy_graph.degrees(), strict=True):
            lengths = (noisy - plain).norm(dim=1)
            torch.testing.assert_close(
                lengths[degree > 0], torch.full((int((degree > 0).sum()),), 0.1), rtol=1e-3, atol=1e-4
            )
            assert lengths[degree == 0].eq(0).all()


def test_perturbations_compose_in_order_and_draw_anew(toy_graph: BipartiteGraph) -> None:
    view = view_of("noise:0.5+noise:0.25", toy_graph)
    x = torch.ones(12, 64), torch.ones(10, 64)
    once, twice = view.perturb.shifted(1, *x)[0], view.perturb.shifted(1, *x)[0]
    assert not torch.equal(once, twice)
    assert view.perturb.on_input is None
    lengths = (once - 1).norm(dim=1)
    assert (lengths > 0.6).all()  # both lie in the same orthant
    assert (lengths <= 0.75 + 1e-4).all()


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_mask_hides_dimensions_of_each_node_for_itself(p: float) -> None:
    x = torch.randn(4000, 64, generator=seeded(), requires_grad=True)
    masked = mask_dimensions(x, p, generator=seeded())
    hidden = masked == 0
    assert torch.equal(masked[~hidden], x[~hidden])  # and nothing is scaled up
    assert abs(float(hidden.double().mean()) - p) < 5 * math.sqrt(p * (1 - p) / x.numel())
    assert (hidden.double().mean(0) - p).abs().max() < 5 * math.sqrt(p * (1 - p) / 4000)
    assert len({tuple(row) for row in hidden[:50].tolist()}) == 50
    masked.sum().backward()
    assert torch.equal(x.grad == 0, hidden)


# -- the table -----------------------------------------------------------------------------------


def test_table_holds_every_graph_augmentation_and_its_relatives() -> None:
    assert set(VIEWS) == {*AUGMENTATIONS, "layer_edge_drop", "noise", "svd"}
    for kind in VIEWS.values():
        assert kind.strength
        assert kind.strength != "share of the graph that changes"
