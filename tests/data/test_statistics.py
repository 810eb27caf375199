"""Descriptions of data sets: figures against slow counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.data.catalog.entries import CATALOG
from gclrec.data.catalog.loader import load
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.splits import SPLITS, make_split
from gclrec.data.statistics import (
    K_CORES,
    dataset_statistics,
    gini_index,
    item_dispersion,
    part_figures,
    seconds_since_1970,
)
from gclrec.data.synthetic import make_synthetic

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "datasets.md"


@pytest.fixture(scope="module")
def made() -> Dataset:
    return make_synthetic(120, 150, 1500)


def test_everything_is_json(made: Dataset) -> None:
    figures = dataset_statistics(made, make_split(made))
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["synthetic"]


def test_counts(made: Dataset) -> None:
    figures = dataset_statistics(made)
    assert (figures["users"], figures["items"], figures["interactions"]) == (120, 150, 1500)
    assert figures["density"] == pytest.approx(1500 / (120 * 150))
    degrees = [int((made.interactions.item == item).sum()) for item in range(150)]
    assert figures["items_without_interactions"] == degrees.count(0)
    assert figures["item_degrees"]["median"] == np.median(degrees)
    assert figures["item_degrees"]["max"] == max(degrees)
    assert figures["item_degrees"]["mean"] == pytest.approx(sum(degrees) / 150)
    assert list(figures["k_cores"]) == [str(k) for k in K_CORES]
    core = made.interactions.k_core(5)
    assert figures["k_cores"]["5"] == {
        "users": core.num_users,
        "items": core.num_items,
        "interactions": len(core),
    }
    assert figures["split"] is None
    assert figures["parts"] is None


def test_an_empty_core_is_zeros() -> None:
    figures = dataset_statistics(load("synthetic-5x10x25"))
    assert figures["k_cores"]["10"] == {"users": 0, "items": 0, "interactions": 0}


@pytest.mark.parametrize("counts", [[1], [3, 3, 3], [0, 0, 9], [1, 2, 3, 10], [5, 0, 1, 1, 7]])
def test_gini_is_half_the_mean_difference(counts: list[int]) -> None:
    differences = [abs(one - other) for one in counts for other in counts]
    expected = np.mean(differences) / (2 * np.mean(counts))
    assert gini_index(np.array(counts)) == pytest.approx(expected)


def test_gini_of_nothing() -> None:
    assert gini_index(np.zeros(3, dtype=np.int64)) == 0.0


@pytest.mark.parametrize("name", SPLITS)
def test_cold_counts_of_a_split(name: str, made: Dataset) -> None:
    whole = made.interactions
    dataset = replace(
        made, parts={"train": whole.select(whole.item % 5 > 0), "test": whole.select(whole.item % 5 == 0)}
    )
    split = make_split(dataset, name)
    figures = dataset_statistics(dataset, split)["split"]
    train_users, train_items = set(split.train.user.tolist()), set(split.train.item.tolist())
    assert figures["name"] == name
    assert figures["cold_items"] == 150 - len(train_items)
    for part_name, part in (("valid", split.valid), ("test", split.test)):
        told = figures["parts"][part_name]
        pairs = list(zip(part.user.tolist(), part.item.tolist(), strict=True))
        assert told["interactions"] == len(pairs)
        assert told["users"] == len({user for user, _ in pairs})
        assert told["cold_users"] == len({user for user, _ in pairs} - train_users)
        assert told["cold_items"] == len({item for _, item in pairs} - train_items)
        cold = [pair for pair in pairs if pair[0] not in train_users or pair[1] not in train_items]
        assert told["cold_interactions"] == len(cold)


def test_dispersion_is_its_formula(made: Dataset) -> None:
    split = make_split(made, "temporal")
    share = len(split.test) / (len(split.train) + len(split.test))
    total, items = 0.0, 0
    for item in range(150):
        held, train = (int((part.item == item).sum()) for part in (split.test, split.train))
        if held + train:
            items += 1
            total += (held - share * (held + train)) ** 2 / ((held + train) * share * (1 - share))
    assert item_dispersion(split.train, split.test) == pytest.approx(total / (items - 1))


def test_dispersion_tells_a_random_part_from_others() -> None:
    whole = make_synthetic(800, 400, 20_000).interactions
    drawn = np.random.default_rng(1).random(len(whole)) < 0.2
    for inside in (False, True):  # the part may be among the pairs of train, as some are published
        train = whole if inside else whole.select(~drawn)
        assert item_dispersion(train, whole.select(drawn)) == pytest.approx(1.0, abs=0.15)
    late = whole.time > np.quantile(whole.time, 0.8)
    assert item_dispersion(whole.select(~late), whole.select(late)) > 2
    none = whole.select(np.zeros(len(whole), dtype=bool))
    assert item_dispersion(whole, none) is None
    assert item_dispersion(none, whole) is None


def test_published_parts_are_reported(made: Dataset) -> None:
    whole = made.interactions
    parts = {"train": whole.select(whole.item % 5 > 0), "test": whole.select(whole.item % 5 == 0)}
    figures = part_figures(parts)
    assert figures["test"]["cold_items"] == figures["test"]["items"]
    assert figures["test"]["cold_interactions"] == figures["test"]["interactions"]
    assert "cold_items" not in figures["train"]
    assert "cold_items" not in part_figures({"test": whole})["test"]  # nothing to compare with


def pairs(**columns: list[float]) -> Interactions:
    return Interactions.from_frame(pl.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], **columns}))


@pytest.mark.parametrize(
    ("times", "order", "expected"),
    [
        (None, False, None),
        ([0.0, 1.0, 0.0], True, {"kind": "order", "longest": 2}),
        ([5.0, 7.0, 6.0], False, {"kind": "numbers", "first": 5.0, "last": 7.0}),
        (
            [1577836800.0, 1577923200.0, 1578009600.0],
            False,
            {
                "kind": "clock",
                "first": "2020-01-01T00:00:00+00:00",
                "last": "2020-01-03T00:00:00+00:00",
                "days": 2.0,
            },
        ),
    ],
)
def test_times(times: list[float] | None, order: bool, expected: dict[str, object] | None) -> None:
    dataset = Dataset("x", pairs(**({} if times is None else {"time": times})), time_is_order=order)
    assert dataset_statistics(dataset)["time"] == expected
    assert (seconds_since_1970(dataset) is not None) == (expected is not None and expected["kind"] == "clock")


def test_ratings_one_by_one_or_in_spans() -> None:
    few = dataset_statistics(Dataset("x", pairs(weight=[1.0, 5.0, 5.0])))["ratings"]
    assert few["histogram"] == [
        {"from": 1.0, "to": 1.0, "interactions": 1},
        {"from": 5.0, "to": 5.0, "interactions": 2},
    ]
    assert few["mean"] == pytest.approx(11 / 3)
    frame = pl.DataFrame({"user": range(50), "item": range(50), "weight": np.arange(50.0)})
    many = dataset_statistics(Dataset("x", Interactions.from_frame(frame)))["ratings"]
    assert many["distinct"] == 50
    assert [bar["interactions"] for bar in many["histogram"]] == [5] * 10
    assert dataset_statistics(Dataset("x", pairs()))["ratings"] is None


def test_attributes_by_field() -> None:
    table = pl.DataFrame(
        {
            "id": [1, 2, 99],  # 99 is nobody
            "colour": ["red", None, "blue"],
            "shape": [3, 3, 4],
            "tags": [["a", "b"], ["a"], ["c"]],
            "size": [1.5, None, 9.0],
            "vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        }
    )
    fields = dataset_statistics(Dataset("x", pairs(), item_attributes=table))["item_attributes"]
    assert fields == [
        {"field": "colour", "kind": "category", "coverage": 0.5, "distinct": 1},
        {"field": "shape", "kind": "category", "coverage": 1.0, "distinct": 1},
        {"field": "tags", "kind": "categories", "coverage": 1.0, "distinct": 2, "per_row": 1.5},
        {"field": "size", "kind": "number", "coverage": 0.5, "least": 1.5, "most": 1.5},
        {"field": "vector", "kind": "vector", "coverage": 1.0, "length": 2},
    ]


def test_attributes_without_a_known_id() -> None:
    table = pl.DataFrame(
        {"id": [99], "tags": [["a"]], "size": [1.0], "vector": [[1.0]]},
        schema_overrides={"vector": pl.List(pl.Float64)},
    )
    fields = dataset_statistics(Dataset("x", pairs(), user_attributes=table))["user_attributes"]
    assert [field["coverage"] for field in fields] == [0.0, 0.0, 0.0]
    json.dumps(fields, allow_nan=False)


def test_texts_and_categories_are_distinguished() -> None:
    titles = [f"The {name} of the {other}" for name, other in zip("abcd", "efgh", strict=True)]
    table = pl.DataFrame({"id": range(4), "title": titles, "shelf": ["of the A", "of the B"] * 2})
    pairs = Interactions.from_frame(pl.DataFrame({"user": [0, 1, 2, 3], "item": [0, 1, 2, 3]}))
    figures = dataset_statistics(Dataset("x", pairs, item_attributes=table))["item_attributes"]
    assert [field["kind"] for field in figures] == ["words", "category"]
    alone = dataset_statistics(Dataset("x", pairs, item_attributes=table.select("id")))["item_attributes"]
    assert alone == []


def test_the_docs_name_every_split_and_data_set() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name in (*SPLITS, *CATALOG):
        assert f"`{name}`" in text
