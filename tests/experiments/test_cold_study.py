"""The cold-start study: what it holds out, what it compares, and the sentence that it begins with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import gclrec
from gclrec.common.errors import InputError
from gclrec.data.catalog.loader import prepared_dataset
from gclrec.data.interactions import Dataset
from gclrec.experiments.cold_study import FURTHER, TRAINED, UNTRAINED, cold_study
from gclrec.experiments.comparison import make_plan
from gclrec.settings.config import TrainConfig
from gclrec.settings.sources import layered_config

QUICK: dict[str, Any] = {"epochs": 1, "dim": 4, "batch_size": 256, "num_layers": 2, "seeds": 2}


def data(**changes: object) -> Dataset:
    return dataclasses.replace(prepared_dataset(TrainConfig(dataset="synthetic-60x80x700")), **changes)


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("side", ["items", "users"])
def test_every_variant_has_settings_that_hold_together(side: str, thorough: bool) -> None:
    common = layered_config({} if side == "items" else {"split": "cold_users"})
    found = cold_study(data(), common, thorough=thorough)
    assert list(found.variants) == [*UNTRAINED[side], *TRAINED, *(FURTHER if thorough else ())]
    assert (found.group, found.common.split) == (f"cold_{side}", f"cold_{side}")
    assert found.common.selected == f"balanced_{side}/recall@20"
    plan = make_plan(found.common, named=found.variants, num_seeds=1)
    assert {cell.config.steps for cell in plan.cells if cell.variant in TRAINED} == {
        None if thorough else 400
    }


def test_what_is_given_goes_before_the_study() -> None:
    given = {"epochs": 3, "ssl_weight": 0.7, "select": "cold_among_cold/recall@20", "attributes": "input"}
    found = cold_study(data(), layered_config(given), given=given)
    plan = make_plan(found.common, named=found.variants, num_seeds=1, given=given)
    for cell in plan.cells:
        assert cell.config.select == given["select"]
        if cell.variant in TRAINED:
            assert (cell.config.epochs, cell.config.steps, cell.config.ssl_weight) == (3, None, 0.7)
            assert cell.config.attributes == TRAINED[cell.variant]["attributes"]


def test_what_can_be_held_out() -> None:
    only_users = data(item_attributes=None)
    assert cold_study(only_users, TrainConfig()).common.split == "cold_users"
    with pytest.raises(
        InputError, match=r"--study: .* has no attributes of items; give --item-attributes FILE"
    ):
        cold_study(only_users, TrainConfig(split="cold_items"))
    with pytest.raises(InputError, match="has no attributes, and without them nothing is known"):
        cold_study(data(item_attributes=None, user_attributes=None), TrainConfig())
    with pytest.raises(InputError, match="--split: random holds out little that is cold; leave it out"):
        cold_study(data(), TrainConfig(split="random"))


def test_a_study_of_ones_own_tables(clicks: Path, tastes: dict[str, Path], tmp_path: Path) -> None:
    """The tables are used by the variants that have a use for them, and refused by none."""
    tables = {"item_attributes": str(tastes["items"]), "user_attributes": str(tastes["users"])}
    found = gclrec.compare(clicks, study="cold", folder=tmp_path / "out", **tables, **QUICK)
    assert found.plan.variants == (*UNTRAINED["items"], *TRAINED)
    assert found.plan.against == "content_knn"
    assert found.sentences[0].startswith("Cold items (")
    assert len(found.sentences) == len(found.plan.variants)
    assert found.sentences[0] in (tmp_path / "out" / "table.md").read_text()
    again = gclrec.compare(clicks, study="cold", folder=tmp_path / "out", **tables, **QUICK)
    assert again.table.equals(found.table)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"study": "warm"}, "--study: must be one of cold, got 'warm'"),
        ({"study": "cold", "augs": ["none"]}, "--augs: --study has variants of its own"),
        ({"study": "cold", "against_field": True}, "--against-field: --study has variants of its own"),
        ({"thorough": True}, "--thorough: is about a --study"),
    ],
)
def test_what_a_study_cannot_be_with(clicks: Path, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gclrec.compare(clicks, **flags)
