"""Inputs for ``fuzz.py``: whole files of every kind, and what spoils them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import shutil
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

Random = np.random.Generator
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A file or folder, what was done to it, and the reader that it is given to."""

    kind: str
    what: str
    path: Path
    read: Read


def make(number: int, seed: int, folder: Path) -> Case:
    """Write input ``number`` of a seed into a folder; those below 0 are the ones that are made to hurt."""
    if number < 0:
        return hostile_case(list(HOSTILE)[-number - 1], folder)
    random = np.random.default_rng([seed, number])
    return KINDS[number % len(KINDS)](random, folder)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    return sum(
        each.stat().st_size for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file()
    )


# -- reading -------------------------------------------------------------------------------------------------


def read_pairs(path: Path) -> object:
    """Read interactions as training does."""
    from gclrec.data.io.readers import read_dataset

    return read_dataset(path)


def read_table(path: Path) -> object:
    """Read attributes and encode them, as training does."""
    from gclrec.data.io.attributes import read_attributes
    from gclrec.data.schema import Schema

    table = read_attributes(path)
    return Schema.fit(table, min_count=1).encode(table)


def read_id_file(path: Path) -> object:
    """Read candidates."""
    from gclrec.data.io.readers import read_ids

    return read_ids(path)


def read_settings(path: Path) -> object:
    """Read the settings of one run."""
    from gclrec.settings.sources import layered_config

    return layered_config({}, config=path)


def read_study(path: Path) -> object:
    """Read the variants of a comparison."""
    from gclrec.common.errors import InputError

    return _command(
        InputError, "compare", "--config", str(path), "--dataset", str(path.with_name("none.csv"))
    )


def read_run(path: Path) -> object:
    """Load a run, answer, evaluate, go on with its training and write its page."""
    import gclrec
    from gclrec.api import resume
    from gclrec.common.errors import InputError
    from gclrec.report.run_report import write_run_page
    from gclrec.runs.folder import RunFolder

    refused: list[InputError] = []
    for step in (
        lambda: gclrec.load_recommender(path).recommend_many([1, 2], 3),
        lambda: gclrec.load_recommender(path).recommend_for([1, 2, 3], 3),
        lambda: gclrec.load_recommender(path).similar_items(1, 3),
        lambda: gclrec.load_run(path).evaluate(),
        lambda: repr(gclrec.load_run(path)),
        lambda: gclrec.load_run(path).history,
        lambda: write_run_page(RunFolder.open(path)),
        lambda: resume(path),
    ):
        try:
            step()
        except InputError as error:
            if "\n" in str(error):
                raise
            refused.append(error)
    if refused:
        raise refused[0]
    return None


def _command(error: type[Exception], *arguments: str) -> None:
    """Run a command; its one line of error is raised as an exception."""
    from gclrec.__main__ import main

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main(list(arguments))
    except SystemExit as stop:
        lines = [line for line in said.getvalue().splitlines() if not line.startswith("note: ")]
        if stop.code != 2 or len(lines) != 1:
            raise RuntimeError(f"exit code {stop.code}: {lines}") from None
        raise error(lines[0]) from None


# -- whole files ---------------------------------------------------------------------------------------------


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


def _binary(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _matrix(random: Random) -> bytes:
    made = sparse.random_array(
        (15, 20), density=0.3, rng=random, format=("csr", "csc", "coo", "bsr")[random.integers(4)]
    )
    return _binary(lambda buffer: sparse.save_npz(buffer, made, compressed=bool(random.integers(2))))


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


# -- what spoils them ----------------------------------------------------------------------------------------

_WORDS = (
    *(b"", b'"', b"'", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b"\t", b",", b";", b"|"),
    *(b"-1", b"0", b"0.0.0", b"1e300", b"-1e308", b"nan", b"inf", b"-inf", b"NULL", b"18446744073709551615"),
    *(
        b"9" * 40,
        b"9" * 5000,
        b"1e-400",
        b"0x10",
        b"+7",
        b"07",
        b"1_000",
        b"true",
        b"2024-13-45",
        b"9999-12-31",
    ),
    *(
        b"[",
        b"]",
        b"[1, 2",
        b"[[1]]",
        b"{",
        b"}",
        b"::",
        b"[bold]",
        b"\x1b[31m",
        b"%s%n",
        b"../..",
        b"a" * 3000,
    ),
    *(
        b"\xc3",
        b"\xed\xa0\x80",
        "\u2028".encode(),
        "\u202e".encode(),
        "é".encode(),
        b"user_id",
        b"item_id",
        b"=",
    ),
)


def spoiled(data: bytes, random: Random, times: int | None = None) -> bytes:
    """Return bytes with some of them changed, cut out, put in twice or replaced."""
    for _ in range(times or int(random.integers(1, 6))):
        at = int(random.integers(len(data) + 1))
        length = int(random.integers(1, max(2, min(200, len(data)))))
        how = random.integers(8)
        if how == 0 and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :]
        elif how == 1:
            data = data[:at]
        elif how == 2:
            data = data[:at] + data[at + length :]
        elif how == 3:
            data = data[:at] + data[at : at + length] * int(random.integers(2, 5)) + data[at + length :]
        elif how == 4:
            data = data[:at] + random.bytes(length) + data[at + length :]
        elif how == 5:
            edge = (0, 1, 127, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)[random.integers(8)]
            width = 8 if edge >= 2**32 else 4
            data = data[:at] + edge.to_bytes(width, "little") + data[at + width :]
        else:
            data = _other_field(data, random)
    return data


