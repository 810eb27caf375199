"""How long a run trains and how large its batches are: a budget of optimiser steps, or epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from gclrec.settings.config import TrainConfig

STEPS = 1600
"""Steps of a run that asks for neither epochs nor steps, where 30 epochs would take more."""

LARGE = 1_000_000
"""Training pairs from which on such a run has fewer steps, for its time to grow no faster than the data."""

FEWEST = 400
"""Steps of such a run on any large data."""

EPOCHS = 30
"""Epochs of other runs that ask for neither."""

BATCH_SIZE = 2048
"""Pairs of a batch; the least of one that follows from a budget of steps."""

PASSES = 4
"""Passes over the training pairs that a budget of steps makes where batches of 2,048 would make fewer."""


def budgeted(config: TrainConfig, num_pairs: int) -> TrainConfig:
    r"""Return the settings with a batch size, with either epochs or steps, and with a precision.

    With :math:`S` steps and :math:`E` training pairs a batch holds

    .. math:: B = \max(2048,\; \lceil 4 E / S \rceil)

    pairs. So small data get more passes at one batch size, and large data get four passes in larger batches:
    the number of steps does not depend on ``E``. Settings that name neither epochs, steps nor a batch size
    train for 30 epochs in batches of 2,048, or for 1,600 steps where that is less. Beyond a million pairs
    they keep the batches of 1,600 steps and take fewer of them, :math:`1600 \cdot 10^6 / E` but 400 at least:
    four passes become one. Beyond a million pairs training propagates in half precision and every other
    round of a budget of steps is validated, unless the settings say otherwise. Settings that are complete are
    returned as they are.

    Args:
        config: the settings.
        num_pairs: ``E``.
    """
    if config.baseline is not None:
        return config
    epochs, steps, size = config.epochs, config.steps, config.batch_size
    precision = config.precision or ("half_propagation" if num_pairs > LARGE else "single")
    if epochs is None and steps is None:
        if size is None and EPOCHS * num_pairs > STEPS * BATCH_SIZE:
            size = max(BATCH_SIZE, -(-PASSES * num_pairs // STEPS))
            steps = min(STEPS, max(FEWEST, STEPS * LARGE // num_pairs))
        else:
            epochs = EPOCHS
    if size is None:
        size = BATCH_SIZE
        if steps is not None:
            size = max(size, -(-PASSES * num_pairs // steps))
    every = config.eval_every or (2 if steps is not None and num_pairs > LARGE else 1)
    return dataclasses.replace(
        config, epochs=epochs, steps=steps, batch_size=size, precision=precision, eval_every=every
    )


WARM_SHARE = 10
"""A run that starts from another one trains for one part in so many of its epochs or steps."""


def warm_budget(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that starts from one with such settings.

    A run that itself started from another one hands on its budget as it is.
    """
    found = {name: value for name, value in settings.items() if name != "start_from"}
    for name in RIVALS.keys() & found.keys() if "start_from" not in settings else ():
        found[name] = -(-found[name] // WARM_SHARE)
    return found


def num_steps(config: TrainConfig, num_pairs: int) -> int:
    """Return the optimiser steps of settings with a budget on so many training pairs."""
    if config.steps is not None:
        return config.steps
    return (config.epochs or EPOCHS) * -(-num_pairs // (config.batch_size or BATCH_SIZE))


RIVALS: Mapping[str, str] = {"epochs": "steps", "steps": "epochs"}
"""Settings that take the place of each other."""


def without_rivals(values: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Return settings of a source without those that one of a source before it takes the place of.

    Args:
        values: settings by name.
        given: names of settings that go before them.
    """
    return {name: value for name, value in values.items() if RIVALS.get(name) not in given}


def replaced(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Return the settings with other values; epochs take the place of steps, and steps that of epochs."""
    off = {RIVALS[name]: None for name in values if name in RIVALS and values[name] is not None}
    return dataclasses.replace(config, **{**off, **values})
