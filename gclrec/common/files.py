"""Files: reading with one-line errors that name the file, and writing that is atomic."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gclrec.common.atomic import replacing
from gclrec.common.checksums import check, recording
from gclrec.common.errors import InputError, NoRowsError, reading
from gclrec.common.forks import need_polars

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import polars as pl

SAMPLE = 1 << 18
"""Bytes at the beginning of a file from which its format is guessed."""

TABLE_SUFFIXES = (".parquet", ".csv")

_LINE = 10_000  # characters of a line of settings

PACKINGS = {
    "gzip": rb"\x1f\x8b",
    "bzip2": rb"BZh[1-9]1AY&SY",
    "xz": rb"\xfd7zXZ\x00",
    "zstd": rb"\x28\xb5\x2f\xfd",
}
"""First bytes of packed files, as regular expressions."""

UNPACKED = 64 << 20
"""Bytes that a packed file may hold in any case."""

UNPACKED_SHARE = 50
"""Times its size that a larger packed file may hold; tables are packed to a third or a tenth."""

_PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zip")
_BOM = b"\xef\xbb\xbf"


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file or folder that a user names, with ``~`` expanded.

    Raises:
        InputError: it is empty or an address on the network.
    """
    text = os.fspath(path)
    if not text:
        raise InputError("found an empty path, expected a file or a folder")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise InputError(f"{text}: is an address; download it first and give the file")
    return Path(text).expanduser()


