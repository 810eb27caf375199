"""How a component declares its settings: once, in the signature of the function or class itself.

A keyword argument annotated with a :class:`Setting` is a setting of a run. Flags and their help, TOML keys,
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
from typing import (
    Annotated,
    Any,
    Generic,
    ParamSpec,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from gclrec.common.errors import SettingError


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
        name: public name, as in TOML files; the flag is the same with hyphens.
        help: one sentence for the help of commands and the documentation; ``{names}`` in it stands for the
            choices, ``{choices}`` for what they are as well.
        low: lower bound of a number; ``None`` for none.
        high: upper bound; ``None`` for none.
        closed: whether the bounds are allowed values.
        choices: the names that it may have, such as the keys of a registry; empty for anything.
        composed: whether a value is a text made of choices, such as ``A+B``, which its component checks.
        search: where a search looks for good values; ``None`` if it is not worth one.
        type: what a user gives, where it is not the type of the argument (a name for an object, say). If it
            allows ``None``, that is the default of a run and leaves the argument at its own.
        lenient: whether a value is accepted, and changes nothing, where no chosen component has the setting.
    """

    name: str = ""
    help: str = ""
    low: float | None = None
    high: float | None = None
    closed: bool = True
    choices: Collection[str] = ()
    composed: bool = False
    search: Span | Around | None = None
    type: Any = None
    lenient: bool = False

    @property
    def bounds(self) -> str:
        """The numbers allowed, such as ``in [0, 1]`` or ``above 0``; empty for all."""
        if self.low is not None and self.high is not None and self.high < 2**53:
            left, right = "[]" if self.closed else "()"
            return f"in {left}{self.low:g}, {self.high:g}{right}"
        if self.low is not None:
            return f"{'at least' if self.closed else 'above'} {self.low:g}"
        return ""

    def check(self, argument: str, value: object) -> None:
        """Raise a :class:`~gclrec.common.errors.SettingError` for a name or a number that is not allowed.

        Args:
            argument: what the error names.
            value: of the setting.
        """
        if self.choices and not self.composed and value not in self.choices:
            raise SettingError(argument, f"{value!r} is not one of {', '.join(self.choices)}")
        if isinstance(value, (int, float)) and not self._within(value):
            raise SettingError(argument, f"must be {self.bounds or 'a finite number'}, got {value!r}")

    def _within(self, value: float) -> bool:
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return (low <= value <= high if self.closed else low < value < high) and math.isfinite(value)


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


P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Component(Generic[P, R]):
    """A function in a registry; entries with further facts are classes with the same properties.

    Args:
        function: its annotated keyword arguments are settings of a run.
        about: what it does, in a few words, for help and documentation.
    """

    function: Callable[P, R]
    about: str

    @property
    def declared(self) -> Mapping[str, Declared]:
        """Its settings by keyword argument."""
        return declarations(self.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)


SEED = Setting(
    "seed",
    "Seed of the start, of the batches and, by default, of the split.",
    low=0,
    high=2**63 - 1,
    lenient=True,
)
"""Of every component that draws random numbers once."""


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
