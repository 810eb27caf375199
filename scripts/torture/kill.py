"""Kill commands at random moments, go on, and count what is lost.

Each round kills a command by SIGKILL after a random share of the time that it takes whole, checks that
readers still answer, goes on with the same work, and compares::

    python scripts/torture/run.py kill --rounds 20 --seed 0

Counted against a command are lost or different results, tracebacks, and hidden files that remain.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from commands import gclrec
from rounds import Rounds


def campaign(rounds: int, seed: int, names: Sequence[str] = ()) -> dict[str, dict[str, int]]:
    """Run rounds, going through the commands in turn, and count rounds and those with faults of each."""
    moments = random.Random(seed)
    # A command spends most of its time on imports: the moments are drawn from what comes after them.
    idle = gclrec("methods").seconds

    def stop(*command: object, seconds: float) -> list[str]:
        moment = moments.uniform(min(idle * 0.7, seconds * 0.5), seconds * 1.05)
        return ["traceback"] if gclrec(*command, kill_after=moment).traceback else []

    with tempfile.TemporaryDirectory() as scratch:
        return Rounds(Path(scratch)).campaign(rounds, stop, names)
