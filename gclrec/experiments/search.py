"""A search for good settings on validation: trials, of which hopeless ones are pruned."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gclrec.common.declaration import Axis, Options
from gclrec.common.errors import CollapseWarning, DivergenceError, InputError, NothingToTuneError
from gclrec.data.splits import Split
from gclrec.experiments.parallel import Train, Workers
from gclrec.settings.budget import EPOCHS, replaced
from gclrec.settings.config import ROUNDS, TrainConfig
from gclrec.settings.methods import AUTO, METHODS
from gclrec.settings.search_space import search_space
from gclrec.settings.validation import validate
from gclrec.training.callbacks import Callbacks
from gclrec.training.fit import fit
from gclrec.training.prepare import TrainingData

if TYPE_CHECKING:
    import optuna

_RANDOM_TRIALS = 10  # before the sampler learns from the trials so far
_COMPLETE_TRIALS = 5  # before any is pruned
_BEST = 0.3  # share of the complete trials that count as the best, for importance


@dataclass(frozen=True)
class Search:
    """What is searched.

    Args:
        config: the settings to start from; those that are not in the space are held.
        space: where to look for each of the others.
        prune_after: epochs that every trial gets.
        trials: number of trials to make.
        moved: settings of ``config`` that are not those asked for, since the space has them under another
            name: ``edge_drop:0.1`` is ``edge_drop`` with ``aug_p``.
    """

    config: TrainConfig
    space: Mapping[str, Axis]
    prune_after: int
    trials: int = 30
    moved: Mapping[str, Any] = field(default_factory=dict)

    @property
    def start(self) -> dict[str, Any]:
        """The given values of the settings in the space; the first trial has them."""
        values = {name: getattr(self.config, name) for name in self.space}
        return {name: value for name, value in values.items() if self.space[name].holds(value)}

    def to_json(self) -> dict[str, Any]:
        """Return the space as JSON values."""
        space = {
            name: list(axis.values) if isinstance(axis, Options) else dataclasses.asdict(axis)
            for name, axis in self.space.items()
        }
        return {"space": space, "prune_after": self.prune_after}


def make_search(
    config: TrainConfig,
    method: str | None = None,
    *,
    given: Collection[str] = (),
    asked: Sequence[str] = (),
    prune_after: int | None = None,
    trials: int = 30,
) -> Search:
    """Return a search with checked settings; its split has one seed, whatever the best settings are run with.

    Arguments are those of :func:`gclrec.tune`, with all settings in ``config``, the names of those to hold in
    ``given`` and the space in ``asked``.

    Raises:
        InputError: there is nothing to search or to select by, or an argument is out of range.
    """
    split_seed = config.seed if config.split_seed is None else config.split_seed
    config = dataclasses.replace(config, split_seed=split_seed)
    if config.valid_share == 0:
        raise InputError("--valid-share: 0 leaves no validation pairs, and trials are compared on them")
    if config.refit or config.tensorboard:
        name = "--refit" if config.refit else "--tensorboard"
        raise InputError(f"{name}: a trial ends with its validation; give it to gclrec train afterwards")
    if config.pilot:
        recipes = ", ".join(METHODS[AUTO].recipes)
        raise NothingToTuneError(f"--method: {AUTO} chooses a recipe ({recipes}) itself; tune another method")
    aug = config.aug
    config, space = search_space(config, method, given=given, asked=asked)
    moved = {} if config.aug == aug else {"aug": config.aug}
    length = ROUNDS if config.steps else config.epochs or EPOCHS
    after = max(1, length // 4) if prune_after is None else prune_after
    if after < 1:
        raise InputError(f"--prune-after: must be at least 1, got {after}")
    if trials < 1:
        raise InputError(f"--trials: must be at least 1, got {trials}")
    return Search(config, space, after, trials, moved)


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Args:
        number: from 1 on; the first has the settings that were given.
        state: ``complete``, ``pruned`` or ``diverged``.
        value: the best validation figure, if there is any.
        epoch: of that figure.
        epochs: number of epochs that were trained.
        seconds: of training and validation.
        settings: the values of the settings in the space.
    """

    number: int
    state: str
    value: float | None
    epoch: int | None
    epochs: int
    seconds: float
    settings: Mapping[str, Any]


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


