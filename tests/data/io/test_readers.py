"""Interaction files of every format, folders of them, and the one line for each thing that can be wrong."""

from __future__ import annotations

import doctest
import gzip
import io
import warnings
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.io.columns import GUESSES
from gclrec.data.io.formats import FORMATS, detect_format
from gclrec.data.io.readers import (
    Columns,
    read_interactions,
    read_raw,
)

MATRIX = sparse.csr_matrix(np.array([[0, 2, 0], [1, 0, 5]]))


def npz(matrix: object) -> bytes:
    file = io.BytesIO()
    sparse.save_npz(file, matrix)
    return file.getvalue()


def parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


# format -> (file name, content, rows)
EXAMPLES = {
    "table": [
        (
            "a.csv",
            b"User ID,title,Movie-Id,Rating\n7,x,tea,4.5\n3,y,milk,2\n",
            [(7, "tea", 4.5), (3, "milk", 2.0)],
        ),
        (
            "b.tsv",
            b"\xef\xbb\xbfuser\titem\ttimestamp\r\n1\t2\t100\r\n\r\n1\t3\t99.5\r\n",
            [(1, 2, 100.0), (1, 3, 99.5)],
        ),
        ("c.txt", b'uid;asin\n"a;b";B1\n c ;"B2"\n', [("a;b", "B1"), ("c", "B2")]),
        ("d.csv", b"user|item\n007|1.0\n8|2.0\n", [("007", 1), ("8", 2)]),
        ("e.txt", b"user item\n1 2\n", [(1, 2)]),
        (
            "f.parquet",
            parquet(pl.DataFrame({"item_id": ["x", "y"], "user_id": [2, 1]})),
            [(2, "x"), (1, "y")],
        ),
    ],
    "atomic": [
        (
            "g.inter",
            b'user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t"x\t3\t10\n2\ty\t4\t11\n',
            [(1, '"x', 10.0, 3.0), (2, "y", 11.0, 4.0)],
        )
    ],
    "adjacency": [
        ("train.txt", b"0 5 7 9 \n3 5\r\n\n3\t1 2", [(0, 5), (0, 7), (0, 9), (3, 5), (3, 1), (3, 2)])
    ],
    "sequence": [("sequences.txt", b"4 9 2\n1 2\n", [(4, 9, 0.0), (4, 2, 1.0), (1, 2, 0.0)])],
    "pairs": [
        ("h.txt", b"\n1 2\n 3  4 \n", [(1, 2), (3, 4)]),
        (
            "i.txt",
            b"ann\tgreen tea\t1.5\nbob\tmilk\t-2\n",
            [("ann", "green tea", 1.5), ("bob", "milk", -2.0)],
        ),
    ],
    "movielens": [
        (
            "u.data",
            b"196\t242\t3\t881250949\n186\t302\t4\t891717742\n",
            [(196, 242, 881250949.0, 3.0), (186, 302, 891717742.0, 4.0)],
        ),
        ("ratings.dat", b"1::1193::5::978300760\n", [(1, 1193, 978300760.0, 5.0)]),
    ],
    "npz": [
        ("m.npz", npz(MATRIX), [(0, 1, 2.0), (1, 0, 1.0), (1, 2, 5.0)]),
        ("ones.npz", npz((MATRIX > 0).astype(int).tocoo()), [(0, 1), (1, 0), (1, 2)]),
    ],
}
CASES = [(form, *case) for form, cases in EXAMPLES.items() for case in cases]


def test_every_format_has_an_example():
    assert set(EXAMPLES) == set(FORMATS)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(("form", "name", "content", "rows"), CASES, ids=[case[1] for case in CASES])
def test_example_is_detected_and_read(tmp_path, form, name, content, rows, ending):
    path = write(tmp_path, name + ending, content)
    assert detect_format(path) == form
    frame = read_raw(path)
    assert frame.rows() == rows
    assert frame.rows() == read_raw(path, format=form).rows()
    assert frame.columns[:2] == ["user", "item"]
    assert set(frame.columns[2:]) <= {"time", "weight"}


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_content_decides_where_the_suffix_says_nothing(tmp_path, ending):
    for form, name, content, rows in CASES:
        if form != "sequence" and name != "d.csv":
            path = write(tmp_path, f"{Path(name).stem}.data{ending}", content)
            assert read_raw(path).rows() == rows, name


