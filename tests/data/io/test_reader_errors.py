"""The one clear line for each thing that can be wrong with an interaction file."""

from __future__ import annotations

import gzip
import io
import lzma
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from gclrec.common.errors import InputError
from gclrec.data.io.readers import Columns, read_interactions, read_parts, read_raw

MATRIX = sparse.csr_matrix(np.array([[0, 2, 0], [1, 0, 5]]))


def npz(matrix: object) -> bytes:
    file = io.BytesIO()
    sparse.save_npz(file, matrix)
    return file.getvalue()


def parquet(**columns: object) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


def arrays(**parts: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(part) for name, part in parts.items()})
    return buffer.getvalue()


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def cut(content: bytes) -> bytes:
    return gzip.compress(content)[:-12]


HEAD = b"user,item,rating,timestamp\n"
# file name, content, what the line says
ERRORS = {
    "empty": ("a.csv", b"", "a.csv: the file is empty"),
    "only blanks": ("a.csv", b"\n \n", "a.csv: the file is empty"),
    "header only": ("a.csv", HEAD, "a.csv: holds a header but no rows"),
    "one column": (
        "a.csv",
        b"user_item\n1_2\n",
        "found one column, 'user_item'; expected a header of columns separated by",
    ),
    "no header": ("a.csv", b"1,2,3\n4,5,6\n", "the first line has numbers for names"),
    "no guess": ("a.csv", b"who,what\n1,2\n", "`user_column` and `item_column`; the columns are: who, what"),
    "no item": ("a.csv", b"user,what\n1,2\n", "cannot guess the item column; name with `item_column`"),
    "JSON lines": (
        "a.jsonl",
        b'{"user": 1, "item": 2}\n',
        "JSON (or JSON Lines) is not supported; convert it",
    ),
    "JSON by content": ("a.txt", b'{"user": 1, "item": 2}\n', "convert it to CSV or Parquet"),
    "a date with dots": (
        "a.csv",
        HEAD + b"1,2,3,03.01.2024\n",
        "found '03.01.2024' in column 'timestamp', expected a finite number or an ISO date such as 2024",
    ),
    "several ids missing": (
        "a.csv",
        HEAD + b"1,2,3,4\n,2,3,4\n,3,3,4\n",
        "expected an id (2 such rows in all)",
    ),
    "text rating": (
        "a.csv",
        HEAD + b"1,2,3,4\n\n1,3,good,4\n",
        "a.csv, line 4: found 'good' in column 'rating'",
    ),
    "line after quotes": (
        "a.csv",
        b'\n\nuser,item,note,rating\n1,2,"a\n\n",3\n3,4,b,x\n',
        "a.csv, line 7: found 'x'",
    ),
    "line break in an id": (
        "a.csv",
        b'user,item\n1,2\n1,"3\n"\n',
        "a.csv, line 3: found a line break in the item id, expected ids of one line; if quotes have",
    ),
    "quotes around rows": (
        "a.tsv",
        b'user\titem\na\t"Heroes\nb\tx\nc\ty\nd\t7 Low"\ne\tz\n',
        "a.tsv, line 2: found a quote that opens here and closes in line 5, with whole rows between; if",
    ),
    "inches": (
        "a.csv",
        b'user,item\nb,x\na,15" monitor\nc,12" disk\nd,y\n',
        "a.csv, line 3: found a quote inside the field '15\" monitor'; if quotes have no meaning",
    ),
    "one inch": ("a.csv", b'user,item\nb,x\na,15" disk\n', "a.csv, line 3: found a quote inside the field"),
    "text after a quote": ("a.csv", b'user,item\na,"x" y\nb,z\n', "a.csv, line 2: found a quote inside"),
    "zstd": ("a.csv.zst", b"\x28\xb5\x2f\xfd1234567", "is packed by zstd; unpack it"),
    "spreadsheet": ("a.xlsx", b"PK\x03\x04 and so on", "is a spreadsheet; save it as CSV or Parquet"),
    "gzip of zeros": (
        "a.csv.gz",
        gzip.compress(HEAD + bytes(2**26)),
        "a.csv.gz: holds more than 64 MB when unpacked, over 50 times its size; if that is as it should be",
    ),
    "matrix that claims rows": (
        "a.npz",
        arrays(row=[0], col=[0], data=[1], shape=[10**9, 10], format="coo"),
        "a.npz: found a matrix of shape (1000000000, 10) in a file of",
    ),
    "matrix of zeros": (
        "a.npz",
        arrays(indptr=np.zeros(10**7, np.int64), indices=[], data=[], shape=[10**7 - 1, 1], format="csr"),
        "a.npz: holds more than 64 MB when unpacked",
    ),
    "matrix without a format": (
        "a.npz",
        arrays(shape=[2, 2], data=[1], format=7),
        "a.npz: is damaged or is no SciPy sparse matrix (",
    ),
    "Parquet of one row a million times": (
        "a.parquet",
        parquet(user=pl.repeat(1, 5 * 10**6, eager=True), item=pl.repeat(2, 5 * 10**6, eager=True)),
        "a.parquet: found 5,000,000 rows in",
    ),
    "cut Feather": (
        "a.feather",
        b"ARROW1\x00\x00" + bytes(40),
        "a.feather: the Feather file is damaged or is none",
    ),
    "an id of a whole book": (
        "a.csv",
        b"user,item\n1,2\n" + b"x" * 70_000 + b",3\n",
        "a.csv, line 3: found an id of 70,000 bytes in column 'user', expected at most 65,536",
    ),
    "cut xz": ("a.csv.xz", lzma.compress(HEAD + b"1,2,3,4\n")[:-9], "the xz file is cut off or damaged"),
    "bad zip": ("a.csv.zip", b"PK\x03\x04" + b"1" * 40, "the zip file is cut off or damaged"),
    "missing id": (
        "a.csv",
        HEAD + b"1,2,3,4\n,3,3,4\n",
        "a.csv, line 3: found nothing in column 'user', expected an id",
    ),
    "blank id": ("a.csv", HEAD + b'1," ",3,4\n', "a.csv, line 2: found ' ' in column 'item', expected an id"),
    "missing time": ("a.csv", HEAD + b"1,2,3,\n", "a.csv, line 2: found nothing in column 'timestamp'"),
    "NaN time": (
        "a.csv",
        HEAD + b"1,2,3,NaN\n",
        "a.csv, line 2: found 'NaN' in column 'timestamp', expected a finite",
    ),
    "infinite time": ("a.csv", HEAD + b"1,2,3,4\n1,3,3,inf\n", "a.csv, line 3: found 'inf'"),
    "bad date": (
        "a.csv",
        b"user,item,date\n1,2,2020-01-01\n1,3,yesterday\n",
        "a.csv, line 3: found 'yesterday'",
    ),
    "few columns": ("a.csv", HEAD + b"1,2,3,4\n1,2,3\n", "a.csv, line 3: found 3 columns, expected 4"),
    "many columns": ("a.csv", HEAD + b"1,2,3,4\n\n1,2,3,4,5\n", "a.csv, line 4: found 5 columns, expected 4"),
    "open quote": (
        "a.csv",
        b'user,item\n1,2\n1,"3\n1,4\n',
        "a.csv, line 3: found a quote that is never closed",
    ),
    "not UTF-8": (
        "a.csv",
        b"user,item\n1,2\n1,caf\xe9\n",
        "a.csv, line 3: found byte 0xe9, which is not UTF-8",
    ),
    "not UTF-8 header": ("a.csv", "user,item\n1,2\n".encode("utf-16"), "is not UTF-8"),
    "cut gzip": ("a.csv.gz", cut(HEAD + b"1,2,3,4\n" * 9), "a.csv.gz: the gzip file is cut off or damaged"),
    "negative id": (
        "train.txt",
        b"0 1 2 3\n1 4 -5\n",
        "train.txt, line 2: found '-5', expected whole numbers from 0 to",
    ),
    "form feed": ("train.txt", b"0 1 2 3\n1 \x0c 4\n", r"train.txt, line 2: found '\x0c'"),
    "large id": (
        "train.txt",
        b"0 1 2 3\n\n1 2147483647 2147483648\n",
        "train.txt, line 3: found '2147483648'",
    ),
    "huge id": ("train.txt", b"0 1 2 3\n1 4 5" + b"0" * 40 + b"\n", "train.txt, line 2: found '5000000"),
    "no items": ("train.txt", b"0\n1\n2\n", "no line holds an item"),
    "ragged pairs": (
        "a.txt",
        b"a b\n\nc d\ne\n",
        "cannot tell the format; say which with `format` (one of table, atomic",
    ),
    "prose": ("a.txt", b"This is a file of words\nand more words.\n", "a.txt: cannot tell the format"),
    "text weight": ("a.txt", b"who what stars\n1 2 3\n", "a.txt, line 1: found 'stars' in column 'weight'"),
    "atomic type": (
        "a.inter",
        b"user_id:token\titem_id:str\n1\t2\n",
        "a.inter, line 1: found 'item_id:str', expected",
    ),
    "ml ragged": (
        "ratings.dat",
        b"1::2::3::4\n1::2::3\n",
        "ratings.dat, line 2: found 3 columns, expected 4",
    ),
    "not parquet": ("a.parquet", b"user,item\n1,2\n", "a.parquet: the Parquet file is damaged or is none"),
    "cut parquet": (
        "a.parquet",
        parquet(user=[1], item=[2])[:-9],
        "a.parquet: the Parquet file is",
    ),
    "null id": (
        "a.parquet",
        parquet(user=[1, None], item=[2, 2]),
        "a.parquet, row 2: found nothing",
    ),
    "fraction id": (
        "a.parquet",
        parquet(user=[1.0, 1.5], item=[2, 2]),
        "row 2: found 1.5 in column",
    ),
    "NaN id": (
        "a.parquet",
        parquet(user=[1.0, np.nan], item=[2, 2]),
        "row 2: found nan in column",
    ),
    "list ids": (
        "a.parquet",
        parquet(user=[1], item=[[2]]),
        "'item' holds List(Int64), expected ids",
    ),
    "no rows": (
        "a.parquet",
        parquet(user=[], item=[]),
        "a.parquet: holds columns but no rows",
    ),
    "no columns": ("a.parquet", parquet(a=[1], b=[2]), "the columns are: a, b"),
    "cut npz": ("a.npz", npz(MATRIX)[:-40], "a.npz: is damaged or is no SciPy sparse matrix"),
    "empty npz": ("a.npz", npz(MATRIX * 0), "the matrix of shape (2, 3) has no entries"),
    "folder": ("inner/a.csv", b"", "is a folder, expected a file"),
    "missing": ("", b"", "no such file"),
}


