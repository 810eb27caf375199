"""Sums of contrasts: the formula, the shared passes, settings, and every contrast that can be added."""

from __future__ import annotations

import pytest
import torch

from gclrec.common.errors import SettingError
from gclrec.contrast import SSL, build_contrast
from gclrec.contrast.base import BeginsEpochs, TrainingStep
from gclrec.contrast.sums import Sum, parse_sum
from gclrec.encoders import LightGCN, Sequences, TwoTower
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.temperature import Learned
from gclrec.training.build import with_fields
from gclrec.views.views import View, make_view, parse_augmentations
from tests.encoders.content.test_content import BOTH

USERS, ITEMS = torch.tensor([3, 1, 3, 7]), torch.tensor([2, 2, 9, 0])
ADDABLE = [name for name, kind in SSL.items() if kind.make is not None and name != "byol"]


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder_of() -> LightGCN:
    return LightGCN(12, 10, dim=4, num_layers=2, generator=seeded(1))


def views_of(text: str, graph: BipartiteGraph, count: int = 2) -> tuple[View, ...]:
    generator = seeded(2)
    chains = parse_augmentations(text)[:count]
    return tuple(make_view(chain, graph, generator=generator, num_layers=2) for chain in chains)


def test_is_the_weighted_sum_of_its_contrasts(toy_graph: BipartiteGraph) -> None:
    encoder, views = encoder_of(), views_of("edge_drop:0.4", toy_graph)
    made = build_contrast("infonce:2+neighbour:0.5+cross_layer", encoder, toy_graph, temperature=0.3)
    main, loss = made(TrainingStep(encoder, toy_graph, views, USERS, ITEMS))
    expected = torch.zeros(())
    for name, weight, count in (("infonce", 2.0, 2), ("neighbour", 0.5, 1), ("cross_layer", 1.0, 1)):
        alone = build_contrast(name, encoder, toy_graph, temperature=0.3)
        expected = (
            expected + weight * alone(TrainingStep(encoder, toy_graph, views[:count], USERS, ITEMS)).loss
        )
    torch.testing.assert_close(loss, expected)
    assert torch.equal(main.users, encoder(toy_graph).users)  # those that infonce, the first one, ranks by
    for mine, plain in zip(
        torch.autograd.grad(loss, encoder.layer_zero),
        torch.autograd.grad(expected, encoder.layer_zero),
        strict=True,
    ):
        torch.testing.assert_close(mine, plain)
        assert (mine != 0).any()


def test_the_first_one_gives_what_is_ranked(toy_graph: BipartiteGraph) -> None:
    encoder, views = encoder_of(), views_of("edge_drop:0.4", toy_graph)
    step = TrainingStep(encoder, toy_graph, views, USERS, ITEMS)
    main, _ = build_contrast("neighbour+infonce", encoder, toy_graph)(step)
    assert torch.equal(main.users, views[0].encode(encoder).users)


