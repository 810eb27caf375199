"""Lists of ids in files: one a line, or a column."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Vocabulary
from gclrec.data.io.readers import read_ids


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5\n3\n\n5\n", [5, 3]),
        ("tea\r\n green tea \r\n007", ["tea", "green tea", "007"]),
        ("item\n5\n3\n", [5, 3]),
        ("id\ntea\nmilk\n", ["tea", "milk"]),
        ("item_id,price\n5,1.5\n3,2\n", [5, 3]),
        ("user\titem\na\tx\nb\tx\n", ["x"]),
        ("\n\nid;name\n7;seven\n", [7]),
        ("a,b\nc,d\n", ["a,b", "c,d"]),  # no column of that name: lines as they are
    ],
)
def test_text(text: str, expected: list[object], tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(text.encode())
    assert read_ids(path).to_list() == expected
    path.write_bytes(gzip.compress(text.encode()))
    assert read_ids(path).to_list() == expected


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    for frame, role in (
        (pl.DataFrame({"user": ["a", "b"], "item": [5, 3]}), "item"),
        (pl.DataFrame({"name": ["x", "y"], "ID": [5, 3]}), "item"),
        (pl.DataFrame({"whatever": [5, 3]}), "item"),
        (pl.DataFrame({"item": ["a", "b"], "user": [5, 3]}), "user"),
    ):
        frame.write_parquet(path)
        assert read_ids(path, role).to_list() == [5, 3]


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    pl.DataFrame({"a": [1], "b": [2]}).write_parquet(path)
    with pytest.raises(InputError, match="no column of item ids; the columns are: a, b"):
        read_ids(path)
    pl.DataFrame({"item": [1.5]}).write_parquet(path)
    with pytest.raises(InputError, match=r"row 1: found 1\.5"):
        read_ids(path)
    text = tmp_path / "ids.txt"
    for content, message in ((b"item\n", "holds no id"), (b"\xff\n", "not UTF-8"), (b"", "empty")):
        text.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_ids(text)
    text.write_text("item,price\n1,2\n,3\n")
    with pytest.raises(InputError, match="line 3: found nothing in column 'item'"):
        read_ids(text)
    with pytest.raises(InputError, match="no such file"):
        read_ids(tmp_path / "nowhere")


@pytest.mark.parametrize("first", ["game", "book", "news", "id", "item"])
def test_first_line_that_is_a_known_id_is_one(first: str, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(f"{first}\nother\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_ids(path, known=Vocabulary.of([first, "other"])).to_list() == [first, "other"]
    with pytest.warns(InputWarning, match=f"the first line, '{first}', is read as a header"):
        assert read_ids(path, known=Vocabulary.of(["other"])).to_list() == ["other"]
