"""How a component declares its settings: once, in the signature of the function or class itself.

A keyword argument annotated with a :class:`Setting` is a setting of a run. Flags, ``--help``, TOML keys,
validation, search spaces, the tables of the documentation and the tests are read off these declarations.

Example:
    >>> from typing import Annotated
    >>> DELTA = Setting("huber_delta", "Distance from which on the loss is linear.", low=0)
    >>> def huber(x, *, delta: Annotated[float, DELTA] = 1.0):
    ...     return x
    >>> found = declarations(huber)["delta"]
    >>> found.setting.name, found.type, found.default
    ('huber_delta', <class 'float'>, 1.0)
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Span:
    """All numbers between two bounds, both included; whole numbers if both bounds are.

    Args:
        low: lower bound.
        high: upper bound.
        log: search on a log scale.
    """

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: object) -> bool:
        """Return whether a value lies in the span."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 at the lower bound to 1 at the upper one."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Around:
    """A span around the value that a method has, for settings that no one span fits.

    Args:
        factor: the span reaches from the value divided by this to the value times this, on a log scale.
    """

    factor: float

    def span(self, value: float) -> Span:
        """Return the span around a positive value."""
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
"""The values of one setting that a search looks at."""


@dataclass(frozen=True)
class Setting:
    """What a user can set about a component: one flag, one TOML key, one keyword of ``gclrec.fit``.

    Components that mean the same thing share one object; two different declarations under one name are an
    error that a test finds.

    Args:
        name: public name, as in TOML files; the flag is ``--`` and the name with hyphens.
        help: one sentence for ``--help`` and the documentation.
        low: lower bound of a number; ``None`` for none.
        high: upper bound; ``None`` for none.
        closed: whether the bounds are allowed values.
        choices: the names that it may have, such as the keys of a registry; empty for anything.
        search: where a search looks for good values; ``None`` if it is not worth one.
        type: what a user gives, where it is not the type of the argument (a name for an object, say). If it
            allows ``None``, that is the default of a run and leaves the argument at its own.
        lenient: whether a value is accepted, and changes nothing, where no chosen component has the setting.
    """

    name: str
    help: str
    low: float | None = None
    high: float | None = None
    closed: bool = True
    choices: Collection[str] = ()
    search: Span | Around | None = None
    type: Any = None
    lenient: bool = False


@dataclass(frozen=True)
class Declared:
    """A setting where a component declares it.

    Args:
        argument: name of the keyword argument.
        setting: what is declared.
        type: what a user gives.
        default: of the argument.
    """

    argument: str
    setting: Setting
    type: Any
    default: Any


SEED = Setting(
    "seed", "Seed of the start, of the batches and, by default, of the split.", low=0, high=2**63 - 1
)
"""Of every component that draws random numbers once."""


def public_names(declared: Mapping[str, Declared]) -> dict[str, str]:
    """Return the public names of settings by keyword argument."""
    return {argument: found.setting.name for argument, found in declared.items()}


def declarations(component: Callable[..., Any]) -> Mapping[str, Declared]:
    """Return the settings of a component by keyword argument, in the order of its signature.

    Args:
        component: a function, a class (its ``__init__`` counts) or a ``functools.partial`` of one.
    """
    while isinstance(component, partial):
        component = component.func
    target = component.__init__ if inspect.isclass(component) else component
    hints = get_type_hints(target, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(target).parameters.items():
        hint = hints.get(name)
        if get_origin(hint) is not Annotated:
            continue
        whole, *extras = get_args(hint)
        for setting in extras:
            if isinstance(setting, Setting):
                kind = whole if setting.type is None else setting.type
                found[name] = Declared(name, setting, kind, parameter.default)
    return found
