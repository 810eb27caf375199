"""Lazy attributes: a name of a package is imported when it is first used, which keeps the import cheap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(
    package: str, modules: Mapping[str, str]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__all__``, ``__getattr__`` and ``__dir__`` for a package.

    Args:
        package: its ``__name__``.
        modules: the names that each module holds, with blanks between them; ``NAME:OTHER`` if a name is
            another one there.
    """
    homes = {
        name: (module, other or name)
        for module, names in modules.items()
        for name, _, other in (each.partition(":") for each in names.split())
    }

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, attribute = homes[name]
        value = getattr(import_module(module), attribute)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return sorted(homes), find, names
