"""Attribute tables of every source: ids first, and types that say what an attribute is."""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.io.attributes import infer_attribute, read_attributes, with_attribute_files
from gclrec.data.io.columns import Columns
from gclrec.data.io.frames import attributes_from
from gclrec.data.io.readers import read_dataset

TEXTS, WHOLES, NUMBERS = pl.List(pl.String), pl.List(pl.Int64), pl.List(pl.Float64)


def write(folder: Path, name: str, content: str | bytes, encoding: str = "utf-8") -> Path:
    data = content.encode(encoding) if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder / name


@pytest.mark.parametrize(
    ("texts", "dtype", "values"),
    [
        (["1", " 2", ""], pl.Int64, [1, 2, None]),
        (["1", "2.5", "nan"], pl.Float64, [1.0, 2.5, None]),
        (["0213", "5"], pl.String, ["0213", "5"]),
        (["0.5", "0"], pl.Float64, [0.5, 0.0]),
        (["red", "1", None], pl.String, ["red", "1", None]),
        (["a|b", "c", ""], TEXTS, [["a", "b"], ["c"], None]),
        (["1|2", "3"], WHOLES, [[1, 2], [3]]),
        (["[1, 2]", "[]", "[3]"], WHOLES, [[1, 2], None, [3]]),
        (["[0.5,1]", None], NUMBERS, [[0.5, 1.0], None]),
        (["['a', 'b c']", '["d"]'], TEXTS, [["a", "b c"], ["d"]]),
        (["", None], pl.String, [None, None]),
    ],
)
def test_text_becomes_what_it_looks_like(texts, dtype, values):
    column = infer_attribute(pl.Series("a", texts, dtype=pl.String))
    assert column.dtype == dtype
    assert column.to_list() == values
    assert column.name == "a"


@pytest.mark.parametrize("name", ["items.csv", "items.csv.gz"])
def test_table(tmp_path, name):
    path = write(tmp_path, name, "title,Item-Id,price,genres\nA,i1,1.5,x|y\nB,i2,,\n")
    frame = read_attributes(path)
    assert frame.columns == ["id", "title", "price", "genres"]
    assert frame.rows() == [("i1", "A", 1.5, ["x", "y"]), ("i2", "B", None, None)]
    assert read_attributes(path, id_column="TITLE")["id"].to_list() == ["A", "B"]


def test_id_column_is_guessed_or_the_first(tmp_path):
    assert read_attributes(write(tmp_path, "a.csv", "color,id\nred,7\n"))["id"].to_list() == [7]
    assert read_attributes(write(tmp_path, "b.csv", "thing,color\n7,red\n"))["id"].to_list() == [7]
    # another column called id keeps a place
    frame = read_attributes(write(tmp_path, "c.csv", "id,item_id,color\n1,7,red\n"))
    assert frame.to_dicts() == [{"id": 7, "id_": 1, "color": "red"}]


