"""Methods: published models and baselines as named sets of settings, read from ``methods.toml``.

What differs from the papers is in ``departures.toml``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gclrec.common.declaration import Span
from gclrec.common.errors import InputError
from gclrec.common.files import read_toml


@dataclass(frozen=True)
class Method:
    """One entry of :data:`METHODS`.

    Args:
        settings: values of settings; flags and TOML files override them.
        source: the paper, with its link.
        space: where a search looks for settings that are not good within their declared span.
        recipes: settings that a pilot chooses between, by name, the first for data that nothing can be chosen
            on.
        head_starts: of recipes, by what part of its figure one is ahead after few steps that is level after
            many.
        dense: the recipe for dense data.
        large: the recipe for very many items.
    """

    settings: Mapping[str, str | int | float | bool]
    source: str
    space: Mapping[str, Span] = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    head_starts: Mapping[str, float] = field(default_factory=dict)
    dense: str = ""
    large: str = ""


@dataclass(frozen=True)
class Departure:
    """Where a method or a component differs from its paper, on purpose.

    Args:
        here: what is done here.
        paper: what the paper or its authors' code does.
        why: the reason.
        measured: test recall@20 of one run on ml-100k as it is here, and as in the paper.
    """

    here: str
    paper: str
    why: str
    measured: str = "not measured"


def read_methods(path: Path) -> dict[str, Method]:
    """Return the methods of a TOML file with a table for each."""
    tables = read_toml(path)

    def recipe(method: str) -> dict[str, Any]:
        return {name: value for name, value in tables[method]["settings"].items() if name != "steps"}

    return {
        name: Method(
            table["settings"],
            table["source"],
            {setting: Span(*ends) for setting, ends in table.get("space", {}).items()},
            {each: recipe(method) for each, method in table.get("recipes", {}).items()},
            table.get("head_starts", {}),
            table.get("dense", ""),
            table.get("large", ""),
        )
        for name, table in tables.items()
    }


METHODS: Mapping[str, Method] = read_methods(Path(__file__).with_name("methods.toml"))
"""Published models, the baselines among them, by the name that ``--method`` takes."""


AUTO = "auto"
"""The method of a run that names none."""

DEPARTURES: Mapping[str, tuple[Departure, ...]] = {
    name: tuple(Departure(**entry) for entry in entries)
    for name, entries in read_toml(Path(__file__).with_name("departures.toml")).items()
}
"""What differs from the papers, by the name of a method or of a component."""


def method_settings(name: str, *, given: Collection[str] = ()) -> Mapping[str, Any]:
    """Return the settings of a named method.

    Args:
        name: of the method.
        given: names of the settings that go before them; a pilot holds them.

    Raises:
        InputError: there is no such method; the message lists those there are.
    """
    if name not in METHODS:
        raise InputError(f"--method: {name!r} is not one of {', '.join(METHODS)}")
    method = METHODS[name]
    chosen = {setting for recipe in method.recipes.values() for setting in (*recipe, "epochs", "steps")}
    held = sorted(chosen.intersection(given))
    return {**method.settings, "held": held} if held else method.settings