def _other_field(data: bytes, random: Random) -> bytes:
    """Replace what stands between two separators."""
    ends = [at for at, byte in enumerate(data) if byte in b',;\t \n=":[]']
    word = _WORDS[random.integers(len(_WORDS))]
    if len(ends) < 2:
        return data + word
    at = int(random.integers(len(ends) - 1))
    return data[: ends[at] + 1] + word + data[ends[at + 1] :]


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

        return f"{suffix}.zip", _binary(write)
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
        suffix, data = (".txt", "/sequence.txt")[0], _adjacency(random)
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
        data = _binary(
            lambda buffer: frame.write_ipc(buffer, compression=("uncompressed", "zstd")[random.integers(2)])
        )
    else:
        way = ("zstd", "snappy", "uncompressed", "gzip", "lz4")[random.integers(5)]
        data = _binary(lambda buffer: frame.write_parquet(buffer, compression=way))
    return _file("columnar", read, random, folder, suffix, data)


def settings_case(random: Random, folder: Path) -> Case:
    """Return the settings of a run or of a comparison."""
    text, read = ((SETTINGS, read_settings), (STUDY, read_study))[random.integers(2)]
    path = folder / "input.toml"
    path.write_bytes(spoiled(text.encode(), random))
    return Case("settings", read.__name__, path, read)


# -- columns of any type -------------------------------------------------------------------------------------


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
    except (pl.exceptions.PolarsError, Exception):  # a type that the format lacks
        path.write_bytes(b"")
        suffix = ""
    if not suffix:
        return Case("typed", f"memory: {what}", path, in_memory)
    return Case("typed", f"{suffix}: {what}", path, read_pairs if pairs else read_table)


# -- run folders ---------------------------------------------------------------------------------------------


