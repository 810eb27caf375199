"""Interrupt and terminate trainings at random moments, once and twice, go on, and count what is lost.

A training ends whole, or with exit code 130 (SIGINT) or 143 (SIGTERM) and without a traceback; resumed, or
begun again where nothing was made, it has the figures of one that was left alone::

    python scripts/torture/run.py signals --rounds 20 --seed 0
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import tempfile
from pathlib import Path

from commands import DATA, faults_of, gclrec, leftovers

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

PYTHON = 0.1
"""Seconds that Python itself takes to start: before it runs the first line, a signal has its usual end."""


def campaign(rounds: int, seed: int) -> dict[str, int]:
    """Signal trainings, and count rounds, those that were stopped, and those with faults."""
    moments = random.Random(seed)
    counts = {"signals": 0, "stopped": 0, "faults": 0}
    with tempfile.TemporaryDirectory() as scratch:
        whole = gclrec("train", *DATA, "--run", Path(scratch) / "whole", "--json")
        if whole.code:
            raise SystemExit(whole.err)
        for turn in range(rounds):
            run = Path(scratch) / "run"
            for path in (run, *Path(scratch).glob(".run.*")):
                shutil.rmtree(path, ignore_errors=True)
            number = (signal.SIGINT, signal.SIGTERM)[turn % 2]
            first = moments.uniform(PYTHON, whole.seconds)
            again = moments.uniform(0, 0.3) if turn % 4 > 1 else None
            ended = gclrec("train", *DATA, "--run", run, kill_after=first, number=number, again=again)
            faults = _stopped_badly(ended.code, ended.err, number)
            how = ("--resume", run) if run.exists() else (*DATA, "--run", run)
            resumed = gclrec("train", *how, "--json")
            faults += faults_of(resumed)
            if not resumed.code:
                figures = [json.loads(each.out.splitlines()[-1])["metrics"] for each in (resumed, whole)]
                faults += ["other figures"] if figures[0] != figures[1] else []
            faults += [f"leftover {name}" for name in leftovers(Path(scratch))]
            counts["signals"] += 1
            counts["stopped"] += ended.code != 0
            counts["faults"] += bool(faults)
            for fault in faults:
                print(f"round {turn}, {number.name} after {first:.2f} s, again {again}: {fault}", flush=True)
    return counts


def _stopped_badly(code: int, said: str, number: signal.Signals) -> list[str]:
    if code not in (0, CODES[number]):
        return [f"exit code {code}: {said.splitlines()[-1:]}"]
    noise = [line for line in said.splitlines() if "Traceback" in line or "Exception ignored" in line]
    return [f"{line}: {said.splitlines()[-1]}" for line in noise]
