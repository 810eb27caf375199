"""What the registry of contrasts says of each, and of the terms of a sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import nn

from gclrec.common.declaration import Declared, declarations
from gclrec.common.errors import SettingError


@dataclass(frozen=True)
class ContrastKind:
    """One entry of :data:`gclrec.contrast.SSL`.

    Args:
        make: ``make(encoder, graph, *, generator, **settings)`` returns the module, a
            :class:`~gclrec.contrast.base.Contrast`; ``None`` is no contrast.
        about: what is contrasted, in a few words.
        views: how many views of the graph a step makes for it.
        differs: whether it is meaningless when no view changes anything.
        temperatures: the names in :data:`~gclrec.losses.temperature.TEMPERATURES` that can take the place of
            a number.
        needs_attributes: whether it contrasts attributes, so that the encoder must use them.
        needs_histories: whether it contrasts histories, so that the encoder must use them.
        takes_attributes: whether it encodes attributes itself, beside an encoder of ids alone; ``make`` then
            takes ``attributes`` too.
        of_rows: whether it compares rows of the embeddings of a pass and nothing else, so that several
            processes can share the dimensions.
        check: called with the settings; raises a :class:`~gclrec.common.errors.SettingError` for those that
            cannot be, before a run begins.
        terms: the contrasts of a sum.
    """

    make: Callable[..., nn.Module] | None
    about: str
    views: int = 2
    differs: bool = False
    temperatures: tuple[str, ...] = ()
    needs_attributes: bool = False
    needs_histories: bool = False
    takes_attributes: bool = False
    of_rows: bool = False
    check: Callable[..., None] | None = None
    terms: tuple[Term, ...] = ()

    @property
    def declared(self) -> Mapping[str, Declared]:
        """The settings by keyword argument; those of a sum by their public names.

        Where the contrasts of a sum have different defaults, it has none, and each keeps its own.
        """
        if not self.terms:
            return {} if self.make is None else declarations(self.make)
        found: dict[str, Declared] = {}
        for each in (each for term in self.terms for each in term.kind.declared.values()):
            name = each.setting.name
            same = name not in found or found[name].default == each.default
            found[name] = replace(each, argument=name, default=each.default if same else None)
        return found

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the contrasts of a sum."""
        return tuple(term.name for term in self.terms)


class Term(NamedTuple):
    """One contrast of a sum.

    Args:
        name: of the contrast.
        weight: of its loss.
        kind: its entry among the contrasts, which has a module.
    """

    name: str
    weight: float
    kind: ContrastKind

    def own(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return its keyword arguments, given settings by their public names."""
        names = {argument: each.setting.name for argument, each in self.kind.declared.items()}
        return {argument: settings[name] for argument, name in names.items() if name in settings}

    @contextmanager
    def naming_settings(self) -> Iterator[None]:
        """Name the setting, which is unique in a sum, in errors about an argument."""
        try:
            yield
        except SettingError as error:
            known = self.kind.declared.get(error.argument)
            raise SettingError(
                error.argument if known is None else known.setting.name, error.message
            ) from None
