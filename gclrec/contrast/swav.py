"""Swapped prediction: a view predicts the cluster of the other view (SwAV)."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Generator, nn

from gclrec.contrast.base import NUM_PROTOTYPES, TEMPERATURE, Contrasted, TrainingStep
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

    [1] Caron et al., NeurIPS 2020, https://arxiv.org/abs/2006.09882
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: Annotated[float, TEMPERATURE] = 0.2,
        num_prototypes: Annotated[int, NUM_PROTOTYPES] = 100,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.prototypes = SidePrototypes(encoder, num_prototypes, generator=generator)

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the graph itself and the mean of both directions, users plus items."""
        nodes = step.nodes()
        first, second = (step.encode(view).rows(*nodes) for view in step.views)
        losses = [
            code_cross_entropy(x, vectors, codes, self.temperature)
            for view, other in ((first, second), (second, first))
            for x, vectors, codes in zip(
                view, self.prototypes.vectors(), self.prototypes.codes(*other), strict=True
            )
        ]
        return Contrasted(step.encode(), torch.stack(losses).sum() / 2)
