"""Run commands with too little memory or disk, go on without the limit, and count what is lost.

Kinds of limits take turns: the address space (as ``ulimit -v`` sets it), the size of files (so that any
write may fail), and, where this process may mount one, a file system in memory that is too small::

    python scripts/torture/run.py limits --rounds 27 --seed 0

A command under a limit does its work or ends with exit code 2 and one line. The third way to end counts as
``aborted``: a library in C++ or Rust that cannot allocate ends the process itself. Anything else is a fault.
What follows is told in :mod:`rounds`: nothing is lost, and the same work can be gone on with.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from commands import Ended, gclrec
from rounds import COMMANDS, Rounds

MEMORY = (1_900 << 20, 2_600 << 20)
"""Bytes of address space: from too little to start to enough for everything here, with two cores."""

FILE, DISK = (64, 1 << 17), (4 << 10, 1 << 19)
"""Largest bytes of a file, and free bytes of a disk; the largest files here have 100 kB."""

ROOM = 1 << 30

ABORTED = (-signal.SIGABRT, -signal.SIGSEGV)


class Limited:
    """Runs commands under limits of several kinds in turn, and counts how they end."""

    def __init__(self, seed: int, disk: Path | None) -> None:
        self.draw, self.disk = random.Random(seed), disk
        self.counts = dict.fromkeys(("done", "refused", "aborted"), 0)
        self.kinds: list[Callable[..., Ended]] = [self._little_memory, self._short_files]
        self.kinds += [self._small_disk] if disk is not None else []

    def __call__(self, *command: object, seconds: float) -> list[str]:  # noqa: ARG002 - a Stop
        """Run a command under the next kind of limit and return what is wrong with its end."""
        number = sum(self.counts.values())
        kind = self.kinds[
            (number + number // len(COMMANDS)) % len(self.kinds)
        ]  # each command meets each kind
        ended = kind(*command)
        said = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        how = {0: "done", 2: "refused"}.get(ended.code, "aborted")
        self.counts[how] += 1
        by_library = ended.code in ABORTED or (ended.code == 1 and "OpenBLAS error" in ended.err)
        good = {"done": True, "refused": len(said) == 1, "aborted": by_library}[how]
        if good and not ended.traceback:
            return []
        return [f"{kind.__name__} {self.last}: exit code {ended.code}, {ended.err.splitlines()[-2:]}"]

    def _little_memory(self, *command: object) -> Ended:
        self.last = self.draw.randrange(*MEMORY)
        return gclrec(*command, limits={resource.RLIMIT_AS: self.last})

    def _short_files(self, *command: object) -> Ended:
        self.last = self.draw.randrange(*FILE)
        return gclrec(*command, limits={resource.RLIMIT_FSIZE: self.last})

    def _small_disk(self, *command: object) -> Ended:
        assert self.disk is not None
        self.last = self.draw.randrange(*DISK)
        found = os.statvfs(self.disk)
        resize(self.disk, (found.f_blocks - found.f_bfree) * found.f_frsize + self.last)
        try:
            return gclrec(*command)
        finally:
            resize(self.disk, ROOM)


def campaign(rounds: int, seed: int, names: Sequence[str] = ()) -> dict[str, dict[str, int]]:
    """Run rounds, and count how limited commands ended, and rounds and those with faults of each command."""
    with tempfile.TemporaryDirectory() as scratch, mounted(Path(scratch)) as disk:
        stop = Limited(seed, disk)
        found = Rounds(Path(scratch)).campaign(rounds, stop, names)
        return {**found, "ended": stop.counts}


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path | None]:
    """Mount a file system in memory at a folder while the block runs; yield ``None`` if that is refused."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def resize(disk: Path, size: int) -> None:
    """Change the size of a file system in memory."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