@cache
def whole_run(folder: Path) -> Path:
    """Train and export a small run with attributes, histories and added items."""
    import gclrec

    path = folder / "whole"
    random = np.random.default_rng(0)
    pairs = pl.DataFrame({"user": random.integers(0, 40, 400), "item": random.integers(0, 30, 400)}).unique()
    items = pl.DataFrame(
        {"id": range(31), "tag": [f"t{n % 3}" for n in range(31)], "price": random.normal(size=31)}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = gclrec.fit(
            pairs.sort("user", "item"),
            item_attributes=items,
            attributes="input",
            epochs=1,
            dim=8,
            num_layers=1,
            folder=path,
            progress=False,
        )
        run.export(backend="hnsw")
        made = gclrec.load_recommender(path)
        made.add_items({"user": [1, 2, 3], "item": [500, 500, 501]}).save_added()
    return path


def run_case(random: Random, folder: Path) -> Case:
    """Return a run folder with one spoiled file, whose manifest may say that all is well."""
    path = folder / "run"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(whole_run(folder), path)
    files = sorted(each for each in path.rglob("*") if each.is_file() and each.suffix != ".html")
    file = files[random.integers(len(files))]
    data = file.read_bytes()
    how = random.integers(4)
    new = (_other_structure(file, random) if how else None) or spoiled(data, random, 1 if how else None)
    file.write_bytes(new)
    if random.integers(5):
        sign(path, file)
    return Case("run", str(file.relative_to(path)), path, read_run)


def sign(run: Path, file: Path) -> None:
    """Put the size and checksum of a changed file into the manifests that list it."""
    for manifest in run.rglob("manifest.json"):
        try:
            values = json.loads(manifest.read_bytes())
            listed = values["files"][str(file.relative_to(manifest.parent))]
            data = file.read_bytes()
            listed |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            manifest.write_text(json.dumps(values))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue


_VALUES = (
    None,
    -1,
    0,
    1,
    10**30,
    1e300,
    float("nan"),
    "x",
    "",
    [],
    {},
    True,
    [1, 2],
    {"a": 1},
    [[]],
    2**63,
    "1",
)


def _other_structure(file: Path, random: Random) -> bytes | None:
    """Return a file that is well formed and says something else; ``None`` where that is not known how."""
    if file.suffix == ".json":
        return json.dumps(_changed(json.loads(file.read_bytes()), random)).encode()
    if file.suffix == ".jsonl":
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return "".join(json.dumps(_changed(line, random)) + "\n" for line in lines).encode()
    if file.suffix == ".toml":
        import tomli_w
        import tomllib

        value = _VALUES[random.integers(1, len(_VALUES))]
        values = tomllib.loads(file.read_text())
        values[list(values)[random.integers(len(values))]] = 5 if value is None else value
        return tomli_w.dumps(values).encode()
    if file.suffix == ".parquet":
        return _other_table(pl.read_parquet(file), random)
    if file.suffix == ".safetensors":
        return _other_tensors(file, random)
    if file.suffix == ".npy":
        return _other_array(np.load(file), random)
    if file.suffix == ".faiss":
        return _other_graph(file, random)
    return None


def _changed(value: Any, random: Random) -> Any:
    """Return a JSON value with one part changed."""
    if isinstance(value, dict) and value and random.integers(6):
        key = list(value)[random.integers(len(value))]
        if random.integers(6) == 0:
            return {name: part for name, part in value.items() if name != key}
        return value | {key: _changed(value[key], random)}
    if isinstance(value, list) and value and random.integers(4):
        at = int(random.integers(len(value)))
        return [*value[:at], _changed(value[at], random), *value[at + 1 :]]
    return _VALUES[random.integers(len(_VALUES))]


def _other_table(frame: pl.DataFrame, random: Random) -> bytes:
    how, name = random.integers(5), frame.columns[random.integers(frame.width)]
    if how == 0 and frame.width > 1:
        frame = frame.drop(name)
    elif how == 1 and frame.height:
        frame = frame.with_columns(column(random, frame.height).alias(name))
    elif how == 2:
        frame = frame.head(int(random.integers(frame.height + 1)))
    elif how == 3 and frame.height and frame[name].dtype.is_integer():
        values = frame[name].to_list()
        values[random.integers(len(values))] = (-1, 10**6, 2**62, None)[random.integers(4)]
        frame = frame.with_columns(pl.Series(name, values))
    else:
        frame = pl.concat([frame, frame])
    return _binary(lambda buffer: frame.write_parquet(buffer))


def _other_tensors(file: Path, random: Random) -> bytes:
    from safetensors import safe_open
    from safetensors.numpy import save

    with safe_open(file, framework="np") as opened:
        values = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    name = list(tensors)[random.integers(len(tensors))]
    how = random.integers(6)
    if how == 0:
        del tensors[name]
    elif how == 1:
        tensors["surplus"] = tensors[name]
    elif how == 2:
        tensors[name] = tensors[name].reshape(-1)[: max(0, tensors[name].size - 1)].copy()
    elif how == 3:
        tensors[name] = tensors[name].astype((np.int64, np.float64, np.uint8)[random.integers(3)])
    elif how == 4:
        tensors[name] = np.full_like(tensors[name], np.nan if tensors[name].dtype.kind == "f" else 77)
    else:
        values = {key: json.dumps(_changed(json.loads(text), random)) for key, text in (values or {}).items()}
    return save({key: np.ascontiguousarray(each) for key, each in tensors.items()}, metadata=values)


def _other_array(array: np.ndarray, random: Random) -> bytes:
    how = random.integers(4)
    if how == 0:
        array = array.astype((np.float64, np.int32, np.float16)[random.integers(3)])
    elif how == 1:
        array = array[:-1]
    elif how == 2:
        array = np.full_like(array, np.nan)
    data = _binary(lambda buffer: np.save(buffer, array))
    return data.replace(b"(", b"(9999999999", 1) if how == 3 else data


def _other_graph(file: Path, random: Random) -> bytes:
    """Return a faiss file with item rows or links that do not exist."""
    import faiss

    index = faiss.read_index(str(file))
    graph = faiss.downcast_index(index.index)
    part = (index.id_map, graph.hnsw.neighbors, graph.hnsw.offsets, graph.hnsw.levels)[random.integers(4)]
    values = faiss.vector_to_array(part)
    values[random.integers(len(values))] = (-7, 10**6, 2**30)[random.integers(3)]
    faiss.copy_array_to_vector(values, part)
    return bytes(faiss.serialize_index(index))


# -- made to hurt --------------------------------------------------------------------------------------------


def _zeros(megabytes: int) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed:
        packed.write(b"user,item\n")
        for _ in range(megabytes):
            packed.write(b"1,1\n" * 2**18)
    return buffer.getvalue()


def _npz(**arrays: Any) -> bytes:
    return _binary(lambda buffer: np.savez_compressed(buffer, **arrays))


def _header(shape: str) -> bytes:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (63 - (len(head) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


def _one_member(name: str, data: bytes) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)

    return _binary(write)


def _coo(shape: tuple[int, int]) -> bytes:
    one = np.array([1])
    return _npz(row=one, col=one, data=one, shape=np.array(shape), format=np.array("coo"))


HOSTILE: dict[str, tuple[str, Callable[[], bytes], Read]] = {
    "gzip of 500 MB": ("x.csv.gz", lambda: _zeros(500), read_pairs),
    "gzip of 500 MB, attributes": ("x.csv.gz", lambda: _zeros(500), read_table),
    "gzip of 500 MB, ids": ("x.csv.gz", lambda: _zeros(500), read_id_file),
    "zip of 300 MB": (
        "x.csv.zip",
        lambda: _one_member("x.csv", b"user,item\n" + b"1,1\n" * 75 * 2**20),
        read_pairs,
    ),
    "matrix that claims 10^9 rows": ("x.npz", lambda: _coo((10**9, 10)), read_pairs),
    "matrix that claims 10^18 columns": ("x.npz", lambda: _coo((10, 10**18)), read_pairs),
    "matrix with a negative shape": ("x.npz", lambda: _coo((-5, 3)), read_pairs),
    "matrix of zeros": (
        "x.npz",
        lambda: _npz(
            indptr=np.zeros(2 * 10**8, np.int64),
            indices=np.zeros(0, np.int32),
            data=np.zeros(0),
            shape=np.array([2 * 10**8 - 1, 5]),
            format=np.array("csr"),
        ),
        read_pairs,
    ),
    "matrix whose format is no text": (
        "x.npz",
        lambda: _npz(format=np.array(7), shape=np.array([2, 2]), data=np.array([1])),
        read_pairs,
    ),
    "array that claims 4 TB": (
        "x.npz",
        lambda: _one_member("data.npy", _header("(1000000000000,)")),
        read_pairs,
    ),
    "Parquet of one value": (
        "x.parquet",
        lambda: _binary(
            lambda buffer: pl.select(user=pl.repeat(1, 10**8), item=pl.repeat(2, 10**8)).write_parquet(buffer)
        ),
        read_pairs,
    ),
    "Parquet of one long text": (
        "x.parquet",
        lambda: _binary(
            lambda buffer: pl.DataFrame({"id": range(3000), "text": ["a" * 100_000] * 3000}).write_parquet(
                buffer
            )
        ),
        read_table,
    ),
    "nested TOML": ("x.toml", lambda: b"a = " + b"[" * 100_000, read_settings),
    "nested TOML of a study": ("x.toml", lambda: b"variants = " + b"{a=" * 50_000, read_study),
    "dotted TOML": ("x.toml", lambda: b".".join([b"a"] * 50_000) + b" = 1", read_settings),
    "100,000 columns": (
        "x.csv",
        lambda: b",".join(b"c%d" % n for n in range(10**5)) + b"\n" + b"1," * 10**5,
        read_pairs,
    ),
    "one line of 30 MB": ("x.csv", lambda: b"user,item\n" + b"x" * 30_000_000, read_pairs),
    "quote that never ends": ("x.csv", lambda: b'user,item\n"' + b"1,2\n" * 2_000_000, read_pairs),
    "empty": ("x.csv", lambda: b"", read_pairs),
    "blank": ("x.csv", lambda: b" \n" * 1000, read_pairs),
    "zip without files": ("x.csv.zip", lambda: b"PK\x05\x06" + bytes(18), read_pairs),
    "0.0.0": ("x.csv", lambda: b"user,item\n0.0.0,0\n1.0.0,1\n", read_pairs),
}


def hostile_case(what: str, folder: Path) -> Case:
    """Return one of the inputs that are made to hurt."""
    name, data, read = HOSTILE[what]
    path = folder / name
    path.write_bytes(data())
    return Case("hostile", what, path, read)


_TABLES = (pairs_case, attributes_case, ids_case, columnar_case, typed_case, typed_case, typed_case)
KINDS: tuple[Callable[[Random, Path], Case], ...] = (*_TABLES, settings_case, *_TABLES, run_case)
"""Kinds of inputs, in turn."""
