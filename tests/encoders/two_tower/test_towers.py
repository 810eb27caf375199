"""Towers and refiners: the formulas as slow loops, cold nodes, hidden ids, and hidden fields."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gclrec.data.schema import Attributes
from gclrec.encoders import (
    ENCODERS,
    MF,
    REFINERS,
    EncoderInputs,
    EncodesContent,
    FieldTable,
    Tower,
    TwoTower,
)
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.training.build import with_fields
from gclrec.views.views import VIEWS, make_view, parse_augmentations
from tests.encoders.content.test_content import BOTH, ITEMS, ONLY_ITEMS, SCHEMAS, seeded

every_refiner = pytest.mark.parametrize("refiner", REFINERS)


def made(attributes: Attributes | None = BOTH, **settings: object) -> TwoTower:
    return TwoTower(12, 10, attributes, dim=4, generator=seeded(), **settings)


def shaken(module: nn.Module, seed: int = 3) -> nn.Module:
    """Return the module in float64 with every parameter moved, so that no start hides a mistake."""
    module = module.double()
    for parameter in module.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=seeded(seed), dtype=torch.float64)
    return module


def normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    scaled = (x - x.mean()) / (x.var(unbiased=False) + norm.eps).sqrt()
    return scaled * norm.weight + norm.bias


def plain(module: nn.Module, fields: list[Tensor]) -> list[Tensor]:
    return fields


def senet(module: nn.Module, fields: list[Tensor]) -> list[Tensor]:
    first, second = module.squeeze.weight.tolist(), module.excite.weight.tolist()
    squeezed = [sum(field.tolist()) / len(field) for field in fields]
    inner = [max(0.0, sum(w * z for w, z in zip(row, squeezed, strict=True))) for row in first]
    logits = [sum(w * h for w, h in zip(row, inner, strict=True)) for row in second]
    return [field * 2 / (1 + math.exp(-x)) for field, x in zip(fields, logits, strict=True)]


def masknet(module: nn.Module, fields: list[Tensor]) -> list[Tensor]:
    inner = (module.aggregate.weight @ torch.cat(fields) + module.aggregate.bias).clamp(min=0)
    mask = module.project.weight @ inner + module.project.bias
    width = len(fields[0])
    return [mask[n * width : (n + 1) * width] * normed(x, module.norm) for n, x in enumerate(fields)]


def contextnet(module: nn.Module, fields: list[Tensor]) -> list[Tensor]:
    inner = (module.aggregate.weight @ torch.cat(fields)).clamp(min=0)
    out = []
    for n, field in enumerate(fields):
        own = slice(n * len(field), (n + 1) * len(field))
        merged = field * (module.project.weight[own] @ inner + module.project.bias[own])
        fed = module.outer.weight @ (module.inner.weight @ merged).clamp(min=0)
        out.append(normed(fed + merged, module.norm))
    return out


LOOPS = {"none": plain, "senet": senet, "masknet": masknet, "contextnet": contextnet}


@every_refiner
@pytest.mark.parametrize("count", [1, 2, 5])
def test_refiners_are_their_formulas(refiner: str, count: int) -> None:
    module = shaken(REFINERS[refiner](count, 6, generator=seeded()))
    fields = torch.randn(7, count, 6, generator=seeded(5), dtype=torch.float64)
    expected = torch.stack([torch.stack(LOOPS[refiner](module, list(row))) for row in fields])
    torch.testing.assert_close(module(fields), expected)


@every_refiner
def test_gradients_of_refiners(refiner: str) -> None:
    module = shaken(REFINERS[refiner](3, 4, generator=seeded()))
    fields = torch.randn(2, 3, 4, generator=seeded(5), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (fields,))
    rows = torch.randn(40, 3, 4, generator=seeded(6), dtype=torch.float64, requires_grad=True)
    module(rows).square().sum().backward()
    assert all((p.grad != 0).any() for p in module.parameters())


@every_refiner
def test_refiners_start_about_as_long_as_they_got(refiner: str) -> None:
    fields = 0.1 * torch.randn(500, 4, 32, generator=seeded(5))
    refined = REFINERS[refiner](4, 32, init_std=0.1, generator=seeded())(fields)
    assert 0.05 < float(refined.detach().std()) < 0.2


@every_refiner
@pytest.mark.parametrize("num_layers", [0, 1, 2, 3])
def test_a_tower_is_its_formula(refiner: str, num_layers: int) -> None:
    tower = shaken(
        Tower(BOTH.items.fields, 4, refiner=refiner, num_layers=num_layers, generator=seeded())
    ).double()
    ids = torch.randn(10, 4, generator=seeded(2), dtype=torch.float64)
    seen = tower(BOTH.items, ids)
    for row, field in enumerate(tower.fields(BOTH.items)):
        refined = LOOPS[refiner](tower.refiner, [ids[row], *field])
        x = torch.cat(refined) if num_layers else sum(refined)
        layers = [layer for layer in tower.layers if isinstance(layer, nn.Linear)]
        assert len(layers) == num_layers
        for number, layer in enumerate(layers):
            x = layer.weight @ x + layer.bias
            x = x.clamp(min=0) if number < num_layers - 1 else x
        torch.testing.assert_close(seen[row], x)


def test_a_side_without_attributes_is_its_free_vectors(toy_graph: BipartiteGraph) -> None:
    encoder = made(ONLY_ITEMS, degrees=toy_graph.degrees())
    seen = encoder(toy_graph, layers=True)
    assert torch.equal(seen.users[:11], encoder.users[:11])
    assert not seen.users[11].any()  # without an interaction it has never been trained
    assert torch.equal(seen.layers[0][1], seen.items)
    assert encoder.field_table("user") is None
    assert isinstance(encoder.field_table("item"), FieldTable)
    assert isinstance(encoder, EncodesContent)
    alone = made(None)
    for mine, theirs in zip(alone(), MF(12, 10, 4, generator=seeded())(), strict=True):
        assert torch.equal(mine, theirs)


@every_refiner
def test_a_cold_item_is_what_its_attributes_say(refiner: str, toy_graph: BipartiteGraph) -> None:
    encoder = made(refiner=refiner, degrees=toy_graph.degrees()).eval()
    late = SCHEMAS["item"].encode(ITEMS[9:])
    torch.testing.assert_close(encoder.encode_content("item", late)[0], encoder(toy_graph).items[9])
    batch = encoder.field_table("item").batch(torch.tensor([9, 3, 9]))
    torch.testing.assert_close(encoder.encode_content("item", batch)[2], encoder(toy_graph).items[9])
    assert not torch.allclose(encoder.encode_content("item", batch)[1], encoder(toy_graph).items[3])
    with pytest.raises(ValueError, match="no attributes of users"):
        made(ONLY_ITEMS).encode_content("user", BOTH.users)


def test_hidden_ids_are_drawn_anew_in_training_and_never_else(toy_graph: BipartiteGraph) -> None:
    encoder = made(id_dropout=0.5)
    cold = encoder.encode_content("item", BOTH.items)
    encoder.draws = seeded(7)
    state = torch.get_rng_state()
    one, other = encoder(toy_graph).items, encoder(toy_graph).items
    encoder.draws = seeded(7)
    assert torch.equal(encoder(toy_graph).items, one)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    hidden = (one == cold).all(1)
    assert 0 < int(hidden.sum()) < 10
    encoder.eval()
    torch.testing.assert_close(encoder(toy_graph).items, made()(toy_graph).items)


@pytest.mark.parametrize("name", VIEWS)
def test_only_hidden_fields_change_a_view(name: str, toy_graph: BipartiteGraph) -> None:
    encoder = made(ONLY_ITEMS)
    chain, _ = parse_augmentations(name, 0.4)
    view = make_view(chain, with_fields(toy_graph, ONLY_ITEMS), generator=seeded(), num_layers=0)
    seen = view.encode(encoder).items
    assert torch.equal(seen, encoder(toy_graph).items) == (name not in ("feature_mask", "noise"))
    if name == "feature_mask":
        assert torch.equal(seen, encoder(hidden=view.hidden).items)


def test_the_start_does_not_touch_the_global_generator() -> None:
    state = torch.get_rng_state()
    for refiner in REFINERS:
        one, again = (
            ENCODERS["two_tower"].make(
                12,
                10,
                EncoderInputs(BOTH, generator=seeded()),
                dim=4,
                attributes="input",
                refiner=refiner,
            )
            for _ in range(2)
        )
        for start, same in zip(one.parameters(), again.parameters(), strict=True):
            assert torch.equal(start, same)
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="one of none, senet, masknet, contextnet, got 'sieve'"):
        made(refiner="sieve")
    with pytest.raises(ValueError, match="at least 0, got -1"):
        made(num_layers=-1)
    with pytest.raises(ValueError, match="same schema"):
        made().encode_content("item", BOTH.users)
