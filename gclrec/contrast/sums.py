"""Sums of contrasts, each with a weight: ``infonce+features:0.5``."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast, runtime_checkable

from torch import Generator, Tensor, nn

from gclrec.common.errors import SettingError
from gclrec.contrast.base import Contrast, Contrasted, MapsAttributes, OfBatch, TrainingStep
from gclrec.contrast.kinds import Term
from gclrec.data.schema import Attributes
from gclrec.encoders import Embeddings, Encoder
from gclrec.encoders.content.attribute_map import PredictsVectors
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.temperature import Temperature


@runtime_checkable
class StandsBeside(Protocol):
    """A contrast that needs no embeddings but those that another one ranks by."""

    def beside(self, step: TrainingStep, main: Embeddings) -> Contrasted:
        """Return its loss, and the embeddings to rank by, perhaps with some rows replaced."""


class Sum(nn.Module):
    r"""A weighted sum of contrasts.

    .. math:: L = \sum_c w_c L_c

    The ranking loss acts on the embeddings that the first one gives it; ``content`` replaces some of their
    rows wherever it stands. A contrast takes the first of the views, as many as it needs, and contrasts share
    the passes over a view. All have one temperature; a learned one is held once.

    Args:
        terms: the contrasts.
        encoder: as all take it.
        graph: as all take it.
        attributes: of users and items, for contrasts that take them.
        generator: draws the starts, in the order of the terms.
        settings: of all, by their public names.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        encoder: Encoder,
        graph: BipartiteGraph,
        *,
        attributes: Attributes | None = None,
        generator: Generator | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self._terms = tuple(terms)
        learned: nn.Module | None = None
        for place, term in enumerate(terms):
            make, more = term.kind.make, {"attributes": attributes} if term.kind.takes_attributes else {}
            assert make is not None
            with term.naming_settings():
                made = make(encoder, graph, generator=generator, **term.own(settings), **more)
            held = getattr(made, "temperature", None)
            if learned is not None and held is learned:
                del made.temperature
                object.__setattr__(made, "temperature", held)
            learned = held if isinstance(held, nn.Module) else learned
            self.add_module(_module_name(place, term.name), made)

    @property
    def parts(self) -> list[Contrast]:
        """The contrasts, in the order of the sum."""
        return [
            cast("Contrast", self.get_submodule(_module_name(place, term.name)))
            for place, term in enumerate(self._terms)
        ]

    @property
    def temperature(self) -> Temperature | None:
        """The temperature of all; ``None`` if none has one."""
        return next((part.temperature for part in self.parts if hasattr(part, "temperature")), None)

    @property
    def of_batch(self) -> bool:
        """Whether all look at users of the batch's pairs alone."""
        return all(isinstance(part, OfBatch) and part.of_batch for part in self.parts)

    @property
    def maps(self) -> Mapping[str, PredictsVectors]:
        """What gives vectors to nodes without interactions, by side; empty if none does."""
        found: dict[str, PredictsVectors] = {}
        for part in self.parts:
            if isinstance(part, MapsAttributes):
                found |= part.maps
        return found

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the first contrast, some rows perhaps replaced, and the sum of losses."""
        step.passes.keep()
        first, *others = zip(self.parts, self._terms, strict=True)
        main, loss = first[0](_seen(step, first[1]))
        total: Tensor = first[1].weight * loss
        for part, term in others:
            if isinstance(part, StandsBeside):
                main, loss = part.beside(step, main)
            else:
                _, loss = part(_seen(step, term))
            total = total + term.weight * loss
        return Contrasted(main, total)


def _seen(step: TrainingStep, term: Term) -> TrainingStep:
    return replace(step, views=step.views[: term.kind.views])


def _module_name(place: int, name: str) -> str:
    return name if place else "beside"  # the first one's name in the state of older runs


def parse_sum(text: str, known: Collection[str]) -> list[tuple[str, float]]:
    """Return name and weight of each contrast of a text ``A+B:W``; a weight is 1 where none is given.

    Args:
        text: of two contrasts or more.
        known: names of contrasts.

    Raises:
        SettingError: it is not such a text.

    Example:
        >>> parse_sum("infonce+features:0.5", ["infonce", "features"])
        [('infonce', 1.0), ('features', 0.5)]
    """
    found: list[tuple[str, float]] = []
    for part in text.split("+"):
        name, colon, number = (each.strip() for each in part.partition(":"))
        if name not in known or ("+" not in text):
            names = ", ".join(known)
            raise SettingError("ssl", f"{part!r} is not one of {names}; A+B:0.5 adds up A and half of B")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not 0 < weight < math.inf:
            raise SettingError("ssl", f"{part!r}: expected NAME or NAME:WEIGHT, with a weight above 0")
        if name in (other for other, _ in found):
            raise SettingError("ssl", f"{name} occurs twice in {text!r}")
        found.append((name, weight))
    return found
