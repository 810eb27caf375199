"""A training and its run folder: written as it goes, and gone on with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gclrec.common.errors import InputError, reading
from gclrec.runs.checkpoint import checksum_in, load_state, save_state
from gclrec.runs.embeddings import checksum_of, write_embeddings
from gclrec.runs.folder import RunFolder
from gclrec.settings.validation import validate
from gclrec.training.callbacks import Checkpoint, Pilot, Progress, TensorBoard
from gclrec.training.distributed import Processes
from gclrec.training.fit import fit
from gclrec.training.prepare import TrainingData, pilot_of
from gclrec.training.results import Result, raw_scores
from gclrec.training.warm_start import WarmStart


class RunRecorder:
    """Callback that writes a training into a run folder.

    Args:
        folder: made by :meth:`RunFolder.create`.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint, ``None`` if there is none; records of later epochs are dropped.

        Raises:
            InputError: a file is damaged.
        """
        folder = self.folder
        if not folder.last_checkpoint.exists():
            folder.keep_metrics(0)
            return None
        tensors, values = load_state(folder.last_checkpoint)
        sha256 = values.pop("metrics_sha256", None)  # version 0.1.0 did not save it
        with reading(folder.last_checkpoint, "not a complete gclrec checkpoint"):
            progress = Progress(**values)
            for name, value in vars(progress).items():
                usual = getattr(Progress, name)
                kinds = (int, float, type(None)) if usual is None else (int, float, type(usual))
                if not isinstance(value, kinds) or isinstance(value, str) != isinstance(usual, str):
                    raise ValueError(f"{name} is {value!r}")
        chosen = progress.phase == "select" and progress.best_epoch is not None
        best = load_state(folder.best_checkpoint)[0] if chosen else None
        folder.keep_metrics(progress.lines, sha256)
        return Checkpoint(progress, tensors, best, folder.metrics(), str(folder.path))

    def on_trial(self, pilot: Pilot) -> None:
        """Write what the pilot has done so far."""
        self.folder.write_pilot(vars(pilot))

    def on_best(self, tensors: Mapping[str, Tensor], epoch: int, phase: str) -> None:
        """Write the model that stands so far."""
        save_state(self.folder.best_checkpoint, tensors, {"epoch": epoch, "phase": phase})

    def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:  # noqa: ARG002
        """Write the line of an epoch."""
        self.folder.append_metrics(record)

    def on_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write what the next epoch depends on; only now does the last epoch count."""
        values = {**vars(checkpoint.progress), "metrics_sha256": self.folder.metrics_sha256()}
        save_state(self.folder.last_checkpoint, checkpoint.tensors, values)

    def on_end(self, result: Result) -> None:
        """Write vectors, figures and the scores of single users.

        The figures come last, and former ones leave first: what is stopped in between is an unfinished run.
        """
        folder, train, vectors = self.folder, result.train, result.vectors
        folder.remove_result()
        if vectors is not None and result.fold_in is not None:
            parts = ("train", folder.joined(result.split)) if result.refitted else ("train",)
            goes_with = checksum_of(vectors.users, vectors.items)
            replace(result.fold_in, trained_on=parts, goes_with=goes_with).save(folder.path / "fold_in")
            best = folder.best_checkpoint
            write_embeddings(
                folder.path / "embeddings",
                user_ids=train.users,
                user_vectors=vectors.users,
                user_degrees=train.user_degrees(),
                item_ids=train.items,
                item_vectors=vectors.items,
                item_degrees=train.item_degrees(),
                checkpoint=checksum_in(best) if best.exists() else None,
            )
        values = {"run": str(folder.path), **result.values}
        folder.write_result(values, raw_scores(result.evaluation, train.users))


def fit_run(
    folder: RunFolder,
    data: TrainingData | None = None,
    *,
    callbacks: Iterable[object] = (),
    processes: Processes | None = None,
) -> Result:
    """Train into a run folder, from its last checkpoint if it has one.

    Args:
        folder: the run folder.
        data: what it was made with; read from the folder if ``None``.
        callbacks: see :mod:`gclrec.training.callbacks`.
        processes: see :func:`~gclrec.training.fit.fit`.

    Raises:
        InputError: a file of the folder is damaged, another process trains there, or the settings do not
            suit the data.
    """
    with folder.held():
        data = TrainingData.read(folder) if data is None else data
        recorder = RunRecorder(folder)
        more = [TensorBoard(folder.path / "tensorboard")] if data.config.tensorboard else []
        checkpoint = recorder.checkpoint()
        start, former = data.start, data.config.start_from
        if former is not None and start is None and (checkpoint is None or data.config.refit):
            start = WarmStart.read(former, data.config)
        result = fit(
            data.config,
            data.split,
            attributes=data.attributes,
            exposed=data.exposed,
            callbacks=[recorder, *more, *callbacks],
            resume=checkpoint,
            start=start,
            pilot=pilot_of(folder),
            processes=processes,
        )
        return replace(result, last=None)  # the folder has it: twice the model, for the optimiser


def save_run(folder: RunFolder, result: Result) -> None:
    """Write a training that was made in memory into a run folder, as if it had been made there."""
    recorder = RunRecorder(folder)
    folder.write_metrics(result.history)
    if result.pilot is not None:
        recorder.on_trial(result.pilot)
    if result.best is not None:
        phase = "refit" if result.refitted else "select"
        epoch = result.epoch if result.epoch is not None else 0
        recorder.on_best(result.best, epoch, phase)
    if result.last is not None:
        recorder.on_checkpoint(result.last)
    recorder.on_end(result)


def creating_run(path: Path, data: TrainingData) -> AbstractContextManager[RunFolder]:
    """Make the folder of a run with its settings, split and attributes; see :meth:`RunFolder.creating`."""
    return RunFolder.creating(path, data.config.to_dict(), data.split, data.exposed, data.tables)


def continued_data(folder: RunFolder, epochs: int | None = None) -> TrainingData:
    """Return what a run goes on with: the content of its folder, with more epochs if asked.

    Raises:
        InputError: the number of epochs cannot change in this run.
    """
    data = TrainingData.read(folder)
    config = data.config
    if epochs is None or epochs == config.epochs:
        return data
    if config.steps is not None:
        raise InputError("--resume: --epochs cannot change in a run with --steps")
    if config.refit:
        raise InputError("--resume: --epochs cannot change in a run with --refit")
    if config.schedule != "constant":
        raise InputError(
            f"--resume: --epochs cannot change, since --schedule {config.schedule} has run towards it"
        )
    config = validate(replace(config, epochs=epochs))
    folder.write_settings(config.to_dict())
    return replace(data, config=config)
