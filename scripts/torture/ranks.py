"""Kill one of the processes that share a training, at a random moment, and go on with the run.

    python scripts/torture/run.py ranks --rounds 20 --seed 0

Each round starts two processes, kills one by SIGKILL, and waits for the other: it must end with one line
within a minute, and the seconds that a start takes here, since one that is being imported joins later. Then
one process or two go on with the run, or start it where it had not begun, and end with the figures of a
training that was left alone.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from commands import Ended, begin, faults_of, leftovers

DATA = ("synthetic-60x40x900", "--method", "xsimgcl", "--dim", "8", "--batch-size", "256", "--epochs", "30")
WITHIN = 60.0
"""Seconds in which the other process must end, beside those of a start."""

_CLOSE = 1e-4  # of figures of one process and of two


def start(*arguments: object) -> list[subprocess.Popen[str]]:
    """Start a training in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    joins = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [begin("train", *arguments, environment={**joins, "RANK": rank}) for rank in "01"]


def ended(process: subprocess.Popen[str], began: float, within: float | None = None) -> Ended:
    """Wait for a process and return how it ended; one that takes longer is killed."""
    try:
        out, err = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    return Ended(process.returncode, out, err, time.monotonic() - began)


def whole(folder: Path) -> tuple[dict[str, Any], float, float]:
    """Return the figures of a training that is left alone, its seconds, and those until it has begun."""
    began, run = time.monotonic(), folder / "whole"
    processes = start(*DATA, "--run", run, "--json")
    while not (run / "metrics.jsonl").exists() and processes[0].poll() is None:
        time.sleep(0.05)
    begun = time.monotonic() - began
    first, _ = (ended(process, began) for process in processes)
    if first.code:
        raise SystemExit(first.err)
    return first.values["metrics"], first.seconds, begun


def gone_on(run: Path, alone: bool) -> Ended:
    """Go on with a run, or start it, with one process or two."""
    how = ("--resume", run) if run.exists() else (*DATA, "--run", run)
    began = time.monotonic()
    if alone:
        return ended(begin("train", *how, "--json"), began)
    first, other = (ended(process, began) for process in start(*how, "--json"))
    return first if first.code else other if other.code else first


def round_of(
    folder: Path, rank: int, moment: float, alone: bool, expected: dict[str, Any], within: float
) -> tuple[float, list[str]]:
    """Return how many seconds the other process went on for, and what is wrong with one round."""
    run, began = folder / "run", time.monotonic()
    processes = start(*DATA, "--run", run, "--json")
    time.sleep(moment)
    processes[rank].kill()
    killed = time.monotonic()
    processes[rank].communicate()
    other = ended(processes[1 - rank], began, within)
    went_on, faults = time.monotonic() - killed, []
    if went_on > within:
        faults.append(f"process {1 - rank} did not end")
    elif other.traceback or other.code not in (0, 2):
        faults.append(f"process {1 - rank} ended with exit code {other.code}: {other.err.splitlines()[-1:]}")
    again = gone_on(run, alone)
    if wrong := faults_of(again):
        return went_on, faults + wrong
    if again.out.strip():
        found = again.values["metrics"]
        if found.keys() != expected.keys() or any(
            abs(found[name] - expected[name]) > _CLOSE for name in expected
        ):
            faults.append("other figures than those of a training that is left alone")
    return went_on, faults + [f"leftover {name}" for name in leftovers(folder)]


def campaign(rounds: int, seed: int) -> dict[str, Any]:
    """Run rounds and count them, those that killed a training that had begun, and those with faults."""
    drawn, faulty, begun, longest = random.Random(seed), 0, 0, 0.0
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            if number == 0:
                expected, seconds, until = whole(Path(scratch))
            rank, alone = drawn.randrange(2), drawn.random() < 0.5
            moment = drawn.uniform(until * 0.7, seconds * 1.02)
            went_on, faults = round_of(Path(scratch), rank, moment, alone, expected, WITHIN + until)
            begun, longest = begun + (moment > until), max(longest, went_on)
        faulty += bool(faults)
        told = "; ".join(faults) or "well"
        said = f"round {number}, process {rank} after {moment:.1f} s, the other {went_on:.1f} s later: {told}"
        print(said, file=sys.stderr, flush=True)
    return {"rounds": rounds, "begun": begun, "longest_seconds": round(longest, 1), "faults": faulty}
