"""Settings: what is out of range is said with its flag; TOML and back is the identity."""

from __future__ import annotations

import dataclasses

import pytest
import tomli_w

from gclrec.contrast.methods import METHODS
from gclrec.errors import InputError
from gclrec.training.config import TrainConfig, flag, method_settings
from gclrec.training.run import read_toml

BAD = {
    "split": "sideways",
    "valid_share": 1.0,
    "test_share": 0.0,
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
    "init_std": 0.0,
    "views_every": "hour",
    "ssl_weight": -0.1,
    "temperature": 0.0,
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
        dataclasses.replace(TrainConfig(), **{name: BAD[name]}).checked()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["learning_rate", "temperature", "ssl_weight", "valid_share", "min_rating"])
def test_numbers_must_be_numbers(name: str, value: float) -> None:
    with pytest.raises(InputError, match=flag(name)):
        dataclasses.replace(TrainConfig(), **{name: value}).checked()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("loss_score", {"loss": "ccl", "loss_score": "dot"}),
        ("loss_score", {"loss": "directau", "loss_score": "dot"}),
        ("negatives", {"loss": "directau", "negatives": "in_batch"}),
        ("negatives", {"loss": "directau", "num_negatives": 4}),
        ("num_negatives", {"loss": "softmax", "negatives": "in_batch", "num_negatives": 4}),
        ("logq", {"loss": "ccl", "negatives": "in_batch", "logq": True}),
        ("logq", {"loss": "directau", "logq": True}),
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
        TrainConfig(**settings).checked()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("aug", ["edge_drop:1.5", "nonsense", "edge_drop,none,edge_drop", "edge_drop:x", ""])
def test_a_bad_augmentation_is_one_line(aug: str) -> None:
    with pytest.raises(InputError) as caught:
        TrainConfig(aug=aug).checked()
    assert "\n" not in str(caught.value)


def test_toml_and_back(tmp_path) -> None:
    config = TrainConfig(
        dataset="x", k_core=5, ks=(5, 20), metrics=("recall",), learning_rate=0.5, refit=True
    )
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.to_dict()))
    assert TrainConfig.from_dict(read_toml(path), source="x") == config


def test_unknown_settings_and_wrong_types_are_refused() -> None:
    with pytest.raises(InputError, match="unknown setting 'speed'"):
        TrainConfig.from_dict({"speed": 3}, source="a.toml")
    with pytest.raises(InputError, match=r"a\.toml"):
        TrainConfig.from_dict({"epochs": "many"}, source="a.toml")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_of_settings(name: str) -> None:
    config = dataclasses.replace(TrainConfig(), **method_settings(name)).checked()
    assert METHODS[name].source.split()[-1].startswith("https://")
    assert config == config.checked()


def test_unknown_method() -> None:
    with pytest.raises(InputError, match="lightgcn"):
        method_settings("oracle")
