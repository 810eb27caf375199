"""Contrast of clusters between the two ends of an interaction (ConCat)."""

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
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph


class ClusterContrast(nn.Module):
    """Pull a user to the cluster of its item and an item to that of its user, away from the others (ConCat).

    SwAV's swapped prediction with the two ends of an interaction in place of two views of a node. One pass,
    no views: from the user of a pair the code of its item over the items' prototypes is predicted, and from
    the item the code of the user over the users'. Codes are balanced over the distinct nodes of the batch.

    Args:
        temperature: of the prediction; the codes have their own.
        num_prototypes: of each side.
        queue_size: rows of former batches that codes are balanced with; 0 for none.
        head_layers: layers of a projection head, whose output is clustered; 0 for none.
        generator: draws the starts.
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
        self.prototypes = SidePrototypes(encoder, num_prototypes, queue_size=queue_size, generator=generator)
        self.heads = Heads(encoder.layer_zero[0].shape[1], head_layers, generator=generator)

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the graph and the mean over pairs of users' loss plus that of items'."""
        main = step.encode()
        (users, user), (items, item) = (side.unique(return_inverse=True) for side in (step.users, step.items))
        chosen: Embeddings = self.heads(main.rows(users, items))
        vectors, codes = self.prototypes.vectors(), self.prototypes.codes(*chosen)
        pairs = chosen.rows(user, item)
        codes = codes[0].index_select(0, user), codes[1].index_select(0, item)
        losses = [
            code_cross_entropy(pairs.users, vectors[1], codes[1], self.temperature),
            code_cross_entropy(pairs.items, vectors[0], codes[0], self.temperature),
        ]
        return Contrasted(main, torch.stack(losses).sum())
