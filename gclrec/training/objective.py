"""The objective of a training step: ranking loss, contrastive loss and L2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor, nn

from gclrec.contrast.base import (
    BeginsEpochs,
    Contrast,
    FollowsSteps,
    OfBatch,
    Ranks,
    TrainingStep,
    evaluating,
)
from gclrec.encoders import Embeddings, Encoder, EncodesHistories
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.l2 import l2
from gclrec.losses.ranking_losses import LOSSES, difficulty
from gclrec.losses.temperature import Adaptive, Learned, Temperature, current
from gclrec.training.batches import Batch
from gclrec.views.passes import Passes
from gclrec.views.views import View

Parts: TypeAlias = dict[str, Tensor]


class Objective(nn.Module):
    r"""Sum of ranking loss, L2 and contrastive loss (SGL, [1] equation 13), each a mean over its rows.

    .. math:: L = L_\text{main} + \lambda_2 L_2 + \lambda L_\text{contrast}

    L2 acts on the batch's layer-0 rows: a user, a positive and, on average, one negative for each pair,
    whatever their number. The module holds the parameters and buffers of the contrast.

    Args:
        l2_weight: :math:`\lambda_2`.
        ssl_weight: :math:`\lambda`.
        contrast: an entry of :data:`gclrec.contrast.SSL`, made; ``None`` for none.
        loss: the main loss, a name in :data:`gclrec.losses.ranking_losses.LOSSES`; with ``none`` the
            contrast stands alone.
        loss_settings: keyword arguments of the main loss.
        temperature: of the main loss, if it is a module; a number is in ``loss_settings`` instead.

    Attributes:
        summed: adds up L2 over the processes that share the embedding dimensions; ``None`` for one process.

    [1] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    """

    def __init__(
        self,
        l2_weight: float = 1e-4,
        ssl_weight: float = 0.02,
        contrast: Contrast | None = None,
        loss: str = "bpr",
        loss_settings: Mapping[str, Any] | None = None,
        temperature: Temperature | None = None,
    ) -> None:
        super().__init__()
        self.l2_weight = l2_weight
        self.ssl_weight = ssl_weight
        self.contrast = contrast
        self.loss = loss
        self.loss_settings = dict(loss_settings or {})
        self.temperature = temperature
        self.summed: Callable[[Tensor], Tensor] | None = None

    def forward(
        self,
        batch: Batch,
        encoder: Encoder,
        graph: BipartiteGraph,
        views: tuple[View, ...] = (),
        *,
        generator: Generator | None = None,
        passes: Passes | None = None,
    ) -> tuple[Tensor, Parts]:
        """Return the loss of a batch and its parts, weighted, without gradient.

        Args:
            batch: users, positives and negatives.
            encoder: encodes the graph and its views.
            graph: the training graph.
            views: as many prepared views as the contrast asks for.
            generator: what the contrast draws comes from here.
            passes: those of the step; where parts of a batch share them, L2 is left to :meth:`penalty`.
        """
        passes = passes or Passes()
        step = TrainingStep(encoder, graph, views, batch.users, batch.positives, generator, passes)
        contrasted = None if self.contrast is None else self.contrast(step)
        parts: Parts = {}
        if self.loss != "none":
            final = step.encode() if contrasted is None else contrasted.main
            # One gather a side: the backward pass of each makes a gradient as large as the whole table.
            chosen = torch.cat([batch.positives, batch.negatives.view(-1)])
            user, item = final.rows(batch.users, chosen)
            if isinstance(encoder, EncodesHistories):
                user = encoder.users_before(final, batch.users, batch.positives)
            positive, negative = item.split((len(batch.users), batch.negatives.numel()))
            negative = negative.view(*batch.negatives.shape, negative.shape[1])
            parts[self.loss] = self._main(batch, user, positive, negative)
        if self.l2_weight and not passes.shared:
            parts["l2"] = self.penalty([batch], encoder)
        if contrasted is not None:
            parts["ssl"] = self.ssl_weight * contrasted.loss
        total = torch.stack(list(parts.values())).sum()
        return total, {name: part.detach() for name, part in parts.items()}

    def users_of(self, batch: Sequence[Batch], encoder: Encoder) -> Tensor | None:
        """Return the only users that the losses of a batch in parts look at, ``None`` if they may be any."""
        own = self.contrast is None or (isinstance(self.contrast, OfBatch) and self.contrast.of_batch)
        if not own or isinstance(encoder, EncodesHistories):
            return None
        distinct: Tensor = torch.cat([part.users for part in batch]).unique()
        return distinct

    def penalty(self, batch: Sequence[Batch], encoder: Encoder) -> Tensor:
        """Return L2 of a batch in parts, weighted."""
        users, items = encoder.layer_zero
        positives = torch.cat([part.positives for part in batch])
        negatives = torch.cat([part.negatives.view(-1) for part in batch])
        sizes = len(positives), len(negatives)
        positive, negative = items.index_select(0, torch.cat([positives, negatives])).split(sizes)
        user = users.index_select(0, torch.cat([part.users for part in batch]))
        penalty = self.l2_weight * (l2(user, positive) + l2(negative))
        return penalty if self.summed is None else self.summed(penalty)

    def _main(self, batch: Batch, user: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
        """Return the main loss; an adaptive temperature observes how hard each row is."""
        settings = self.loss_settings
        if self.temperature is not None:
            settings = {**settings, "temperature": current(self.temperature, batch.users)}
        if isinstance(self.temperature, Adaptive):
            with torch.no_grad():
                losses = difficulty(
                    user, positive, negatives, batch.log_weight, batch.seen, score=settings["score"]
                )
            self.temperature.observe(batch.users, losses)
        weights = batch.log_weight, batch.seen
        return LOSSES[self.loss].compute(user, positive, negatives, *weights, **settings)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, encoder: Encoder, graph: BipartiteGraph) -> None:
        """Update contrast and temperature at the start of an epoch (from 1), in evaluation mode."""
        with evaluating(encoder):
            for part in self._parts():
                if isinstance(part, BeginsEpochs):
                    part.begin_epoch(epoch, encoder, graph)

    @torch.no_grad()
    def after_step(self, encoder: Encoder) -> None:
        """Update contrast and learned temperatures after a step of the optimiser."""
        for part in self._parts():
            if isinstance(part, FollowsSteps):
                part.after_step(encoder)

    def _parts(self) -> Iterator[object]:
        return (part for part in self.modules() if part is not self)

    def temperatures(self) -> dict[str, float]:
        """Return the temperatures that change, by setting."""
        contrast: object = getattr(self.contrast, "temperature", None)
        found = {"loss_temperature": self.temperature, "temperature": contrast}
        return {
            f"{name}{suffix}": value
            for name, module in found.items()
            if isinstance(module, (Learned, Adaptive))
            for suffix, value in module.figures().items()
        }

    @torch.no_grad()
    def ranked(self, embeddings: Embeddings) -> Embeddings:
        """Return the vectors to rank by: those of the encoder, unless the contrast has its own."""
        contrast: object = self.contrast
        return contrast.ranked(embeddings) if isinstance(contrast, Ranks) else embeddings
