"""Run folders for ``fuzz.py`` with one spoiled file, whose manifest may say that all is well."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from fuzz_cases import Case, Random, binary, read_run, spoiled
from fuzz_tables import column

from gclrec.common.files import read_toml


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
    """Put the size and checksum of a changed file into the manifests and checksums that list it."""
    for manifest in (*run.rglob("manifest.json"), file.parent / "checksums.json"):
        try:
            values = json.loads(manifest.read_bytes())
            files = values if manifest.name == "checksums.json" else values["files"]
            listed = files[str(file.relative_to(manifest.parent))]
            data = file.read_bytes()
            entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if isinstance(listed, list):
                listed[:] = [entry]
            else:
                listed |= entry
            manifest.write_text(json.dumps(values))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
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

        value = _VALUES[random.integers(1, len(_VALUES))]
        values = read_toml(file)
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
    return binary(lambda buffer: frame.write_parquet(buffer))


def _other_tensors(file: Path, random: Random) -> bytes:
    from safetensors import safe_open
    from safetensors.numpy import save

    with safe_open(file, framework="np") as opened:
        values = opened.metadata() or {}
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    values.pop("sha256", None)  # as older versions wrote it; otherwise the checksum refuses all that follows
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
        values = {key: json.dumps(_changed(json.loads(text), random)) for key, text in values.items()}
    return save({key: np.ascontiguousarray(each) for key, each in tensors.items()}, metadata=values)


def _other_array(array: np.ndarray, random: Random) -> bytes:
    how = random.integers(4)
    if how == 0:
        array = array.astype((np.float64, np.int32, np.float16)[random.integers(3)])
    elif how == 1:
        array = array[:-1]
    elif how == 2:
        array = np.full_like(array, np.nan)
    data = binary(lambda buffer: np.save(buffer, array))
    return data.replace(b"(", b"(9999999999", 1) if how == 3 else data


def _other_graph(file: Path, random: Random) -> bytes:
    """Return a faiss file with item rows or links that do not exist."""
    import faiss

    index = faiss.read_index(str(file))
    graph = faiss.downcast_index(index.index)
    part = (index.id_map, graph.hnsw.neighbors, graph.hnsw.offsets, graph.hnsw.levels)[random.integers(4)]
    values = faiss.vector_to_array(part)
    values[random.integers(len(values))] = np.array((-7, 10**6, 2**30)[random.integers(3)]).astype(
        values.dtype
    )
    faiss.copy_array_to_vector(values, part)
    return bytes(faiss.serialize_index(index))
