"""InfoNCE between two embeddings of the same nodes: two views (SimCLR, SGL) or two layers (XSimGCL)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from gclrec.contrast.losses import info_nce
from gclrec.contrast.moment import Contrasted, Moment
from gclrec.contrast.temperatures import Temperature, current
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph


class TwoViews(nn.Module):
    """Rank on the whole graph and contrast two views of it (SimCLR's form, as in SGL, [1]).

    Three passes. Compared are the *distinct* users and the distinct positive items of the batch; the other
    nodes of the batch are the negatives.

    Args:
        encoder: not kept.
        graph: not kept.
        temperature: of InfoNCE; a number or :class:`~gclrec.contrast.temperatures.Learned`.
        generator: nothing is drawn.

    [1] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    """

    def __init__(
        self,
        encoder: Encoder,  # noqa: ARG002 - the signature of all
        graph: BipartiteGraph,  # noqa: ARG002
        *,
        temperature: Temperature = 0.2,
        generator: Generator | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the graph itself and InfoNCE over users plus that over items."""
        first, second = (view.encode(moment.encoder) for view in moment.views)
        loss = node_contrast(first, second, moment.users, moment.items, current(self.temperature))
        return Contrasted(moment.encoder(moment.graph), loss)


class CrossLayer(nn.Module):
    """Rank on one view and contrast its final embeddings with those of one of its layers (XSimGCL, [1]).

    One pass instead of three, on a single view; XSimGCL's is ``noise``.

    Args:
        encoder: a graph encoder of at least ``layer`` layers; not kept.
        graph: not kept.
        temperature: of InfoNCE; a number or :class:`~gclrec.contrast.temperatures.Learned`.
        layer: the layer ``l*`` to contrast with, from 0 (the input).
        generator: nothing is drawn.

    [1] Yu et al., TKDE 2023, https://arxiv.org/abs/2209.02544
    """

    def __init__(
        self,
        encoder: Encoder,  # noqa: ARG002 - the signature of all
        graph: BipartiteGraph,  # noqa: ARG002
        *,
        temperature: Temperature = 0.2,
        layer: int = 1,
        generator: Generator | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.layer = layer

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the view and InfoNCE over users plus that over items."""
        final = moment.views[0].encode(moment.encoder, layers=True)
        layer = Embeddings(*final.layers[self.layer])
        return Contrasted(
            final, node_contrast(final, layer, moment.users, moment.items, current(self.temperature))
        )


def node_contrast(
    first: Embeddings, second: Embeddings, users: Tensor, items: Tensor, temperature: float | Tensor
) -> Tensor:
    """Return InfoNCE between two embeddings of the distinct users of a batch, plus the same for items.

    Args:
        first: the anchors' side.
        second: the other side; the same nodes.
        users: ``(B,)`` user numbers, repeated or not.
        items: ``(B,)`` item numbers.
        temperature: of InfoNCE.
    """
    parts = [
        info_nce(a.index_select(0, rows), b.index_select(0, rows), temperature)
        for a, b, rows in zip(first, second, (users.unique(), items.unique()), strict=True)
    ]
    return torch.stack(parts).sum()
