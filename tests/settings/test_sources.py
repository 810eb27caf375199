"""Which source of settings goes before which."""

from __future__ import annotations

from pathlib import Path

import pytest

from gclrec.common.errors import InputError
from gclrec.settings.config import RETIRED, TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.settings.sources import layered_config, layers


def test_the_first_layer_goes_before_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('method = "sgl"\nlearning-rate = 0.5\n')
    assert layers(path) == [
        (str(path), {"learning_rate": 0.5}),
        ("method sgl", dict(METHODS["sgl"].settings)),
    ]
    assert layers({"method": "sgl"}, "mf")[-1][0] == "method mf"  # the one that is given
    assert layers() == []


def test_what_is_none_is_the_default() -> None:
    assert layered_config({"epochs": None}) == TrainConfig()
    assert layered_config({"epochs": None}, config={"epochs": 7}).epochs == TrainConfig().epochs
    assert layered_config({"ks": [5, 20]}, config={"ks": [1]}).ks == (5, 20)


def test_unknown_names_say_where_they_stand(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="settings: unknown setting 'epoch'; did you mean 'epochs'"):
        layered_config({"epoch": 1})
    (tmp_path / "a.toml").write_text("speed = 1\n")
    with pytest.raises(InputError, match=r"a\.toml: unknown setting 'speed'; did you mean 'seed'"):
        layered_config({}, config=tmp_path / "a.toml")


def test_settings_that_are_gone_are_left_out_at_their_default(tmp_path: Path) -> None:
    name, value = next(iter(RETIRED.items()))
    assert layers({name: value, "epochs": 3}) == [("config", {"epochs": 3})]
    assert layered_config({}, config={name: value}) == TrainConfig()
    with pytest.raises(InputError, match=f"config: {name} is no longer a setting"):
        layers({name: "other"})


def test_types_are_reported_with_the_source() -> None:
    with pytest.raises(InputError, match=r"config: a setting has the wrong type \(epochs"):
        layered_config({}, config={"epochs": "many"})


def test_the_goal_follows_from_the_split_unless_something_is_said_about_it() -> None:
    def selected(**settings: object) -> str:
        return layered_config(settings).selected

    for side in ("items", "users"):
        split = {"split": f"cold_{side}"}
        assert selected(**split) == f"balanced_{side}/recall@20"
        assert selected(**split, goal="warm", select="ndcg@10") == f"warm_{side}/ndcg@10"
        assert selected(**split, goal="all") == "all/recall@20"
        assert selected(**split, goal="cold_items") == "cold_items/recall@20"
        assert selected(**split, select="tail_items/recall@50") == "tail_items/recall@50"
        assert layered_config(split, config={"select": "all/recall@20"}).goal is None
    assert selected() == "all/recall@20"
    assert selected(goal="balanced") == "balanced_items/recall@20"
    assert TrainConfig(split="cold_items").selected == "all/recall@20"  # as in folders of older runs
