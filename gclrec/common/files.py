"""Files: reading with one-line errors that name the file, and atomic writing."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gclrec.common.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import polars as pl

SAMPLE = 1 << 18
"""Bytes at the beginning of a file from which its format is guessed."""

TABLE_SUFFIXES = (".parquet", ".csv")

_ROWS = 1_000_000  # rows of a table that are held in memory at a time

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


def name_parts(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return stem and suffix of a file name in lower case, without ``.gz``.

    Example:
        >>> name_parts("data/ML-100k.inter.gz")
        ('ml-100k', '.inter')
    """
    name = Path(path).name.lower().removesuffix(".gz")
    return Path(name).stem, Path(name).suffix


def read_bytes(path: str | os.PathLike[str], limit: int = -1) -> bytes:
    """Return the content of a file, unpacked if it is gzip'd, without a byte order mark.

    Args:
        path: the file; gzip is recognised by the first bytes, not by the name.
        limit: read only that many bytes (after unpacking); all if negative.

    Raises:
        InputError: the file is missing, unreadable, empty, cut off or a folder.
    """
    if is_folder(path):
        raise InputError(f"{path}: is a folder, expected a file")
    try:
        with gzip.open(path) if is_gzip(path) else Path(path).open("rb") as file:
            data = file.read(limit)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is cut off or damaged ({error})") from error
    except OSError as error:
        raise unreadable(path, error) from error
    data = data.removeprefix(_BOM)
    if not data or data.isspace():
        raise InputError(f"{path}: the file is empty")
    return data


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder; false if the system does not tell."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def is_gzip(path: str | os.PathLike[str]) -> bool:
    """Return whether a file's first bytes are those of gzip."""
    with Path(path).open("rb") as file:
        return file.read(2) == _GZIP


def read_sample(path: str | os.PathLike[str]) -> bytes:
    """Return the beginning of a file, cut after its last whole line.

    Raises:
        InputError: the file is missing, unreadable, empty or cut off.
    """
    data = read_bytes(path, SAMPLE)
    end = data.rfind(b"\n") + 1
    return data[:end] if len(data) == SAMPLE and end else data


def unreadable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """Return the error for a file that the system refuses to read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file")
    return InputError(f"{path}: cannot be read ({error.strerror or error})")


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
        InputError: it is missing or is not TOML; the message names the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing from the run folder") from None
    except ValueError as error:
        raise InputError(f"{path}: damaged or cut off ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object")
    return values


def read_parquet(path: Path) -> pl.DataFrame:
    """Read a Parquet file.

    Raises:
        InputError: the file is missing or damaged.
    """
    import polars as pl

    try:
        return pl.read_parquet(io.BytesIO(path.read_bytes()))
    except FileNotFoundError:
        raise InputError(f"{path}: missing from the run folder") from None
    except pl.exceptions.PolarsError as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: BaseException) -> InputError:
    """Return the error for a file that can be read but not used."""
    return InputError(f"{path}: cannot be used ({' '.join(str(error).split()) or type(error).__name__})")


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path; the file or folder made there replaces ``path`` when the block ends.

    At any moment either the former or the new content is at ``path``, even if the process is killed. If the
    block raises, the former content stays and nothing else is left. The temporary path is on the same file
    system, in a folder of a unique name: other threads, and processes in other containers, may write the same
    file. Errors of the file system name ``path`` instead of the temporary one.

    Args:
        path: file or folder to write; its parent folder is made if needed.
        overwrite: replace a folder that is there; otherwise that is an error.

    Raises:
        OSError: the disk is full, the place is not writable, or a folder is in the way.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link and replace its target
    with _naming(path):
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory
        with temporary(prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True) as aside:
            # The folder is private to its owner; a file made inside it gets the usual permissions.
            fresh, former = Path(aside, path.name), Path(aside, "former")
            yield fresh
            for file in fresh.rglob("*") if fresh.is_dir() else (fresh,):
                if file.is_file():
                    with file.open("rb+") as opened:
                        os.fsync(opened.fileno())
            if overwrite and fresh.is_dir() and path.exists():
                path.rename(former)
            try:
                fresh.replace(path)
            except BaseException:
                if former.exists():
                    former.rename(path)
                raise


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file of bytes or UTF-8 text; see :func:`replacing`."""
    with replacing(path) as fresh:
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet file; see :func:`replacing`.

    It is made in memory, so that a full disk is an ``OSError`` instead of an error of Polars.
    """
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_atomically(path, buffer.getvalue())


def write_table(path: str | Path, frames: Iterable[pl.DataFrame]) -> int:
    """Write many tables, one after the other, to one Parquet or CSV file; see :func:`replacing`.

    Args:
        path: ends with ``.parquet`` or ``.csv``; its parent folder exists.
        frames: at least one, all with the same columns; a million rows are held in memory at a time.

    Returns:
        Number of rows.

    Raises:
        InputError: see :func:`check_table_path`.
        OSError: the disk is full, or the place is not writable.
    """
    import polars as pl

    path = Path(path)
    check_table_path(path)
    with replacing(path) as fresh:
        rows, total = 0, 0
        parts: list[Path] = []
        held: list[pl.DataFrame] = []

        def write_part() -> None:
            parts.append(fresh.with_name(f"part-{len(parts):09}.parquet"))
            pl.concat(held).write_parquet(parts[-1])

        try:
            for frame in frames:
                held.append(frame)
                rows += len(frame)
                if rows >= _ROWS:
                    write_part()
                    held, rows, total = [], 0, total + rows
            if held or not parts:
                write_part()
            table = pl.scan_parquet(parts, glob=False)
            if path.suffix.lower() == ".csv":
                table.sink_csv(fresh)
            else:
                table.sink_parquet(fresh)
        except pl.exceptions.PolarsError as error:
            raise OSError(f"{path}: cannot be written ({' '.join(str(error).split())})") from None
    return total + rows


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


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put ``path`` into errors of the file system that name a temporary path."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
