"""How far a training command is: bars on a terminal, a line now and then where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gclrec.cli.console import progress_console

QUIET_SECONDS = 30.0
"""Time that passes before a line is written where bars cannot be drawn, so that short runs stay quiet."""


def progress_of(runs: int | None = None) -> Bars | Lines:
    """Return what shows progress on stderr: bars on a terminal, else lines.

    Args:
        runs: how many runs there are, where a command makes several.
    """
    return Bars(progress_console(), runs) if sys.stderr.isatty() else Lines(runs)


class Bars:
    """Progress on a terminal: a bar for the epochs, one for the batches of the epoch, maybe one for runs."""

    def __init__(self, console: Console, runs: int | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
        )
        self._runs = None if runs is None else self._progress.add_task("runs", total=runs, figures="")
        self._epochs = self._progress.add_task("epochs", total=None, figures="")
        self._batches = self._progress.add_task("batches", total=None, figures="")
        self._began = time.perf_counter()

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def run(self, number: int, name: str) -> None:
        """Begin a run of several."""
        if self._runs is not None:
            self._progress.update(self._runs, completed=number - 1, figures=name)

    def phase(self, name: str, first_epoch: int, epochs: int) -> None:
        """Begin the bar of a phase."""
        name = {"select": "epochs", "refit": "refit on train + valid"}[name]
        self._progress.reset(self._epochs, total=epochs, completed=first_epoch - 1, description=name)
        self._began = time.perf_counter()

    def batch(self, done: int, count: int, loss: dict[str, float]) -> None:
        """Move the bar of the epoch."""
        if done <= 10:
            self._began = time.perf_counter()
        speed = (done - 10) / max(time.perf_counter() - self._began, 1e-9)
        parts = "  ".join(f"{name} {value:.4f}" for name, value in loss.items())
        figures = f"{parts}  {speed:.1f} batches/s" if done > 10 else parts
        self._progress.update(self._batches, total=count, completed=done, figures=figures)

    def epoch(self, record: dict[str, Any], best_epoch: int | None) -> None:
        """Move the bar of the run."""
        best = f"  best epoch {best_epoch}" if best_epoch else ""
        self._progress.update(self._epochs, advance=1, figures="".join(_validation(record)) + best)


class Lines:
    """Progress where no bars can be drawn: lines on stderr, for what takes longer than half a minute.

    A line for each epoch that takes so long, one within it every half minute, and one every half minute for
    shorter epochs. What is done sooner writes nothing.

    Args:
        runs: how many runs there are, where a command makes several.
        clock: tells the seconds.
    """

    def __init__(self, runs: int | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._runs = clock, runs
        self._where, self._phase, self._count = "", "epoch", 0
        self._epoch = 1
        self._began = self._told = clock()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        """There is nothing to clear away."""

    def run(self, number: int, name: str) -> None:
        """Begin a run of several."""
        self._where = f"run {number}/{self._runs} ({name}), "

    def phase(self, name: str, first_epoch: int, epochs: int) -> None:
        """Begin a phase."""
        self._phase = {"select": "epoch", "refit": "refit on train + valid, epoch"}[name]
        self._epoch, self._count = first_epoch, epochs
        self._began = self._clock()

    def batch(self, done: int, count: int, loss: dict[str, float]) -> None:
        """Tell how far the epoch is, if nothing was told for long."""
        now = self._clock()
        if done < count and now - self._told >= QUIET_SECONDS:
            left = (now - self._began) / done * (count - done)
            self._tell([f"batch {done:,}/{count:,}", f"loss {loss['total']:.4f}", f"{left:.0f} s left"])

    def epoch(self, record: dict[str, Any], best_epoch: int | None) -> None:  # noqa: ARG002
        """Tell what the epoch gave, if it took long or nothing was told for long."""
        now = self._clock()
        if max(now - self._began, now - self._told) >= QUIET_SECONDS:
            loss = [f"loss {record['loss/total']:.4f}"] if "loss/total" in record else []
            self._tell([*loss, *_validation(record), f"{now - self._began:.0f} s"])
        self._epoch, self._began = self._epoch + 1, now

    def _tell(self, parts: list[str]) -> None:
        place = f"{self._where}{self._phase} {self._epoch}/{self._count}"
        print(f"{place}: {', '.join(parts)}", file=sys.stderr, flush=True)
        self._told = self._clock()


def _validation(record: dict[str, Any]) -> list[str]:
    """Return the figure that chooses the epoch, which stands first, of one that was validated."""
    figures = (f"{name} {value:.4f}" for name, value in record.items() if name.startswith("valid/"))
    return list(islice(figures, 1))
