"""Tables as people have them: quotes, no header, old line ends, packed files, pipes and addresses."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from gclrec.api import load_run
from gclrec.common.errors import InputError, InputWarning
from gclrec.data.catalog.loader import load
from gclrec.data.io.attributes import read_attributes
from gclrec.data.io.columns import Columns
from gclrec.data.io.formats import columns_read
from gclrec.data.io.frames import interactions_from
from gclrec.data.io.readers import read_dataset, read_ids, read_interactions, read_raw
from gclrec.training.trained import load_recommender

TABLE = b"user,item\na,x\nb,y\n"
ROWS = [("a", "x"), ("b", "y")]


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_stray_quotes_are_read_without_quoting(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", b'user\titem\na\t"Heroes\nb\tx\nd\t7 Low"\n')
    rows = [("a", '"Heroes'), ("b", "x"), ("d", '7 Low"')]
    assert read_raw(path, columns=Columns(quote="none")).rows() == rows
    path = write(tmp_path, "b.csv", b"user,item\na,'x,y'\n")
    assert read_raw(path, columns=Columns(quote="'")).rows() == [("a", "x,y")]
    for bad in ("", "ab", "a", " ", "é"):
        with pytest.raises(InputError, match="quote: found"):
            read_raw(path, columns=Columns(quote=bad))


def test_attributes_with_stray_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", b'item_id\ttitle\n1\t"Heroes\n2\tx\n3\t7 Low"\n')
    with pytest.raises(InputError, match=r"line 2: found a quote that opens here and closes in line 4"):
        read_attributes(path)
    assert read_attributes(path, quote=None).height == 3


def test_quoted_text_may_span_lines(tmp_path: Path) -> None:
    prose = b"""user,item,text
a,x,"Good,

