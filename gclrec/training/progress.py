"""Progress of trainings as a callback: bars on a terminal or in a notebook, else a line now and then."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
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


def progress_of() -> Bars | Lines:
    """Return what shows progress: bars on a terminal (stderr) or in a notebook, else lines on stderr."""
    return Bars(Console(stderr=True)) if sys.stderr.isatty() or in_notebook() else Lines()


@contextlib.contextmanager
def shown(progress: bool | object | None) -> Iterator[list[object]]:
    """Yield the callback that shows progress, if any; see :func:`gclrec.fit`."""
    if progress is None:
        progress = in_notebook()
    if progress is True:
        with progress_of() as bars:
            yield [bars]
    else:
        yield [] if progress is False else [progress]


def in_notebook() -> bool:
    """Return whether the code runs in a notebook that can show widgets."""
    return Console().is_jupyter


class Bars:
    """A bar for the epochs, one for the batches of the epoch and, if there are several runs, one for them.

    Every thread that trains has bars of its own for epochs and batches.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            transient=True,
        )
        self._runs = self._progress.add_task("runs", total=None, figures="", visible=False)
        self._own = _Own(self._progress)

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def on_run_start(self, number: int, runs: int, name: str) -> None:
        """Begin a run of several."""
        self._progress.update(self._runs, total=runs, completed=number - 1, figures=name, visible=True)
        if threading.current_thread() is not threading.main_thread():
            self._own.name = f"{name}: "

    def on_phase_start(self, phase: str, epoch: int, epochs: int) -> None:
        """Begin the bar of a phase."""
        name = {"pilot": "trials of recipes", "select": "epochs", "refit": "refit on train + valid"}[phase]
        name = self._own.name + name
        bar = self._own.epochs
        self._progress.reset(bar, total=epochs, completed=epoch - 1, description=name, visible=True)
        self._own.began = time.perf_counter()

    def on_batch_end(self, batch: int, batches: int, losses: Mapping[str, float]) -> None:
        """Move the bar of the epoch."""
        own = self._own
        if batch <= 10:
            own.began = time.perf_counter()
        speed = (batch - 10) / max(time.perf_counter() - own.began, 1e-9)
        parts = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        figures = f"{parts}  {speed:.1f} batches/s" if batch > 10 else parts
        self._progress.update(own.batches, total=batches, completed=batch, figures=figures, visible=True)

    def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:
        """Move the bar of the run."""
        best = f"  best epoch {best_epoch}" if best_epoch else ""
        self._progress.update(self._own.epochs, advance=1, figures="".join(_validation(record)) + best)


class _Own(threading.local):
    """The bars of a thread: a thread finds values of its own in the attributes."""

    def __init__(self, progress: Progress) -> None:
        self.epochs = progress.add_task("epochs", total=None, figures="", visible=False)
        self.batches = progress.add_task("batches", total=None, figures="", visible=False)
        self.name = ""
        self.began = time.perf_counter()


class Lines(threading.local):
    """Lines on stderr, for what takes longer than half a minute.

    One for each epoch that takes so long, one within it every half minute, and one every half minute for
    shorter epochs. A run that ends sooner writes nothing. Every thread that trains has lines of its own.

    Args:
        clock: returns seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._where, self._phase, self._count = "", "epoch", 0
        self._epoch = 1
        self._began = self._told = clock()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing."""

    def on_run_start(self, number: int, runs: int, name: str) -> None:
        """Begin a run of several."""
        self._where = f"run {number}/{runs} ({name}), "

    def on_phase_start(self, phase: str, epoch: int, epochs: int) -> None:
        """Begin a phase."""
        self._phase = {"pilot": "trial", "select": "epoch", "refit": "refit on train + valid, epoch"}[phase]
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
    for name, value in record.items():
        if name.startswith("valid/"):
            error = record.get(name.replace("valid/", "valid_error/", 1))
            return [f"{name} {value:.4f}" + ("" if error is None else f" ± {error:.4f}")]
    return []
