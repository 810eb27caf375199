"""How long a run will take on this machine and how much memory: measured on a few steps before it starts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from gclrec.baselines import Scorer
from gclrec.common.errors import InputError
from gclrec.common.memory import available_bytes, keep_freed_memory, resident_bytes
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.curve import MOST_USERS
from gclrec.evaluation.evaluator import RANKED
from gclrec.evaluation.ranking import CPU_SCORES
from gclrec.settings.budget import BATCH_SIZE, budgeted, num_steps, replaced
from gclrec.settings.config import TrainConfig
from gclrec.training.fit import fitted
from gclrec.training.pilot import PILOT_PAIRS, of_some_users, recipes_on, rounds_of, run_steps, trial_size
from gclrec.training.prepare import TrainingData
from gclrec.training.results import TABLE_USERS, evaluate_on, peak_rss_mb, shape_of
from gclrec.training.trainer import Trainer, new_trainer

WORTH = 300_000
"""Training pairs from which on `gclrec train` prints an estimate; smaller runs start at once."""

_STEPS = 4  # measured steps; the first one also builds what later ones reuse
_USERS = 1024  # ranked to measure the time of a user
_PAIRS = 200_000  # pairs that a baseline is fitted to, to measure it
_EXPONENTS = 5  # exponents that a calibration compares on each of its two samples
_LISTS = 500  # bytes that the list of a test user and its figures take
_TABLE = 1000  # bytes that a user takes in the table of single users
_KNOWN = 40  # bytes that a known pair takes while the lists of its user are made
_WRITTEN = 4e8  # bytes of a checkpoint that are written in a second
_REPORT = 8e7  # bytes that the page of a run takes to make


@dataclass(frozen=True)
class CostEstimate:
    """Predicted cost of a run.

    Args:
        seconds: by part: ``pilot``, ``train``, ``validate``, ``refit``, ``test``.
        peak_bytes: the largest resident memory of the process.
        available: bytes that the process may use, see :func:`~gclrec.common.memory.available_bytes`.
        steps: optimiser steps; 0 for a baseline.
    """

    seconds: Mapping[str, float]
    peak_bytes: float
    available: float
    steps: int = 0

    @property
    def total(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())

    @property
    def fits(self) -> bool:
        """Whether the memory suffices."""
        return self.peak_bytes <= self.available

    @property
    def values(self) -> dict[str, Any]:
        """The estimate as JSON has it; memory in MiB, ``None`` where it is not known."""
        free = None if math.isinf(self.available) else self.available / 2**20
        memory = {"peak_mb": self.peak_bytes / 2**20, "available_mb": free, "fits": self.fits}
        return {"seconds": self.total, "parts": dict(self.seconds), "steps": self.steps, **memory}

    def __str__(self) -> str:
        return f"about {spoken_time(self.total)}, {spoken_bytes(self.peak_bytes)}"


def spoken_time(seconds: float) -> str:
    """Return a time as people say it.

    Example:
        >>> [spoken_time(seconds) for seconds in (0.4, 75, 540, 9000, 200_000)]
        ['1 second', '75 seconds', '9 minutes', '2.5 hours', '56 hours']
    """
    for unit, size, least in (("hour", 3600.0, 5400.0), ("minute", 60.0, 100.0)):
        if seconds >= least:
            count = seconds / size
            return f"{count:.2g} {unit}s" if count < 10 else f"{count:.0f} {unit}s"
    count = max(1, round(seconds))
    return f"{count} second{'' if count == 1 else 's'}"


def spoken_bytes(count: float) -> str:
    """Return a size in GiB.

    Example:
        >>> spoken_bytes(3.3e9)
        '3.1 GiB'
    """
    return f"{count / 2**30:.1f} GiB"


def estimated(
    data: TrainingData, *, force: bool = False, rankings: Mapping[str, float] | None = None
) -> CostEstimate:
    """Predict what :func:`~gclrec.training.fit.fit` will take, from a few steps and rankings on this machine.

    The steps are those of a trainer that is thrown away, so the run itself is what it would have been. What
    is certain to be needed is compared with the memory first.

    A run with a pilot is taken to choose the recipe that takes longest.

    Args:
        data: what the run is trained on.
        force: measure even where the memory cannot suffice.
        rankings: seconds of ``validate`` and ``test``, where they are known.

    Raises:
        InputError: the memory does not suffice; says how much is needed and what to change.
    """
    if data.config.pilot:
        return _of_pilot(data, force=force)
    keep_freed_memory()
    config = budgeted(data.config, len(data.split.train))
    available = available_bytes()
    least = resident_bytes() + _certain_bytes(config, data.split)
    if least > available and not force:
        raise _too_large(config, least, available)
    found = _of_baseline(data, config) if config.baseline else _of_model(data, config, rankings)
    if not (found.fits or force):
        raise _too_large(config, found.peak_bytes, available)
    return found


def _of_pilot(data: TrainingData, *, force: bool) -> CostEstimate:
    train = data.split.train
    whole_budget = budgeted(data.config, len(train))
    compared, _ = recipes_on(whole_budget, len(train), train.num_users, train.num_items)
    recipes = [replace(data, config=recipe) for recipe in compared.values()]
    found: list[CostEstimate] = []
    for recipe in recipes:  # their vectors are of one length, so ranking with them takes as long
        found.append(estimated(recipe, force=force, rankings=found[0].seconds if found else None))
    longest = max(found, key=lambda each: each.total)
    num_pairs = len(train)
    part = min(1.0, PILOT_PAIRS / max(num_pairs, 1))
    whole = []  # seconds of the steps that trials of a recipe have their share of
    for recipe, each in zip(recipes, found, strict=True):
        config = budgeted(recipe.config, num_pairs)
        steps = run_steps(config, num_pairs, part) / num_steps(config, num_pairs)
        size = trial_size(config, part) / (config.batch_size or BATCH_SIZE)
        whole.append(each.seconds["train"] * steps * size)
    rounds = rounds_of(data.config, len(recipes), part)
    shares = [max(whole) if count == 1 else sum(whole) / count for count in rounds]
    return replace(
        longest,
        seconds={"pilot": data.config.pilot * sum(shares) / max(len(rounds), 1), **longest.seconds},
        peak_bytes=max(each.peak_bytes for each in found),
    )


def _too_large(config: TrainConfig, needed: float, available: float) -> InputError:
    change = "give `k_core` or `train_fraction` to take less data"
    if config.baseline is None:
        change = (
            f"give a smaller `dim` than {config.dim}, or take less data with `k_core` or `train_fraction`"
        )
    found = f"the run needs about {spoken_bytes(needed)} of memory and {spoken_bytes(available)} are free"
    return InputError(f"{found}; {change}")


def _certain_bytes(config: TrainConfig, split: Split) -> float:
    """Return what every run with these settings allocates: the sorted edges, and tables of vectors."""
    train = split.train
    edges = 24.0 * len(train)
    if config.baseline is not None:
        return edges
    # The parameters, their gradient, two moments of Adam, the final vectors and their gradient.
    return edges + 24.0 * float(config.dim) * (train.num_users + train.num_items)


def _of_model(data: TrainingData, config: TrainConfig, rankings: Mapping[str, float] | None) -> CostEstimate:
    given: dict[str, Any] = {"attributes": data.attributes, "exposed": data.exposed}
    quick, directions = config, 0.0
    if config.init == "spectral" and len(data.split.train) > PILOT_PAIRS:
        quick, directions = replaced(config, {"init": "normal"}), _directions(config, data.split, given)
    began = time.perf_counter()
    trainer = new_trainer(quick, data.split.train, **given)
    built = directions + time.perf_counter() - began
    steps = trainer.steps_before(config.rounds + 1)
    first, each = _step_seconds(trainer, min(_STEPS, steps))
    state = sum(tensor.nbytes for tensor in trainer.state().values())
    split, rounds = data.split, config.rounds
    valid_users, test_users = (_ranked(split, part, config) for part in ("valid", "test"))
    write = state / _WRITTEN
    train = built + first + each * (steps - 1) + rounds * write
    if rankings is None:
        ranked = {"validate": 0.0, "test": 0.0}
        if valid_users:
            ranked["validate"] = _validations(trainer, split, config, valid_users)
        if test_users:
            ranked["test"] = _evaluation(trainer.model.embeddings(), split, "test", config).at(test_users)
    else:
        ranked = {part: rankings[part] for part in ("validate", "test")}
    parameters = sum(p.nbytes for p in trainer.model.parameters())
    peak = max(
        peak_rss_mb() * 2**20, resident_bytes() + parameters + _REPORT + _later_bytes(split, test_users)
    )
    seconds = {"train": train, **ranked}
    if config.refit and valid_users:
        seconds["refit"] = train
    return CostEstimate(seconds, peak, available_bytes(), steps)


def _directions(config: TrainConfig, split: Split, given: Mapping[str, Any]) -> float:
    """Return the seconds of a start from singular directions, which take a few products of all edges."""
    few = of_some_users(split, numbered_anew=all(each is None for each in given.values()))
    began = time.perf_counter()
    new_trainer(config, few.train, **given)
    return (time.perf_counter() - began) * len(split.train) / len(few.train)


def _later_bytes(split: Split, test_users: int) -> float:
    """Return what the test takes beside the rankings: lists, figures, and the known items of some users."""
    share = min(test_users, RANKED) / max(split.train.num_users, 1)
    return _LISTS * test_users + _TABLE * min(test_users, TABLE_USERS) + _KNOWN * share * len(split.train)


def _step_seconds(trainer: Trainer, count: int) -> tuple[float, float]:
    """Return the seconds of the first step, and the median of the later ones."""
    taken: list[float] = []
    trainer.model.train()
    views = trainer.views()
    trainer.model.objective.begin_epoch(1, trainer.model.encoder, trainer.model.graph)
    began = time.perf_counter()
    for batch in trainer.batches.between(0, count):
        trainer.step(batch, next(views))
        taken.append(time.perf_counter() - began)
        began = time.perf_counter()
    return taken[0], median(taken[1:] or taken)


@dataclass(frozen=True)
class _Line:
    """Seconds as a function of a number of rankings of a user."""

    fixed: float
    each: float

    @classmethod
    def of(cls, split: Split, part: str, rank: Callable[[Split], int]) -> _Line:
        """Time a function that ranks the users of a part and returns how many rankings it made.

        Two samples of the users are ranked; the larger one fills a block of scores, so that as much memory is
        allocated as in the run. A call before that allocates what later ones reuse.
        """
        most = max(_USERS, min(CPU_SCORES // split.train.num_items, 8192))
        samples = [split.sampled(part, users) for users in (most // 4, most)]
        rank(samples[0])
        return cls.through([_timed(rank, few) for few in samples])

    @classmethod
    def through(cls, points: list[tuple[float, int]]) -> _Line:
        """Return the line through two points: seconds and counts, the smaller count first."""
        (less, few), (more, many) = points
        each = max(more - less, 0.0) / max(many - few, 1)
        return cls(max(more - each * many, 0.0), each)

    def at(self, count: int) -> float:
        return self.fixed + self.each * count


def _timed(function: Callable[[Any], int], argument: Any) -> tuple[float, int]:
    """Return the seconds of a call and what it returned."""
    began = time.perf_counter()
    found = function(argument)
    return time.perf_counter() - began, found


def _evaluation(ranker: Embeddings | Scorer, split: Split, part: str, config: TrainConfig) -> _Line:
    """Return the seconds by users of an evaluation; that of the test makes the table of single users too."""

    def rank(few: Split) -> int:
        evaluate_on(ranker, few, part, config, per_user=part == "test")
        return _num_users(few, part)

    return _Line.of(split, part, rank)


def _validations(trainer: Trainer, split: Split, config: TrainConfig, users: int) -> float:
    """Return the seconds of all validations of so many users, with the choices of an exponent."""
    model = trainer.model
    began = time.perf_counter()
    embeddings = model.embeddings()
    shape_of(embeddings, split.train)
    once = time.perf_counter() - began + _evaluation(embeddings, split, "valid", config).at(users)
    last = 0.0
    if model.scoring.chooses:

        def rank(few: Split) -> int:
            model.choose_scoring(few, config.selected)
            return _calibrated(_num_users(few, "valid"))

        choice = _Line.of(split, "valid", rank)
        once += choice.at(_calibrated(users))
        last = choice.at(3 * users) if users > MOST_USERS else 0.0
    return once * -(-config.rounds // (config.eval_every or 1)) + last


def _calibrated(users: int) -> int:
    """Return how many rankings a choice of the exponent makes: several exponents in two samples of users."""
    return _EXPONENTS * (min(users, MOST_USERS // 4) + min(users, MOST_USERS))


def _num_users(split: Split, part: str) -> int:
    return int(np.count_nonzero(getattr(split, part).user_degrees()))


def _ranked(split: Split, part: str, config: TrainConfig) -> int:
    """Return how many users a ranking of a part has."""
    users = _num_users(split, part)
    return min(users, config.ranked_users(part, split.train.num_items) or users)


def _of_baseline(data: TrainingData, config: TrainConfig) -> CostEstimate:
    """Fit the baseline to the pairs of some users, twice; time and memory grow with the number of users."""
    split = data.split
    train = split.train
    order = np.random.default_rng(0).random(train.num_users)
    kept: list[Scorer] = []

    def fit_to(pairs: int) -> int:
        few = train.select(order[train.user] < pairs / len(train))
        few = few if len(few) else train
        kept[:] = [fitted(config, few, data.attributes)]
        return len(few)

    before = resident_bytes()
    points = [_timed(fit_to, pairs) for pairs in (min(_PAIRS, len(train)) // 4, min(_PAIRS, len(train)))]
    fit = _Line.through(points).at(len(train))
    grown = (resident_bytes() - before) * len(train) / points[1][1]
    seconds = {"train": fit, "validate": 0.0, "test": 0.0}
    (scorer,) = kept
    counts = {part: _ranked(split, part, config) for part in ("valid", "test")}
    for part, name in (("valid", "validate"), ("test", "test")):
        if counts[part]:
            seconds[name] = _evaluation(scorer, split, part, config).at(counts[part])
    if config.refit and counts["valid"]:
        seconds["refit"] = fit
    peak = before + grown + _REPORT + _later_bytes(split, counts["test"])
    peak = max(peak_rss_mb() * 2**20, peak)
    return CostEstimate(seconds, peak, available_bytes())
