"""Tables in memory mean what the Parquet file with the same columns means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Interactions
from gclrec.data.io.attributes import read_attributes
from gclrec.data.io.columns import Columns
from gclrec.data.io.frames import attributes_from, interactions_from
from gclrec.data.io.readers import read_interactions

START = datetime(2024, 1, 2, 3, tzinfo=timezone.utc)
TABLES: dict[str, dict[str, list[Any]]] = {
    "integers": {
        "user_id": [30, 10, 30],
        "movieId": [7, 8, 9],
        "rating": [1.0, 2.5, 3.0],
        "timestamp": [5, 6, 7],
    },
    "text": {"item": ["x", "y", "y"], "user": ["b", "b", "a"]},
    "numbers as text": {"user": ["10", "9", "9"], "item": ["7.0", "8.0", "7.0"]},
    "whole floats": {"user": [1.0, 2.0, 2.0], "item": [3.0, 3.0, 4.0]},
    "dates": {"user": ["a", "b"], "item": [1, 1], "date": [START, START.replace(hour=4)]},
    "repeated": {"user": [1, 2, 1], "item": [1, 2, 1], "time": [9.0, 5.0, 3.0]},
}
BAD: dict[str, tuple[dict[str, list[Any]], str]] = {
    "missing text": (
        {"user": ["a", None], "item": [1, 2]},
        "row 2: found nothing in column 'user', expected an id",
    ),
    "blank text": ({"user": ["a", " "], "item": [1, 2]}, "row 2: found ' ' in column 'user', expected an id"),
    "fraction": (
        {"user": [1.0, 1.5], "item": [1, 2]},
        "row 2: found 1.5 in column 'user', expected a whole number",
    ),
    "text weight": (
        {"user": [1, 2], "item": [1, 2], "rating": ["5", "good"]},
        "row 2: found 'good' in column 'rating'",
    ),
    "no item": ({"user": [1], "what": [2]}, "cannot guess the item column"),
    "no rows": ({"user": [], "item": []}, "holds columns but no rows"),
}


def of_pandas(table: dict[str, list[Any]]) -> Any:
    """Return a pandas table whose labels say nothing about the order of its rows."""
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(table, index=list(range(len(next(iter(table.values())))))[::-1])


KINDS: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "polars": pl.DataFrame,
    "lazy": pl.LazyFrame,
    "dict": dict,
    "arrays": lambda table: {name: np.array(values) for name, values in table.items()},
    "pandas": of_pandas,
}


def same(one: Interactions, other: Interactions) -> None:
    assert one.users == other.users
    assert one.items == other.items
    assert one.to_frame().equals(other.to_frame())
    assert (one.time is None, one.weight is None) == (other.time is None, other.weight is None)


@pytest.mark.filterwarnings("ignore:.*repeated pairs:gclrec.common.errors.InputWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_is_read_as_its_parquet_file(table: dict[str, list[Any]], kind: str, tmp_path: Path) -> None:
    pl.DataFrame(table).write_parquet(tmp_path / "a.parquet")
    same(interactions_from(KINDS[kind](table)), read_interactions(tmp_path / "a.parquet"))


@pytest.mark.parametrize("kind", ["polars", "lazy", "dict", "pandas"])
@pytest.mark.parametrize(("table", "message"), BAD.values(), ids=BAD)
def test_bad_values_are_named_by_row_and_column(
    table: dict[str, list[Any]], message: str, kind: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        interactions_from(KINDS[kind](table), name="clicks")
    assert str(caught.value).startswith("clicks")
    assert message in str(caught.value)
    path = tmp_path / "a.parquet"
    pl.DataFrame(table).write_parquet(path)
    with pytest.raises(InputError) as read:
        read_interactions(path)
    assert str(read.value) == str(caught.value).replace("clicks", str(path))


def test_columns_are_named_or_guessed_with_the_same_notes() -> None:
    table = pl.DataFrame({"who": [1, 2], "what": [3, 4], "user": [5, 6], "userid": [7, 8], "stars": [1, 2]})
    named = interactions_from(table, columns=Columns(user="who", item="what", weight=""))
    assert named.to_frame().rows() == [(1, 3), (2, 4)]
    with pytest.warns(InputWarning, match="clicks: read 'user' as user, not 'userid'"):
        assert interactions_from(table, columns=Columns(item="what"), name="clicks").users.ids.to_list() == [
            5,
            6,
        ]
    with pytest.raises(InputError, match="no column 'nobody' to read as user; the columns are: who"):
        interactions_from(table, columns=Columns(user="nobody"))


def test_pairs_of_arrays() -> None:
    users, items = np.array([5, 3, 5]), np.array([1, 1, 2])
    expected = interactions_from({"user": users, "item": items})
    for data in ((users, items), np.stack([users, items], 1)):
        same(interactions_from(data), expected)
    assert interactions_from((["a"], ["b"])).to_frame().rows() == [("a", "b")]
    assert interactions_from(expected) is expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((2, 5), dtype=int), r"found an array of shape \(2, 5\), expected a polars or pandas table"),
        (7, "found int, expected a polars or pandas table"),
        ({"user": [1, 2], "item": [1]}, "columns of different lengths, 'user' with 2, 'item' with 1"),
        ({"user": 7, "item": [1]}, "column 'user' cannot be read as a column"),
    ],
)
def test_what_is_no_table_is_refused(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        interactions_from(data)


def test_special_columns_of_pandas() -> None:
    """Missing integers, categories, dates with a time zone, columns of the same name."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {
            "user": pandas.Categorical(["b", "a", "b"]),
            "item": pandas.array([3, 1, 3], dtype="Int64"),
            "time": pandas.to_datetime(["2020-01-01 09:00"] * 2 + ["2020-01-02 09:00"]).tz_localize(
                "Asia/Tokyo"
            ),
        }
    )
    with pytest.warns(InputWarning, match="1 repeated pairs"):
        pairs = interactions_from(table)
    assert pairs.to_frame().rows() == [("b", 3, 1577836800.0), ("a", 1, 1577836800.0)]
    with pytest.raises(InputError, match="data, row 2: found nothing in column 'item', expected an id"):
        interactions_from(pandas.DataFrame({"user": [1, 2], "item": pandas.array([3, None], dtype="Int64")}))
    twins = pandas.concat([table, table[["item"]]], axis=1)
    with pytest.raises(InputError, match="2 columns named 'item'"):
        interactions_from(twins, columns=Columns(item="item"))
    with pytest.raises(InputError, match="data: found two columns named 'item', expected each once"):
        attributes_from(twins)


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_are_those_of_the_parquet_file(kind: str, tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {
        "price": [1.5, float("nan"), 2.0],
        "item_id": ["a", "b", "c"],
        "size": [3, 4, 4],
    }
    pl.DataFrame(table).write_parquet(tmp_path / "a.parquet")
    found = attributes_from(KINDS[kind](table))
    assert found.equals(read_attributes(tmp_path / "a.parquet"))
    assert found.columns == ["id", "price", "size"]
    assert found["price"].to_list() == [1.5, None, 2.0]
    assert attributes_from(KINDS[kind](table), id_column="price" if kind == "none" else "item_id").equals(
        found
    )


def test_lists_and_bad_ids_of_attributes() -> None:
    pandas = pytest.importorskip("pandas")
    tags = {"id": [1, 2], "tags": [["x", "y"], ["x"]]}
    for table in (pl.DataFrame(tags), tags, pandas.DataFrame(tags)):
        assert attributes_from(table).rows() == [(1, ["x", "y"]), (2, ["x"])]
    with pytest.raises(InputError, match="data, row 2: found id 1 a second time, expected one row an id"):
        attributes_from({"id": [1, 1], "a": ["x", "y"]})
    with pytest.raises(InputError, match="no column 'sku' to read as id; the columns are: id, a"):
        attributes_from({"id": [1, 1], "a": ["x", "y"]}, id_column="sku")
    with pytest.raises(InputError, match="data: holds columns but no rows"):
        attributes_from({"id": [], "a": []})
