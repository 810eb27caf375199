"""InfoNCE between the final embeddings and one layer of the same pass (XSimGCL)."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Generator, Tensor, nn

from gclrec.contrast.base import SSL_LAYER, TEMPERATURE, Contrasted, TrainingStep
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.info_nce import info_nce
from gclrec.losses.temperature import Temperature, current


class CrossLayer(nn.Module):
    """Rank on one view and contrast its final embeddings with those of one of its layers (XSimGCL, [1]).

    One pass instead of three, on a single view; that of XSimGCL is ``noise``.

    Args:
        encoder: a graph encoder of at least ``layer`` layers.
        temperature: of InfoNCE.
        layer: the layer ``l*`` to contrast with, from 0 (the input).

    [1] Yu et al., TKDE 2023, https://arxiv.org/abs/2209.02544
    """

    def __init__(
        self,
        encoder: Encoder,  # noqa: ARG002 - the signature of all
        graph: BipartiteGraph,  # noqa: ARG002
        *,
        temperature: Annotated[Temperature, TEMPERATURE] = 0.2,
        layer: Annotated[int, SSL_LAYER] = 1,
        generator: Generator | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.layer = layer

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the view and InfoNCE over users plus that over items."""
        final = step.encode(step.views[0], layers=True)
        layer = final.layer(self.layer)
        temperature = current(self.temperature)
        return Contrasted(final, node_contrast(final, layer, step.users, step.items, temperature))


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
    nodes = users.unique(), items.unique()
    sides = zip(first.rows(*nodes), second.rows(*nodes), strict=True)
    return torch.stack([info_nce(a, b, temperature) for a, b in sides]).sum()
