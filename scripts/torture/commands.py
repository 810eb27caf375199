"""Commands as processes of their own, for the campaigns in this folder."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = ("synthetic-60x40x900", "--epochs", "6", "--dim", "8", "--batch-size", "256")


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def traceback(self) -> bool:
        """Whether it ended in an error that is not one line."""
        return "Traceback" in self.err

    @property
    def values(self) -> dict[str, Any]:
        """The JSON object on the last line of stdout."""
        return dict(json.loads(self.out.splitlines()[-1]))


def begin(
    *arguments: object,
    limits: Mapping[int, int] | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a command, under limits of :mod:`resource` and with further variables if there are any."""

    def limit() -> None:
        for kind, most in (limits or {}).items():
            resource.setrlimit(kind, (most, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "gclrec", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
        env={**os.environ, **(environment or {})},
    )


def gclrec(
    *arguments: object,
    kill_after: float | None = None,
    number: int = signal.SIGKILL,
    again: float | None = None,
    limits: Mapping[int, int] | None = None,
) -> Ended:
    """Run a command and signal it after some seconds unless it has ended.

    Args:
        arguments: of the command.
        kill_after: seconds until the signal; none if ``None``.
        number: the signal.
        again: seconds until the same signal again.
        limits: of :mod:`resource`, by their numbers there.
    """
    began = time.monotonic()
    process = begin(*arguments, limits=limits)
    for wait in (kill_after, again):
        if wait is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=wait)
            process.send_signal(number)  # nothing is sent to a process that has ended
    out, err = process.communicate(timeout=300)
    return Ended(process.returncode, out, err, time.monotonic() - began)


def leftovers(folder: Path) -> list[str]:
    """Return the temporary paths that are left in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.partial"))


def faults_of(ended: Ended) -> list[str]:
    """Return what is wrong with a command that should have done its work."""
    if ended.traceback:
        return [f"traceback {ended.err.splitlines()[-1]}"]
    return [f"exit code {ended.code}: {ended.err.splitlines()[-1:]}"] if ended.code else []