@pytest.mark.parametrize(("name", "content", "message"), ERRORS.values(), ids=ERRORS)
def test_bad_file_gets_one_clear_line(tmp_path, name, content, message):
    path = tmp_path / (name or "nowhere.csv")
    if name.startswith("inner"):
        path = tmp_path / "inner"
        path.mkdir()
    elif name:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_interactions(path)
    text = str(caught.value)
    assert message in text
    assert str(path) in text
    assert "\n" not in text


def test_npz_that_needs_a_pickle_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", format=np.array([{"evil": 1}], dtype=object), shape=[1, 1])
    with pytest.raises(InputError, match="damaged or is no SciPy sparse matrix"):
        read_raw(tmp_path / "a.npz")


def test_npz_whose_indices_point_outside_is_refused(tmp_path):
    parts = {"format": b"csr", "shape": [2, 2], "data": [1, 1], "indices": [0, 9], "indptr": [0, 1, 2]}
    np.savez(tmp_path / "a.npz", **parts)
    with pytest.raises(InputError, match="damaged"):
        read_raw(tmp_path / "a.npz")


def test_unreadable_file_is_one_line(tmp_path, monkeypatch):
    path = write(tmp_path, "a.csv", HEAD)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"a\.csv: cannot be read \(Permission denied\)"):
        read_raw(path)


def test_bad_arguments_are_named(tmp_path):
    path = write(tmp_path, "a.csv", b"user,item\n1,2\n")
    with pytest.raises(InputError, match="unknown format 'xml'; expected auto or one of table, atomic"):
        read_raw(path, format="xml")
    with pytest.raises(InputError, match="no column 'shop' to read as item; the columns are: user, item"):
        read_raw(path, columns=Columns(item="shop"))
    with pytest.raises(InputError, match="2 columns named 'item'"):
        read_raw(write(tmp_path, "b.csv", b"user,item,item\n1,2,3\n"), columns=Columns(item="item"))
    with pytest.raises(InputError, match="has no header, so its columns cannot be named"):
        read_raw(write(tmp_path, "u.data", b"1\t2\t3\t4\n"), columns=Columns(user="who"))
    with pytest.raises(InputError, match="expected train with test or valid"):
        read_parts({"test": path})
