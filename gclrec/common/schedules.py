"""How the learning rate changes in the course of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping


def constant(done: float) -> float:
    """Keep it."""
    del done
    return 1.0


def cosine(done: float) -> float:
    r"""Let it fall to 0 along half a cosine, :math:`(1 + \cos \pi t) / 2` (SGDR without restarts, [1]).

    [1] Loshchilov, Hutter, ICLR 2017, https://arxiv.org/abs/1608.03983
    """
    return (1.0 + math.cos(math.pi * done)) / 2.0


def linear(done: float) -> float:
    """Let it fall to 0 along a line."""
    return 1.0 - done


def factor(schedule: str, step: int, steps: int, warmup: int = 0) -> float:
    """Return what the learning rate is multiplied with at a step.

    Args:
        schedule: a name in :data:`SCHEDULES`.
        step: from 0.
        steps: steps in all; later ones are taken as the last.
        warmup: steps in which it rises along a line to its full height, before the schedule begins.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return SCHEDULES[schedule](min((step - warmup) / max(steps - warmup, 1), 1.0))


SCHEDULES: Mapping[str, Callable[[float], float]] = {"constant": constant, "cosine": cosine, "linear": linear}
"""From the share of the training that is done, in ``[0, 1]``, to a factor of the learning rate."""
