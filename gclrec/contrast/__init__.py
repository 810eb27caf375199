"""Contrast: what is compared with what, beside the ranking loss.

Each contrast is a module that makes the passes through the encoder that it needs and returns the embeddings
that the ranking loss acts on and its own loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from torch import Generator, nn

from gclrec.common.declaration import Declared, declarations
from gclrec.contrast.base import Contrast
from gclrec.contrast.byol import Byol
from gclrec.contrast.cl4srec import HistoryContrast, check_histories
from gclrec.contrast.clcrec import ContentContrast, WithContent
from gclrec.contrast.concat import ClusterContrast
from gclrec.contrast.cross_layer import CrossLayer
from gclrec.contrast.features import FieldContrast, WithFields, check_features
from gclrec.contrast.moco import MomentumContrast
from gclrec.contrast.ncl import NCL, check_ncl
from gclrec.contrast.neighbours import Interacted, Nearest
from gclrec.contrast.swav import SwappedPrediction
from gclrec.contrast.two_views import TwoViews
from gclrec.data.schema import Attributes
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph

__all__ = ["SSL", "ContrastKind", "build_contrast"]


@dataclass(frozen=True)
class ContrastKind:
    """One entry of :data:`SSL`.

    Args:
        make: ``make(encoder, graph, *, generator, **settings)`` returns the module, a
            :class:`~gclrec.contrast.base.Contrast`; ``None`` is no contrast.
        about: what is contrasted, in a few words.
        views: how many views of the graph a step makes for it.
        differs: whether it is meaningless when no view changes anything.
        temperatures: the names in :data:`~gclrec.losses.temperature.TEMPERATURES` that can take the place of
            a number.
        declared_by: the components whose signatures declare the settings, if not ``make``.
        needs_attributes: whether it contrasts attributes, so that the encoder must use them.
        needs_histories: whether it contrasts histories, so that the encoder must use them.
        takes_attributes: whether it encodes attributes itself, beside an encoder of ids alone; ``make`` then
            takes ``attributes`` too.
        of_rows: whether it compares rows of the embeddings of a pass and nothing else, so that several
            processes can share the dimensions.
        check: called with the settings; raises a :class:`~gclrec.common.errors.SettingError` for those that
            cannot be, before a run begins.
    """

    make: Callable[..., nn.Module] | None
    about: str
    views: int = 2
    differs: bool = False
    temperatures: tuple[str, ...] = ()
    declared_by: tuple[Callable[..., nn.Module], ...] = ()
    needs_attributes: bool = False
    needs_histories: bool = False
    takes_attributes: bool = False
    of_rows: bool = False
    check: Callable[..., None] | None = None

    @property
    def declared(self) -> Mapping[str, Declared]:
        """The settings by keyword argument."""
        components = self.declared_by or ((self.make,) if self.make is not None else ())
        return {name: found for each in components for name, found in declarations(each).items()}


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


# Contrasts that one of attributes can be added to: name, class and number of views.
_OF_THE_GRAPH = (("infonce", TwoViews, 2), ("cross_layer", CrossLayer, 1))

SSL: Mapping[str, ContrastKind] = {
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
    **{
        f"{name}+features": ContrastKind(
            partial(WithFields, make),
            f"both of {name} and features, added up",
            views=views,
            temperatures=("learned",),
            declared_by=(FieldContrast, make),
            needs_attributes=True,
            check=check_features,
        )
        for name, make, views in _OF_THE_GRAPH
    },
    **{
        f"{name}+content": ContrastKind(
            partial(WithContent, make),
            f"both of {name} and content, added up",
            views=views,
            temperatures=("learned",),
            declared_by=(ContentContrast, make),
            takes_attributes=True,
        )
        for name, make, views in _OF_THE_GRAPH
    },
}
"""The contrasts by name."""