def new_study(search: Search, storage: optuna.storages.BaseStorage | None = None) -> optuna.Study:
    """Return the study of a search: the one in the storage, or a new one.

    Args:
        search: what is searched.
        storage: where the trials are kept; in memory if ``None``.
    """
    need_optuna()
    import optuna

    return optuna.create_study(
        study_name="gclrec",
        storage=storage,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=_COMPLETE_TRIALS, n_warmup_steps=search.prune_after
        ),
        load_if_exists=True,
    )


def selection_only(split: Split) -> Split:
    """Return the split without its test pairs, so that nothing can be chosen by them.

    Raises:
        InputError: it has no validation pairs to choose by.
    """
    if len(split.valid) == 0:
        raise InputError(f"split {split.name} leaves no validation pairs, so there is nothing to tune by")
    return dataclasses.replace(split, test=split.test.select(np.zeros(len(split.test), dtype=np.bool_)))


def training_on(data: TrainingData) -> Train:
    """Return a function that trains in memory on training and validation pairs; test pairs are left out.

    Raises:
        InputError: there are no validation pairs, or the settings name a run to start from.
    """
    if data.config.start_from is not None:
        raise InputError("--start-from: trials are compared from starts of their own; leave it out")
    split = selection_only(data.split)

    def train(config: TrainConfig, callbacks: Sequence[object]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)  # such a trial is a poor one
            fit(config, split, attributes=data.attributes, exposed=data.exposed, callbacks=callbacks)

    return train


class Pruning:
    """Callback that reports the figures of a trial to Optuna and ends it where Optuna says so.

    Args:
        trial: the trial.
        config: its settings.
    """

    def __init__(self, trial: optuna.Trial, config: TrainConfig) -> None:
        self.epochs = 0
        self.epoch: int | None = None
        self._trial, self._select = trial, f"valid/{config.selected}"
        known = config.baseline is None and (config.epochs or config.steps)
        self._last = config.rounds if known else 1
        self._values: dict[int, float] = {}

    @property
    def value(self) -> float | None:
        """The figure of the best epoch so far."""
        return None if self.epoch is None else self._values.get(self.epoch)

    def on_phase_start(self, phase: str, epoch: int, epochs: int) -> None:  # noqa: ARG002
        """Note which epoch is the last, which may depend on the data."""
        self._last = epochs

    def on_epoch_end(self, record: Mapping[str, Any], best_epoch: int | None) -> None:
        """Report a validation figure.

        Raises:
            TrialPruned: the best figure so far is below the median of other trials.
        """
        from optuna import TrialPruned

        self.epochs, self.epoch = record["epoch"], best_epoch
        if self._select in record:
            self._values[self.epochs] = record[self._select]
            self._trial.report(record[self._select], self.epochs)
            if self.epochs < self._last and self._trial.should_prune():
                raise TrialPruned


