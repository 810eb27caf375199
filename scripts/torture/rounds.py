"""One round of work of each command: it is stopped somehow, gone on with, and compared with whole work."""

from __future__ import annotations

import collections
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from commands import DATA, Ended, faults_of, gclrec, leftovers

Stop = Callable[..., list[str]]
"""Runs a command, given by its arguments and the seconds that it takes whole, and stops it somehow; returns
what is wrong with how it ended."""

COMMANDS = ["train", "resume", "export", "add-items", "tune", "compare", "recommend", "evaluate", "data"]


class Rounds:
    """Rounds of every command in a scratch folder, with one finished and exported run to start from.

    A method that is named after a command takes a :data:`Stop` and returns what is wrong with the round.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.whole = scratch, scratch / "whole"
        # Without a pilot and with a constant rate, so that it can be trained for more epochs.
        done("train", *DATA, "--loss", "bpr", "--run", self.whole, "--json")
        self.trained = done("train", *DATA, "--run", scratch / "piloted", "--json")
        self.exported = done("export", self.whole, "--backend", "exact", "--json")

    def train(self, stop: Stop) -> list[str]:
        """Stop a training and go on with it: the figures are those of one that was not stopped."""
        run = self._fresh("trained")
        faults = stop("train", *DATA, "--run", run, seconds=self.trained.seconds)
        how = ("--resume", run) if run.exists() else (*DATA, "--run", run)
        return (
            faults + _compared(gclrec("train", *how, "--json"), self.trained, "metrics") + _left(self.scratch)
        )

    def resume(self, stop: Stop) -> list[str]:
        """Stop a finished run that is trained on: readers never mix two models, and it can be finished."""
        longer = self._whole("train", "--resume", self._copy(), "--epochs", 9, "--json")
        run = self._copy()
        faults = stop("train", "--resume", run, "--epochs", 9, seconds=longer.seconds)
        for how in (("--user", "u01"), ("--items", "i01", "i02")):
            asked = gclrec("recommend", run, *how, "-k", 5, "--json")
            refused = asked.code == 2 and ("export again" in asked.err or "--resume" in asked.err)
            faults += [] if refused else faults_of(asked)
        faults += _compared(gclrec("train", "--resume", run, "--epochs", 9, "--json"), longer, "metrics")
        return faults + faults_of(gclrec("export", run, "--backend", "exact")) + _left(run)

    def export(self, stop: Stop) -> list[str]:
        """Stop an export over an index: the former stays usable, and the next one leaves nothing behind."""
        run = self._copy()
        faults = stop("export", run, "--backend", "exact", seconds=self.exported.seconds)
        faults += [] if (run / "index" / "manifest.json").exists() else ["index lost"]
        faults += faults_of(gclrec("recommend", run, "--user", "u01", "-k", 5, "--no-exclude-seen"))
        return faults + faults_of(gclrec("export", run, "--backend", "exact")) + _left(run)

    def add_items(self, stop: Stop) -> list[str]:
        """Stop the second of two batches: the first stays, and the second is there whole or not at all."""
        run, tables = self._copy(), [self.scratch / "first.csv", self.scratch / "second.csv"]
        for table, items in zip(tables, (["i800"], ["i900", "i901", "i902"]), strict=True):
            table.write_text("user,item\n" + "".join(f"u01,{item}\nu02,{item}\n" for item in items))
        faults = faults_of(gclrec("add-items", run, tables[0]))
        faults += stop("add-items", run, tables[1], seconds=self.exported.seconds)
        found = gclrec("add-items", run, tables[1], "--skip-known", "--json")
        faults += faults_of(found)
        if not found.code and (total := found.values["added_in_all"]) != 4:
            faults.append(f"{total} items in place of 4")
        return faults + _left(run)

    def tune(self, stop: Stop) -> list[str]:
        """Stop a search and go on: it makes as many trials as were asked for."""
        out = self._fresh("tuning")
        command = ("tune", "--dataset", *DATA, "--aug", "none", "--trials", 2, "--out", out)
        faults = stop(*command, seconds=2 * self.trained.seconds)
        again = gclrec(*command, "--json")
        faults += faults_of(again)
        if not again.code and len(again.values["trials"]) != 2:
            faults.append("trials lost")
        return faults + _left(out)

    def compare(self, stop: Stop) -> list[str]:
        """Stop a comparison and go on: its table is that of one that was not stopped."""
        command = ("compare", "--dataset", *DATA, "--augs", "none", "edge_drop:0.1", "--seeds", 2)
        whole = self._whole(*command, "--out", self.scratch / "compared", "--json")
        out = self._fresh("comparing")
        faults = stop(*command, "--out", out, seconds=whole.seconds)
        again = gclrec(*command, "--out", out, "--json")
        return faults + _compared(again, whole, "tests") + _left(out)

    def recommend(self, stop: Stop) -> list[str]:
        """Stop an answer: the next one is the same."""
        return self._reading(stop, "recommend", self.whole, "--items", "i01", "i02", "-k", 5, "--json")

    def evaluate(self, stop: Stop) -> list[str]:
        """Stop an evaluation: the next one has the same figures."""
        return self._reading(stop, "evaluate", self.whole, "--json")

    def data(self, stop: Stop) -> list[str]:
        """Stop a description of a data set: the next one is the same."""
        return self._reading(stop, "data", "describe", DATA[0], "--json")

    def _reading(self, stop: Stop, *command: object) -> list[str]:
        whole = self._whole(*command)
        faults = stop(*command, seconds=whole.seconds)
        return faults + _compared(gclrec(*command), whole)

    @cache  # noqa: B019 - there is one of it
    def _whole(self, *command: object) -> Ended:
        return done(*command)

    def _copy(self) -> Path:
        """Return a fresh copy of the finished run."""
        shutil.copytree(self.whole, run := self._fresh("run"))
        return run

    def _fresh(self, name: str) -> Path:
        """Return a path with nothing at it, or beside it under a temporary name."""
        for path in (self.scratch / name, *self.scratch.glob(f".{name}.*")):
            shutil.rmtree(path, ignore_errors=True)
        return self.scratch / name

    def campaign(self, rounds: int, stop: Stop, names: Sequence[str] = ()) -> dict[str, dict[str, int]]:
        """Run rounds, going through the commands in turn, and count rounds and those with faults of each."""
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        chosen = list(names) or COMMANDS
        for number in range(rounds):
            name = chosen[number % len(chosen)]
            faults = getattr(self, name.replace("-", "_"))(stop)
            counts[name]["rounds"] += 1
            counts[name]["faults"] += bool(faults)
            print(f"round {number}, {name}: {'; '.join(faults) or 'well'}", file=sys.stderr, flush=True)
        return {name: dict(count) for name, count in counts.items()}


def done(*command: object) -> Ended:
    """Run a command that must do its work."""
    ended = gclrec(*command)
    if ended.code:
        raise SystemExit(ended.err)
    return ended


def _compared(again: Ended, whole: Ended, part: str | None = None) -> list[str]:
    """Return what is wrong with a command that should say the same as another, or the same in one part."""
    if faults := faults_of(again):
        return faults
    found, expected = ((each.values if part is None else each.values[part]) for each in (again, whole))
    return [] if found == expected else ["other figures than those of whole work"]


def _left(folder: Path) -> list[str]:
    return [f"leftover {name}" for name in leftovers(folder)]
