"""Inputs for ``fuzz.py`` that are made to hurt: a small file that asks for much memory or time."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from fuzz_cases import Case, Read, binary, read_id_file, read_pairs, read_settings, read_study, read_table


def _zeros(megabytes: int) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed:
        packed.write(b"user,item\n")
        for _ in range(megabytes):
            packed.write(b"1,1\n" * 2**18)
    return buffer.getvalue()


def _npz(**arrays: Any) -> bytes:
    return binary(lambda buffer: np.savez_compressed(buffer, **arrays))


def _header(shape: str) -> bytes:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (63 - (len(head) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


def _one_member(name: str, data: bytes) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)

    return binary(write)


def _coo(shape: tuple[int, int]) -> bytes:
    one = np.array([1])
    return _npz(row=one, col=one, data=one, shape=np.array(shape), format=np.array("coo"))


HOSTILE: dict[str, tuple[str, Callable[[], bytes], Read]] = {
    "gzip of 300 MB": ("x.csv.gz", lambda: _zeros(300), read_pairs),
    "gzip of 300 MB, attributes": ("x.csv.gz", lambda: _zeros(300), read_table),
    "gzip of 300 MB, ids": ("x.csv.gz", lambda: _zeros(300), read_id_file),
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
            indptr=np.zeros(4 * 10**7, np.int64),
            indices=np.zeros(0, np.int32),
            data=np.zeros(0),
            shape=np.array([4 * 10**7 - 1, 5]),
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
        lambda: binary(
            lambda buffer: pl.select(
                user=pl.repeat(1, 3 * 10**7), item=pl.repeat(2, 3 * 10**7)
            ).write_parquet(buffer)
        ),
        read_pairs,
    ),
    "Parquet of one long text": (
        "x.parquet",
        lambda: binary(
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