def name_parts(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return stem and suffix of a file name in lower case, without ``.gz``, ``.bz2``, ``.xz`` or ``.zip``.

    Example:
        >>> name_parts("data/ML-100k.inter.gz")
        ('ml-100k', '.inter')
    """
    name = Path(path).name.lower()
    whole = Path(name)
    plain = Path(whole.stem) if whole.suffix in _PACKED_SUFFIXES else whole
    return plain.stem, plain.suffix


def read_bytes(path: str | os.PathLike[str], limit: int = -1) -> bytes:
    """Return the content of a file, unpacked if it is packed, without a byte order mark.

    Args:
        path: the file; gzip, bzip2 and xz are recognised by the first bytes, zip by the name.
        limit: read only that many bytes (after unpacking); all if negative.

    Raises:
        InputError: the file is missing, unreadable, empty or cut off, or holds far more than its size.
    """
    with reading(path):
        kind = packing(path)
    with reading(path, f"the {kind} file is cut off or damaged" if kind else "cannot be read"):
        most = unpacked_limit(path) if kind else -1
        with open_bytes(path) as file:
            data: bytes = file.read(most + 1 if limit < 0 <= most else limit)
    if 0 <= most < len(data):
        raise too_large(path, most)
    data = data.removeprefix(_BOM)
    if not data or data.isspace():
        raise NoRowsError(f"{path}: the file is empty")
    return data


def unpacked_limit(path: str | os.PathLike[str]) -> int:
    """Return the bytes that a packed file may hold: more is refused, since a few kB can fill the memory."""
    return max(UNPACKED, UNPACKED_SHARE * Path(path).stat().st_size)


def too_large(path: str | os.PathLike[str], limit: int) -> InputError:
    """Return the error for a packed file that holds more than a limit of bytes."""
    held = f"holds more than {limit >> 20:,} MB when unpacked, over {UNPACKED_SHARE} times its size"
    return InputError(f"{path}: {held}; if that is as it should be, unpack it and give what is inside")


def read_text_bytes(path: str | os.PathLike[str], limit: int = -1) -> bytes:
    """Return the content of a text file as :func:`read_bytes` does; lines that end in CR alone end in LF."""
    data = read_bytes(path, limit)
    return data if b"\n" in data or b"\r" not in data else data.replace(b"\r", b"\n")


def open_bytes(path: str | os.PathLike[str]) -> Any:
    """Open a file for reading; a packed file is unpacked on the way.

    Raises:
        InputError: it is packed in a way that cannot be unpacked here; as :func:`packing`.
    """
    kind = packing(path)
    if kind == "zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise InputError(
                f"{path}: holds {len(names)} files, expected one; unpack it and give the file or folder"
            )
        return archive.open(names[0])
    if kind == "zstd":
        raise InputError(f"{path}: is packed by zstd; unpack it (zstd -d) and give the file")
    openers: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    return openers[kind](path) if kind else Path(path).open("rb")


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder; false if the system does not tell."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def packing(path: str | os.PathLike[str]) -> str | None:
    """Return how a file is packed: a name in :data:`PACKINGS`, ``zip``, or ``None``.

    Raises:
        InputError: it is a folder, or a pipe or a device, which can be read only once.
    """
    path = Path(path)
    if is_folder(path):
        raise InputError(f"{path}: is a folder, expected a file")
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(
            f"{path}: is a pipe or a device, which can be read only once; write it into a file and give that"
        )
    with path.open("rb") as file:
        start = file.read(10)
    if path.suffix.lower() == ".zip":
        return "zip"
    return next((name for name, magic in PACKINGS.items() if re.match(magic, start)), None)


def read_sample(path: str | os.PathLike[str]) -> bytes:
    """Return the beginning of a file, cut after its last whole line.

    Raises:
        InputError: the file is missing, unreadable, empty or cut off.
    """
    data = read_text_bytes(path, SAMPLE)
    end = data.rfind(b"\n") + 1
    return data[:end] if len(data) == SAMPLE and end else data


def decoded(path: str | os.PathLike[str], data: bytes) -> str:
    """Return the text of UTF-8 bytes.

    Raises:
        InputError: the bytes are not UTF-8; names the line.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = data[error.start : error.start + 1].hex()
        message = f"{path}, line {line}: found byte 0x{found}, which is not UTF-8 text, expected a UTF-8 file"
        raise InputError(message) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings.

    Raises:
        InputError: it is missing, not TOML (the line is named), or not what a checksum beside it says.
    """
    path = local_path(path)
    check(path)
    with reading(path, "not a TOML file"):
        text = path.read_text(encoding="utf-8")
        long = next((n for n, line in enumerate(text.split("\n"), 1) if len(line) > _LINE), None)
        if long is not None:  # the time for a dotted key grows with the square of its parts
            raise InputError(f"{path}, line {long}: longer than {_LINE:,} characters, expected settings")
        return tomllib.loads(text)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: missing from the run folder")
    check(path)
    with reading(path, "damaged or cut off"):
        values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object")
    return values


def read_parquet(path: Path) -> pl.DataFrame:
    """Read a Parquet file.

    Raises:
        InputError: the file is missing or damaged.
    """
    import polars as pl

    if not path.exists():
        raise InputError(f"{path}: missing from the run folder")
    need_polars(path)
    check(path)
    with reading(path, "cannot be used"):
        return pl.read_parquet(path, glob=False)


def write_atomically(path: Path, content: bytes | str, *, checksum: bool = False) -> None:
    """Write a file of bytes or UTF-8 text; see :func:`~gclrec.common.atomic.replacing`.

    Args:
        path: the file.
        content: all of it.
        checksum: list it, so that readers check it; see :mod:`gclrec.common.checksums`.
    """
    with (recording if checksum else replacing)(path) as fresh:
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)


def write_parquet(path: Path, frame: pl.DataFrame, *, checksum: bool = False) -> None:
    """Write a Parquet file as :func:`write_atomically` does.

    Raises:
        OSError: the disk is full, or the place is not writable.
    """
    import polars as pl

    with (recording if checksum else replacing)(path) as fresh:
        try:
            frame.write_parquet(fresh)
        except pl.exceptions.PolarsError as error:
            raise OSError(" ".join(str(error).split())) from None


def write_table(path: str | Path, frames: Iterable[pl.DataFrame]) -> int:
    """Write many tables, one after the other, to one Parquet or CSV file, atomically.

    Args:
        path: ends with ``.parquet`` or ``.csv``; its parent folder exists.
        frames: at least one, all with the same columns; they are asked for as they are written, from another
            thread, so that few are in memory at a time.

    Returns:
        Number of rows.

    Raises:
        InputError: see :func:`check_table_path`.
        OSError: the disk is full, or the place is not writable.
    """
    import polars as pl
    from polars.io.plugins import register_io_source

    path = Path(path)
    check_table_path(path)
    rest = iter(frames)
    first = next(rest)
    total = 0

    def batches(*_: object) -> Iterator[pl.DataFrame]:
        nonlocal total
        for frame in chain([first], rest):
            total += len(frame)
            yield frame

    table = register_io_source(batches, schema=first.schema)
    with replacing(path) as fresh:
        try:
            if path.suffix.lower() == ".csv":
                table.sink_csv(fresh)
            else:
                table.sink_parquet(fresh)
        except pl.exceptions.PolarsError as error:
            raise OSError(" ".join(str(error).split())) from None
    return total


def check_table_path(path: Path) -> None:
    """Check where a table is to be written, before the work is done.

    Raises:
        InputError: the suffix is unknown, the folder is missing, or the path is a folder.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(f"{path}: suffix {path.suffix!r}, expected {' or '.join(TABLE_SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder, so {path.name} cannot be written there")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file name")
