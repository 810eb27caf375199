"""Where to look for good settings: a span for each setting that is worth a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Span:
    """All numbers from one to another, both ends included; whole ones if both ends are.

    Args:
        low: the lowest.
        high: the highest.
        log: whether each factor counts alike, instead of each step.
    """

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: object) -> bool:
        """Return whether a value is one of the span."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 at the lowest to 1 at the highest."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Around:
    """Numbers around the value that a method has, which no one span fits for all methods.

    Args:
        factor: from the value divided by this to the value times this, each factor alike.
    """

    factor: float

    def span(self, value: float) -> Span:
        """Return the span around a value above 0."""
        if isinstance(value, int):
            return Span(max(1, round(value / self.factor)), round(value * self.factor), log=True)
        return Span(value / self.factor, value * self.factor, log=True)


@dataclass(frozen=True)
class Options:
    """A few values to choose from, without order.

    Args:
        values: the values.
    """

    values: tuple[str | int | float | bool, ...]

    def holds(self, value: object) -> bool:
        """Return whether a value is one of them."""
        return value in self.values


Axis: TypeAlias = "Span | Options"
"""Where to look for one setting."""

SPACES: Mapping[str, Span | Around] = {
    "learning_rate": Span(5e-4, 5e-2, log=True),
    "l2_weight": Span(1e-7, 1e-2, log=True),
    "num_layers": Span(1, 4),
    "degree_exponent": Span(0.2, 0.6),
    "dim": Span(8, 512, log=True),
    "tower_layers": Span(0, 3),
    "history_length": Span(5, 100, log=True),
    "id_dropout": Span(0.0, 0.6),
    "loss_temperature": Span(0.05, 0.5, log=True),
    "loss_power": Span(0.8, 1.5),
    "loss_margin": Span(0.0, 0.95),
    "negative_weight": Span(1.0, 1000.0, log=True),
    "uniformity_weight": Span(0.1, 10.0, log=True),
    "num_negatives": Around(4.0),
    "exposed_share": Span(0.05, 0.95),
    "queue_size": Around(4.0),
    "popularity_alpha": Span(0.0, 1.0),
    "aug_p": Span(0.02, 0.6, log=True),
    "feature_drop": Span(0.05, 0.7),
    "history_drop": Span(0.1, 0.8),
    "ssl_weight": Around(10.0),
    "temperature": Span(0.03, 1.0, log=True),
    "momentum": Span(0.9, 0.999),
    "num_prototypes": Around(5.0),
    "clusters": Around(5.0),
    "prototype_weight": Around(10.0),
    "item_weight": Span(0.5, 2.0),
    "nearest": Span(1, 20, log=True),
    "neighbours": Span(20, 1000, log=True),
    "shrink": Span(1.0, 1000.0, log=True),
    "rank": Span(16, 1024, log=True),
    "low_pass": Span(0.0, 2.0),
}
"""Where to look for a setting, wherever it matters; a method's own ``space`` goes before it."""
