"""Atomic replacement of files and folders: whatever is killed, readers find the former or the new one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_PARTIAL = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.partial")  # what is being written to the name in the middle
_FORMER = "former"
_AT_CWD = {"linux": -100, "darwin": -2}
_SWAP = 2  # RENAME_EXCHANGE of renameat2 on Linux, RENAME_SWAP of renameatx_np on macOS
_TRIES = 200


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path; the file or folder made there replaces ``path`` when the block ends.

    At any moment either the former or the new content is at ``path``, even if the process is killed. If the
    block raises, the former content stays and nothing else is left. The temporary path is on the same file
    system, in a folder of a unique name: other threads, and processes in other containers, may write the same
    file. Errors of the file system name ``path`` instead of the temporary one.

    A folder is swapped with its predecessor in one step where the system can (Linux, macOS). Elsewhere there
    is a moment without it, and :func:`present` finishes what a killed process began then. The folder of a
    temporary path is locked as long as its writer lives; what killed writers left is removed by the next one.

    Args:
        path: file or folder to write; its parent folder is made if needed.
        overwrite: replace a folder that is there; otherwise that is an error.

    Raises:
        OSError: the disk is full, the place is not writable, or a folder is in the way.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link and replace its target
    with naming(path):
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        with _aside(path) as aside:
            # The folder is private to its owner; a file made inside it gets the usual permissions.
            fresh, former = aside / path.name, aside / _FORMER
            yield fresh
            for file in fresh.rglob("*") if fresh.is_dir() else (fresh,):
                if file.is_file():
                    with file.open("rb+") as opened:
                        os.fsync(opened.fileno())
            if overwrite and fresh.is_dir() and path.exists():
                if _swapped(fresh, path):
                    return
                path.rename(former)
            try:
                fresh.replace(path)
            except BaseException:
                if former.exists():
                    former.rename(path)
                raise


def present(path: Path) -> bool:
    """Return whether a file or folder is there, after finishing a replacement that was killed."""
    for _ in range(_TRIES):
        if path.exists():
            return True
        asides = [aside for aside, replaced in _partials(path.parent) if replaced.name == path.name]
        begun = [aside for aside in asides if (aside / _FORMER).exists()]
        if not begun:
            break
        for aside in begun:
            _settle(aside, path)
        time.sleep(0.01)
    return path.exists()


def discard(path: Path) -> None:
    """Remove a folder; if that is interrupted, nothing of it is left at ``path``."""
    with _aside(path) as aside:
        path.rename(aside / path.name)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put ``path`` into errors of the file system that name a temporary path, or none."""
    try:
        yield
    except OSError as error:
        said = error.strerror or f"cannot be written ({' '.join(str(error).split())})"
        raise OSError(error.errno or errno.EIO, said, str(path)) from error


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Yield a new, locked folder beside ``path``, which is removed at the end."""
    while True:
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        descriptor = _lock(aside, wait=True)
        if aside.exists():  # else another writer took it for a leftover before it was locked
            break
        _close(descriptor)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        _close(descriptor)


def _lock(folder: Path, *, wait: bool = False) -> int | None:
    """Return a descriptor that locks a folder, ``None`` if another has locked it or there are no locks."""
    if sys.platform == "win32":
        return None
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        _close(descriptor)
        return None
    return descriptor


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _partials(folder: Path) -> list[tuple[Path, Path]]:
    """Return the folders of temporary paths in a folder, each with the path that it is to replace."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    return [(folder / name, folder / match[1]) for name in names if (match := _PARTIAL.fullmatch(name))]


def _sweep(folder: Path) -> None:
    """Finish the replacements that killed processes began in a folder, and remove what they left."""
    for aside, path in _partials(folder):
        if not aside.is_symlink():
            _settle(aside, path)


def _settle(aside: Path, path: Path) -> None:
    """Finish a replacement of ``path`` unless its writer lives: the new content was whole before the swap."""
    descriptor = _lock(aside)
    if descriptor is None:
        return
    with contextlib.suppress(OSError):  # another process does the same, or the file system is read-only
        fresh, former = aside / path.name, aside / _FORMER
        if former.exists() and not path.exists():
            (fresh if fresh.exists() else former).rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    os.close(descriptor)


def _swapped(fresh: Path, path: Path) -> bool:
    """Swap two paths in one step; return whether the system could."""
    cwd = _AT_CWD.get(sys.platform)
    name = "renameat2" if sys.platform == "linux" else "renameatx_np"
    swap = getattr(ctypes.CDLL(None), name, None) if cwd is not None else None
    return swap is not None and swap(cwd, os.fsencode(fresh), cwd, os.fsencode(path), _SWAP) == 0
