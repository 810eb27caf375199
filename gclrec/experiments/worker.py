"""A process that trains for another one, which sends tasks and hears what happens; see ``parallel``.

Both write JSON objects, one a line: tasks and answers come on stdin, events and results leave on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from gclrec.common.errors import CollapseWarning, InputError, InputWarning, is_out_of_memory
from gclrec.experiments.parallel import Train
from gclrec.experiments.search import training_on
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.callbacks import StopTraining
from gclrec.training.estimate import estimated
from gclrec.training.prepare import TrainingData
from gclrec.training.recorder import fit_run

_BETWEEN = 0.2  # seconds from one report on the batches of an epoch to the next, at least


class LeftError(Exception):
    """The other process wants no more of this task."""


class Relay:
    """Callback that passes events on to the process that sent the task.

    Args:
        incoming: its answers.
        outgoing: where it reads.
    """

    def __init__(self, incoming: TextIO, outgoing: TextIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._told = 0.0

    def tell(self, **message: Any) -> None:
        """Write one message."""
        self._outgoing.write(json.dumps(message) + "\n")
        self._outgoing.flush()

    def on_phase_start(self, *arguments: object) -> None:
        """Pass on that a phase starts."""
        self.tell(event="on_phase_start", arguments=arguments)

    def on_batch_end(self, batch: int, batches: int, losses: Mapping[str, float]) -> None:
        """Pass on how far the epoch is, now and then."""
        now = time.monotonic()
        if batch <= 10 or batch == batches or now - self._told >= _BETWEEN:
            self._told = now
            self.tell(event="on_batch_end", arguments=(batch, batches, losses))

    def on_epoch_end(self, *arguments: object) -> None:
        """Pass on the figures of an epoch, and wait for what is said to them."""
        self.tell(event="on_epoch_end", arguments=arguments)
        answer = self._incoming.readline().strip()
        if answer == "stop":
            raise StopTraining
        if answer != "go on":
            raise LeftError


def run(relay: Relay, folder: str) -> None:
    """Train into a run folder, from its last checkpoint if it has one."""
    fit_run(RunFolder(Path(folder)), callbacks=[relay])


def trial(relay: Relay, folder: str, settings: Mapping[str, Any]) -> None:
    """Train with some settings on training and validation pairs of a run folder; nothing is written."""
    _trained_on(folder)(TrainConfig.from_dict(settings, source=folder), [relay])


def peak(_: Relay, folder: str, settings: Mapping[str, Any] | None = None) -> float:
    """Return the bytes of memory that a training in a run folder takes, by a few steps."""
    data = TrainingData.read(RunFolder(Path(folder)))
    if settings is not None:
        data = replace(data, config=TrainConfig.from_dict(settings, source=folder))
    return estimated(data, force=True).peak_bytes


TASKS: Mapping[str, Callable[..., object]] = {"run": run, "trial": trial, "peak": peak}
"""What another process can ask for, by name."""


@cache
def _trained_on(folder: str) -> Train:
    return training_on(TrainingData.read(RunFolder(Path(folder))))


def serve() -> None:
    """Do one task after another until stdin ends; what else is written to stdout goes to stderr."""
    signal.signal(signal.SIGTERM, _leave)
    outgoing = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    relay = Relay(sys.stdin, outgoing)

    def show(message: Warning | str, category: type[Warning], *where: Any, **rest: Any) -> None:
        if issubclass(category, (InputWarning, CollapseWarning)):
            relay.tell(warning=category.__name__, message=str(message))
        else:
            usual(message, category, *where, **rest)

    usual, warnings.showwarning = warnings.showwarning, show
    for category in (InputWarning, CollapseWarning):
        warnings.simplefilter("always", category)
    try:
        _work(relay)
    except BrokenPipeError:  # the other process was killed
        os.dup2(os.open(os.devnull, os.O_WRONLY), outgoing.fileno())  # for what is flushed at the end


def _work(relay: Relay) -> None:
    while line := sys.stdin.readline():
        task = json.loads(line)
        try:
            relay.tell(result=TASKS[task["task"]](relay, **task["arguments"]))
        except LeftError:
            relay.tell(result=None)
        except BrokenPipeError:
            raise
        except Exception as error:  # told to the process that asked
            if not isinstance(error, (InputError, OSError)) and not is_out_of_memory(error):
                traceback.print_exc()
            relay.tell(error=type(error).__name__, message=_said(error))


def _said(error: Exception) -> str:
    if is_out_of_memory(error):
        return "there is not enough memory"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return " ".join(str(error).split()) or type(error).__name__


def _leave(*_: object) -> None:
    """End as at an error, so that nothing that was being written is left behind."""
    raise SystemExit(143)
