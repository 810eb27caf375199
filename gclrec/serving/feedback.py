"""The log of feedback: durable, shared by the workers of a service, and read by ``gclrec train``.

A folder holds one CSV file for each day (UTC), ``2026-11-30.csv``, with the columns ``user,item,time``. Rows
are appended under a lock and are on the disk before they are acknowledged. Every worker reads what any of
them appends: before each answer it looks whether a file has grown, which takes two microseconds.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gclrec.common.locks import holding

HEADER = b"user,item,time\n"

_WAIT_SECONDS = 10.0
"""Seconds that a worker waits for another one that appends."""


class Event(NamedTuple):
    """One interaction: raw ids as text, without line breaks, and seconds since 1970."""

    user: str
    item: str
    time: float


def append_events(folder: Path, events: Sequence[Event]) -> None:
    """Append interactions to the file of the day, and return when the disk has them.

    Args:
        folder: of the log; it is made if it is missing.
        events: at least one.

    Raises:
        InputError: another process holds the lock for too long.
        OSError: the disk is full, or the folder is not writable.
    """
    text = io.StringIO()
    rows = ((user, item, f"{when:.3f}") for user, item, when in events)
    csv.writer(text, lineterminator="\n").writerows(rows)
    name = time.strftime("%Y-%m-%d", time.gmtime())
    append_lines(folder / f"{name}.csv", text.getvalue().encode(), HEADER)


def append_lines(path: Path, lines: bytes, header: bytes = b"") -> None:
    """Append whole lines to a file, and return when the disk has them.

    Either all of them are in the file afterwards, or none: what a full disk or a killed process left half
    written is cut off before the next lines are appended.

    Args:
        path: the file; it and its folder are made if they are missing.
        lines: each with a line break at its end.
        header: first line of a new file.

    Raises:
        InputError: another process holds the lock of the folder for too long.
        OSError: the disk is full, or the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with holding(path.parent, "appending", wait=_WAIT_SECONDS):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = _whole(descriptor)
            content = memoryview(lines if size else header + lines)
            try:
                while content:
                    content = content[os.write(descriptor, content) :]
                os.fsync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if not size:
            _sync_folder(path.parent)


def _whole(descriptor: int) -> int:
    """Cut off a last line that was not written to its end, and return the size."""
    size = os.fstat(descriptor).st_size
    end, block = size, 1 << 16
    while end:
        start = max(0, end - block)
        place = os.pread(descriptor, end - start, start).rfind(b"\n")
        if place >= 0:
            end = start + place + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
    return end


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Follower:
    """Reads a log as it grows.

    Args:
        folder: of the log; it may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}  # bytes that were read of each file
        self._changed = -1  # time of the folder, which changes with a new file
        self._newest = ""
        self.damaged = 0
        """Lines that are no interactions, which were left out."""

    def fresh(self) -> list[Event]:
        """Return the interactions that were appended since the last call, oldest first."""
        try:
            if self._newest and os.stat(self._newest).st_size != self._read[self._newest]:  # noqa: PTH116
                return self._tail(self._newest)
        except FileNotFoundError:  # an old file was removed: the folder tells what is left
            self._newest = ""
        try:
            changed = os.stat(self._folder).st_mtime_ns  # noqa: PTH116 - asked for each request
        except FileNotFoundError:
            return []
        if changed == self._changed:
            return []
        files = sorted(map(str, self._folder.glob("*.csv")))
        self._read = {path: start for path, start in self._read.items() if path in files}
        found = [event for path in files for event in self._tail(path)]
        self._changed, self._newest = changed, files[-1] if files else ""
        return found

    def _tail(self, path: str) -> list[Event]:
        with open(path, "rb") as file:  # noqa: PTH123
            start = self._read.get(path, 0)
            if os.fstat(file.fileno()).st_size < start:  # rows of an append that failed were cut off again
                start = 0
            file.seek(start)
            content = file.read()
        content = content[: content.rfind(b"\n") + 1]  # a line that is being written is read later
        self._read[path] = start + len(content)
        found = []
        for row in csv.reader(content.removeprefix(HEADER).decode(errors="replace").split("\n")):
            try:
                found.append(Event(row[0], row[1], float(row[2])))
            except (ValueError, IndexError):
                self.damaged += bool(row)
        return found
