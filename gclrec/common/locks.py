"""A lock on a folder, held by one thread of one process at a time and released when the process ends."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gclrec.common.atomic import naming
from gclrec.common.errors import InputError

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"
"""Name of the file in the folder that is locked; it says who holds the lock."""


@contextlib.contextmanager
def holding(folder: Path, doing: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder while the block runs; a file system without locks has none.

    Args:
        folder: the folder; it may be renamed meanwhile.
        doing: what for, such as ``"training"``, for the message that others get.
        wait: seconds to wait for another holder.

    Raises:
        InputError: another holds the lock, or the folder was removed meanwhile; the message says which.
        OSError: the folder is not writable.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = _locked(folder, time.monotonic() + wait)
    try:
        with naming(folder):
            os.ftruncate(descriptor, 0)
            os.pwrite(
                descriptor, f"{doing} here (process {os.getpid()} on {socket.gethostname()})".encode(), 0
            )
        yield
    finally:
        os.close(descriptor)


def _locked(folder: Path, until: float) -> int:
    """Return the descriptor of the lock file, locked."""
    path = folder / LOCK
    while True:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        with naming(folder):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _try(descriptor) and _is_at(descriptor, path):
                return descriptor
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() >= until:
            who = holder or "writing here"
            raise InputError(f"{folder}: another process is {who}; wait for it, or stop it first")
        time.sleep(0.05)


def _try(descriptor: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path: its folder may have been removed."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
