"""Files of interactions, attributes, ids and settings for ``fuzz.py``, spoiled; and tables of any types."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from fuzz_cases import (
    Case,
    Random,
    Read,
    binary,
    read_id_file,
    read_pairs,
    read_settings,
    read_study,
    read_table,
    spoiled,
)
from scipy import sparse


def _pairs(random: Random, rows: int = 60) -> pl.DataFrame:
    user, item = random.integers(0, 15, rows), random.integers(0, 20, rows)
    kind = random.integers(3)
    users = pl.Series(user) if kind else pl.Series([f"u{each}" for each in user])
    items = pl.Series(item) if kind != 1 else pl.Series([f"ü {each}" for each in item])
    frame = {"user_id": users, "item_id": items}
    if random.integers(2):
        frame["rating"] = pl.Series(random.integers(1, 6, rows))
    if random.integers(2):
        frame["timestamp"] = pl.Series(random.integers(10**9, 2 * 10**9, rows))
    return pl.DataFrame(frame)


def _items(random: Random, rows: int = 30) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": range(rows),
            "genre": [("war", "love", "", "a|b", "[1, 2]")[random.integers(5)] for _ in range(rows)],
            "price": random.normal(size=rows),
            "year": random.integers(1900, 2030, rows),
            "vector": ["[" + ", ".join(map(str, random.integers(0, 9, 3))) + "]" for _ in range(rows)],
        }
    )


def _text(frame: pl.DataFrame, random: Random) -> tuple[str, bytes]:
    suffix, separator = ((".csv", ","), (".tsv", "\t"), (".csv", ";"), (".txt", " "))[random.integers(4)]
    header = bool(random.integers(4))
    return suffix, frame.write_csv(separator=separator, include_header=header).encode()


def _atomic(frame: pl.DataFrame) -> bytes:
    kinds = {True: "float", False: "token"}
    names = [f"{name}:{kinds[dtype.is_float()]}" for name, dtype in frame.schema.items()]
    return ("\t".join(names) + "\n").encode() + frame.write_csv(separator="\t", include_header=False).encode()


def _matrix(random: Random) -> bytes:
    made = sparse.random_array(
        (15, 20), density=0.3, rng=random, format=("csr", "csc", "coo", "bsr")[random.integers(4)]
    )
    return binary(lambda buffer: sparse.save_npz(buffer, made, compressed=bool(random.integers(2))))


def _adjacency(random: Random) -> bytes:
    lines = [" ".join(map(str, random.integers(0, 30, random.integers(1, 6)))) for _ in range(20)]
    return "\n".join(lines).encode()


SETTINGS = """
dataset = "ml-100k"
epochs = 3
dim = 16
aug = "edge_drop:0.2+node_drop"
learning_rate = 0.01
ks = [5, 10]
metrics = ["recall", "ndcg"]
refit = false
"""
STUDY = (
    SETTINGS
    + '[variants.plain]\naug = "none"\n[variants."two layers"]\nnum_layers = 2\nmethod = "lightgcn"\n'
)


def _packed(data: bytes, suffix: str, random: Random) -> tuple[str, bytes]:
    kind = random.integers(12)
    if kind == 0:
        return f"{suffix}.gz", gzip.compress(data, mtime=0)
    if kind == 1:
        return f"{suffix}.bz2", bz2.compress(data)
    if kind == 2:
        return f"{suffix}.xz", lzma.compress(data)
    if kind == 3:

        def write(buffer: io.BytesIO) -> None:
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(zipfile.ZipInfo("inside.csv"), data, zipfile.ZIP_DEFLATED)

        return f"{suffix}.zip", binary(write)
    return suffix, data


def _file(kind: str, read: Read, random: Random, folder: Path, suffix: str, data: bytes) -> Case:
    before = random.integers(2)
    data = spoiled(data, random) if before else data
    suffix, data = _packed(data, suffix, random)
    data = data if before and random.integers(3) else spoiled(data, random, 1)
    path = folder / f"input{suffix}"
    path.write_bytes(data)
    return Case(kind, suffix, path, read)


def pairs_case(random: Random, folder: Path) -> Case:
    """Return interactions as text or as a matrix."""
    kind = random.integers(5)
    if kind == 0:
        suffix, data = ".npz", _matrix(random)
    elif kind == 1:
        suffix, data = ".inter", _atomic(_pairs(random))
    elif kind == 2:
        suffix, data = ".txt", _adjacency(random)
    else:
        suffix, data = _text(_pairs(random), random)
    return _file("pairs", read_pairs, random, folder, suffix, data)


def attributes_case(random: Random, folder: Path) -> Case:
    """Return attributes as text."""
    kind = random.integers(4)
    if kind == 0:
        suffix, data = ".item", _atomic(_items(random))
    elif kind == 1:
        suffix, data = ".dat", "".join(f"{n}::Film {n} (1990)::War|Love\n" for n in range(20)).encode()
    else:
        suffix, data = _text(_items(random), random)
    return _file("attributes", read_table, random, folder, suffix, data)


def ids_case(random: Random, folder: Path) -> Case:
    """Return ids, one a line or in a table."""
    data = "\n".join(map(str, random.integers(0, 99, 20))).encode()
    suffix = ".txt"
    if random.integers(2):
        suffix, data = _text(_items(random), random)
    return _file("ids", read_id_file, random, folder, suffix, data)


def columnar_case(random: Random, folder: Path) -> Case:
    """Return a Parquet or Feather file with spoiled bytes."""
    suffix = (".parquet", ".feather")[random.integers(2)]
    table, read = ((_pairs, read_pairs), (_items, read_table))[random.integers(2)]
    frame = table(random)
    if suffix == ".feather":
        data = binary(
            lambda buffer: frame.write_ipc(buffer, compression=("uncompressed", "zstd")[random.integers(2)])
        )
    else:
        way = ("zstd", "snappy", "uncompressed", "gzip", "lz4")[random.integers(5)]
        data = binary(lambda buffer: frame.write_parquet(buffer, compression=way))
    return _file("columnar", read, random, folder, suffix, data)


def settings_case(random: Random, folder: Path) -> Case:
    """Return the settings of a run or of a comparison."""
    text, read = (STUDY, read_study) if random.integers(4) == 0 else (SETTINGS, read_settings)
    path = folder / "input.toml"
    path.write_bytes(spoiled(text.encode(), random))
    return Case("settings", read.__name__, path, read)


def column(random: Random, rows: int) -> pl.Series:
    """Return a column of any type that Polars has."""
    small = random.integers(-3, 40, rows)
    text = [str(each) for each in small]
    wide = [2**63 - 1, -(2**63), 0, 7] * rows
    makers: tuple[Callable[[], pl.Series], ...] = (
        lambda: pl.Series(abs(small)).cast(
            (pl.Int8, pl.Int16, pl.UInt8, pl.UInt16, pl.UInt32)[random.integers(5)]
        ),
        lambda: pl.Series([2**64 - 1, 0, 7, 2**63] * rows, dtype=pl.UInt64).head(rows),
        lambda: pl.Series(wide[:rows]),
        lambda: pl.Series([2**100, -(2**100), 5, 6] * rows, dtype=pl.Int128).head(rows),
        lambda: pl.Series(small.astype(np.float64)),
        lambda: pl.Series([1e300, -1e300, float("nan"), float("inf"), 0.5, 2.0**53] * rows).head(rows),
        lambda: pl.Series(small.astype(np.float32)),
        lambda: pl.Series(text),
        lambda: pl.Series(text).cast(pl.Categorical),
        lambda: pl.Series(text).cast(pl.Enum(sorted(set(text)))),
        lambda: pl.Series([each.encode() for each in text]),
        lambda: pl.Series([b"\xff\x00\xfe"] * rows),
        lambda: pl.Series(small % 2 == 0),
        lambda: pl.Series(abs(small)).cast(pl.Int32).cast(pl.Date),
        lambda: pl.Series(wide[:rows]).cast(pl.Datetime(("ms", "us", "ns")[random.integers(3)])),
        lambda: pl.Series(small * 10**9).cast(pl.Datetime("us", "Asia/Tokyo")),
        lambda: pl.Series(wide[:rows]).cast(pl.Duration("us")),
        lambda: pl.Series(abs(small) * 10**9).cast(pl.Time),
        lambda: pl.Series(small).cast(pl.Decimal(38, int(random.integers(4)))),
        lambda: pl.Series([None] * rows),
        lambda: pl.Series([None] * rows, dtype=pl.Int64),
        lambda: pl.Series([[int(each)] * (int(each) % 3) for each in small], dtype=pl.List(pl.Int64)),
        lambda: pl.Series([[float(each), float("nan")] for each in small]),
        lambda: pl.Series([[str(each), None] for each in small]),
        lambda: pl.Series([[[1], [2]]] * rows),
        lambda: pl.Series([[1.0, 2.0]] * rows, dtype=pl.Array(pl.Float32, 2)),
        lambda: pl.Series([[1, 2]] * rows, dtype=pl.Array(pl.Int8, 2)),
        lambda: pl.Series([{"a": 1, "b": "x"}] * rows),
        lambda: pl.Series([["1"]] * rows).cast(pl.List(pl.Categorical)),
        lambda: pl.Series(["", " ", "a ", " a", "\x00", "é", "e\u0301", "\U0001f600"] * rows).head(rows),
        lambda: pl.Series(["2024-01-05", "2024-01-05T10:00:00Z", "x"] * rows).head(rows),
        lambda: pl.Series(["0", "0.0", "00", "-0", "1.0", "0.0.0"] * rows).head(rows),
    )
    made = makers[random.integers(len(makers))]()
    if random.integers(4) == 0:
        made = pl.select(pl.when(pl.Series(random.random(rows) < 0.8)).then(made)).to_series()
    return made


def typed_case(random: Random, folder: Path) -> Case:
    """Return a table of any types, in a file or in memory."""
    from gclrec.data.io.frames import attributes_from, interactions_from
    from gclrec.data.schema import Schema

    rows = (0, 1, 12)[random.integers(3)] or 12
    names = ["user_id", "item_id", "rating", "timestamp", "extra", "id"]
    whole = {"user_id": pl.Series(random.integers(0, 5, rows)), "item_id": pl.Series(np.arange(rows))}
    odd = {name: column(random, rows) for name in names if random.integers(2)}
    frame = pl.DataFrame({**whole, **odd})
    suffix = (".parquet", ".feather", "")[random.integers(3)]
    pairs = bool(random.integers(2))
    what = ", ".join(f"{name} {dtype}" for name, dtype in frame.schema.items() if name in odd)
    path = folder / f"input{suffix or '.parquet'}"

    def in_memory(_: Path) -> object:
        if pairs:
            return interactions_from(frame)
        table = attributes_from(frame, side="item")
        return Schema.fit(table, min_count=1).encode(table)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame.write_ipc(path) if suffix == ".feather" else frame.write_parquet(path)
    except Exception:  # a type that the format lacks
        path.write_bytes(b"")
        suffix = ""
    if not suffix:
        return Case("typed", f"memory: {what}", path, in_memory)
    return Case("typed", f"{suffix}: {what}", path, read_pairs if pairs else read_table)
