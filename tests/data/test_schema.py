"""Attribute tables as numbers: kinds, vocabularies, missing values, what comes later, and bad input."""

from __future__ import annotations

import json
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Vocabulary
from gclrec.data.io.attributes import read_attributes
from gclrec.data.schema import AttributeTable, Schema

FILMS = pl.DataFrame(
    {
        "id": [7, 9, 4, 5],
        "kind": ["war", None, "war", "love"],
        "tags": [["a", "b"], ["b", "b"], None, ["c"]],
        "year": [1999, 2001, 1999, 2001],
        "length": [90.0, 110.0, None, 100.0],
        "cover": [[1.0, 2.0], None, [3.0, 2.0], [2.0, 2.0]],
        "title": ["The Long War", "A War of Words", "Words and Love", "The Love"],
    }
)


def values(table: AttributeTable, name: str) -> list[list[int | str]]:
    """The known values of each row, decoded."""
    column = next(column for column in table.columns if column.field.name == name)
    return [
        [column.field.values[code] for code in column.codes[start:stop]]
        for start, stop in zip(column.ptr[:-1], column.ptr[1:], strict=True)
    ]


def test_each_kind() -> None:
    schema = Schema.fit(FILMS, min_count=1)
    assert [(field.name, field.kind) for field in schema.fields] == [
        ("kind", "category"),
        ("tags", "categories"),
        ("year", "category"),
        ("length", "number"),
        ("cover", "vector"),
        ("title", "words"),
    ]
    table = schema.encode(FILMS)
    assert values(table, "kind") == [["war"], [], ["war"], ["love"]]
    assert values(table, "tags") == [["b", "a"], ["b"], [], ["c"]]  # by frequency, each once
    assert values(table, "year") == [[1999], [2001], [1999], [2001]]
    assert sorted(values(table, "title")[1]) == ["a", "of", "war", "words"]
    length, cover = table.columns[3], table.columns[4]
    std = np.std([90, 110, 100])
    np.testing.assert_allclose(length.numbers[:, 0], [-10 / std, 10 / std, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(cover.numbers, np.array([[-1, 0], [0, 0], [1, 0], [0, 0]]) * np.sqrt(3))
    missing = [[False] * 6, [True, False, False, False, True, False], [False] * 6, [False] * 6]
    missing[2][1] = missing[2][3] = True
    assert table.missing.tolist() == missing


def test_rows_follow_the_vocabulary_and_cold_ones_are_kept() -> None:
    table = Schema.fit(FILMS, min_count=1).encode(FILMS, Vocabulary.of([3, 4, 7, 9]))
    assert values(table, "kind") == [[], ["war"], ["war"], []]
    assert table.missing[0].all()
    assert table.columns[3].numbers[:, 0].astype(bool).tolist() == [False, False, True, True]


def test_what_comes_later() -> None:
    schema = Schema.fit(FILMS, min_count=1)
    new = pl.DataFrame(
        {
            "id": [1, 2],
            "kind": ["opera", "love"],  # never seen; seen
            "tags": ["b", None],  # one value instead of a list
            "year": ["1999", "x"],  # a text that may be a number
            "length": [10_000, 100],  # whole numbers; the first is far out
            "title": ["War war WAR", "Nothing here"],
            "colour": ["red", "blue"],  # not in the schema
        }
    )
    table = schema.encode(new)
    assert values(table, "kind") == [[], ["love"]]
    assert values(table, "tags") == [["b"], []]
    assert values(table, "year") == [[1999], []]
    assert values(table, "title") == [["war"], []]
    assert table.columns[3].numbers[:, 0].tolist() == [5.0, 0.0]
    assert table.columns[4].missing.all()  # cover is not in the new table
    assert table.missing[0].tolist() == [True, False, False, False, True, False]


def test_vocabulary_is_cut_from_below_and_above() -> None:
    tags = [["x", "y"], ["x", "y"], ["x", "z"], ["x", "w", "w"]]
    frame = pl.DataFrame({"id": range(4), "tags": tags})
    assert Schema.fit(frame).fields[0].values == ("x", "y")
    assert Schema.fit(frame, min_count=3).fields[0].values == ("x",)
    with pytest.warns(InputWarning, match="field 'tags': the 2 most frequent of 4 values are kept"):
        schema = Schema.fit(frame, min_count=1, max_values=2)
    assert schema.fields[0].values == ("x", "y")
    assert values(schema.encode(frame), "tags")[2] == ["x"]


def test_a_million_categories_are_handled() -> None:
    count = 1_000_000
    column = np.arange(count) // 2
    frame = pl.DataFrame({"id": np.arange(count), "shop": column})
    with pytest.warns(InputWarning, match="the 100,000 most frequent of 500,000"):
        schema = Schema.fit(frame)
    assert schema.fields[0].width == 100_000


def test_ids_and_empty_columns_are_left_out() -> None:
    frame = pl.DataFrame(
        {
            "id": range(6),
            "isbn": [f"x{n}" for n in range(6)],
            "serial": range(6),
            "nothing": pl.Series([None] * 6, dtype=pl.Float64),
            "blank": [""] * 6,
            "kind": ["a", "b"] * 3,
        }
    )
    with pytest.warns(InputWarning) as caught:
        schema = Schema.fit(frame, source="item attributes")
    assert [field.name for field in schema.fields] == ["kind"]
    messages = [str(warning.message) for warning in caught]
    assert [message.split("'")[1] for message in messages] == ["isbn", "serial", "nothing", "blank"]
    assert all(message.startswith("item attributes, field ") for message in messages)
    assert "write 1.0 for a number" in messages[1]


def test_categories_with_blanks_in_them_are_no_texts() -> None:
    frame = pl.DataFrame({"id": range(4), "kind": ["science fiction", "true crime"] * 2})
    assert Schema.fit(frame).fields[0].kind == "category"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"cover": [[1.0], [1.0, 2.0]]}, "field 'cover': found vectors of 1 and of 2 numbers"),
        ({"when": pl.Series([None, None], dtype=pl.Binary)}, "field 'when': found values of type Binary"),
        ({"isbn": ["a", "b"]}, "no field is left to use; columns: id, isbn"),
        ({}, "no field is left to use; columns: id"),
    ],
)
def test_bad_tables(columns: dict[str, list[object]], message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        with pytest.raises(InputError, match=message) as caught:
            Schema.fit(pl.DataFrame({"id": [1, 2], **columns}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("length", ["a", "b"], "field 'length': found values of type String, expected number"),
        ("kind", [[1.0], [2.0]], "field 'kind': found values of type List.Float64., expected category"),
        ("cover", [[1.0], [2.0]], "field 'cover': found vectors of 1 numbers, expected 2"),
        ("id", [3, 3], "found id 3 a second time"),
    ],
)
def test_a_later_table_must_be_of_the_same_kind(name: str, column: list[object], expected: str) -> None:
    schema = Schema.fit(FILMS, min_count=1)
    frame = pl.DataFrame({"id": [1, 2]} | {name: column})
    with pytest.raises(InputError, match=expected):
        schema.encode(frame, Vocabulary.of([1, 2, 3]))


def test_bad_bounds() -> None:
    with pytest.raises(InputError, match="at least 1, got 0, 5"):
        Schema.fit(FILMS, min_count=0, max_values=5)


def test_numbers_that_are_none() -> None:
    frame = pl.DataFrame({"id": range(4), "price": [1.0, float("nan"), float("inf"), 3.0], "same": [2.0] * 4})
    table = Schema.fit(frame).encode(frame)
    assert table.missing.tolist() == [[False, False], [True, False], [True, False], [False, False]]
    assert np.isfinite(table.columns[1].numbers).all()
    assert table.columns[0].numbers[:, 0].tolist() == [-1.0, 0.0, 0.0, 1.0]


def test_json_and_back() -> None:
    schema = Schema.fit(FILMS, min_count=1)
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())), source="schema.json")
    assert again == schema
    for damage in ([{"name": "x"}], [{**schema.to_json()[0], "kind": "smell"}], [3]):
        with pytest.raises(InputError, match=r"^schema\.json: "):
            Schema.from_json(damage, source="schema.json")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.none() | st.lists(st.sampled_from("abcde"), max_size=4), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_codes_are_what_a_loop_finds(rows: list[list[str] | None], min_count: int) -> None:
    frame = pl.DataFrame({"id": range(len(rows)), "tags": pl.Series(rows, dtype=pl.List(pl.String))})
    held = {tag: sum(tag in (row or []) for row in rows) for tag in "abcde"}
    known = sorted((tag for tag in held if held[tag] >= min_count), key=lambda tag: (-held[tag], tag))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        if not known:
            with pytest.raises(InputError, match="no field is left"):
                Schema.fit(frame, min_count=min_count)
            return
        schema = Schema.fit(frame, min_count=min_count)
    assert set(schema.fields[0].values) == set(known)
    counts = [held[tag] for tag in schema.fields[0].values]
    assert counts == sorted(counts, reverse=True)
    decoded = values(schema.encode(frame), "tags")
    assert [sorted(row) for row in decoded] == [sorted(set(row or []) & set(known)) for row in rows]


def test_real_tables(real_dataset) -> None:
    folder = real_dataset("ml-1m")
    movies = next(folder.glob("movies.dat*"))
    table = read_attributes(movies)
    schema = Schema.fit(table)
    assert {field.name: field.kind for field in schema.fields} == {"title": "words", "genres": "categories"}
    assert schema.fields[1].width == 18
