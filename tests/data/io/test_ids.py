"""Ids are taken exactly or refused, whatever their type and wherever they come from."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import series

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Interactions, Vocabulary, normal_ids
from gclrec.data.io.attributes import read_attributes
from gclrec.data.io.frames import attributes_from, interactions_from
from gclrec.data.io.ids import exact_ids, id_series
from gclrec.data.io.readers import read_ids, read_interactions

WHOLE = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64]
EXACT = [*WHOLE, pl.String, pl.Categorical, pl.Enum(["a", "b", "é", "07", "7", "7.0"])]
PARTLY = [pl.Float32, pl.Float64, pl.Decimal(38, 0), pl.Decimal(20, 3)]
REFUSED = [pl.Date, pl.Datetime("us"), pl.Datetime("ns", "UTC"), pl.Time, pl.Duration, pl.Boolean, pl.Binary]
TRICKY = [
    "7",
    "07",
    "7.0",
    " 7",
    "a",
    "a ",
    "NULL",
    "٣",
    "-0",
    "+7",
    "-7",
    "0",
    "9" * 25,
    "e\u0301",
    "\u202ea",
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(TRICKY)
DTYPES = [*EXACT, *PARTLY, *REFUSED]


def by_frame(ids: pl.Series, folder: Path) -> pl.Series:
    return interactions_from({"user": ids, "item": ids}).items.ids


def by_parquet(ids: pl.Series, folder: Path) -> pl.Series:
    pl.DataFrame({"user": ids, "item": ids}).write_parquet(folder / "t.parquet")
    return read_interactions(folder / "t.parquet").users.ids


def by_csv(ids: pl.Series, folder: Path) -> pl.Series:
    ids = pl.Series("id", map(str, ids)) if ids.dtype in (pl.Binary, pl.Duration) else ids
    pl.DataFrame({"user": ids, "item": ids}).write_csv(folder / "t.csv", quote_style="always")
    return read_interactions(folder / "t.csv").users.ids


def by_attributes(ids: pl.Series, folder: Path) -> pl.Series:
    table = pl.DataFrame({"id": ids.unique(), "kind": 1})
    table.write_parquet(folder / "a.parquet")
    found = read_attributes(folder / "a.parquet")["id"]
    assert attributes_from(table)["id"].equals(found)
    return found


def by_candidates(ids: pl.Series, folder: Path) -> pl.Series:
    pl.DataFrame({"item": ids}).write_parquet(folder / "c.parquet")
    return read_ids(folder / "c.parquet")


def by_series(ids: pl.Series, folder: Path) -> pl.Series:
    return Vocabulary.of(ids).ids


READERS = [by_frame, by_parquet, by_csv, by_attributes, by_candidates, by_series]


def spellings(value: Any) -> set[str]:
    """The texts that an id may come back as."""
    if isinstance(value, (float, Decimal)):
        return {str(int(value))}
    text = str(value).strip()
    return {str(value), text, text.removesuffix(".0")}


@pytest.mark.parametrize("reader", READERS)
@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_type_comes_back_or_is_refused(
    tmp_path: Path, reader: Callable[[pl.Series, Path], pl.Series], data: st.DataObject
) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    strategy = {"strategy": TEXT} if dtype == pl.String else {}
    ids = data.draw(series(name="id", dtype=dtype, **strategy, min_size=1, max_size=6, allow_null=False))
    values = ids.to_list()
    said, found = "", pl.Series()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            found = reader(ids, tmp_path)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert not (said and dtype in WHOLE)
    if said or (reader is by_csv and dtype not in EXACT):  # in CSV every value is text
        return
    assert dtype not in REFUSED
    texts = {str(each) for each in found.to_list()}
    assert all(spellings(value) & texts for value in values)
    assert texts <= set().union(*map(spellings, values))
    kept = [str(value) if reader is by_series else str(value).strip() for value in values]
    assert len(texts) == len(set(kept) if dtype in EXACT else set(values))  # only tables leave spaces out
    known = Vocabulary(found)
    for text in texts:
        assert str(found[known.row(text)]) == text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["12", "12.0", "7"], "row 2: found '12.0' in column 'user', expected one spelling"),
        (["12", "7.0"], "row 2: found '7.0' in column 'user', expected one spelling"),
        (["12", "12.0", "tea"], "row 2: found '12.0' in column 'user', expected one spelling"),
        (["a", "b", " a"], "row 3: found ' a' in column 'user', expected one spelling of an id"),
        (
            ["1", "NULL", "2", "nan"],
            "row 2: found 'NULL' in column 'user', expected a whole.*2 such rows",
        ),
        (["1.0", "2.0", "NaN"], "row 3: found 'NaN' in column 'user', expected a whole number"),
        ([1.0, 2.0**53], r"row 2: found 9007199254740992.0 .* below 2\*\*53"),
        (np.array([1, 2**24], dtype=np.float32), r"row 2: found 16777216.0 .* below 2\*\*24"),
        ([1.0, float("inf")], "row 2: found inf"),
        ([1.0, None], "row 2: found nothing in column 'user', expected an id"),
        ([Decimal("1.5"), Decimal(2)], "row 1: found 1.5"),
        ([Decimal(2**63), Decimal(2)], "row 1: found 9223372036854775808"),
        ([True, False], "holds Boolean, expected ids: whole numbers or text; convert the column to text"),
        ([b"0123456789abcdef"], "holds Binary, expected ids"),
    ],
)
def test_what_is_refused(values: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        interactions_from({"user": values, "item": list(range(len(values)))})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0.0.0", "1.0"], ["0.0.0", "1.0"]),
        (["0.0.0"], ["0.0.0"]),
        (["7", "07", "+7"], ["+7", "07", "7"]),
        (["None", "tea"], ["None", "tea"]),
        (["12.0", "7.0"], [7, 12]),
        ([Decimal(2**53 + 1), Decimal(2**53)], [2**53, 2**53 + 1]),
        ([2.0**53 - 1, 1.0], [1, 2**53 - 1]),
        (["²", "٣"], ["²", "٣"]),
        (["12", str(2**63)], ["12", str(2**63)]),
    ],
)
def test_what_is_taken(values: list[Any], expected: list[Any]) -> None:
    pairs = interactions_from({"user": values, "item": list(range(len(values)))})
    assert pairs.users.ids.to_list() == expected


def test_decimal_attributes_are_exact() -> None:
    ids = pl.Series([2**53 + 1, 2**53], dtype=pl.Decimal(38, 0))
    assert attributes_from({"id": ids, "kind": ["a", "b"]})["id"].to_list() == [2**53 + 1, 2**53]


def test_two_parts_with_two_spellings_are_refused() -> None:
    with pytest.raises(InputError, match=r"'12\.0'"):
        Vocabulary.of([12, 7], ["12.0", "tea"])


@pytest.mark.parametrize("text", ["01024", "+1024", "1024.0", "1024.", "-01024", "-0"])
@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical])
def test_text_is_never_cast_to_a_number(text: str, dtype: pl.DataType) -> None:
    vocabulary = Vocabulary.of([0, 1024, -1024])
    expected = str(int(float(text)))
    with pytest.raises(InputError, match=re.escape(f"found the id {text!r}, expected {expected!r}")):
        vocabulary.rows(pl.Series([text], dtype=dtype))
    with pytest.raises(InputError, match="user: found the id"):
        vocabulary.row(text, kind="user")
    assert vocabulary.rows(["1024", "tea", str(2**70)]).tolist() == [2, -1, -1]
    known, other = Vocabulary.of([text, "tea"]), Vocabulary.of(["1024", "tea"])
    assert known.rows([text, 1024]).tolist() == [known.ids.to_list().index(text), -1]
    assert other.rows([1024]).tolist() == [0]


def test_frames_and_vocabularies_take_what_they_are_given() -> None:
    assert normal_ids(pl.Series([" a", "a"])).to_list() == [" a", "a"]
    pairs = Interactions.from_frame(pl.DataFrame({"user": ["1", "01"], "item": [1, 2]}))
    assert pairs.users.ids.to_list() == ["01", "1"]
    with pytest.raises(InputError, match="column 'user' holds Date"):
        Interactions.from_frame(pl.DataFrame({"user": [1], "item": [1]}).cast({"user": pl.Date}))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ([True], "found True in a list of ids"),
        ([np.True_], "in a list of ids"),
        ([1.5], "found 1.5 in a list of ids"),
        ([2.0**53], "in a list of ids"),
        (["\ud800"], "in a list of ids"),
        ([b"a"], "found b'a' in a list of ids"),
        ({"a": [1], "b": [2]}, "expected a list of ids: a list, an array or a series"),
        (np.array([[1, 2]]), "in a list of ids"),
        (np.array([True]), "holds Boolean"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "holds Date"),
    ],
)
def test_lists_that_are_no_ids(raw: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        id_series(raw)


def test_spaces_are_left_out_with_a_note() -> None:
    with pytest.warns(InputWarning, match="row 1: column 'user': 1 id begins or ends with a space, such"):
        found = exact_ids(pl.Series(["a", "b ", "b "]), "user", lambda row: f"row {row + 1}")
    assert found.to_list() == ["a", "b", "b"]
