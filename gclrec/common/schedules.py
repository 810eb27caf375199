"""Schedules of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gclrec.common.declaration import Component


def constant(done: float) -> float:
    """Return 1."""
    del done
    return 1.0


def cosine(done: float) -> float:
    r"""Return :math:`(1 + \cos \pi t) / 2`, half a cosine from 1 to 0 (SGDR without restarts, [1]).

    [1] Loshchilov, Hutter, ICLR 2017, https://arxiv.org/abs/1608.03983
    """
    return (1.0 + math.cos(math.pi * done)) / 2.0


def linear(done: float) -> float:
    """Return a line from 1 to 0."""
    return 1.0 - done


def factor(schedule: str, step: int, steps: int, warmup: int = 0, **settings: float) -> float:
    """Return the factor of the learning rate at a step.

    Args:
        schedule: a name in :data:`SCHEDULES`.
        step: from 0.
        steps: steps in all; later ones count as the last.
        warmup: steps in which the rate rises linearly to its full height, before the schedule begins.
        settings: keyword arguments of the schedule.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return SCHEDULES[schedule](done, **settings)


SCHEDULES: Mapping[str, Component[..., float]] = {
    "constant": Component(constant, "the same throughout"),
    "cosine": Component(cosine, "falls along half a cosine"),
    "linear": Component(linear, "falls along a line"),
}
"""Functions of the share of the training that is done, in ``[0, 1]``; they return a factor of the rate."""
