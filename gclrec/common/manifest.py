"""Folders with a manifest: written atomically, and checked file by file before they are used."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from gclrec.common.atomic import present, replacing
from gclrec.common.checksums import digest
from gclrec.common.errors import InputError, reading

Read = TypeVar("Read")

MANIFEST = "manifest.json"
FORMAT = 1
"""Version of the layout of such a folder; a reader refuses any other."""


@contextlib.contextmanager
def writing(folder: Path, kind: str, values: Mapping[str, Any]) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces ``folder`` at the end, atomically.

    A ``manifest.json`` with ``values`` and the size and SHA-256 of each file is added last.

    Args:
        folder: to write; a former folder of the same kind is replaced.
        kind: what the folder is, such as ``"gclrec index"``.
        values: contents of the manifest besides ``kind``, ``format`` and ``files``.

    Raises:
        InputError: ``folder`` exists and is something else.
        OSError: the disk is full, or the place is not writable.
    """
    _check_replaceable(folder, kind)
    with replacing(folder) as fresh:
        fresh.mkdir()
        yield fresh
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": digest(path)}
            for path in sorted(fresh.iterdir())
        }
        manifest = {"kind": kind, "format": FORMAT, **values, "files": files}
        text = json.dumps(manifest, indent=2, ensure_ascii=False)
        (fresh / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path, kind: str, *, check: bool = True) -> dict[str, Any]:
    """Return the manifest of a folder after checking every file that it lists, by size and SHA-256.

    Args:
        folder: made by :func:`writing`.
        kind: the expected kind.
        check: check the files; if false, only the manifest is read.

    Raises:
        InputError: the folder or a file is missing, cut off or altered, or the folder is something else.
    """
    path = folder / MANIFEST
    try:
        present(folder)
        content = path.read_bytes()
    except FileNotFoundError:
        what = "missing" if folder.is_dir() else "no such folder"
        raise InputError(f"{path if folder.is_dir() else folder}: {what}, expected {kind}") from None
    with reading(path, "damaged or cut off"):
        manifest = json.loads(content)
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        raise InputError(f"{path}: is not the manifest of {kind}")
    if manifest.get("format") != FORMAT:
        raise InputError(f"{path}: format {manifest.get('format')!r}, this gclrec reads format {FORMAT}")
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise InputError(f"{path}: damaged, it lists no files")
    for name, expected in files.items() if check else ():
        _check_file(folder / Path(name).name, expected)
    return cast("dict[str, Any]", manifest)


def settled(folders: Sequence[Path], read: Callable[[], Read]) -> Read:
    """Return what a function reads from folders that other processes may replace meanwhile.

    It is called again until no manifest has changed while it ran, so that what it reads belongs together.

    Args:
        folders: made by :func:`writing`; each may be missing.
        read: reads them.
    """
    for pause in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0):
        time.sleep(pause)
        before = _manifests(folders)
        try:
            found = read()
        except InputError:
            if _manifests(folders) == before:
                raise
        else:
            if _manifests(folders) == before:
                return found
    names = " and ".join(str(folder) for folder in folders)
    raise InputError(f"{names}: replaced by other processes again and again while being read; try later")


def _manifests(folders: Sequence[Path]) -> list[bytes | None]:
    paths = [folder / MANIFEST for folder in folders if present(folder)]
    return [path.read_bytes() if path.exists() else None for path in paths]


def _check_file(path: Path, expected: Any) -> None:
    try:
        size, checksum = int(expected["bytes"]), str(expected["sha256"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path.parent / MANIFEST}: damaged, no size and checksum of {path.name}") from None
    try:
        found = path.stat().st_size
        if found != size:
            what = "cut off" if found < size else "altered"
            raise InputError(f"{path}: {what}, found {found:,} bytes, expected {size:,}")
        if digest(path) != checksum:
            raise InputError(f"{path}: damaged or altered, its checksum is not the one in {MANIFEST}")
    except FileNotFoundError:
        raise InputError(f"{path}: missing, {MANIFEST} lists it") from None


def _check_replaceable(folder: Path, kind: str) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        found = json.loads((folder / MANIFEST).read_bytes())["kind"]
    except (OSError, ValueError, TypeError, KeyError):
        found = None
    if found != kind:
        what = f"is damaged or something else than {kind}" if found is None else f"holds {found}, not {kind}"
        raise InputError(f"{folder}: {what}, so it is not replaced; remove it and run again")
