"""A search for settings by validation: trials that are kept, cut short where hopeless, and gone on with."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import polars as pl
import tomli_w

from gclrec.common.declaration import Axis, Options
from gclrec.common.errors import InputError
from gclrec.common.files import read_json, write_atomically
from gclrec.data.splits import Split
from gclrec.experiments.comparison import same_settings
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig, flag
from gclrec.settings.validation import validate
from gclrec.training.callbacks import Callbacks
from gclrec.training.fit import fitted, new_trainer, validated
from gclrec.training.prepare import TrainingData, config_of
from gclrec.training.results import validation_record

if TYPE_CHECKING:
    import optuna

Curve: TypeAlias = "Callable[[TrainConfig, Callbacks], Iterator[Mapping[str, Any]]]"
"""Trains with some settings and yields a record after each epoch, with figures where it was validated."""

_STUDY = "gclrec"
_RANDOM_TRIALS = 10  # before the sampler learns from what it has seen
_COMPLETE_TRIALS = 5  # before any is cut short
_BEST = 0.3  # share of the complete trials that are the best, for importance


@dataclass(frozen=True)
class Tuning:
    """What is searched.

    Args:
        config: the settings to start from; what is not in the space stays so.
        space: where to look for each of the others.
        prune_after: epochs that every trial gets, however poor it looks.
    """

    config: TrainConfig
    space: Mapping[str, Axis]
    prune_after: int

    @property
    def start(self) -> dict[str, Any]:
        """The values of the space that are there before the search; the first trial has them."""
        values = {name: getattr(self.config, name) for name in self.space}
        return {name: value for name, value in values.items() if self.space[name].holds(value)}


@dataclass(frozen=True)
class Trial:
    """One trial that is over.

    Args:
        number: from 1 on; the first has the settings of the start.
        state: ``complete``, ``pruned`` or ``diverged``.
        value: the best validation figure, if there is any.
        epoch: where that was.
        epochs: how many it was trained for.
        seconds: how long that took.
        settings: what it was tried with.
    """

    number: int
    state: str
    value: float | None
    epoch: int | None
    epochs: int
    seconds: float
    settings: Mapping[str, Any]


class Audience(Protocol):
    """Is told how a search goes."""

    def trial(self, number: int, count: int, settings: Mapping[str, Any]) -> object:
        """Hear which trial comes next; return a callback for it."""


class TuningFolder:
    """A folder with the study and what it is about.

    ================  ==========================================================
    ``start/``        settings, split and attributes, as in a run folder
    ``tuning.json``   the space
    ``study.jsonl``   Optuna's journal of the trials
    ``trials.csv``    one row a trial
    ``best.toml``     settings of the best trial
    ================  ==========================================================
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def start(self) -> RunFolder:
        """The folder that the trials take settings, split and attributes from."""
        return RunFolder(self.path / "start")

    def begun(self, tuning: Tuning) -> bool:
        """Return whether this search has begun here.

        Raises:
            InputError: the folder holds something else, or a search with other settings.
        """
        if not (self.start.path / "config.toml").is_file():
            if self.path.exists() and any(self.path.iterdir()):
                raise InputError(f"{self.path}: is not empty and holds no tuning; choose another --out")
            return False
        free = {"split"} if tuning.config.split is None else set()
        same_settings(self.path, config_of(self.start), tuning.config, free)
        path = self.path / "tuning.json"
        if path.exists():
            for name, now in _as_json(tuning).items():
                before = read_json(path).get(name)
                if before != now:
                    said = f"{json.dumps(before)}, now {json.dumps(now)} is asked for"
                    raise InputError(f"{self.path}: holds {flag(name)} {said}; choose another --out")
        return True

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from searching here at the same time, where the system can.

        Raises:
            InputError: another process does.
        """
        with (self.path / "study.jsonl").open("a+b") as file:
            if sys.platform != "win32":
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise InputError(f"{self.path}: another process is searching here") from None
            yield

    def study(self, tuning: Tuning) -> optuna.Study:
        """Return the study, with what was left running by a process that is gone marked as failed.

        Raises:
            InputError: Optuna is not installed, or the journal is damaged.
        """
        need_optuna()
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        write_atomically(self.path / "tuning.json", json.dumps(_as_json(tuning), indent=2))
        path = self.path / "study.jsonl"
        _drop_cut_off_line(path)
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=_COMPLETE_TRIALS, n_warmup_steps=tuning.prune_after
        )
        try:
            study = optuna.create_study(
                study_name=_STUDY,
                storage=JournalStorage(JournalFileBackend(str(path))),
                direction="maximize",
                pruner=pruner,
                load_if_exists=True,
            )
            running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({' '.join(str(error).split())})") from error
        for trial in running:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return study

    def write(self, tuning: Tuning, trials: list[Trial]) -> dict[str, Path]:
        """Write the trials and the best settings, as far as there are any; return the files by name."""
        if not trials:
            return {}
        rows = [
            {**{k: v for k, v in vars(trial).items() if k != "settings"}, **trial.settings}
            for trial in trials
        ]
        table = pl.DataFrame(rows, infer_schema_length=None)
        write_atomically(self.path / "trials.csv", table.write_csv())
        files = {"trials": self.path / "trials.csv"}
        best = best_of(trials)
        if best is not None:
            split = config_of(self.start).split
            config = validate(dataclasses.replace(tuning.config, **best.settings, split=split))
            write_atomically(self.path / "best.toml", tomli_w.dumps(config.to_dict()))
            files["best settings"] = self.path / "best.toml"
        return files


def _as_json(tuning: Tuning) -> dict[str, Any]:
    space = {
        name: list(axis.values) if isinstance(axis, Options) else dataclasses.asdict(axis)
        for name, axis in tuning.space.items()
    }
    return {"space": space, "prune_after": tuning.prune_after}


def need_optuna() -> None:
    """Import Optuna and keep it from writing to the terminal.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError('gclrec tune needs an extra: pip install "gclrec[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _drop_cut_off_line(path: Path) -> None:
    """Leave out what a process was writing when it was killed: a last line without an end."""
    content = path.read_bytes() if path.exists() else b"\n"
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)  # in place: the lock is on this very file


