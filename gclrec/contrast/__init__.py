"""Contrast: what is compared with what, beside the ranking loss.

Each contrast is a module that makes the passes through the encoder that it needs and returns the embeddings
that the ranking loss acts on and its own loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from torch import Generator

from gclrec.common.errors import SettingError
from gclrec.contrast.base import Contrast
from gclrec.contrast.byol import Byol
from gclrec.contrast.cl4srec import HistoryContrast, check_histories
from gclrec.contrast.clcrec import ContentContrast
from gclrec.contrast.concat import ClusterContrast
from gclrec.contrast.cross_layer import CrossLayer
from gclrec.contrast.features import FieldContrast, check_features
from gclrec.contrast.kinds import ContrastKind, Term
from gclrec.contrast.moco import MomentumContrast
from gclrec.contrast.ncl import NCL, check_ncl
from gclrec.contrast.neighbours import Interacted, Nearest
from gclrec.contrast.sums import Sum, parse_sum
from gclrec.contrast.swav import SwappedPrediction
from gclrec.contrast.two_views import TwoViews
from gclrec.data.schema import Attributes
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph

__all__ = ["SSL", "ContrastKind", "build_contrast"]


def build_contrast(
    name: str,
    encoder: Encoder,
    graph: BipartiteGraph,
    *,
    attributes: Attributes | None = None,
    generator: Generator | None = None,
    **settings: Any,
) -> Contrast:
    """Return a contrast by its name in :data:`SSL`, on the device of the graph.

    Args:
        name: one that has a module.
        encoder: the encoder that is trained; some contrasts keep a copy of it.
        graph: the training graph.
        attributes: of users and items, for a contrast that takes them.
        generator: draws the start; the global one if ``None``.
        settings: the keyword arguments in ``declared`` of the entry.
    """
    make = SSL[name].make
    if make is None:
        raise ValueError(f"{name!r} is no contrast")
    if SSL[name].takes_attributes:
        settings["attributes"] = attributes
    return cast("Contrast", make(encoder, graph, generator=generator, **settings).to(graph.device))


class Contrasts(dict[str, ContrastKind]):
    """Contrasts by name, and their sums by texts ``A+B:W``, which are made when they are asked for."""

    def __missing__(self, name: str) -> ContrastKind:
        """Return a sum.

        Raises:
            SettingError: the text is not one, or its contrasts cannot be added up.
        """
        terms = tuple(Term(each, weight, self[each]) for each, weight in parse_sum(name, tuple(self)))
        for term in terms:
            if term.kind.make is None or hasattr(term.kind.make, "ranked"):
                why = "is no contrast" if term.kind.make is None else "ranks by vectors of its own"
                raise SettingError("ssl", f"{term.name} {why}, so it cannot be added to others")
        found = _sum_of(terms)
        if found.needs_attributes and found.takes_attributes:
            raise SettingError("ssl", "content needs an encoder of ids alone, and features one of attributes")
        return found

    def __contains__(self, name: object) -> bool:
        """Whether it is a contrast or a sum of them."""
        return self.get(name) is not None

    def get(self, name: object, default: Any = None) -> Any:
        """Return a contrast or a sum of them."""
        try:
            return self[name] if isinstance(name, str) else default
        except SettingError:
            return default


def _sum_of(terms: tuple[Term, ...]) -> ContrastKind:
    kinds = [term.kind for term in terms]

    def check(**settings: Any) -> None:
        for term in terms:
            if term.kind.check is not None:
                with term.naming_settings():
                    term.kind.check(**term.own(settings))

    able = [set(kind.temperatures) for kind in kinds if "temperature" in kind.declared]
    return ContrastKind(
        partial(Sum, terms),
        f"the sum of {' and '.join(term.name for term in terms)}",
        views=max(kind.views for kind in kinds),
        differs=all(kind.differs for kind in kinds),
        temperatures=tuple(sorted(set.intersection(*able))) if able else (),
        needs_attributes=any(kind.needs_attributes for kind in kinds),
        needs_histories=any(kind.needs_histories for kind in kinds),
        takes_attributes=any(kind.takes_attributes for kind in kinds),
        of_rows=all(kind.of_rows for kind in kinds),
        check=check,
        terms=terms,
    )


SSL: Mapping[str, ContrastKind] = Contrasts(
    {
        "none": ContrastKind(None, "nothing", views=0, of_rows=True),
        "infonce": ContrastKind(
            TwoViews, "two views of a node", differs=True, temperatures=("learned",), of_rows=True
        ),
        "cross_layer": ContrastKind(
            CrossLayer,
            "the final embedding and one layer of a single view",
            views=1,
            temperatures=("learned",),
            of_rows=True,
        ),
        "moco": ContrastKind(MomentumContrast, "a view and a momentum twin's of another, against a queue"),
        "swav": ContrastKind(SwappedPrediction, "a view and the cluster of another", of_rows=True),
        "concat": ContrastKind(
            ClusterContrast, "a user and the cluster of its item, and the reverse", views=0, of_rows=True
        ),
        "ncl": ContrastKind(
            NCL,
            "an even layer and layer 0 of a node, and its layer 0 and its k-means prototype",
            views=1,
            check=check_ncl,
        ),
        "byol": ContrastKind(
            Byol, "a user's prediction and its item's target, and the other way round, without negatives"
        ),
        "neighbour": ContrastKind(Interacted, "the two ends of an interaction", views=1, of_rows=True),
        "nearest": ContrastKind(
            Nearest,
            "two views of a node, one of its neighbour in the batch and one of a similar node",
            of_rows=True,
        ),
        "features": ContrastKind(
            FieldContrast,
            "two views of a node's attributes",
            views=0,
            temperatures=("learned",),
            needs_attributes=True,
            check=check_features,
        ),
        "histories": ContrastKind(
            HistoryContrast,
            "two views of what a user took last",
            views=0,
            temperatures=("learned",),
            needs_histories=True,
            check=check_histories,
        ),
        "content": ContrastKind(
            ContentContrast,
            "the vector of a node and what its attributes alone make of it",
            views=0,
            temperatures=("learned",),
            takes_attributes=True,
        ),
    }
)
"""The contrasts by name, and their sums: see :class:`Contrasts`."""