def run_trials(
    search: Search,
    study: optuna.Study,
    train: Train,
    *,
    callbacks: Iterable[object] = (),
    label: str = "",
    workers: Workers | None = None,
) -> None:
    """Make trials until as many as the search asks for are complete, pruned or diverged.

    The settings of a trial depend on the seed and on the trials before it, and on nothing else, so that a
    search that is interrupted and resumed has the same trials as one that is not. An interrupted trial is
    marked as failed and made again. The sampler is TPE ([1]); a trial is pruned where its best figure so far
    is below the median, at that epoch, of the complete trials. One whose loss is not finite any more counts
    as pruned. With several trials at once, those before it are those that have ended, which depends on the
    machine.

    Args:
        search: what is searched.
        study: where the trials are kept.
        train: trains and validates.
        callbacks: see :mod:`gclrec.training.callbacks`; ``on_run_start(number, count, name)`` is called
            before each trial.
        label: before the settings in that name.
        workers: what ``train`` trains in; one trial at a time if ``None``.

    Raises:
        InputError: with ``workers``, some trials failed; the others are kept.

    [1] Bergstra et al., NeurIPS 2011,
    https://papers.nips.cc/paper/2011/hash/86e8f7ab32cfd12577bc2619bc635690-Abstract.html
    """
    from optuna import TrialPruned
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    callbacks = tuple(callbacks)
    lock: contextlib.AbstractContextManager[object]
    lock = contextlib.nullcontext() if workers is None else workers.lock

    def objective(trial: optuna.Trial) -> float:
        with lock:  # the sampler is the study's, and threads share the study
            before = len(_begun(study)) - 1
            stream = np.random.SeedSequence([search.config.seed, before])
            seed = int(stream.generate_state(1)[0])
            study.sampler = TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=seed)
            values = {name: _suggested(trial, name, axis) for name, axis in search.space.items()}
            config = validate(replaced(search.config, values))
            settings = "  ".join(f"{name} {short(value)}" for name, value in values.items())
            name = f"{label}: {settings}" if label else settings
            Callbacks(callbacks).call("on_run_start", before + 1, search.trials, name)
        pruning, state, began = Pruning(trial, config), "complete", time.perf_counter()
        try:
            train(config, [*callbacks, pruning])
        except TrialPruned:
            state = "pruned"
        except DivergenceError:
            state, pruning.epochs = "diverged", pruning.epochs + 1
        figures = {"state": state, "value": pruning.value, "epoch": pruning.epoch, "epochs": pruning.epochs}
        for key, figure in (figures | {"seconds": time.perf_counter() - began}).items():
            trial.set_user_attr(key, figure)
        if state != "complete" or pruning.value is None:
            raise TrialPruned
        return pruning.value

    def one() -> None:
        with lock:  # a trial that waits to be made could otherwise be taken by two threads
            trial = study.ask()
        try:
            value = objective(trial)
        except TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            study.tell(trial, value)

    if not _has_first(study):
        study.enqueue_trial(search.start)
    left = range(len(_finished(study)) + 1, search.trials + 1)
    if workers is None:
        study.optimize(objective, n_trials=len(left))
    else:
        workers.each({f"trial {number}": one for number in left})


def _suggested(trial: optuna.Trial, name: str, axis: Axis) -> Any:
    if isinstance(axis, Options):
        return trial.suggest_categorical(name, axis.values)
    if axis.whole:
        return trial.suggest_int(name, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(name, axis.low, axis.high, log=axis.log)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _has_first(study: optuna.Study) -> bool:
    """Return whether the trial with the settings given is finished or waits to be made."""
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.WAITING)
    return any(
        "fixed_params" in each.system_attrs for each in study.get_trials(deepcopy=False, states=states)
    )


def _begun(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that are finished or being made."""
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return study.get_trials(deepcopy=False, states=states)


def trials_of(study: optuna.Study) -> list[Trial]:
    """Return the finished trials, in the order in which they were made."""
    return [
        Trial(number, settings=trial.params, **trial.user_attrs)
        for number, trial in enumerate(_finished(study), start=1)
    ]


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """Return the complete trial with the highest figure, the earliest of equal ones."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def short(value: object) -> str:
    """Return a value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def importance_of(study: optuna.Study) -> dict[str, float]:
    """Return how much each setting decides whether a trial is among the best 30 % (PED-ANOVA, [1]).

    The shares sum to 1 and come in descending order; there are none with fewer than ten complete trials.
    A smaller share than 30 % would pick out settings without effect when there are so few trials.

    [1] Watanabe et al., IJCAI 2023, https://arxiv.org/abs/2304.10255
    """
    import optuna

    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < _RANDOM_TRIALS or len({trial.value for trial in complete}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_BEST)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