def selection_only(split: Split) -> Split:
    """Return the split without its test pairs, so that nothing that is tried can be chosen by them.

    Raises:
        InputError: it has no validation pairs to choose by.
    """
    if len(split.valid) == 0:
        raise InputError(f"split {split.name} leaves no validation pairs, so there is nothing to tune by")
    nothing = np.zeros(len(split.test), dtype=np.bool_)
    return dataclasses.replace(split, test=split.test.select(nothing))


def curve_on(folder: RunFolder) -> Curve:
    """Return what trains on the split of a folder and validates after each epoch; its test part is not used.

    Nothing is written. A baseline is fitted once, which counts as one epoch.

    Args:
        folder: with the split, and the attributes and shown pairs that the settings ask for.

    Raises:
        InputError: there are no validation pairs.
    """
    data = TrainingData.read(folder)
    split = selection_only(data.split)

    def curve(config: TrainConfig, events: Callbacks) -> Iterator[Mapping[str, Any]]:
        if config.baseline is not None:
            events.call("on_phase_start", "select", 1, 1)
            scorer = fitted(config, split.train, data.attributes)
            yield {"epoch": 1} | validation_record(scorer, split, config)
            return
        trainer = new_trainer(config, split.train, attributes=data.attributes, exposed=data.exposed)
        events.call("on_phase_start", "select", 1, config.epochs)
        for epoch in range(1, config.epochs + 1):
            losses = trainer.run_epoch(epoch, lambda *batch: events.call("on_batch_end", *batch))
            record: dict[str, Any] = {"epoch": epoch} | {f"loss/{k}": v for k, v in losses.items()}
            if epoch % config.eval_every == 0 or epoch == config.epochs:
                record |= validated(trainer.model, split, config)[1]
            yield record

    return curve