def test_a_view_is_encoded_once(toy_graph: BipartiteGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, views = encoder_of(), views_of("edge_drop:0.4", toy_graph)
    encoded: list[View] = []
    plain = View.encode

    def counted(self: View, *args: object, **settings: object) -> object:
        encoded.append(self)
        return plain(self, *args, **settings)

    monkeypatch.setattr(View, "encode", counted)
    made = build_contrast("infonce+swav+neighbour", encoder, toy_graph, num_prototypes=3)
    made(TrainingStep(encoder, toy_graph, views, USERS, ITEMS))
    assert len(encoded) == 3  # two views, and the graph itself
    assert len({id(view) for view in encoded}) == 3


@pytest.mark.filterwarnings("ignore:attributes age:gclrec.common.errors.InputWarning")
@pytest.mark.parametrize("first", ["infonce", "cross_layer"])
@pytest.mark.parametrize("name", ADDABLE)
def test_every_contrast_can_be_added(name: str, first: str, toy_graph: BipartiteGraph) -> None:
    if name == first:
        pytest.skip("a contrast cannot be added to itself")
    sequences = Sequences(*toy_graph.edge_index, 12, 10)
    tower = TwoTower(12, 10, BOTH, 4, sequences=sequences, history="mean", generator=seeded(1))
    if name == "histories" and first == "cross_layer":
        pytest.skip("towers have no layers")
    encoder = tower if name in ("features", "histories") and first == "infonce" else encoder_of()
    if name == "features" and first == "cross_layer":
        pytest.skip("an encoder of ids alone has no fields")
    graph = with_fields(toy_graph, BOTH)
    kind = SSL[f"{first}+{name}:0.5"]
    made = build_contrast(f"{first}+{name}:0.5", encoder, graph, attributes=BOTH, generator=seeded())
    for part in made.modules():
        if isinstance(part, BeginsEpochs):
            part.begin_epoch(7, encoder, graph)
    views = views_of("feature_mask:0.3+noise:0.1", graph, kind.views)
    assert len(views) == max(SSL[first].views, SSL[name].views)
    _, loss = made(TrainingStep(encoder, graph, views, USERS, ITEMS, seeded(4)))
    _, alone = made.get_submodule("beside")(
        TrainingStep(encoder, graph, views[: SSL[first].views], USERS, ITEMS, seeded(4))
    )
    assert loss.isfinite()
    assert not torch.equal(loss, alone)
    found = torch.autograd.grad(loss, [p for p in encoder.parameters() if p.requires_grad], allow_unused=True)
    assert any(bool(gradient.any()) for gradient in found if gradient is not None)


def test_each_keeps_its_own_default(toy_graph: BipartiteGraph) -> None:
    assert SSL["cross_layer+ncl"].declared["ssl_layer"].default is None
    made = build_contrast("cross_layer+ncl", encoder_of(), toy_graph)
    assert [part.layer for part in made.parts] == [1, 2]
    made = build_contrast("cross_layer+ncl", encoder_of(), toy_graph, ssl_layer=2)
    assert [part.layer for part in made.parts] == [2, 2]


def test_a_learned_temperature_is_one_parameter(toy_graph: BipartiteGraph) -> None:
    made = build_contrast(
        "infonce+content", encoder_of(), toy_graph, attributes=BOTH, temperature=Learned(0.2)
    )
    assert isinstance(made, Sum)
    assert made.parts[0].temperature is made.parts[1].temperature is made.temperature
    assert [name for name in made.state_dict() if "log" in name] == ["beside.temperature.log"]


def test_what_its_contrasts_have_in_common() -> None:
    sum_of = SSL["infonce+swav"]
    assert (sum_of.views, sum_of.differs, sum_of.of_rows, sum_of.temperatures) == (2, False, True, ())
    assert SSL["infonce+cross_layer"].temperatures == ("learned",)
    assert not SSL["infonce+moco"].of_rows
    assert SSL["infonce+content"].takes_attributes
    assert "infonce+swav:2" in SSL
    assert "infonce+luck" not in SSL
    assert SSL.get("infonce+") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("luck", "'luck' is not one of none, infonce"),
        ("infonce+luck", "'luck' is not one of"),
        ("infonce:0.5", "A\\+B:0.5 adds up A and half of B"),
        ("infonce+swav:much", "NAME:WEIGHT, with a weight above 0"),
        ("infonce+swav:-1", "above 0"),
        ("infonce+swav:inf", "above 0"),
        ("infonce+swav+infonce", "infonce occurs twice"),
        ("infonce+none", "none is no contrast"),
        ("byol+infonce", "byol ranks by vectors of its own"),
        ("features+content", "content needs an encoder of ids alone, and features one of attributes"),
    ],
)
def test_what_is_no_sum_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        SSL[text]


def test_weights_are_read() -> None:
    assert parse_sum("a + b:0.25+c:1e-3", "abc") == [("a", 1.0), ("b", 0.25), ("c", 0.001)]