said ""he"", and
went, so, on"
b,y,"one
two, by, chance"
c,z,"a
b"
"""
    assert read_raw(write(tmp_path, "a.csv", prose)).rows() == [*ROWS, ("c", "z")]


def test_columns_by_position(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"B1,ann,5.0,100\nB2,bob,3.0,200\n")
    names = Columns(user="2", item="1", weight="3", time="4", header=False)
    assert read_raw(path, columns=names).rows() == [("ann", "B1", 100, 5.0), ("bob", "B2", 200, 3.0)]
    read = columns_read(path, columns=names)
    assert read == {"read": {"user": "2", "item": "1", "time": "4", "weight": "3"}, "ignored": []}
    with pytest.raises(
        InputError, match=r"cannot guess the user and item columns.*the columns are: 1, 2, 3, 4"
    ):
        read_raw(path, columns=Columns(header=False))
    with pytest.raises(InputError, match=r"the first line has numbers for names.*`no_header=True`"):
        read_raw(path)
    with pytest.raises(InputError, match=r"line 2: found 'x' in column '3'"):
        read_raw(
            write(tmp_path, "b.csv", b"B1,ann,5.0\nB2,bob,x\n"),
            columns=Columns(user="2", item="1", weight="3", header=False),
        )


def test_twin_columns_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"user,item,item\na,x,y\n")
    with pytest.warns(InputWarning, match=r"read 'item' \(column 2\) as item, not 'item' \(column 3\)"):
        assert read_raw(path).rows() == [("a", "x")]
    path = write(tmp_path, "b.csv", b"user_id,userId,item\na,b,x\n")
    with pytest.warns(InputWarning, match="read 'user_id' as user, not 'userId'"):
        assert read_raw(path).rows() == [("a", "x")]


def test_one_column_has_one_role(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", TABLE)
    for read in (
        lambda columns: read_raw(path, columns=columns),
        lambda columns: interactions_from({"user": [1], "item": [2]}, columns=columns),
    ):
        with pytest.raises(InputError, match="column 'user' is named for user and item"):
            read(Columns(user="user", item="user"))


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.inter"])
def test_lines_may_end_in_cr(name: str, tmp_path: Path) -> None:
    text = {
        "a.csv": TABLE,
        "a.txt": b"a\tx\nb\ty\n",
        "a.inter": b"user_id:token\titem_id:token\na\tx\nb\ty\n",
    }[name]
    assert read_raw(write(tmp_path, name, text.replace(b"\n", b"\r"))).rows() == ROWS


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, TABLE)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", gzip.compress(TABLE)),
        ("a.csv.bz2", bz2.compress(TABLE)),
        ("a.csv.xz", lzma.compress(TABLE)),
        ("a.csv.zip", zipped("a.csv")),
        ("a.zip", zipped("inner/a.csv")),
        ("packed.csv", bz2.compress(TABLE)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # packed bytes hold the time of the call
)
def test_packed_files(name: str, content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, name, content)
    assert read_raw(path).rows() == ROWS
    if name.startswith("a.csv"):
        assert read_dataset(tmp_path).interactions.to_frame().rows() == ROWS


def test_several_files_in_a_zip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.zip: holds 2 files, expected one; unpack it"):
        read_raw(write(tmp_path, "a.zip", zipped("a.csv", "b.csv")))


def test_feather(tmp_path: Path) -> None:
    table = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "extra": [1, 2]})
    for name in ("a.feather", "a.data"):
        table.write_ipc(tmp_path / name, compression="zstd")
        assert read_raw(tmp_path / name).rows() == ROWS
    assert read_attributes(tmp_path / "a.feather", id_column="item")["id"].to_list() == ["x", "y"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["pipe", "pipe.csv", "pipe.parquet", "pipe.npz", "pipe.inter"])
def test_pipes_are_refused(name: str, tmp_path: Path) -> None:
    """A pipe can be read once, and formats are found by reading the beginning first."""
    path = tmp_path / name
    os.mkfifo(path)
    for read in (read_raw, read_interactions, read_dataset, load, read_attributes, read_ids):
        with pytest.raises(InputError, match="is a pipe or a device, which can be read only once"):
            read(path)


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="no /dev/stdin here")
def test_stdin_is_refused_as_a_pipe_and_read_as_a_file(tmp_path: Path) -> None:
    code = "from gclrec.data.io.readers import read_raw; print(read_raw('/dev/stdin').rows())"
    piped = subprocess.run([sys.executable, "-c", code], input=TABLE, capture_output=True, check=False)
    assert b"is a pipe or a device" in piped.stderr
    with write(tmp_path, "a.csv", TABLE).open("rb") as file:
        done = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, check=True)
    assert done.stdout.decode().strip() == str(ROWS)


@pytest.mark.parametrize("address", ["https://example.org/a.csv", "s3://bucket/a.parquet", "HTTP://x"])
def test_addresses_are_refused(address: str) -> None:
    for read in (read_raw, read_interactions, read_dataset, load, read_attributes, read_ids):
        with pytest.raises(InputError, match=f"{address}: is an address; download it first"):
            read(address)


def test_paths_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "a.csv", TABLE)
    assert read_raw("~/a.csv").rows() == ROWS
    assert load("~/a.csv", test="~/a.csv").parts.keys() == {"train", "test"}
    assert read_ids("~/a.csv").to_list() == ["x", "y"]
    assert read_attributes("~/a.csv", id_column="item").height == 2


def test_no_path_is_refused() -> None:
    for read in (read_raw, read_dataset, load, read_attributes, read_ids):
        with pytest.raises(InputError, match="found an empty path"):
            read("")


def test_folder_with_the_name_of_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("synthetic").mkdir()
    with pytest.warns(InputWarning, match=r"synthetic: read from the catalogue; write \./synthetic for the"):
        load("synthetic")


def test_run_folders_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for load_from in (load_run, load_recommender):
        with pytest.raises(InputError, match=str(tmp_path / "run")):
            load_from("~/run")
