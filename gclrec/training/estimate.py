"""How long a run will take on this machine and how much memory: measured on a few steps before it starts."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from gclrec.baselines import Scorer
from gclrec.common.errors import InputError
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.scoring import MOST_USERS
from gclrec.settings.budget import budgeted
from gclrec.settings.config import TrainConfig
from gclrec.training.fit import fitted, new_trainer
from gclrec.training.memory import available_bytes, keep_freed_memory, resident_bytes
from gclrec.training.prepare import TrainingData
from gclrec.training.results import evaluate_on, peak_rss_mb, shape_of
from gclrec.training.trainer import Trainer

WORTH = 300_000
"""Training pairs from which on `gclrec train` prints an estimate; smaller runs start at once."""

_STEPS = 4  # measured steps; the first one also builds what later ones reuse
_USERS = 512  # ranked to measure the time of a user
_PAIRS = 200_000  # pairs that a baseline is fitted to, to measure it
_EXPONENTS = 5  # exponents that a calibration compares on each of its two samples
_TABLE = 1200  # bytes that the table of single users and the lists of items take for a user
_WRITTEN = 4e8  # bytes of a checkpoint that are written in a second


@dataclass(frozen=True)
class CostEstimate:
    """Predicted cost of a run.

    Args:
        seconds: by part: ``train``, ``validate``, ``refit``, ``test``.
        peak_bytes: the largest resident memory of the process.
        available: bytes that the process may use, see :func:`~gclrec.training.memory.available_bytes`.
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


def estimated(data: TrainingData, *, force: bool = False) -> CostEstimate:
    """Predict what :func:`~gclrec.training.fit.fit` will take, from a few steps and rankings on this machine.

    The steps are those of a trainer that is thrown away, so the run itself is what it would have been. What
    is certain to be needed is compared with the memory first.

    Args:
        data: what the run is trained on.
        force: measure even where the memory cannot suffice.

    Raises:
        InputError: the memory does not suffice; says how much is needed and what to change.
    """
    keep_freed_memory()
    config = budgeted(data.config, len(data.split.train))
    available = available_bytes()
    least = resident_bytes() + _certain_bytes(config, data.split)
    if least > available and not force:
        raise _too_large(config, least, available)
    found = _of_baseline(data, config) if config.baseline else _of_model(data, config)
    if not (found.fits or force):
        raise _too_large(config, found.peak_bytes, available)
    return found


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


def _of_model(data: TrainingData, config: TrainConfig) -> CostEstimate:
    began = time.perf_counter()
    trainer = new_trainer(config, data.split.train, attributes=data.attributes, exposed=data.exposed)
    built = time.perf_counter() - began
    steps = trainer.steps_before(config.rounds + 1)
    first, each = _step_seconds(trainer, min(_STEPS, steps))
    state = sum(tensor.nbytes for tensor in trainer.state().values())
    split, rounds = data.split, config.rounds
    valid_users, test_users = (_ranked(split, part, config) for part in ("valid", "test"))
    write = state / _WRITTEN
    train = built + first + each * (steps - 1) + rounds * write
    validate = test = 0.0
    if valid_users:
        once, a_user, calibration = _validation_seconds(trainer, split, config)
        count = -(-rounds // config.eval_every)
        validate = count * (once + a_user * valid_users + calibration * _calibrated(valid_users))
        if trainer.model.scoring.calibrates:
            validate += 3 * calibration * valid_users  # the last choice of the exponent
    if test_users:
        embeddings = trainer.model.embeddings()
        test = _test_seconds(embeddings, split, config) * test_users
    parameters = sum(p.nbytes for p in trainer.model.parameters())
    peak = max(peak_rss_mb() * 2**20, resident_bytes() + parameters + state + _TABLE * test_users)
    seconds = {"train": train, "validate": validate, "test": test}
    if config.refit and valid_users:
        seconds["refit"] = train
    return CostEstimate(seconds, peak, available_bytes(), steps)


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


def _validation_seconds(trainer: Trainer, split: Split, config: TrainConfig) -> tuple[float, float, float]:
    """Return the seconds of a validation without users, of each user, and of a user for one exponent."""
    few = split.sampled("valid", _USERS)
    users = len(np.unique(few.valid.user))
    model = trainer.model
    began = time.perf_counter()
    embeddings = model.embeddings()
    shape_of(embeddings, split.train)
    once = time.perf_counter() - began
    began = time.perf_counter()
    evaluate_on(embeddings, few, "valid", config, per_user=False)
    a_user = (time.perf_counter() - began) / users
    calibration = 0.0
    if model.scoring.calibrates:
        began = time.perf_counter()
        model.scoring.calibrate(model.raw_embeddings(), few, config.selected)
        calibration = (time.perf_counter() - began) / (2 * _EXPONENTS * users)
    return once, a_user, calibration


def _calibrated(users: int) -> int:
    """Return how many rankings of a user a calibration makes."""
    return _EXPONENTS * (min(users, MOST_USERS // 4) + min(users, MOST_USERS))


def _test_seconds(ranker: Embeddings | Scorer, split: Split, config: TrainConfig) -> float:
    """Return the seconds of a user of the test, with the table of single users."""
    few = split.sampled("test", _USERS)
    users = len(np.unique(few.test.user))
    began = time.perf_counter()
    evaluate_on(ranker, few, "test", config)
    return (time.perf_counter() - began) / users


def _ranked(split: Split, part: str, config: TrainConfig) -> int:
    """Return how many users a ranking of a part has."""
    users = int(np.count_nonzero(np.bincount(getattr(split, part).user, minlength=1)))
    return min(users, config.ranked_users(part) or users)


def _of_baseline(data: TrainingData, config: TrainConfig) -> CostEstimate:
    """Fit the baseline to the pairs of some users; time and memory grow with the number of users."""
    split = data.split
    train = split.train
    share = min(1.0, _PAIRS / len(train))
    chosen = np.random.default_rng(0).random(train.num_users) < share
    few = train.select(chosen[train.user])
    share = max(len(few), 1) / len(train)
    before = resident_bytes()
    began = time.perf_counter()
    scorer = fitted(config, few, data.attributes)
    fit = (time.perf_counter() - began) / share
    grown = (resident_bytes() - before) / share
    seconds = {"train": fit, "validate": 0.0, "test": 0.0}
    counts = {part: _ranked(split, part, config) for part in ("valid", "test")}
    for part, name in (("valid", "validate"), ("test", "test")):
        if counts[part]:
            seconds[name] = _test_seconds(
                scorer, dataclasses.replace(split, test=getattr(split, part)), config
            )
            seconds[name] *= counts[part]
    if config.refit and counts["valid"]:
        seconds["refit"] = fit
    peak = max(peak_rss_mb() * 2**20, before + grown + _TABLE * counts["test"])
    return CostEstimate(seconds, peak, available_bytes())
