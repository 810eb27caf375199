"""Settings: what is out of range is said with its flag; TOML and back is the identity."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import pytest
import tomli_w

from gclrec.baselines import BASELINES, Baseline
from gclrec.common.declaration import Setting
from gclrec.common.errors import InputError
from gclrec.common.files import read_toml
from gclrec.common.shell import flag
from gclrec.settings.config import RETIRED, TrainConfig, derive
from gclrec.settings.methods import METHODS, method_settings
from gclrec.settings.validation import validate

from .older_defaults import OLDER

BAD = {
    "split": "sideways",
    "valid_share": 1.0,
    "test_share": -0.1,
    "cold_share": 1.5,
    "shots": -1,
    "train_fraction": 0.0,
    "k_core": 0,
    "encoder": "transformer",
    "baseline": "oracle",
    "neighbours": 0,
    "shrink": -1.0,
    "rank": 0,
    "low_pass": -0.1,
    "dim": 0,
    "num_layers": -1,
    "layer_weights": "median",
    "degree_exponent": 1.1,
    "user_vectors": "none",
    "init_std": 0.0,
    "views_every": "hour",
    "ssl_weight": -0.1,
    "temperature": 0.0,
    "ssl": "byo",
    "ssl_negatives": "some",
    "head_layers": 4,
    "prototype_queue": -1,
    "momentum": 1.1,
    "num_prototypes": 1,
    "exposed_share": 1.5,
    "queue_size": 0,
    "clusters": 0,
    "cluster_after": -1,
    "prototype_weight": -0.1,
    "item_weight": -1.0,
    "ssl_target": "mirror",
    "neighbour_form": "simgcl",
    "nearest": 0,
    "negatives": "none",
    "loss": "triplet",
    "score": "angle",
    "loss_score": "angle",
    "loss_temperature": 0.0,
    "loss_power": 0.0,
    "loss_margin": 1.5,
    "negative_weight": -1.0,
    "uniformity_weight": -1.0,
    "num_negatives": 0,
    "popularity_alpha": -0.5,
    "logq": True,
    "epochs": 0,
    "batch_size": 0,
    "learning_rate": 0.0,
    "l2_weight": -1.0,
    "patience": -1,
    "seed": -1,
    "device": "tpu",
    "eval_every": 0,
    "select": "recall@21",
    "ks": (0,),
    "metrics": ("recall", "charm"),
    "near_cold": 0,
    "attributes": "all",
    "attribute_min_count": 0,
    "id_dropout": 1.0,
    "user_attributes": "u.csv",
    "item_attributes": "i.csv",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_setting_names_its_flag(name: str) -> None:
    with pytest.raises(InputError, match=f"^{flag(name)}: ") as caught:
        validate(dataclasses.replace(TrainConfig(), **{name: BAD[name]}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["learning_rate", "temperature", "ssl_weight", "valid_share", "min_rating"])
def test_numbers_must_be_numbers(name: str, value: float) -> None:
    with pytest.raises(InputError, match=flag(name)):
        validate(dataclasses.replace(TrainConfig(), **{name: value}))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("loss_score", {"loss": "ccl", "loss_score": "dot"}),
        ("loss_score", {"loss": "directau", "loss_score": "dot"}),
        ("negatives", {"loss": "directau", "negatives": "in_batch"}),
        ("negatives", {"loss": "directau", "num_negatives": 4}),
        ("num_negatives", {"loss": "softmax", "negatives": "in_batch", "num_negatives": 4}),
        ("num_negatives", {"loss": "softmax", "negatives": "queue", "num_negatives": 4}),
        ("exposed_share", {"negatives": "uniform", "exposed_share": 0.4}),
        ("exposed", {"negatives": "exposed"}),
        ("exposed", {"negatives": "uniform", "exposed": "shown.csv"}),
        (
            "exposed_share",
            {"loss": "bsl", "logq": True, "negatives": "exposed", "exposed": "x", "exposed_share": 1.0},
        ),
        ("loss_temperature", {"loss": "ccl", "loss_temperature": "learned"}),
        ("loss_temperature", {"loss": "bsl", "loss_temperature": "learned:0.2"}),
        ("loss_temperature", {"loss": "softmax", "loss_score": "dot", "loss_temperature": "adaptive"}),
        ("temperature", {"temperature": "adaptive"}),
        ("temperature", {"ssl": "none", "temperature": "learned"}),
        ("logq", {"loss": "ccl", "negatives": "in_batch", "logq": True}),
        ("logq", {"loss": "directau", "logq": True}),
        ("head_layers", {"ssl": "neighbour", "head_layers": 2}),
        ("prototype_queue", {"ssl": "moco", "prototype_queue": 64}),
        ("ssl", {"ssl": "infonce+byo"}),
        ("ssl", {"ssl": "infonce:0.5"}),
        ("ssl", {"ssl": "infonce+moco:x"}),
        ("ssl", {"ssl": "infonce+moco:0"}),
        ("ssl", {"ssl": "infonce+moco+infonce"}),
        ("ssl", {"ssl": "infonce+none"}),
        ("ssl", {"ssl": "infonce+byol"}),
        ("ssl_layer", {"ssl": "infonce+ncl", "ssl_layer": 1}),
        ("ssl_negatives", {"ssl": "swav", "ssl_negatives": "all"}),
        ("ssl_layer", {"ssl_layer": 2}),
        ("momentum", {"ssl": "infonce", "momentum": 0.5}),
        ("queue_size", {"ssl": "concat", "queue_size": 64}),
        ("num_prototypes", {"ssl": "cross_layer", "num_prototypes": 64}),
        ("aug", {"ssl": "concat", "aug": "node_drop"}),
        ("aug", {"ssl": "cross_layer", "aug": "noise,edge_drop"}),
        ("loss", {"loss": "none", "ssl": "none"}),
        ("loss", {"loss": "none", "ssl_weight": 0.0}),
        ("loss", {"loss": "none", "aug": "none"}),
        ("loss_score", {"loss": "none", "ssl": "byol", "loss_score": "dot"}),
        ("negatives", {"loss": "none", "ssl": "byol", "negatives": "popularity"}),
        ("ssl_layer", {"ssl": "cross_layer", "encoder": "mf"}),
        ("num_layers", {"encoder": "egcf", "num_layers": 0}),
        ("ssl_layer", {"ssl": "ncl", "num_layers": 1}),
        ("ssl_layer", {"ssl": "ncl", "ssl_layer": 1}),
        ("ssl_layer", {"ssl": "ncl", "ssl_layer": 0}),
        ("attributes", {"encoder": "mf", "attributes": "input"}),
        ("attributes", {"encoder": "gat", "attributes": "nodes"}),
        ("id_dropout", {"id_dropout": 0.1}),
        ("user_attributes", {"baseline": "content_knn", "user_attributes": "u.csv"}),
        ("item_attributes", {"baseline": "item_knn", "item_attributes": "i.csv"}),
        ("aug", {"encoder": "sage", "aug": "edge_drop,svd"}),
    ],
)
def test_what_would_be_ignored_is_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"^{flag(name)}: ") as caught:
        validate(TrainConfig(**settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("aug", ["edge_drop:1.5", "nonsense", "edge_drop,none,edge_drop", "edge_drop:x", ""])
def test_a_bad_augmentation_is_one_line(aug: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(TrainConfig(aug=aug))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["temperature", "loss_temperature"])
@pytest.mark.parametrize(
    "value", ["", "0.1", "warm", "learned:", "learned:x", "adaptive:0", "learned:nan", 0, -1.0]
)
def test_what_is_no_temperature_is_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{flag(name)}: ") as caught:
        validate(TrainConfig(loss="softmax", **{name: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("temperature", [0.25, "learned", "adaptive:0.3"])
def test_toml_and_back(tmp_path, temperature: float | str) -> None:
    """A number stays a number."""
    config = TrainConfig(
        dataset="x",
        k_core=5,
        ks=(5, 20),
        metrics=("recall",),
        learning_rate=0.5,
        refit=True,
        loss="softmax",
        loss_temperature=temperature,
    )
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.to_dict()))
    assert TrainConfig.from_dict(read_toml(path), source="x") == config


def test_unknown_settings_and_wrong_types_are_refused() -> None:
    with pytest.raises(InputError, match="unknown setting 'speed'"):
        TrainConfig.from_dict({"speed": 3}, source="a.toml")
    with pytest.raises(InputError, match=r"a\.toml"):
        TrainConfig.from_dict({"epochs": "many"}, source="a.toml")


def test_former_settings_are_read_at_their_default_only() -> None:
    assert TrainConfig.from_dict(dict(RETIRED), source="a.toml") == TrainConfig()
    for name in RETIRED:
        with pytest.raises(InputError, match=f"a.toml: {name} is no longer a setting, got 'other'"):
            TrainConfig.from_dict({name: "other"}, source="a.toml")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_of_settings(name: str) -> None:
    config = validate(dataclasses.replace(TrainConfig(), **method_settings(name)))
    assert METHODS[name].source.split()[-1].startswith("https://") or name == "auto"
    assert config == validate(config)


def test_unknown_method() -> None:
    with pytest.raises(InputError, match="lightgcn"):
        method_settings("oracle")


def test_names_and_defaults_are_those_of_version_0_1_0() -> None:
    """A setting that is renamed or has another default would change old files; new ones may be added."""
    assert OLDER.items() <= {field.name: field.default for field in dataclasses.fields(TrainConfig)}.items()


def test_one_name_means_one_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(graph: object, *, rank: Annotated[int, Setting("rank", "Something else.")] = 3) -> None:
        """A baseline."""

    monkeypatch.setitem(BASELINES, "other", Baseline(other, "another"))  # type: ignore[arg-type, call-overload]
    with pytest.raises(ValueError, match="baseline other declares 'rank' in another way"):
        derive()


def test_the_test_ranks_all_users_where_their_scores_are_few() -> None:
    usual = TrainConfig()
    assert usual.ranked_users("test", 91_599) > 52_643  # Amazon-Book has so many items and users
    assert usual.ranked_users("test", 10**6) == usual.ranked_users("test", 10**8) == 10_000
    assert TrainConfig(test_users=0).ranked_users("test", 10**8) is None
    assert TrainConfig(test_users=50).ranked_users("test", 10) == 50
    assert TrainConfig(select="cold_items/recall@20").ranked_users("test", 10**8) is None
    assert usual.ranked_users("valid", 10**8) == 10_000
    assert TrainConfig(valid_users=0).ranked_users("valid", 10) is None