def run_trials(tuning: Tuning, study: optuna.Study, count: int, curve: Curve, audience: Audience) -> None:
    """Make trials until so many are over, those of before included.

    The settings of a trial depend on the seed and on the trials before it, and on nothing else, so that a
    search that was stopped and gone on with has the same trials as one in one go. A trial that was
    interrupted is marked as failed and made again. The sampler is TPE ([1]); a trial is cut short where its
    best figure so far is below the median, at that epoch, of the trials that came to their end. One whose
    loss is no longer finite counts as cut short.

    Args:
        tuning: what is searched.
        study: where the trials are kept.
        count: of trials that are complete, pruned or diverged.
        curve: trains and validates.
        audience: is told how it goes.

    [1] Bergstra et al., NeurIPS 2011,
    https://papers.nips.cc/paper/2011/hash/86e8f7ab32cfd12577bc2619bc635690-Abstract.html
    """
    import optuna
    from optuna.trial import TrialState

    axes = {name: _distribution(axis) for name, axis in tuning.space.items()}
    while (done := len(_over(study))) < count:
        stream = np.random.SeedSequence([tuning.config.seed, done])
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_RANDOM_TRIALS, seed=int(stream.generate_state(1)[0])
        )
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if done == 0 and not waiting:
            study.enqueue_trial(tuning.start)
        trial = study.ask(axes)
        try:
            state, value = _one(
                tuning, trial, curve, Callbacks([audience.trial(done + 1, count, trial.params)])
            )
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)
            raise
        if state == "complete":
            study.tell(trial, value)
        else:
            study.tell(trial, state=TrialState.PRUNED)


def _one(tuning: Tuning, trial: optuna.Trial, curve: Curve, events: Callbacks) -> tuple[str, float | None]:
    """Make one trial; return how it ended and its best figure."""
    config = validate(dataclasses.replace(tuning.config, **trial.params))
    name = f"valid/{config.selected}"
    last = config.epochs if config.baseline is None else 1
    best: tuple[float, int] | None = None
    state, epochs, stale, began = "complete", 0, 0, time.perf_counter()
    try:
        for record in curve(config, events):
            epochs = record["epoch"]
            if name in record:
                trial.report(record[name], epochs)
                better = best is None or record[name] > best[0]
                best, stale = ((record[name], epochs), 0) if better else (best, stale + 1)
            events.call("on_epoch_end", dict(record), best[1] if best else None)
            if name in record and epochs < last:
                if trial.should_prune():
                    state = "pruned"
                    break
                if 0 < config.patience <= stale:
                    break
    except FloatingPointError:
        state, epochs = "diverged", epochs + 1
    value, epoch = best or (None, None)
    figures = {"state": state, "value": value, "epoch": epoch, "epochs": epochs}
    for key, figure in (figures | {"seconds": time.perf_counter() - began}).items():
        trial.set_user_attr(key, figure)
    return state, value


def _distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(axis, Options):
        return CategoricalDistribution(axis.values)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _over(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def trials_of(study: optuna.Study) -> list[Trial]:
    """Return the trials that are over, in the order in which they were made."""
    return [
        Trial(number, settings=trial.params, **trial.user_attrs)
        for number, trial in enumerate(_over(study), start=1)
    ]


def best_of(trials: list[Trial]) -> Trial | None:
    """Return the complete trial with the highest figure, the earliest of equal ones."""
    whole = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return max(whole, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def importance(study: optuna.Study) -> dict[str, float]:
    """Return how much each setting decides whether a trial is among the best 30 % (PED-ANOVA, [1]).

    The shares sum to 1, the largest first; there are none where fewer than ten trials are complete. With so
    few trials as a search has, a smaller share than 30 % names settings that change nothing.

    [1] Watanabe et al., IJCAI 2023, https://arxiv.org/abs/2304.10255
    """
    import optuna

    whole = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(whole) < _RANDOM_TRIALS or len({trial.value for trial in whole}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_BEST)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
