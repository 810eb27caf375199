"""What a contrast sees of a training step, what it hands back, and what it may do besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Generator, Tensor

from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.views import View


@dataclass(frozen=True, eq=False)
class Moment:
    """One training step, before anything is encoded.

    Args:
        encoder: the encoder that is trained.
        graph: the training graph.
        views: as many prepared views as the contrast asks for.
        users: ``(B,)`` int64 users of the batch's pairs.
        items: ``(B,)`` int64 their items, the positives.
        generator: all further randomness comes from here; the global one if ``None``.
    """

    encoder: Encoder
    graph: BipartiteGraph
    views: tuple[View, ...]
    users: Tensor
    items: Tensor
    generator: Generator | None = None


class Contrasted(NamedTuple):
    """What a contrast made of a step.

    Args:
        main: embeddings for the ranking loss.
        loss: the contrastive loss, a scalar, not yet weighted.
    """

    main: Embeddings
    loss: Tensor


class Contrast(Protocol):
    """One kind of self-supervision, an ``nn.Module``: its parameters are trained, its buffers saved."""

    def __call__(self, moment: Moment) -> Contrasted:
        """Return the loss of one step and the embeddings to rank by."""


@runtime_checkable
class BeginsEpochs(Protocol):
    """A contrast that does something at the start of an epoch, such as clustering."""

    def begin_epoch(self, epoch: int, encoder: Encoder, graph: BipartiteGraph) -> None:
        """Prepare for epoch ``epoch``, from 1; called without gradient."""


@runtime_checkable
class FollowsSteps(Protocol):
    """A contrast that does something after each step of the optimiser, such as moving a momentum twin."""

    def after_step(self, encoder: Encoder) -> None:
        """Follow the encoder as the step has left it; called without gradient."""


@runtime_checkable
class Ranks(Protocol):
    """A contrast whose method ranks by vectors made from the encoder's, such as those of a predictor."""

    def ranked(self, embeddings: Embeddings) -> Embeddings:
        """Return the vectors whose inner product is the score; called without gradient."""
