"""Self-supervision: what is contrasted with what, beside the ranking loss.

Each kind is a module. It takes the passes through the encoder that it needs, hands back the embeddings that
the ranking loss acts on and its own loss, and keeps in itself whatever outlives a step (a queue, a
momentum twin, prototypes), so that a checkpoint of it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from torch import Generator, nn

from gclrec.contrast.base import Contrast
from gclrec.contrast.byol import Byol
from gclrec.contrast.features import FieldContrast, WithFields
from gclrec.contrast.history_views import HistoryContrast
from gclrec.contrast.moco import MomentumContrast
from gclrec.contrast.ncl import NCL
from gclrec.contrast.neighbours import Interacted, Nearest
from gclrec.contrast.prototypes import ClusterContrast, SwappedPrediction
from gclrec.contrast.two_views import CrossLayer, TwoViews
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph


@dataclass(frozen=True)
class Ssl:
    """One entry of :data:`SSL`.

    Args:
        make: ``make(encoder, graph, *, generator, **settings)`` returns the module, a
            :class:`~gclrec.contrast.base.Contrast`; ``None`` is no contrast.
        about: what is contrasted, in a few words.
        settings: its keyword arguments, and the training settings that they are taken from.
        views: how many views of the graph a step makes for it.
        differs: whether it says nothing when no view changes anything.
        temperatures: the names in :data:`~gclrec.losses.temperature.TEMPERATURES` that may stand in place
            of a number for its temperature.
    """

    make: Callable[..., nn.Module] | None
    about: str
    settings: Mapping[str, str] = field(default_factory=dict)
    views: int = 2
    differs: bool = False
    temperatures: tuple[str, ...] = ()


def build_contrast(
    name: str,
    encoder: Encoder,
    graph: BipartiteGraph,
    *,
    generator: Generator | None = None,
    **settings: Any,
) -> Contrast:
    """Return the module of a name in :data:`SSL` that has one.

    Args:
        name: the kind.
        encoder: what it will be used with; some keep a twin of it.
        graph: the training graph, whose sizes and device it takes.
        generator: where its start is drawn from; the global one if ``None``.
        settings: the keyword arguments that its entry names.
    """
    make = SSL[name].make
    if make is None:
        raise ValueError(f"{name!r} is no contrast")
    return cast("Contrast", make(encoder, graph, generator=generator, **settings).to(graph.device))


_INFONCE = {
    "temperature": "temperature",
    "negatives": "ssl_negatives",
    "head_layers": "head_layers",
    "head_dim": "head_dim",
}
_CROSS_LAYER = {"temperature": "temperature", "layer": "ssl_layer"}
_FIELDS = {
    "temperature": "temperature",
    "views": "feature_views",
    "p": "feature_drop",
    "sides": "ssl_sides",
    "batch": "ssl_batch",
}

SSL: Mapping[str, Ssl] = {
    "none": Ssl(None, "nothing", views=0),
    "infonce": Ssl(TwoViews, "two views of a node", _INFONCE, differs=True, temperatures=("learned",)),
    "cross_layer": Ssl(
        CrossLayer,
        "the final embedding and one layer of a single view",
        _CROSS_LAYER,
        views=1,
        temperatures=("learned",),
    ),
    "moco": Ssl(
        MomentumContrast,
        "a view and a momentum twin's of another, against a queue",
        {"temperature": "temperature", "momentum": "momentum", "queue_size": "queue_size"},
    ),
    "swav": Ssl(
        SwappedPrediction,
        "a view and the cluster of another",
        {"temperature": "temperature", "num_prototypes": "num_prototypes"},
    ),
    "concat": Ssl(
        ClusterContrast,
        "a user and the cluster of its item, and the reverse",
        {"temperature": "temperature", "num_prototypes": "num_prototypes"},
        views=0,
    ),
    "ncl": Ssl(
        NCL,
        "an even layer and layer 0 of a node, and its layer 0 and its k-means prototype",
        {
            "temperature": "temperature",
            "layer": "ssl_layer",
            "item_weight": "item_weight",
            "prototype_weight": "prototype_weight",
            "clusters": "clusters",
            "every": "cluster_every",
            "after": "cluster_after",
        },
        views=1,
    ),
    "byol": Ssl(
        Byol,
        "a user's prediction and its item's target, and the other way round, without negatives",
        {"target": "ssl_target", "momentum": "momentum"},
    ),
    "neighbour": Ssl(
        Interacted,
        "the two ends of an interaction",
        {"temperature": "temperature", "form": "neighbour_form"},
        views=1,
    ),
    "nearest": Ssl(
        Nearest,
        "two views of a node, of whom it interacted with and of one of its nearest",
        {"temperature": "temperature", "count": "nearest", "form": "nearest_form"},
    ),
    "features": Ssl(
        FieldContrast, "two views of a node's attributes", _FIELDS, views=0, temperatures=("learned",)
    ),
    "histories": Ssl(
        HistoryContrast,
        "two views of what a user took last",
        {"temperature": "temperature", "views": "history_views", "p": "history_drop"},
        views=0,
        temperatures=("learned",),
    ),
    **{
        f"{name}+features": Ssl(
            partial(WithFields, make),
            f"both of {name} and features, added up",
            _FIELDS | settings,
            views=views,
            temperatures=("learned",),
        )
        for name, make, settings, views in (
            ("infonce", TwoViews, _INFONCE, 2),
            ("cross_layer", CrossLayer, _CROSS_LAYER, 1),
        )
    },
}
