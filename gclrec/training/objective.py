"""What one training step minimises: the ranking loss, the contrast between two views, and L2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from gclrec.contrast.losses import info_nce, l2
from gclrec.contrast.ranking_losses import LOSSES
from gclrec.contrast.ssl import SSL
from gclrec.contrast.views import View
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.training.batches import Batch

Parts: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class Objective:
    r"""Ranking beside contrast (SGL's multi-task loss, [1] equation 13), every part a mean over its rows.

    .. math:: L = L_\text{main} + \lambda_2 L_2
        + \lambda \left( L_\text{InfoNCE}^\text{users} + L_\text{InfoNCE}^\text{items} \right)

    The contrast is between the two views of the *distinct* users and the distinct positive items of the
    batch; the other nodes of the batch are the negatives. L2 acts on the batch's layer-0 rows: a user, a
    positive and, on average, one negative for each pair, however many there are.

    Args:
        l2_weight: :math:`\lambda_2`.
        ssl_weight: :math:`\lambda`; used when views are given.
        temperature: of the contrast.
        ssl: what is contrasted with what, a name in :data:`gclrec.contrast.ssl.SSL`.
        ssl_layer: the layer that ``cross_layer`` contrasts with.
        loss: the main loss, a name in :data:`gclrec.contrast.ranking_losses.LOSSES`.
        loss_settings: its keyword arguments.

    [1] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    """

    l2_weight: float = 1e-4
    ssl_weight: float = 0.1
    temperature: float = 0.2
    ssl: str = "infonce"
    ssl_layer: int = 1
    loss: str = "bpr"
    loss_settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        batch: Batch,
        encoder: Encoder,
        graph: BipartiteGraph,
        views: tuple[View, View] | None = None,
    ) -> tuple[Tensor, Parts]:
        """Return the loss of a batch and its parts, weighted, without gradient.

        Args:
            batch: users, positives and negatives.
            encoder: encodes the graph and its views.
            graph: the training graph.
            views: two prepared views, or ``None`` for no contrast.
        """
        passes = None
        if views is not None:
            passes = SSL[self.ssl](encoder, graph, views, layer=self.ssl_layer)
        final = encoder(graph) if passes is None else passes.main
        # One gather a side: the backward pass of each makes a gradient as large as the whole table.
        chosen = torch.cat([batch.positives, batch.negatives.view(-1)])
        sizes = len(batch.users), batch.negatives.numel()
        user, item = final.users.index_select(0, batch.users), final.items.index_select(0, chosen)
        positive, negative = item.split(sizes)
        negative = negative.view(*batch.negatives.shape, negative.shape[1])
        compute = LOSSES[self.loss].compute
        main = compute(user, positive, negative, batch.log_weight, **self.loss_settings)
        parts = {self.loss: main}
        if self.l2_weight:
            users, items = encoder.layer_zero
            positive, negative = items.index_select(0, chosen).split(sizes)
            penalty = l2(users.index_select(0, batch.users), positive) + l2(negative)
            parts["l2"] = self.l2_weight * penalty
        if passes is not None:
            one, two = passes.first, passes.second
            nodes, goods = batch.users.unique(), batch.positives.unique()
            contrast = torch.stack(
                [
                    info_nce(a.index_select(0, rows), b.index_select(0, rows), self.temperature)
                    for a, b, rows in ((one.users, two.users, nodes), (one.items, two.items, goods))
                ]
            ).sum()
            parts["ssl"] = self.ssl_weight * contrast
        total = torch.stack(list(parts.values())).sum()
        return total, {name: part.detach() for name, part in parts.items()}
