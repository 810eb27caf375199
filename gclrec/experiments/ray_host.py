"""What runs on the machines of a Ray cluster beside the processes that train; it imports nothing of these."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping


class Host:
    """An actor: holds one process on its machine, and passes on what both sides write.

    Args:
        code: what the process runs.
        variables: of its environment, beside those of the actor.
    """

    def __init__(self, code: str, variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def write(self, text: str) -> bool:
        """Pass on a task or an answer; return whether there was somebody to take it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text)
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def read(self) -> str:
        """Return the next line of the process, empty once it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def poll(self) -> int | None:
        """Return the exit code of the process, ``None`` while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Return its exit code once it has ended."""
        return self._process.wait()

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)
