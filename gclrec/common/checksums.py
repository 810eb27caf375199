"""Checksums of the files of a folder, in one file beside them; readers check them whenever they read."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gclrec.common.atomic import replacing
from gclrec.common.errors import InputError, reading

CHECKSUMS = "checksums.json"
"""Name of the file: size and SHA-256 of each file, of two contents while one replaces the other."""

_GROWING = ".jsonl"  # lines are appended: what was listed is the beginning of the file


def digest(path: Path, size: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first bytes, read block by block."""
    found = hashlib.sha256()
    left = path.stat().st_size if size is None else size
    with path.open("rb") as file:
        while block := file.read(min(left, 1 << 20)):
            found.update(block)
            left -= len(block)
    return found.hexdigest()


def record(paths: Sequence[Path]) -> None:
    """List the checksums of files in one folder, in place of former ones of the same files."""
    if paths:
        _list(paths[0].parent, {path.name: [_entry(path)] for path in paths})


def forget(path: Path) -> None:
    """Take a file off the list, before it is removed."""
    listed = _listed(path.parent)
    if listed.pop(path.name, None) is not None:
        _write(path.parent, listed)


@contextlib.contextmanager
def recording(path: Path) -> Iterator[Path]:
    """Replace a file as :func:`~gclrec.common.atomic.replacing` does and list its checksum.

    Both contents are listed until the new one is there, so that a process killed in between leaves a file
    that can be read.
    """
    with replacing(path) as fresh:
        yield fresh
        new = _entry(fresh)
        former = _listed(path.parent).get(path.name)
        if former is not None:
            _list(path.parent, {path.name: [new, *former]})
    _list(path.parent, {path.name: [new]})


def check(path: Path) -> None:
    """Check a file against the checksums beside it; a file that is not listed passes.

    Raises:
        InputError: it is missing, cut off or altered, or the list is damaged; the message says what to do.
    """
    former = None
    while (listed := _listed(path.parent).get(path.name)) is not None and listed != former:
        try:
            if any(_holds(path, entry) for entry in listed):
                return
        except FileNotFoundError:
            raise InputError(f"{path}: missing, {CHECKSUMS} lists it; put back a copy of it") from None
        former = listed  # it may have been replaced meanwhile: then the list is another
    if listed is not None:
        raise InputError(
            f"{path}: damaged or altered, its checksum is not the one in {CHECKSUMS}; put back a copy of it, "
            f"or remove {path.parent / CHECKSUMS} to take all files there as they are"
        )


def there(path: Path) -> bool:
    """Return whether a file that need not be there is.

    Raises:
        InputError: it was, by the checksums beside it.
    """
    if path.exists():
        return True
    check(path)
    return False


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest(path)}


def _holds(path: Path, entry: dict[str, Any]) -> bool:
    size, found = entry["bytes"], path.stat().st_size
    if found != size and not (found > size and path.suffix == _GROWING):
        return False
    return digest(path, size) == str(entry["sha256"])


def _listed(folder: Path) -> dict[str, list[dict[str, Any]]]:
    path = folder / CHECKSUMS
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    with reading(path, "damaged or cut off; put back a copy of it, or remove it"):
        listed: dict[str, list[dict[str, Any]]] = json.loads(content)
        for entry in (each for entries in listed.values() for each in entries):
            if not (isinstance(entry["bytes"], int) and isinstance(entry["sha256"], str)):
                raise ValueError("a size or checksum is missing")
    return listed


def _list(folder: Path, entries: dict[str, list[dict[str, Any]]]) -> None:
    _write(folder, _listed(folder) | entries)


def _write(folder: Path, listed: dict[str, list[dict[str, Any]]]) -> None:
    with replacing(folder / CHECKSUMS) as fresh:
        fresh.write_text(json.dumps(listed, indent=1), encoding="utf-8")
