"""Callbacks of a training: any object with one or more of the methods below.

========================================  ===============================================================
``on_phase_start(phase, epoch, epochs)``  ``select`` or ``refit`` starts at ``epoch``, or a trial of ``pilot``
``on_batch_end(batch, batches, losses)``  after some batches, with the mean of each loss part so far
``on_trial(pilot)``                       after a trial of a recipe, and when one is chosen
``on_epoch_end(record, best_epoch)``      with the losses, validation figures and seconds of an epoch
``on_best(tensors, epoch, phase)``        the model at ``epoch`` is the one to keep
``on_checkpoint(checkpoint)``             after each epoch, with all that the next one depends on
``on_end(result)``                        after the test part was ranked
========================================  ===============================================================

A callback ends the phase early by raising :class:`StopTraining` in ``on_epoch_end``; the best epoch so far
is kept and tested. Any other exception ends the run.

Example:
    >>> class Stop:
    ...     def on_epoch_end(self, record, best_epoch):
    ...         if record["epoch"] - best_epoch >= 3:
    ...             raise StopTraining
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from gclrec.common.errors import InputError
from gclrec.recall.raw_ids import counted
from gclrec.settings.methods import AUTO, METHODS


class StopTraining(Exception):  # noqa: N818 - as StopIteration: not an error
    """Raised by a callback to end the phase after the current epoch."""


class Callbacks:
    """Passes each event on to those callbacks that have a method for it.

    Args:
        callbacks: in the order in which they are called.
    """

    def __init__(self, callbacks: Iterable[object] = ()) -> None:
        self._all = tuple(callbacks)

    def wants(self, event: str) -> bool:
        """Return whether any callback has a method for an event."""
        return any(hasattr(callback, event) for callback in self._all)

    def call(self, event: str, *arguments: Any) -> None:
        """Call every callback that has a method for an event.

        Raises:
            StopTraining: a callback did, after all of them were called.
        """
        stop = None
        for callback in self._all:
            try:
                getattr(callback, event, _nothing)(*arguments)
            except StopTraining as asked:
                stop = asked
        if stop is not None:
            raise stop


def _nothing(*_: Any) -> None:
    """Stand in for a method that a callback does not have."""


@dataclass
class Selection:
    """The best validation figure so far, and whether to wait for a better one.

    Args:
        patience: validations without a better one after which to stop; 0 never stops.
        epoch: of the best figure, ``None`` before the first.
        value: the best figure.
        stale: validations since then.
    """

    patience: int = 0
    epoch: int | None = None
    value: float | None = None
    stale: int = 0

    def update(self, value: float, epoch: int) -> bool:
        """Take in a figure and return whether it is the best so far; of equal ones the first stands."""
        if self.value is None or value > self.value:
            self.epoch, self.value, self.stale = epoch, value, 0
            return True
        self.stale += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.patience <= self.stale


@dataclass
class Progress:
    """Where a training stands.

    Args:
        phase: ``select`` or ``refit``.
        epoch: epochs of the phase that are done.
        best_epoch: see :class:`Selection`.
        best_value: likewise.
        stale: likewise.
        lines: records of epochs so far, of both phases.
        warned: whether a collapse of the vectors was reported.
        settle_seconds: time spent on the exponent of the score after the last epoch.
    """

    phase: str = "select"
    epoch: int = 0
    best_epoch: int | None = None
    best_value: float | None = None
    stale: int = 0
    lines: int = 0
    warned: bool = False
    settle_seconds: float = 0.0


@dataclass(frozen=True)
class Pilot:
    """What a pilot has done so far.

    Args:
        trials: ``recipe``, ``steps``, ``value`` (the validation figure; ``None`` if the loss became infinite)
            and ``seconds`` of each trial.
        recipe: name of the recipe that was chosen; ``None`` before the last trial.
        settings: those of the recipe that differ from the settings given.
        why: the reason for the recipe, where it was not compared with others.
    """

    trials: Sequence[Mapping[str, Any]] = ()
    recipe: str | None = None
    settings: Mapping[str, Any] | None = None
    why: str = ""

    @property
    def seconds(self) -> float:
        """Seconds of all trials."""
        return sum(float(trial["seconds"]) for trial in self.trials)

    def __str__(self) -> str:
        if not self.trials:
            return f"recipe {self.recipe}, {self.why or 'the first, since there is nothing to choose by'}"
        last = {trial["recipe"]: trial for trial in self.trials}
        longest, *shorter = (trial for trial in reversed(self.trials) if trial["recipe"] == self.recipe)
        best, fewer = longest, ""
        if shorter and (self.settings or {}).get("steps") == shorter[0]["steps"]:
            best = shorter[0]
            worse = f"{counted(longest['steps'], 'step')} were worse ({longest['value'] or 0.0:.4f})"
            fewer = f"; {worse}, so the run takes {best['steps']}"
        ahead = {
            name: f" less a head start of {part:.0%}" for name, part in METHODS[AUTO].head_starts.items()
        }
        others = [
            f"{name} {trial['value']:.4f}{ahead.get(name, '')}"
            for name, trial in last.items()
            if name != self.recipe and trial["value"] is not None
        ]
        which = f", {self.why}" if self.why else f" of {len(last)}"
        beside = f", beside {', '.join(others)}" if others else ""
        after = f"{best['value'] or 0.0:.4f} on validation after {counted(best['steps'], 'step')}"
        return f"recipe {self.recipe}{which}: {after}{beside}{fewer}"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that the next epoch depends on.

    Args:
        progress: where the training stands.
        tensors: of the model, the optimiser, the generator and the sampler.
        best: of the model of the best epoch; ``None`` where there is none yet, or it is of no use any more.
        history: the record of each epoch.
        source: where it was read, for messages.
    """

    progress: Progress
    tensors: Mapping[str, Tensor]
    best: Mapping[str, Tensor] | None = None
    history: Sequence[dict[str, Any]] = field(default_factory=list)
    source: str = ""


class TensorBoard:
    """Writes the figures of every epoch as TensorBoard scalars; those of a refit below ``refit/``.

    Args:
        folder: where the event file goes.

    Raises:
        InputError: the package ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError('--tensorboard needs an extra: pip install "gclrec[tensorboard]"') from error
        self._writer: Any = SummaryWriter(str(folder))

    def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:  # noqa: ARG002
        """Write the figures of an epoch."""
        prefix = "refit/" if record["phase"] == "refit" else ""
        for name, value in record.items():
            if isinstance(value, float):
                self._writer.add_scalar(prefix + name, value, record["epoch"])
        self._writer.flush()