@pytest.mark.parametrize("role", ["user", "item", "time", "weight"])
def test_every_guess_is_found(tmp_path, role):
    others = {"user": "user", "item": "item"} | {role: ""}
    for guess in GUESSES[role]:
        names = [guess.title(), *(name for name in others.values() if name)]
        path = write(tmp_path, "a.csv", ",".join(names).encode() + b"\n5" + b",1" * (len(names) - 1) + b"\n")
        assert read_raw(path)[role].to_list() == [5]


def test_given_columns_win_over_guesses(tmp_path):
    path = write(tmp_path, "a.csv", b"user,item,who,what,rating,stars\n1,2,3,4,5,6\n")
    with pytest.warns(InputWarning, match="read 'rating' as weight, not 'stars'"):
        assert read_raw(path, columns=Columns(user="who", item="What")).rows() == [(3, 4, 5.0)]
    assert read_raw(path, columns=Columns(user="item", weight="stars", item="user")).rows() == [(2, 1, 6.0)]
    assert read_raw(path, columns=Columns(weight="")).columns == ["user", "item"]
    # a guess is never a column that another role was given
    path = write(tmp_path, "b.csv", b"user,user_id,item\n1,2,3\n")
    assert read_raw(path, columns=Columns(item="user")).rows() == [(2, 1)]


def test_given_columns_make_a_headed_text_a_table(tmp_path):
    path = write(tmp_path, "a.txt", b"who\twhat\nann\ttea\n")
    assert detect_format(path) == "pairs"
    assert read_raw(path, columns=Columns(user="who", item="what")).rows() == [("ann", "tea")]


def test_an_empty_name_leaves_a_fixed_column_out(tmp_path):
    path = write(tmp_path, "u.data", b"1\t2\t3\t4\n")
    assert read_raw(path, columns=Columns(weight="")).columns == ["user", "item", "time"]


def test_dates_become_unix_seconds(tmp_path):
    moment = datetime(2020, 2, 1, 10, 30, tzinfo=timezone.utc)
    texts = [
        "2020-02-01T10:30",
        "2020-02-01 10:30:00",
        "2020-02-01T12:30:00+02:00",
        "2020-02-01 10:30:00.000 UTC",
    ]
    rows = "".join(f"1,{n},{text}\n" for n, text in enumerate(texts))
    path = write(tmp_path, "a.csv", b"user,item,date\n" + rows.encode())
    assert read_raw(path)["time"].to_list() == [moment.timestamp()] * 4
    zoned = pl.Series([moment, moment + timedelta(milliseconds=250)], dtype=pl.Datetime("ns", "Asia/Tokyo"))
    for values, seconds in [
        (zoned, [moment.timestamp(), moment.timestamp() + 0.25]),
        (pl.Series([date(1970, 1, 2), date(1969, 12, 31)]), [86400.0, -86400.0]),
        (pl.Series([5, 2**40]), [5.0, 2.0**40]),
    ]:
        path = write(
            tmp_path, "a.parquet", parquet(pl.DataFrame({"user": [1, 2], "item": [1, 2], "time": values}))
        )
        assert read_raw(path)["time"].to_list() == seconds


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["1", "2"], [1, 2]),
        (["1", "02"], ["1", "02"]),
        (["1.0", "20.0"], [1, 20]),
        (["1.0", "2.5"], ["1.0", "2.5"]),
        (["-3", "99999999999999999999"], ["-3", "99999999999999999999"]),
        ([1.0, 3.0], [1, 3]),
        (pl.Series([1, 2**64 - 1], dtype=pl.UInt64), ["1", str(2**64 - 1)]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
    ],
)
def test_ids_become_integers_only_where_nothing_is_lost(tmp_path, values, ids):
    path = write(tmp_path, "a.parquet", parquet(pl.DataFrame({"user": values, "item": [1, 2]})))
    assert read_raw(path)["user"].to_list() == ids


LINES = st.lists(
    st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 99), min_size=1, max_size=5), max_size=30
)


