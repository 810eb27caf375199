"""Bytes of plain or gzip'd files, with one clear line for everything that can be wrong with them."""

from __future__ import annotations

import contextlib
import gzip
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from gclrec.common.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SAMPLE = 1 << 18
"""Bytes of a file's beginning that are looked at to tell its format."""

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
        path: the file; gzip is told by the file's first bytes, not by its name.
        limit: read only that many bytes (after unpacking); all if negative.

    Raises:
        InputError: the file is missing, unreadable, empty or cut off.
    """
    try:
        with open_bytes(path) as file:
            data = file.read(limit)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is cut off or damaged ({error})") from error
    except OSError as error:
        raise unreadable(path, error) from error
    data = data.removeprefix(_BOM)
    if not data or data.isspace():
        raise InputError(f"{path}: the file is empty")
    return data


def open_bytes(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file for reading, unpacking it on the way if it is gzip'd.

    Raises:
        InputError: the path is a folder.
    """
    if is_folder(path):
        raise InputError(f"{path}: is a folder, expected a file")
    return cast("IO[bytes]", gzip.open(path)) if is_gzip(path) else Path(path).open("rb")


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder; not if the system does not let us see it."""
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
    """Return the one line for a file that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file")
    return InputError(f"{path}: cannot be read ({error.strerror or error})")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name what is to be written, and not its temporary stand-in, in what the system says against it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


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
        InputError: it is missing or is not TOML; the line is named.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None
