"""Every method has a space of settings that are there, hold its own values, and are accepted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gclrec.common.declaration import Axis, Options, Span
from gclrec.common.errors import InputError
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.settings.search_space import search_space, spans
from gclrec.settings.validation import validate

NOTHING = {"popularity", "content_knn"}


def start(method: str, **settings: object) -> TrainConfig:
    return TrainConfig(**{**METHODS[method].settings, **settings})  # type: ignore[arg-type]


def drawn(axis: Axis, random: np.random.Generator) -> object:
    if isinstance(axis, Options):
        return axis.values[random.integers(len(axis.values))]
    value = random.uniform(axis.low, axis.high)
    return int(value) if axis.whole else value


@pytest.mark.parametrize("method", [name for name in METHODS if name not in NOTHING])
def test_every_method_has_a_space_that_is_accepted(method: str) -> None:
    random = np.random.default_rng(0)
    config, space = search_space(start(method), method)
    assert space.keys() <= {field.name for field in dataclasses.fields(TrainConfig)}
    for name, axis in space.items():
        assert isinstance(axis, Span)
        assert axis.low < axis.high
        assert axis.low > 0 or not axis.log
        assert axis.holds(getattr(config, name)), name
    for _ in range(20):
        values = {name: drawn(axis, random) for name, axis in space.items()}
        validate(dataclasses.replace(config, **values))  # type: ignore[arg-type]
    assert validate(config) == search_space(config, method)[0]


def test_every_span_is_used_by_some_method_or_setting() -> None:
    found = {name for method in METHODS if method not in NOTHING for name in search_space(start(method))[1]}
    others = (
        TrainConfig(negatives="popularity"),
        TrainConfig(negatives="mixed", num_negatives=5),
        TrainConfig(negatives="exposed", exposed="shown.csv", exposed_share=0.5),
        TrainConfig(attributes="input", ssl="features"),
        TrainConfig(encoder="two_tower", history="mean", ssl="histories"),
    )
    found |= {name for config in others for name in search_space(config)[1]}
    assert found | {"dim"} == set(spans())


@pytest.mark.parametrize("method", sorted(NOTHING))
def test_some_have_nothing_to_tune(method: str) -> None:
    with pytest.raises(InputError, match="nothing to tune"):
        search_space(start(method), method)


SPACES_OF = {
    "mf": {"learning_rate", "l2_weight"},
    "lightgcn": {"learning_rate", "l2_weight", "num_layers", "degree_exponent"},
    "sgl": {
        "learning_rate",
        "l2_weight",
        "num_layers",
        "degree_exponent",
        "ssl_weight",
        "temperature",
        "aug_p",
    },
    "two_tower": {"learning_rate", "l2_weight", "loss_temperature"},
    "selfcf": {"learning_rate", "l2_weight", "num_layers", "degree_exponent", "momentum"},
    "lightgcl": {"learning_rate", "l2_weight", "num_layers", "degree_exponent", "ssl_weight", "temperature"},
    "item_knn": {"neighbours", "shrink"},
    "pure_svd": {"dim"},
    "rp3beta": {"neighbours", "walk_exponent", "popularity_damping"},
    "ease": {"ease_l2"},
    "ials": {"dim", "unobserved_weight", "ials_l2", "l2_exponent"},
    "gf_cf": {"rank", "low_pass"},
}


@pytest.mark.parametrize("method", SPACES_OF)
def test_only_what_matters_is_searched(method: str) -> None:
    assert search_space(start(method), method)[1].keys() == SPACES_OF[method]


def test_towers_have_layers_of_their_own() -> None:
    towers = TrainConfig(encoder="two_tower", attributes="input", ssl="none")
    assert search_space(towers)[1].keys() == {"learning_rate", "l2_weight", "id_dropout", "tower_layers"}
    assert "history_length" in search_space(dataclasses.replace(towers, history="mean"))[1]


def test_a_strength_that_the_augmentations_name_becomes_a_setting() -> None:
    config, space = search_space(start("xsimgcl"), "xsimgcl")
    assert (config.aug, config.aug_p) == ("noise", 0.2)
    assert "aug_p" in space
    for aug in ("edge_drop:0.1,noise:0.3", "svd:5,none", "svd"):
        config, space = search_space(TrainConfig(aug=aug))
        assert config.aug == aug
        assert "aug_p" not in space
    config, space = search_space(TrainConfig(aug="edge_drop:0.3+noise:0.3,none"))
    assert (config.aug, config.aug_p) == ("edge_drop+noise,none", 0.3)


def test_what_is_given_stays() -> None:
    given = {"learning_rate", "aug", "temperature"}
    config, space = search_space(start("sgl"), "sgl", given=given)
    assert config.aug == "edge_drop:0.1"
    assert space.keys() == {"l2_weight", "num_layers", "degree_exponent", "ssl_weight"}


def test_a_temperature_that_is_no_number_stays() -> None:
    config = TrainConfig(loss="softmax", loss_temperature="learned", temperature="learned:0.3")
    assert search_space(config)[1].keys() & {"loss_temperature", "temperature"} == set()


def test_the_space_of_a_method_goes_first_and_layers_fit_the_contrast() -> None:
    assert search_space(start("selfcf"), "selfcf")[1]["momentum"] == Span(0.0, 0.5)
    assert search_space(start("selfcf"))[1]["momentum"] == spans()["momentum"]
    assert search_space(start("ncl"), "ncl")[1]["num_layers"] == Span(2, 4)
    assert search_space(start("egcf"), "egcf")[1]["num_layers"] == Span(1, 4)


def test_where_a_value_lies_in_a_span() -> None:
    assert [Span(1, 5).place(value) for value in (1, 3, 5)] == [0, 0.5, 1]
    assert [Span(0.01, 1.0, log=True).place(value) for value in (0.01, 0.1, 1.0)] == pytest.approx(
        [0, 0.5, 1]
    )


def test_a_span_around_a_value() -> None:
    space = search_space(start("bsl_lightgcn", ssl_weight=0.3))[1]
    assert space["num_negatives"] == Span(200, 3200, log=True)
    assert search_space(TrainConfig(ssl_weight=0.3))[1]["ssl_weight"] == Span(0.03, 3.0, log=True)


def test_axes_that_are_asked_for() -> None:
    space = search_space(
        TrainConfig(),
        asked=("dim=16,32", "temperature=0.1..0.3", "--learning-rate=1e-4..1e-2", "num-layers=1..3"),
    )[1]
    assert space["dim"] == Options((16, 32))
    assert space["temperature"] == Span(0.1, 0.3)
    assert space["learning_rate"] == Span(1e-4, 1e-2, log=True)
    assert space["num_layers"] == Span(1, 3)
    assert "l2_weight" in space
    assert search_space(TrainConfig(), asked=("layer_weights=mean,mean_without_0",))[1][
        "layer_weights"
    ] == Options(("mean", "mean_without_0"))


REFUSED = {
    "dim": "NAME=LOW..HIGH",
    "seed=1..3": "nothing to choose",
    "dim=1..x": "found 'x', expected a whole number",
    "dim=32..16": "the lower one first",
    "dim=1..2..3": "LOW..HIGH",
    "layer_weights=mean..sum": "LOW..HIGH",
    "layer_weights=mean,best": "--layer-weights",
    "temperature=0..1": "--temperature",
    "rank=1..3": "changes nothing",
    "patience=1..3": "is given by --patience",
}


@pytest.mark.parametrize("text", REFUSED)
def test_axes_that_are_refused(text: str) -> None:
    with pytest.raises(InputError) as error:
        search_space(TrainConfig(), asked=(text,), given={"patience"})
    assert REFUSED[text] in str(error.value)