@given(LINES, st.sampled_from([b"\n", b"\r\n", b" \n", b"\n\n"]))
@settings(deadline=None, max_examples=100)
def test_adjacency_equals_a_slow_loop(tmp_path_factory, lines, end):
    """The vectorised parser agrees with a loop over lines."""
    pairs = [(numbers[0], item) for numbers in lines for item in numbers[1:]]
    text = end.join(" ".join(map(str, numbers)).encode() for numbers in lines)
    path = write(tmp_path_factory.mktemp("lists"), "train.txt", text + end)
    if not pairs:
        with pytest.raises(InputError):
            read_raw(path, format="adjacency")
        return
    assert read_raw(path, format="adjacency").rows() == pairs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        read = read_interactions(path, format="adjacency")
    assert read.users.ids.to_list() == sorted({numbers[0] for numbers in lines})
    assert set(read.to_frame().rows()) == set(pairs)
    assert len(read) == len(set(pairs))


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"1 2\n3 4\n", "pairs"),
        (b"1 2 3\n4 5 6\n", "pairs"),
        (b"1 2 3\n4 5\n", "adjacency"),
        (b"1 2 3 4\n5 6 7 8\n", "adjacency"),
        (b"1\n2 3\n", "adjacency"),
        (b"a b 0.5\n", "pairs"),
        (b"1\t2\t3\t4\n5\t6\t7\t8\n", "movielens"),
        (b"who,what\n1,2\n", "table"),
    ],
)
def test_rule_for_lines_of_numbers(tmp_path, content, form):
    assert detect_format(write(tmp_path, "x.txt", content)) == form


def test_round_trip_of_any_ids(tmp_path):
    frame = pl.DataFrame(
        {"user": ["b", 'a"', "c,d"], "item": [3, 1, 2], "time": [1.5, 2.0, 3.0], "weight": [1.0, 2.0, 0.5]}
    )
    frame.write_csv(tmp_path / "a.csv")
    frame.write_parquet(tmp_path / "a[1].parquet")
    for name in ("a.csv", "a[1].parquet"):
        pairs = read_interactions(tmp_path / name)
        assert pairs.to_frame().rows() == frame.rows()
        assert pairs.users.ids.to_list() == ['a"', "b", "c,d"]


def test_user_without_items_is_kept_with_a_note(tmp_path):
    path = write(tmp_path, "train.txt", b"0 4 5\n1\n7 4\n2 \n2 5\n9\n")
    with pytest.warns(InputWarning, match=r"train\.txt, line 2: a user without items \(2 in all\)"):
        pairs = read_interactions(path)
    assert pairs.users.ids.to_list() == [0, 1, 2, 7, 9]
    assert pairs.user_degrees().tolist() == [2, 0, 1, 1, 0]
    with pytest.warns(InputWarning, match=r"m\.npz, row 1: a user without items \(1 in all\)"):
        pairs = read_interactions(write(tmp_path, "m.npz", npz(sparse.csr_matrix([[1, 0], [0, 0]]))))
    assert (pairs.num_users, pairs.num_items) == (2, 2)


def test_repeated_pair_is_kept_at_its_first_time(tmp_path):
    path = write(tmp_path, "a.csv", b"user,item,time,rating\n1,2,9,5\n1,3,1,4\n1,2,4,1\n")
    with pytest.warns(InputWarning, match="1 repeated pairs"):
        pairs = read_interactions(path)
    assert pairs.to_frame().rows() == [(1, 3, 1.0, 4.0), (1, 2, 4.0, 1.0)]


DATASETS = Path(__file__).parents[3] / "datasets"


def test_the_examples_of_the_documentation_read_as_it_says(tmp_path, monkeypatch):
    text = (DATASETS / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(DATASETS.parent)
    assert doctest.testfile(str(DATASETS / "README.md"), module_relative=False).failed == 0
    for heading, form, rows in [
        ("table", "table", 2),
        ("atomic", "atomic", 1),
        ("adjacency and sequence", "adjacency", 6),
        ("pairs", "pairs", 2),
    ]:
        example = text.partition(f"### {heading}\n")[2].split("```\n")[1]
        path = write(tmp_path, "example.txt", example.encode())
        assert detect_format(path) == form
        assert len(read_raw(path)) == rows
    for name in FORMATS:
        assert f"| `{name}` |" in text


def test_the_sample_has_ratings_and_times():
    sample = read_interactions(DATASETS / "sample.csv")
    assert (sample.num_users, sample.num_items, len(sample)) == (6, 9, 18)
    assert sample.time[0] == datetime(2024, 1, 3, 8, 10, tzinfo=timezone.utc).timestamp()
    assert sample.weight.min() == 2
