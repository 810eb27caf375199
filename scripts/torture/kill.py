"""Kill commands at random moments, go on, and count what is lost.

Each round kills ``train``, ``export``, ``add-items`` or ``tune`` by SIGKILL after a random share of the time
that it takes whole, checks that readers still answer, goes on with the same work, and compares::

    python scripts/torture/run.py kill --rounds 20 --seed 0

Counted against a command are lost or different results, tracebacks, and hidden files that remain.
"""

from __future__ import annotations

import collections
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from commands import DATA, faults_of, gclrec, leftovers


class Rounds:
    """The rounds of one seed, in a scratch folder with one finished run to start from."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.random = scratch, random.Random(seed)
        self.whole = scratch / "whole"
        done = gclrec("train", *DATA, "--run", self.whole, "--json")
        if done.code:
            raise SystemExit(done.err)
        self.metrics = json.loads(done.out.splitlines()[-1])["metrics"]
        # A command spends most of its time on imports: the moments are drawn from what comes after them.
        self.idle, self.train = gclrec("methods").seconds, done.seconds
        self.export = gclrec("export", self.whole, "--backend", "exact").seconds
        self.news = scratch / "news.csv"
        self.items = [f"i90{number}" for number in range(3)]
        pairs = [f"{user},{item}\n" for item in self.items for user in ("u01", "u02")]
        self.news.write_text("user,item\n" + "".join(pairs))

    def moment(self, whole: float) -> float:
        """Return a random moment of a command that takes some seconds whole."""
        return self.random.uniform(min(self.idle * 0.7, whole * 0.5), whole * 1.05)

    def copy(self) -> Path:
        """Return a fresh copy of the finished run."""
        run = self.scratch / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.whole, run)
        return run

    def kill_train(self) -> list[str]:
        """Kill a training, go on with it, and compare its figures with those of one that was not killed."""
        run = self.scratch / "trained"
        for path in [run, *self.scratch.glob(".trained.*")]:
            shutil.rmtree(path, ignore_errors=True)
        gclrec("train", *DATA, "--run", run, kill_after=self.moment(self.train))
        how = ("--resume", run) if run.exists() else (*DATA, "--run", run)
        again = gclrec("train", *how, "--json")
        faults = faults_of(again)
        if not faults and json.loads(again.out.splitlines()[-1])["metrics"] != self.metrics:
            faults.append("other figures")
        return faults + [f"leftover {name}" for name in leftovers(self.scratch)]

    def kill_export(self) -> list[str]:
        """Kill an export over an index: the former stays usable, and the next one leaves nothing behind."""
        run = self.copy()
        gclrec("export", run, "--backend", "exact", kill_after=self.moment(self.export))
        faults = [] if (run / "index" / "manifest.json").exists() else ["index lost"]
        faults += faults_of(gclrec("recommend", run, "--user", "u01", "-k", 5, "--no-exclude-seen"))
        faults += faults_of(gclrec("export", run, "--backend", "exact"))
        return faults + [f"leftover {name}" for name in leftovers(run)]

    def kill_add_items(self) -> list[str]:
        """Kill the second of two batches: the first stays, and the second is there whole or not at all."""
        run = self.copy()
        first = self.scratch / "first.csv"
        first.write_text("user,item\nu01,i800\nu02,i800\n")
        faults = faults_of(gclrec("add-items", run, first))
        gclrec("add-items", run, self.news, kill_after=self.moment(self.export))
        found = gclrec("add-items", run, self.news, "--skip-known", "--json")
        faults += faults_of(found)
        if not faults:
            total = json.loads(found.out.splitlines()[-1])["added_in_all"]
            if total != 1 + len(self.items):
                faults.append(f"{total} items in place of {1 + len(self.items)}")
        return faults + [f"leftover {name}" for name in leftovers(run)]

    def kill_tune(self) -> list[str]:
        """Kill a search and go on: it makes as many trials as were asked for."""
        out = self.scratch / "tuning"
        shutil.rmtree(out, ignore_errors=True)
        command = ("tune", "--dataset", *DATA, "--aug", "none", "--trials", 2, "--out", out)
        gclrec(*command, kill_after=self.moment(2 * self.train))
        again = gclrec(*command, "--json")
        faults = faults_of(again)
        if not faults and len(json.loads(again.out.splitlines()[-1])["trials"]) != 2:
            faults.append("trials lost")
        return faults + [f"leftover {name}" for name in leftovers(out)]


def campaign(rounds: int, seed: int, names: Sequence[str] = ()) -> dict[str, dict[str, int]]:
    """Run rounds, going through the commands in turn, and count kills and rounds with faults of each."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as scratch:
        made = Rounds(Path(scratch), seed)
        kinds: dict[str, Callable[[], list[str]]] = {
            "train": made.kill_train,
            "export": made.kill_export,
            "add-items": made.kill_add_items,
            "tune": made.kill_tune,
        }
        chosen = list(names) or list(kinds)
        for number in range(rounds):
            name = chosen[number % len(chosen)]
            faults = kinds[name]()
            counts[name]["kills"] += 1
            counts[name]["faults"] += bool(faults)
            for fault in faults:
                print(f"round {number}, {name}: {fault}", flush=True)
    return {name: dict(count) for name, count in counts.items()}
