"""A whole run in memory: train, choose the best epoch on validation, maybe refit, read the test once."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from gclrec.baselines import BASELINES, Scorer
from gclrec.common.errors import DivergenceError, InputError, InputWarning, NoNegativesError
from gclrec.common.memory import keep_freed_memory
from gclrec.data.interactions import Interactions
from gclrec.data.schema import Attributes
from gclrec.data.splits import Split
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.settings.budget import budgeted
from gclrec.settings.config import TrainConfig
from gclrec.settings.validation import naming_flags
from gclrec.training.callbacks import Callbacks, Checkpoint, Pilot, Progress, Selection, StopTraining
from gclrec.training.distributed import Processes
from gclrec.training.model import Model
from gclrec.training.pilot import chosen, run_pilot
from gclrec.training.results import (
    Result,
    finished,
    peak_rss_mb,
    ranked_of,
    shape_of,
    validated,
    validation_record,
    warn_of_collapse,
    warn_of_hidden,
)
from gclrec.training.trainer import Trainer, new_trainer
from gclrec.training.warm_start import WarmStart

_T = TypeVar("_T")


def fit(
    config: TrainConfig,
    split: Split,
    *,
    attributes: Attributes | None = None,
    exposed: Interactions | None = None,
    callbacks: Iterable[object] = (),
    resume: Checkpoint | None = None,
    start: WarmStart | None = None,
    pilot: Pilot | None = None,
    processes: Processes | None = None,
) -> Result:
    """Train until done and read the test part once; nothing is read from disk or written to it.

    The best epoch is the one with the highest validation figure ``config.select``. With ``config.refit`` the
    model is then trained anew on training and validation pairs for as many epochs. Where there is nothing to
    validate on, the last epoch is kept. With ``config.baseline`` a baseline is fitted instead. With
    ``config.pilot`` a recipe is chosen first.

    Args:
        config: the settings.
        split: what is trained, validated and tested on.
        attributes: of users and items, for settings that use them.
        exposed: pairs that were shown and not clicked, for ``exposed`` negatives.
        callbacks: see :mod:`gclrec.training.callbacks`.
        resume: where to go on; a baseline starts anew.
        start: the run whose encoder to begin with, each phase anew.
        pilot: what the pilot of the run has done already.
        processes: those that share the embedding dimensions; this is the first, the others :func:`assist`.

    Raises:
        InputError: the settings do not suit the data, or ``resume`` does not suit the settings.
    """
    keep_freed_memory()
    config = budgeted(config, len(split.train))
    events = Callbacks(callbacks)
    if config.pilot:
        if pilot is None or pilot.recipe is None:
            pilot = run_pilot(config, split, events, pilot, attributes=attributes, exposed=exposed)
        config = chosen(config, pilot)
    if config.baseline is not None:
        result = _fit_baseline(config, split, attributes, events)
    else:
        training = _Training(config, split, attributes, exposed, events, resume, start, processes)
        result = training.finish(training.model())
    if pilot is not None:
        result = replace(result, pilot=pilot, seconds=result.seconds + pilot.seconds)
    events.call("on_end", result)
    return result


def assist(
    config: TrainConfig,
    split: Split,
    processes: Processes,
    *,
    exposed: Interactions | None = None,
    start: WarmStart | None = None,
) -> None:
    """Train along with the first of several processes, which calls :func:`fit`; arguments are as there."""
    keep_freed_memory()
    config = budgeted(config, len(split.train))
    _Training(config, split, None, exposed, Callbacks(), None, start, processes).model()


class _Training:
    """The phases of one run: select, maybe refit, test."""

    def __init__(
        self,
        config: TrainConfig,
        split: Split,
        attributes: Attributes | None,
        exposed: Interactions | None,
        events: Callbacks,
        resume: Checkpoint | None,
        start: WarmStart | None,
        processes: Processes | None,
    ) -> None:
        self.processes = processes
        if processes is not None:  # the first one has the tensors, and hands them out
            progress = processes.share(lambda: None if resume is None else resume.progress)
            if progress is not None and resume is None:
                resume = Checkpoint(progress, {}, {}, ())
        self.config, self.split, self.events = config, split, events
        self.ranked = ranked_of(split, "valid", config)
        self.given: dict[str, Any] = {"attributes": attributes, "exposed": exposed, "start": start}
        self.given["processes"] = processes
        self.progress = Progress() if resume is None else replace(resume.progress)
        self.history = [] if resume is None else list(resume.history)
        self.best = None if resume is None else resume.best
        self.last = resume
        progress = self.progress
        self.selection = Selection(config.patience, progress.best_epoch, progress.best_value, progress.stale)
        self.stopped = False

    def model(self) -> Model | None:
        """Go through the phases that are left; return the model, of several processes in the first one."""
        trainer = self._start()
        if self.progress.phase == "select":
            self._select(trainer)
            if trainer.model.scoring.chooses and self.selection.value is not None:
                self._settle(trainer.whole())
            if self.config.refit and len(self.split.valid):
                trainer = self._refit_trainer(trainer)
        if self.progress.phase == "refit":
            self._refit(trainer)
        return trainer.whole()

    def _refit_trainer(self, selected: Trainer) -> Trainer:
        """Begin the refit and return its trainer, or that of the selection if nothing is left to train on."""
        try:
            trainer = new_trainer(self.config, self.split.refit().train, **self.given)
        except NoNegativesError as error:
            message = f"refit: skipped, with the validation pairs {error}; the selected model is kept"
            warnings.warn(message, InputWarning, stacklevel=3)
            return selected
        self.progress = replace(self.progress, phase="refit", epoch=0)
        trainer.model.load_scoring(self._best())
        return trainer

    def _start(self) -> Trainer:
        """Return a trainer where the checkpoint left it, or a fresh one."""
        refit = self.progress.phase == "refit"
        pairs = self.split.refit().train if refit else self.split.train
        try:
            trainer = new_trainer(self.config, pairs, **self.given)
            if self.last is not None:
                trainer.load_state(self.last.tensors)
        except (ValueError, RuntimeError, KeyError) as error:
            where = f"{self.last.source}: " if self.last is not None and self.last.source else ""
            raise InputError(f"{where}{' '.join(str(error).split())}") from error
        return trainer

    def _select(self, trainer: Trainer) -> None:
        config, progress, valid = self.config, self.progress, self.split.valid
        self.events.call("on_phase_start", "select", progress.epoch + 1, config.rounds)
        self.stopped = False
        while progress.epoch < config.rounds and not (self.selection.exhausted or self.stopped):
            record = self._train_epoch(trainer)
            due = progress.epoch % (config.eval_every or 1) == 0 or progress.epoch == config.rounds
            if due and len(valid):
                self._validate(trainer.whole(), record)
            self._close_epoch(trainer, record)
        self._warn_if_early()
        if self.selection.epoch is None:
            self.selection.epoch = progress.best_epoch = progress.epoch
            self._keep(trainer.whole())

    def _warn_if_early(self) -> None:
        """Issue an :class:`~gclrec.InputWarning` if the best epoch is among the first tenth."""
        best, trained, name = self.selection.epoch, self.progress.epoch, f"valid/{self.config.selected}"
        last = next((line[name] for line in reversed(self.history) if name in line), None)
        if best is None or 10 * best > trained or last is None or last >= (self.selection.value or 0.0):
            return
        found = f"validation {self.config.selected} is best at {best} of {trained}, and falls from there"
        warnings.warn(f"{found}; try a smaller --learning-rate", InputWarning, stacklevel=4)

    def _measured(self, model: Model | None) -> tuple[dict[str, float], dict[str, float], int]:
        """Return validation figures, geometry and length of the vectors."""
        assert model is not None
        embeddings, figures = validated(model, self.split, self.config)
        further = model.scoring.further
        shape = shape_of(embeddings, self.split.train, further)
        return figures, shape, embeddings.users.shape[1] - further

    def _shared(self, make: Callable[[], _T]) -> _T:
        """Return what the first of several processes makes."""
        return make() if self.processes is None else self.processes.share(make)

    def _validate(self, model: Model | None, record: dict[str, Any]) -> None:
        progress = self.progress
        began = time.perf_counter()
        figures, shape, dim = self._shared(lambda: self._measured(model))
        record["eval_seconds"] = time.perf_counter() - began
        record |= figures
        record |= {f"geometry/{name}": value for name, value in shape.items()}
        if not progress.warned:
            progress.warned = warn_of_collapse(shape, dim, f"epoch {progress.epoch}")
        if self.selection.update(figures[f"valid/{self.config.selected}"], progress.epoch):
            self._keep(model)

    def _settle(self, model: Model | None) -> None:
        """Choose the exponent of the best epoch's score once more, on all users that validations rank."""
        if model is None:
            return
        began = time.perf_counter()
        model.load(self._best())
        model.choose_scoring(self.ranked, self.config.selected, settle=True)
        self._keep(model, self.selection.epoch)
        self.progress.settle_seconds = time.perf_counter() - began

    def _refit(self, trainer: Trainer) -> None:
        progress, epochs = self.progress, self.selection.epoch or self.config.rounds
        self.events.call("on_phase_start", "refit", progress.epoch + 1, epochs)
        self.stopped = False
        while progress.epoch < epochs and not self.stopped:
            self._close_epoch(trainer, self._train_epoch(trainer))
        self._keep(trainer.whole())

    def _train_epoch(self, trainer: Trainer) -> dict[str, Any]:
        progress, events = self.progress, self.events
        began = time.perf_counter()
        on_batch = partial(events.call, "on_batch_end") if events.wants("on_batch_end") else None
        try:
            losses = trainer.run_epoch(progress.epoch + 1, on_batch)
        except FloatingPointError as error:
            raise DivergenceError(f"epoch {progress.epoch + 1}: {error}") from error
        progress.epoch += 1
        return {
            "phase": progress.phase,
            "epoch": progress.epoch,
            **{f"loss/{name}": value for name, value in losses.items()},
            "train_seconds": time.perf_counter() - began,
            "eval_seconds": 0.0,
            **{f"temperature/{k}": value for k, value in trainer.model.objective.temperatures().items()},
        }

    def _close_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Report the epoch, then hand out the checkpoint that makes it count."""
        record["peak_rss_mb"] = peak_rss_mb()
        self.history.append(record)
        progress, chosen = self.progress, self.selection
        progress.best_epoch, progress.best_value, progress.stale = chosen.epoch, chosen.value, chosen.stale
        progress.lines = len(self.history)
        try:
            self.events.call("on_epoch_end", record, chosen.epoch)
        except StopTraining:
            self.stopped = True
        self.stopped = self._shared(lambda: self.stopped)
        self.last = Checkpoint(replace(progress), trainer.state(), self.best, self.history)
        self.events.call("on_checkpoint", self.last)

    def _keep(self, model: Model | None, epoch: int | None = None) -> None:
        """Keep a copy of the model, that of the current epoch if none is named, as the one to be tested."""
        if model is None:
            self.best = {}
            return
        self.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.events.call("on_best", self.best, epoch or self.progress.epoch, self.progress.phase)

    def _best(self) -> Mapping[str, Tensor]:
        assert self.best is not None
        return self.best

    def finish(self, model: Model | None) -> Result:
        """Test the model that was kept."""
        assert model is not None
        model.load(self._best())
        embeddings, further = model.embeddings(), model.scoring.further
        result = finished(
            self.config,
            self.split,
            embeddings,
            self.history,
            refitted=self.progress.phase == "refit",
            further=further,
            further_seconds=self.progress.settle_seconds,
            epoch=self.selection.epoch,
            validated=self.selection.value is not None,
            exponent=float(model.scoring.exponent) if model.scoring.calibrates else None,
            model=model,
            best=self.best,
            last=self.last,
        )
        if self.config.attributes != "none":
            warn_of_hidden(result.evaluation, self.config)
        if not self.progress.warned:
            warn_of_collapse(result.geometry, embeddings.users.shape[1] - further, "at the end")
        return result


def _fit_baseline(
    config: TrainConfig, split: Split, attributes: Attributes | None, events: Callbacks
) -> Result:
    """Fit the baseline of the settings on the CPU, validate it, maybe refit it; a fit counts as an epoch."""
    history: list[dict[str, Any]] = []

    def fitted_to(split: Split, phase: str) -> Scorer:
        events.call("on_phase_start", phase, 1, 1)
        began = time.perf_counter()
        scorer = fitted(config, split.train, attributes)
        seconds = {"train_seconds": time.perf_counter() - began, "eval_seconds": 0.0}
        record: dict[str, Any] = {"phase": phase, "epoch": 1, **seconds}
        if len(split.valid):
            began = time.perf_counter()
            record |= validation_record(scorer, split, config)
            if scorer.vectors is not None:
                shape = shape_of(scorer.vectors, split.train)
                record |= {f"geometry/{name}": value for name, value in shape.items()}
            record["eval_seconds"] = time.perf_counter() - began
        record["peak_rss_mb"] = peak_rss_mb()
        history.append(record)
        with contextlib.suppress(StopTraining):
            events.call("on_epoch_end", record, 1)
        return scorer

    scorer = fitted_to(split, "select")
    refit = config.refit and len(split.valid) > 0
    if refit:
        scorer = fitted_to(split.refit(), "refit")
    return finished(config, split, scorer, history, refitted=refit, epoch=1, validated=len(split.valid) > 0)


def fitted(config: TrainConfig, train: Interactions, attributes: Attributes | None = None) -> Scorer:
    """Return the baseline of the settings, fitted to some pairs.

    Args:
        config: the settings; ``baseline`` is set.
        train: the pairs.
        attributes: for the baselines that need those of items.

    Raises:
        InputError: there is no pair to fit it to, or it needs attributes that are not there.
    """
    if len(train) == 0:
        raise InputError(f"{config.baseline}: there are no training pairs to fit it to")
    entry = BASELINES[str(config.baseline)]
    graph = BipartiteGraph.from_interactions(train)
    tables = []
    if entry.attributes_of is not None:
        tables = [getattr(attributes, entry.attributes_of, None)]
        if tables[0] is None:
            side = entry.attributes_of.removesuffix("s")
            raise InputError(f"{config.baseline}: there are no {side} attributes to fit it to")
    with naming_flags(entry.declared):
        return entry.fit(graph, *tables, **config.arguments("baseline"))
