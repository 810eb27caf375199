"""Numbering of ids beside a dictionary: near and far numbers, text, categories, chunks, blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Vocabulary
from gclrec.data.io import numbering
from gclrec.data.io.columns import Columns
from gclrec.data.io.numbering import distinct_ids, numbered, places_of
from gclrec.data.io.parquet import open_parquet, read_parquet_table
from gclrec.data.io.readers import read_interactions, read_raw

NEAR = [7, 3, 3, 0, 9, 7]
BELOW = [7, 3, 3, -2, 9, 7]
FAR = [2**62, -(2**62), 5, 2**62, 6]
TEXT = ["tea", "milk", "tea", "é", "a longer text than twelve bytes"]


@pytest.fixture(params=[4, 0], ids=["table", "join"])
def _every_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Number whole numbers by a table and by a join, two rows at a time."""
    monkeypatch.setattr(numbering, "_SPARSE", request.param)
    monkeypatch.setattr(numbering, "_BLOCK", 2)


def chunked(values: list, dtype: pl.DataType | None = None) -> pl.Series:
    halves = values[: len(values) // 2], values[len(values) // 2 :]
    return pl.concat([pl.Series("id", half, dtype=dtype) for half in halves], rechunk=False)


@pytest.mark.usefixtures("_every_path")
@pytest.mark.parametrize("values", [NEAR, BELOW, FAR, TEXT], ids=["near", "below zero", "far", "text"])
def test_numbered_as_a_dictionary_would(values: list) -> None:
    ids = chunked(values)
    known = distinct_ids(ids)
    assert known.to_list() == sorted(set(values))
    place = {value: number for number, value in enumerate(sorted(set(values)))}
    assert places_of(ids, known).tolist() == [place[value] for value in values]
    others = [values[1], max(values), *(["none", ""] if values is TEXT else [-(2**63), 2**63 - 1, 4])]
    found = places_of(pl.Series(others), known).tolist()
    assert found == [place.get(value, -1) for value in others]


@pytest.mark.usefixtures("_every_path")
@pytest.mark.parametrize("values", [NEAR, BELOW, FAR, TEXT], ids=["near", "below zero", "far", "text"])
def test_both_in_one_go(values: list) -> None:
    for ids in (chunked(values), chunked(TEXT, pl.Categorical), chunked(values)[:0]):
        known, rows = numbered(ids)
        assert known.to_list() == distinct_ids(ids).to_list()
        assert rows.dtype == np.int32
        assert rows.tolist() == places_of(ids, known).tolist()


@pytest.mark.usefixtures("_every_path")
@pytest.mark.parametrize("numbers", [[3, 2**40, -5], [-(2**40), 2, 2], [2**31, 1], [-(2**31), 2**31 - 1]])
def test_numbers_of_any_size(numbers: list[int]) -> None:
    known, rows = numbered(pl.Series(numbers))
    assert known.gather(rows).to_list() == numbers
    assert places_of(pl.Series([numbers[-1], 0, 2**62, -1]), known).tolist() == [rows[-1], -1, -1, -1]


@pytest.mark.usefixtures("_every_path")
@pytest.mark.parametrize("values", [NEAR, BELOW, FAR, TEXT], ids=["near", "below zero", "far", "text"])
def test_few_ids_among_many_known_in_any_order(values: list) -> None:
    known = pl.Series(values).unique(maintain_order=True).reverse()
    assert places_of(pl.Series(values[:1]), known).tolist() == [len(known) - 1]
    rows = places_of(pl.Series(values), known)
    assert known.gather(rows).to_list() == values
    rows[0] = 0  # the rows belong to the caller


@pytest.mark.usefixtures("_every_path")
def test_categories_are_numbered_by_their_text() -> None:
    _ = pl.Series(["other", "codes", "come", "first"], dtype=pl.Categorical)
    ids = chunked(TEXT, pl.Categorical)
    known = distinct_ids(ids)
    assert known.dtype == pl.String
    assert known.to_list() == sorted(set(TEXT))
    assert places_of(ids, known).tolist() == [sorted(set(TEXT)).index(value) for value in TEXT]
    assert places_of(ids, pl.Series(["tea"])).tolist() == [0 if value == "tea" else -1 for value in TEXT]
    numbers = pl.Series(["3", "x", "-2"], dtype=pl.Categorical)
    assert places_of(numbers, pl.Series([-2, 3])).tolist() == [1, -1, 0]


@pytest.mark.usefixtures("_every_path")
def test_coded_text_is_the_text() -> None:
    random = np.random.default_rng(0)
    values = [f"{'x' * int(n % 17)}{n}" for n in random.integers(0, 300, 2000)]
    ids = numbering.coded(chunked(values))
    assert ids.dtype in numbering.CODED
    assert ids.cast(pl.String).to_list() == values
    assert distinct_ids(ids).to_list() == sorted(set(values))
    rows = Vocabulary.of(ids).rows(ids)
    assert rows.tolist() == [sorted(set(values)).index(value) for value in values]


def test_what_is_missing_or_empty() -> None:
    assert places_of(pl.Series([1, None], dtype=pl.Int64), pl.Series([1])).tolist() == [0, -1]
    for dtype in (pl.Int64, pl.String):
        nothing = pl.Series("id", [], dtype=dtype)
        assert distinct_ids(nothing).to_list() == []
        assert places_of(nothing, nothing).tolist() == []
    assert places_of(pl.Series([1]), pl.Series([], dtype=pl.Int64)).tolist() == [-1]
    assert distinct_ids(pl.Series([], dtype=pl.Categorical)).to_list() == []


def test_more_distinct_texts_than_few() -> None:
    """Looked up by codes, although the distinct texts alone are many."""
    ids = pl.Series([f"u{n}" for n in np.random.default_rng(0).permutation(2**16 + 50)])
    vocabulary = Vocabulary.of(ids)
    assert np.array_equal(vocabulary.ids.gather(vocabulary.rows(ids)).to_numpy(), ids.to_numpy())


def table(path: Path, **columns: list) -> Path:
    pl.DataFrame(columns).write_parquet(path)
    return path


def test_text_of_a_parquet_file_has_codes(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", user_id=["b", "a", "b"], item_id=["x", "x", "y"], rating=[1, 2, 3])
    coded = read_parquet_table(path, Columns()).frame.dtypes
    assert coded == [pl.Enum(["a", "b"]), pl.Enum(["x", "y"]), pl.Float64]
    assert read_parquet_table(path, Columns(weight="")).frame.columns == ["user", "item"]
    assert open_parquet(path).dtypes == [pl.String, pl.String, pl.Int64]
    frame = read_raw(path)
    assert frame.dtypes == [pl.String, pl.String, pl.Float64]
    assert frame["user"].to_list() == ["b", "a", "b"]
    pairs = read_interactions(path)
    assert pairs.users.ids.to_list() == ["a", "b"]
    assert (pairs.user.tolist(), pairs.item.tolist()) == ([1, 0, 1], [0, 0, 1])


def test_text_of_a_parquet_file_means_the_same_as_ever(tmp_path: Path) -> None:
    numbers = read_interactions(table(tmp_path / "a.parquet", user_id=["10", "9"], item_id=["7.0", "8.0"]))
    assert (numbers.users.ids.to_list(), numbers.items.ids.to_list()) == ([9, 10], [7, 8])
    path = table(tmp_path / "b.parquet", user_id=[" u", "v "], item_id=["007", "8"])
    with pytest.warns(InputWarning, match="column 'user_id': 2 ids begin or end with a space, such as ' u'"):
        padded = read_interactions(path)
    assert (padded.users.ids.to_list(), padded.items.ids.to_list()) == (["u", "v"], ["007", "8"])
    path = table(tmp_path / "b.parquet", user_id=["u", "u "], item_id=["007", "8"])
    with pytest.raises(InputError, match="row 2: found 'u ' in column 'user_id', expected one spelling"):
        read_interactions(path)
    for bad in ("", " ", None):
        path = table(tmp_path / "c.parquet", user_id=["u", bad, "w"], item_id=[1, 2, 3])
        with pytest.raises(InputError, match=r"row 2: found .* in column 'user_id', expected an id"):
            read_interactions(path)


def test_texts_with_the_same_hash_are_distinguished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl.Series, "hash", lambda self: self.str.len_bytes().cast(pl.UInt64))
    ids = numbering.coded(pl.Series(TEXT))
    assert ids.cast(pl.String).to_list() == TEXT


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["y", "x", "é", "unused", ""])])
def test_coded_text_is_the_text_and_its_codes_are_in_order(dtype: pl.DataType) -> None:
    values = ["x", None, "y", "x", "é", ""]
    ids = numbering.coded(pl.Series(values, dtype=dtype))
    assert ids.cast(pl.String).to_list() == values
    assert ids.dtype == pl.Enum(["", "x", "y", "é"])


