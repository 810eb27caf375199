"""Add items from several processes at once, with an export and recommendations in between, and count losses.

Each round starts writers that add an item each, an export, and readers, at random moments. All end well, each
answer holds items of the catalogue and additions alone, and in the end every item is there once::

    python scripts/torture/run.py concurrency --rounds 5 --seed 0
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from commands import DATA, Ended, begin, faults_of, gclrec, leftovers

WRITERS, READERS = 3, 2
CATALOGUE = 40  # items in DATA


def campaign(rounds: int, seed: int) -> dict[str, int]:
    """Run rounds, and count processes, items that were lost, and rounds with faults."""
    moments = random.Random(seed)
    counts = {"processes": 0, "items": 0, "lost": 0, "faults": 0}
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        done = gclrec("train", *DATA, "--run", whole)
        done = done if done.code else gclrec("export", whole, "--backend", "exact")
        if done.code:
            raise SystemExit(done.err)
        old = _items(gclrec(*_asking(whole, CATALOGUE)))
        for turn in range(rounds):
            run = Path(scratch) / "run"
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(whole, run)
            commands = [("export", run, "--backend", "exact"), *[_asking(run, CATALOGUE)] * READERS]
            new = {f"new{number}" for number in range(WRITERS)}
            for name in sorted(new):
                table = Path(scratch) / f"{name}.csv"
                table.write_text(f"user,item\nu01,{name}\nu02,{name}\n")
                commands.append(("add-items", run, table))
            moments.shuffle(commands)
            begun = []
            for command in commands:
                time.sleep(moments.uniform(0, 0.3))
                begun.append((command, begin(*command)))
            faults = []
            for command, process in begun:
                ended = _ended(process)
                faults += [f"{command[0]}: {fault}" for fault in faults_of(ended)]
                if command[0] == "recommend" and not ended.code:
                    found = _items(ended)
                    if len(found) != CATALOGUE or found - old - new:
                        faults.append(f"recommend: {len(found)} items, {found - old - new}")
            after = gclrec(*_asking(run, CATALOGUE + WRITERS))
            faults += faults_of(after)
            lost = len((old | new) - _items(after)) if not after.code else len(new)
            faults += [f"{lost} items lost"] if lost else []
            faults += [f"leftover {name}" for name in leftovers(run)]
            counts["processes"] += len(commands)
            counts["items"] += len(new)
            counts["lost"] += lost
            counts["faults"] += bool(faults)
            for fault in faults:
                print(f"round {turn}: {fault}", flush=True)
    return counts


def _asking(run: Path, k: int) -> tuple[object, ...]:
    return ("recommend", run, "--user", "u03", "-k", k, "--no-exclude-seen", "--json")


def _items(ended: Ended) -> set[str]:
    return set(json.loads(ended.out.splitlines()[-1])["items"])


def _ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=300)
    return Ended(process.returncode, out, err, 0.0)
