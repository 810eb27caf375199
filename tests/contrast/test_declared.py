"""Every encoder, contrast and view, with every choice and the ends of every number that it declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import nn

from gclrec.common.declaration import Around, Declared
from gclrec.contrast import SSL, build_contrast
from gclrec.contrast.base import BeginsEpochs, FollowsSteps, TrainingStep
from gclrec.contrast.cl4srec import HISTORY_VIEWS
from gclrec.contrast.features import FEATURE_VIEWS
from gclrec.encoders import ENCODERS, EncoderInputs, Sequences
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.temperature import Learned
from gclrec.training.build import with_fields
from gclrec.views.views import VIEWS, make_view, parse_augmentations
from tests.encoders.content.test_content import BOTH

pytestmark = pytest.mark.filterwarnings("ignore:attributes age:gclrec.common.errors.InputWarning")

SMALL = {"dim": 4, "num_layers": 2, "ssl_layer": 2}  # by public name, where a component has it
NEEDS = {"two_tower": {"attributes": "input", "history": "mean"}}
LISTED = {
    "history_views": HISTORY_VIEWS,
    "feature_views": (*FEATURE_VIEWS, "tags|kind"),
    "ssl_layer": (2,),
}  # what no declaration can list


def values_of(found: Declared) -> Iterator[object]:
    """Yield every choice, or the default and the ends of the range and of the span."""
    setting = found.setting
    if setting.name in LISTED or setting.choices:
        yield from LISTED.get(setting.name, setting.choices)
        return
    yield found.default
    span = setting.search.span(found.default) if isinstance(setting.search, Around) else setting.search
    if setting.low is not None and setting.closed:
        yield setting.low
    if span is not None:
        yield from (span.low, min(span.high, 64))


def cases(kinds: Mapping[str, object]) -> list[tuple[str, str, object]]:
    return [
        (name, argument, value)
        for name, kind in kinds.items()
        for argument, found in kind.declared.items()
        for value in values_of(found)
    ]


def settings_of(kind: object, settings: Mapping[str, object]) -> dict[str, object]:
    """Return settings by argument, of those that a component has."""
    names = {argument: found.setting.name for argument, found in kind.declared.items()}
    return {argument: settings[name] for argument, name in names.items() if name in settings}


def encoder_of(name: str, graph: BipartiteGraph, **settings: object) -> nn.Module:
    sequences = Sequences(*graph.edge_index, graph.num_users, graph.num_items, length=20)
    inputs = EncoderInputs(
        BOTH,
        graph.degrees(),
        sequences,
        torch.Generator().manual_seed(0),
        torch.Generator().manual_seed(1),
    )
    kind = ENCODERS[name]
    values = settings_of(kind, SMALL | NEEDS.get(name, {}))
    return ENCODERS[name].make(graph.num_users, graph.num_items, inputs, **(values | settings))


def assert_learns(loss: torch.Tensor, *modules: nn.Module) -> None:
    assert loss.isfinite()
    loss.backward()
    gradients = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize(("name", "argument", "value"), cases(ENCODERS))
def test_encoders(name: str, argument: str, value: object, toy_graph: BipartiteGraph) -> None:
    kind = ENCODERS[name]
    if argument == "attributes" and value not in ("none", *kind.attribute_uses):
        pytest.skip("another encoder's use")
    if argument == "num_layers" and kind.declared[argument].setting.name == "num_layers":
        value = max(value, kind.least_layers)
    settings = {argument: value} if argument != "id_dropout" else {"attributes": "input", argument: value}
    encoder = encoder_of(name, toy_graph, **settings)
    users, items = encoder(toy_graph)
    assert users.shape == (12, len(items[0]))
    assert_learns(users.square().sum() + items.square().sum(), encoder)


@pytest.mark.parametrize(("name", "argument", "value"), cases(SSL))
def test_contrasts(name: str, argument: str, value: object, toy_graph: BipartiteGraph) -> None:
    kind = SSL[name]
    more = {"history": "attention"} if name == "histories" else {"attributes": "input"}
    more = {"attributes": "map"} if kind.takes_attributes else more
    encoder = encoder_of("two_tower" if name == "histories" else "lightgcn", toy_graph, **more)
    graph = with_fields(toy_graph, BOTH)
    generator = torch.Generator().manual_seed(2)
    settings = settings_of(kind, SMALL) | {argument: value}
    contrast = build_contrast(name, encoder, graph, attributes=BOTH, generator=generator, **settings)
    users, items = toy_graph.edge_index[:, ::2]
    for epoch in (1, 7):  # what waits for some epochs has begun by then
        for part in contrast.modules():
            if isinstance(part, BeginsEpochs):
                with torch.no_grad():
                    part.begin_epoch(epoch, encoder, graph)
        views = views_of("edge_drop:0.3", graph, kind.views)
        _, loss = contrast(TrainingStep(encoder, graph, views, users, items, generator))
        assert_learns(loss, encoder, contrast)
        for part in contrast.modules():
            if isinstance(part, FollowsSteps):
                part.after_step(encoder)


@pytest.mark.parametrize("name", [name for name, kind in SSL.items() if kind.temperatures])
def test_learned_temperatures(name: str, toy_graph: BipartiteGraph) -> None:
    assert SSL[name].temperatures == ("learned",)
    more = {"history": "attention"} if name == "histories" else {"attributes": "input"}
    more = {"attributes": "map"} if SSL[name].takes_attributes else more
    encoder = encoder_of("two_tower" if name == "histories" else "lightgcn", toy_graph, **more)
    temperature = Learned(0.2)
    contrast = build_contrast(name, encoder, toy_graph, attributes=BOTH, temperature=temperature)
    users, items = toy_graph.edge_index[:, ::2]
    views = views_of("edge_drop:0.3", toy_graph, SSL[name].views)
    contrast(TrainingStep(encoder, toy_graph, views, users, items)).loss.backward()
    assert temperature.log.grad.abs() > 0


def views_of(text: str, graph: BipartiteGraph, count: int) -> tuple[object, ...]:
    generator = torch.Generator().manual_seed(3)
    chains = parse_augmentations(text)[:count]
    return tuple(make_view(chain, graph, generator=generator, num_layers=2) for chain in chains)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("view", VIEWS)
def test_views(view: str, encoder: str, toy_graph: BipartiteGraph) -> None:
    if ENCODERS[encoder].needs_edges and view == "svd":
        pytest.skip("a low-rank operator has no edges")
    module = encoder_of(encoder, toy_graph)
    (seen,) = views_of(view, with_fields(toy_graph, BOTH), 1)
    users, items = seen.encode(module)
    assert_learns(users.square().sum() + items.square().sum(), module)


def test_one_name_means_one_thing() -> None:
    kinds = [*ENCODERS.values(), *SSL.values()]
    settings: dict[str, object] = {}
    for found in (found for kind in kinds for found in kind.declared.values()):
        assert settings.setdefault(found.setting.name, found.setting) is found.setting