@pytest.mark.parametrize("pieces", [[], [[]], [["b", None], ["a", "b"], [], ["c"]], [[None], ["é", ""]]])
def test_text_in_pieces_is_coded_as_in_one(pieces: list[list[str | None]]) -> None:
    series = [pl.Series("id", piece, dtype=pl.String) for piece in pieces]
    found = numbering.coded_batches(iter(series))
    whole = pl.concat([pl.Series("id", [], dtype=pl.String), *series])
    expected = numbering.coded(whole)
    assert found.dtype == expected.dtype
    assert found.to_list() == expected.to_list()


def test_ids_of_several_tables_are_one_column() -> None:
    first, second = (numbering.coded(pl.Series(ids)) for ids in (["b", None, "d"], ["a", "b", "d", "d"]))
    both = numbering.joined_ids([first, second])
    assert both.dtype == pl.Enum(["a", "b", "d"])
    assert both.to_list() == ["b", None, "d", "a", "b", "d", "d"]
    assert numbering.joined_ids([pl.Series([1, 2]), pl.Series([2])]).to_list() == [1, 2, 2]
    assert numbering.joined_ids([pl.Series([1, 2]), second]).to_list() == ["1", "2", "a", "b", "d", "d"]


def test_ids_beyond_the_categories_of_the_known_have_no_place() -> None:
    """Rows that an ``Enum`` leaves out, as after a filter, and missing ones."""
    ids = pl.Series(["b", None, "d", "a", "b"], dtype=pl.Enum(["a", "b", "c", "d"]))
    assert places_of(ids, pl.Series(["b", "d"])).tolist() == [0, -1, 1, -1, 0]
    assert places_of(ids.drop_nulls(), pl.Series(["a", "b", "c", "d"])).tolist() == [1, 3, 0, 1]