def test_text_tables_and_lists_are_distinguished(tmp_path):
    assert read_attributes(write(tmp_path, "a.txt", "item_id\tbrand\n5\tx\n")).columns == ["id", "brand"]
    assert read_attributes(write(tmp_path, "b.txt", "i1\tred hot\tgreen\ni2\n\ni3\tred hot\n")).rows() == [
        ("i1", ["red hot", "green"]),
        ("i2", None),
        ("i3", ["red hot"]),
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lists_of_numbers(tmp_path, name):
    frame = read_attributes(write(tmp_path, name, "5 1 3\n\n7\n2 3 1 1\n"))
    assert frame.rows() == [(5, [1, 3]), (7, None), (2, [3, 1, 1])]
    assert frame.dtypes == [pl.Int64, WHOLES]


def test_parquet_types(tmp_path):
    table = pl.DataFrame(
        {
            "sku": ["a", "b"],
            "flag": [True, None],
            "count": pl.Series([3, None], dtype=pl.UInt8),
            "price": pl.Series([float("nan"), 2.0], dtype=pl.Float32),
            "day": [date(1970, 1, 2), None],
            "brand": pl.Series(["x", "y"], dtype=pl.Categorical),
            "tags": [["p", "q"], None],
            "codes": pl.Series([[1], [2, 3]], dtype=pl.List(pl.Int8)),
            "vector": pl.Series([[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float32, 2)),
        }
    )
    table.write_parquet(tmp_path / "a.parquet")
    frame = read_attributes(tmp_path / "a.parquet")
    assert dict(frame.schema) == {
        "id": pl.String,
        "flag": pl.String,
        "count": pl.Int64,
        "price": pl.Float64,
        "day": pl.Float64,
        "brand": pl.String,
        "tags": TEXTS,
        "codes": WHOLES,
        "vector": NUMBERS,
    }
    assert frame.row(0) == ("a", "true", 3, None, 86400.0, "x", ["p", "q"], [1], [1.0, 2.0])
    assert frame["day"].to_list() == [86400.0, None]


@pytest.mark.parametrize("dtype", [pl.UInt64, pl.Int128])
def test_whole_numbers_beyond_64_bits_stay_exact(tmp_path, dtype):
    numbers = [2**63, 2**64 - 1]
    columns = {"id": [1, 2], "code": pl.Series(numbers, dtype=dtype)}
    columns["codes"] = pl.Series([[each] for each in numbers], dtype=pl.List(dtype))
    pl.DataFrame(columns).write_parquet(tmp_path / "a.parquet")
    frame = read_attributes(tmp_path / "a.parquet")
    assert frame["code"].to_list() == [str(each) for each in numbers]
    assert frame["codes"].to_list() == [[str(each)] for each in numbers]


def test_parquet_columns_that_are_no_attributes_are_left_out(tmp_path):
    table = pl.DataFrame({"id": [1], "a": [{"x": 1}], "b": [b"x"], "c": [[[1]]], "d": [2]})
    table.write_parquet(tmp_path / "a.parquet")
    with pytest.warns(InputWarning, match=r"a\.parquet: column '[abc]' of type .* is no attribute"):
        frame = read_attributes(tmp_path / "a.parquet")
    assert frame.columns == ["id", "d"]


def test_atomic_types(tmp_path):
    head = "item_id:token\tclass:token_seq\tprice:float\tvec:float_seq\tyear:token\n"
    path = write(tmp_path, "a.item", head + '7\tx "y\t1.5\t1 2\t1995\n8\t\t\t\t\n')
    frame = read_attributes(path)
    assert frame.dtypes == [pl.Int64, TEXTS, pl.Float64, NUMBERS, pl.String]
    assert frame.rows() == [(7, ["x", '"y'], 1.5, [1.0, 2.0], "1995"), (8, None, None, None, None)]


def test_movielens_1m_files(tmp_path):
    users = read_attributes(write(tmp_path, "users.dat", "1::F::1::10::02139\n2::M::56::16::70072\n"))
    assert users.columns == ["id", "gender", "age", "occupation", "zip_code"]
    assert users.rows() == [(1, "F", 1, 10, "02139"), (2, "M", 56, 16, "70072")]
    line = "1::Café (1995)::Drama|Children's\n2::B (1996)::War\n"
    for encoding in ("latin-1", "utf-8"):
        movies = read_attributes(write(tmp_path, "movies.dat.gz", line, encoding))
        assert movies.rows() == [(1, "Café (1995)", ["Drama", "Children's"]), (2, "B (1996)", ["War"])]


def test_movielens_100k_files(tmp_path):
    users = read_attributes(write(tmp_path, "u.user", "1|24|M|technician|85711\n2|53|F|other|T8H1N\n"))
    assert users.rows() == [(1, 24, "M", "technician", "85711"), (2, 53, "F", "other", "T8H1N")]
    flags = ["0"] * 19
    flags[4] = flags[18] = "1"
    rows = [f"1|Café (1995)|01-Jan-1995||http://x|{'|'.join(flags)}", f"2|unknown||||{'|'.join('0' * 19)}"]
    path = write(tmp_path, "u.item", "\n".join(rows), "latin-1")
    assert read_attributes(path).rows() == [
        (1, "Café (1995)", "01-Jan-1995", ["Children's", "Western"]),
        (2, "unknown", None, None),
    ]
    write(tmp_path, "u.genre", "\n".join(f"G{n}|{n}" for n in range(19)) + "\n\n")
    assert read_attributes(path)["genres"].to_list() == [["G4", "G18"], None]


ERRORS = {
    "id twice": ("a.csv", "id,a\n1,2\n\n2,3\n1,4\n", r"a\.csv, line 5: found id 1 a second time"),
    "id twice in lists": ("a.txt", "1 2\n\n1 3\n", r"a\.txt, line 3: found id 1 a second time"),
    "text id twice": ("a.txt", "x y\nx z\n", r"a\.txt, line 2: found id 'x' a second time"),
    "no id": ("a.csv", "id,a\n1,2\n,3\n", r"a\.csv, line 3: found nothing in column 'id', expected an id"),
    "text number": (
        "a.item",
        "i:token\tp:float\n1\t2\n2\tx\n",
        r"a\.item, line 3: found 'x' in column 'p', expected a number",
    ),
    "vector length": (
        "a.csv",
        'id,v\n1,"[.5,1]"\n2,"[.5]"\n',
        r"line 3: found 1 numbers in column 'v', expected 2 as above",
    ),
    "twins": ("a.csv", "id,a,a\n1,2,3\n", r"a\.csv: found two columns named 'a'"),
    "atomic twins": ("a.item", "i:token\ti:token\n1\t2\n", r"a\.item: found two columns named 'i'"),
    "ragged": ("a.csv", "id,a\n1,2\n1\n", r"a\.csv, line 3: found 1 columns, expected 2"),
    "ragged movies": ("movies.dat", "1::a::b\n2::a\n", r"movies\.dat, line 2: found 2 columns, expected 3"),
    "empty": ("a.csv", "", r"a\.csv: the file is empty"),
    "not parquet": ("a.parquet", "id,a\n", r"a\.parquet: the Parquet file is damaged or is none"),
    "missing": ("", "", "no such file"),
}


@pytest.mark.parametrize(("name", "content", "message"), ERRORS.values(), ids=ERRORS)
def test_bad_file_gets_one_clear_line(tmp_path, name, content, message):
    path = write(tmp_path, name, content) if name else tmp_path / "nowhere.parquet"
    with pytest.raises(InputError, match=message) as caught:
        read_attributes(path)
    assert "\n" not in str(caught.value)


def test_unknown_id_column_lists_the_columns(tmp_path):
    path = write(tmp_path, "a.csv", "id,a\n1,2\n")
    with pytest.raises(InputError, match="no column 'b' to read as id; the columns are: id, a"):
        read_attributes(path, id_column="b")
    with pytest.raises(InputError, match="has no header, so no column is named 'b'"):
        read_attributes(write(tmp_path, "a.txt", "1 2\n"), id_column="b")
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(buffer)
    with pytest.raises(InputError, match="no column 'b' to read as id"):
        read_attributes(write(tmp_path, "a.parquet", buffer.getvalue()), id_column="b")


# file -> rows, distinct values (below 0: all values) in the list column, its name; as the READMEs count
VERIFIED = {
    "amazon-beauty/item_attributes.txt.gz": (12_101, 637, "attributes"),
    "amazon-sports/item_attributes.txt.gz": (18_357, 2_277, "attributes"),
    "citeulike-a/item_tags.txt.gz": (13_519, -239_253, "attributes"),
    "yelp-2019-temporal/item_categories.txt.gz": (66_576, -298_644, "attributes"),
    "ml-100k/ml-100k.item.gz": (1_682, 19, "class"),
    "ml-1m/movies.dat.gz": (3_883, 18, "genres"),
}


@pytest.mark.parametrize(("name", "counts"), VERIFIED.items(), ids=VERIFIED)
def test_real_attributes_have_the_verified_counts(real_dataset: Callable[[str], Path], name, counts):
    folder, _, file = name.partition("/")
    frame = read_attributes(real_dataset(folder) / file)
    rows, expected, column = counts
    values = frame[column].explode()
    assert frame.height == rows
    assert (values.n_unique() if expected > 0 else -len(values)) == expected


def test_real_users_and_metadata(real_dataset: Callable[[str], Path]):
    assert read_attributes(real_dataset("ml-100k") / "ml-100k.user.gz").shape == (943, 5)
    users = read_attributes(real_dataset("ml-1m") / "users.dat.gz")
    assert users.shape == (6_040, 5)
    assert users["age"].unique().sort().to_list() == [1, 18, 25, 35, 45, 50, 56]
    meta = read_attributes(real_dataset("amazon-grocery") / "item_meta.tsv.gz")
    assert (meta.height, meta["i_category"].n_unique()) == (8_713, 57)
    assert meta["r_complement"].dtype == WHOLES


@pytest.mark.parametrize(
    ("header", "side", "chosen", "others"),
    [
        ("id,artist", "item", "id", "not 'artist'"),
        ("artist,id", None, "id", "not 'artist'"),
        ("rank,artist_id,id", "item", "artist_id", "not 'id'"),
        ("user_id,item_id", "item", "item_id", None),
        ("user_id,item_id", "user", "user_id", None),
        ("thing,color", "item", "thing", "the first column; name another with `item_id_column`"),
        ("title,artist", "item", "artist", None),
    ],
)
def test_doubt_about_the_id_column_is_reported(tmp_path, header, side, chosen, others):
    path = write(tmp_path, "a.csv", f"{header}\n" + ",".join(header.split(",")) + "x\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_attributes(path, side=side)["id"].item()
    assert found.startswith(chosen)
    told = [str(each.message) for each in caught]
    assert len(told) == (others is not None)
    assert not told or f"read {chosen!r} as id, {others}" in told[0]


@pytest.mark.parametrize("values", [[date(2024, 1, 1), date(2024, 1, 2)], [[1], [2]]], ids=["dates", "lists"])
def test_id_column_is_never_passed_over(tmp_path, values):
    """An id column of a type that is no id is refused; the next column does not take its place."""
    table = pl.DataFrame({"item_id": values, "rank": [1, 2]})
    table.write_parquet(tmp_path / "a.parquet")
    readers = (lambda: read_attributes(tmp_path / "a.parquet"), lambda: attributes_from(table))
    for read in readers:
        with pytest.raises(InputError, match="column 'item_id'"):
            read()


def test_binary_ids_are_exact_or_refused(tmp_path):
    table = pl.DataFrame({"item_id": [b"\xff\x00", b"ab"], "rank": [1, 2]})
    table.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="item_id"):
        read_attributes(tmp_path / "a.parquet")


def test_named_id_column_of_a_data_set(tmp_path):
    pairs = write(tmp_path, "pairs.csv", "user,item\na,x\nb,y\n")
    items = write(tmp_path, "things.csv", "item,code,color\n1,x,red\n2,y,blue\n")
    data = with_attribute_files(read_dataset(pairs), None, items, Columns(item_id="code"))
    assert data.item_attributes["id"].to_list() == ["x", "y"]
    assert [Path(file).name for file in data.files] == ["pairs.csv", "things.csv"]
    with pytest.raises(InputError, match="no column 'sku' to read as id"):
        with_attribute_files(read_dataset(pairs), None, items, Columns(item_id="sku"))


def test_vectors_of_zeros_are_told(tmp_path):
    vectors = [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], None]
    pl.DataFrame({"id": [5, 6, 7, 8], "vec": vectors}).write_parquet(tmp_path / "a.parquet")
    said = r"a\.parquet, row 1: 2 vectors of zeros in column 'vec', such as that of 5; they resemble nothing"
    with pytest.warns(InputWarning, match=said):
        frame = read_attributes(tmp_path / "a.parquet")
    assert frame["vec"].to_list() == vectors
