"""Swapped prediction: a view predicts the cluster of the other view (SwAV)."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Generator, nn

from gclrec.contrast.base import (
    HEAD_LAYERS,
    NUM_PROTOTYPES,
    PROTOTYPE_QUEUE,
    TEMPERATURE,
    Contrasted,
    TrainingStep,
)
from gclrec.contrast.heads import Heads
from gclrec.contrast.prototypes import SidePrototypes, code_cross_entropy
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph


class SwappedPrediction(nn.Module):
    """Predict the cluster of a node's other view, for both views in turn (SwAV, [1]).

    Three passes. The nodes are the distinct users and positive items of the batch. The codes of one view's
    embeddings, taken without gradient, are predicted from the other view.

    Args:
        temperature: of the prediction; the codes have their own.
        num_prototypes: of each side.
        queue_size: rows of former batches that codes are balanced with; 0 for none.
        head_layers: layers of a projection head, whose output is clustered; 0 for none, SwAV has 2.
        generator: draws the starts.

    [1] Caron et al., NeurIPS 2020, https://arxiv.org/abs/2006.09882
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: Annotated[float, TEMPERATURE] = 0.2,
        num_prototypes: Annotated[int, NUM_PROTOTYPES] = 100,
        queue_size: Annotated[int, PROTOTYPE_QUEUE] = 0,
        head_layers: Annotated[int, HEAD_LAYERS] = 0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.prototypes = SidePrototypes(
            encoder, num_prototypes, queue_size=queue_size, kinds=2, generator=generator
        )
        self.heads = Heads(encoder.layer_zero[0].shape[1], head_layers, generator=generator)

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the graph itself and the mean of both directions, users plus items."""
        nodes = step.nodes()
        first, second = (self.heads(step.encode(view).rows(*nodes)) for view in step.views)
        vectors, losses = self.prototypes.vectors(), []
        for view, other, kind in ((first, second, 1), (second, first, 0)):
            codes = self.prototypes.codes(other.users, other.items, kind)
            for x, centres, code in zip(view, vectors, codes, strict=True):
                losses.append(code_cross_entropy(x, centres, code, self.temperature))
        return Contrasted(step.encode(), torch.stack(losses).sum() / 2)
