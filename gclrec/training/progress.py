"""Progress of trainings as a callback: bars on a terminal or in a notebook, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
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

QUIET_SECONDS = 30.0
"""Seconds before a line is written where bars cannot be drawn, so that short runs stay quiet."""


def progress_of(runs: int | None = None) -> Bars | Lines:
    """Return what shows progress: bars on a terminal (stderr) or in a notebook, else lines on stderr.

    Args:
        runs: how many runs there are, where a command makes several.
    """
    return Bars(Console(stderr=True), runs) if sys.stderr.isatty() or in_notebook() else Lines(runs)


def in_notebook() -> bool:
    """Return whether the code runs in a notebook that can show widgets."""
    return Console().is_jupyter


class Bars:
    """A bar for the epochs, one for the batches of the epoch, and maybe one for the runs.

    Args:
        console: where to draw.
        runs: how many runs there are, where a command makes several.
    """

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

    def on_phase_start(self, phase: str, epoch: int, epochs: int) -> None:
        """Begin the bar of a phase."""
        name = {"select": "epochs", "refit": "refit on train + valid"}[phase]
        self._progress.reset(self._epochs, total=epochs, completed=epoch - 1, description=name)
        self._began = time.perf_counter()

    def on_batch_end(self, batch: int, batches: int, losses: Mapping[str, float]) -> None:
        """Move the bar of the epoch."""
        if batch <= 10:
            self._began = time.perf_counter()
        speed = (batch - 10) / max(time.perf_counter() - self._began, 1e-9)
        parts = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        figures = f"{parts}  {speed:.1f} batches/s" if batch > 10 else parts
        self._progress.update(self._batches, total=batches, completed=batch, figures=figures)

    def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:
        """Move the bar of the run."""
        best = f"  best epoch {best_epoch}" if best_epoch else ""
        self._progress.update(self._epochs, advance=1, figures="".join(_validation(record)) + best)


class Lines:
    """Lines on stderr, for what takes longer than half a minute.

    One for each epoch that takes so long, one within it every half minute, and one every half minute for
    shorter epochs. A run that ends sooner writes nothing.

    Args:
        runs: how many runs there are, where a command makes several.
        clock: returns seconds.
    """

    def __init__(self, runs: int | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._runs = clock, runs
        self._where, self._phase, self._count = "", "epoch", 0
        self._epoch = 1
        self._began = self._told = clock()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing."""

    def run(self, number: int, name: str) -> None:
        """Begin a run of several."""
        self._where = f"run {number}/{self._runs} ({name}), "

    def on_phase_start(self, phase: str, epoch: int, epochs: int) -> None:
        """Begin a phase."""
        self._phase = {"select": "epoch", "refit": "refit on train + valid, epoch"}[phase]
        self._epoch, self._count = epoch, epochs
        self._began = self._clock()

    def on_batch_end(self, batch: int, batches: int, losses: Mapping[str, float]) -> None:
        """Write how far the epoch is, if nothing was written for long."""
        now = self._clock()
        if batch < batches and now - self._told >= QUIET_SECONDS:
            left = (now - self._began) / batch * (batches - batch)
            self._tell([f"batch {batch:,}/{batches:,}", f"loss {losses['total']:.4f}", f"{left:.0f} s left"])

    def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:  # noqa: ARG002
        """Write what the epoch gave, if it took long or nothing was written for long."""
        now = self._clock()
        if max(now - self._began, now - self._told) >= QUIET_SECONDS:
            loss = [f"loss {record['loss/total']:.4f}"] if "loss/total" in record else []
            self._tell([*loss, *_validation(record), f"{now - self._began:.0f} s"])
        self._epoch, self._began = self._epoch + 1, now

    def _tell(self, parts: list[str]) -> None:
        place = f"{self._where}{self._phase} {self._epoch}/{self._count}"
        sys.stderr.write(f"{place}: {', '.join(parts)}\n")
        sys.stderr.flush()
        self._told = self._clock()


def _validation(record: Mapping[str, Any]) -> list[str]:
    """Return the figure that chooses the epoch, which stands first, if the epoch was validated."""
    figures = (f"{name} {value:.4f}" for name, value in record.items() if name.startswith("valid/"))
    return list(islice(figures, 1))
