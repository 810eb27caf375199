"""Which passes through the encoder a step takes, and which two of their outputs are contrasted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gclrec.contrast.views import View
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph


@dataclass(frozen=True, eq=False)
class Passes:
    """What the losses of a step act on.

    Args:
        main: embeddings for the ranking loss.
        first: one side of the contrast.
        second: the other side; the same nodes.
    """

    main: Embeddings
    first: Embeddings
    second: Embeddings


class Ssl(Protocol):
    """Runs the encoder as one kind of self-supervision needs it."""

    def __call__(
        self, encoder: Encoder, graph: BipartiteGraph, views: tuple[View, View], *, layer: int = 1
    ) -> Passes:
        """Return the passes of one step."""


def infonce(
    encoder: Encoder,
    graph: BipartiteGraph,
    views: tuple[View, View],
    *,
    layer: int = 1,  # noqa: ARG001 - the signature of all
) -> Passes:
    """Rank on the whole graph and contrast two views of it (SimCLR's form, as in SGL, [1]).

    Three passes.

    [1] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    """
    first, second = views
    return Passes(encoder(graph), first.encode(encoder), second.encode(encoder))


def cross_layer(
    encoder: Encoder,
    graph: BipartiteGraph,  # noqa: ARG001 - the signature of all
    views: tuple[View, View],
    *,
    layer: int = 1,
) -> Passes:
    """Rank on one view and contrast its final embeddings with those of one of its layers (XSimGCL, [1]).

    One pass instead of three; the second view is not used.

    Args:
        encoder: a graph encoder of at least ``layer`` layers.
        graph: not looked at; the view is made from it.
        views: the first is encoded; XSimGCL's is ``noise``.
        layer: the layer ``l*`` to contrast with, from 0 (the input).

    [1] Yu et al., TKDE 2023, https://arxiv.org/abs/2209.02544
    """
    final = views[0].encode(encoder, layers=True)
    return Passes(final, final, Embeddings(*final.layers[layer]))


SSL: Mapping[str, Ssl] = {"infonce": infonce, "cross_layer": cross_layer}
