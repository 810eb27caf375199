"""What a contrast sees of a training step, what it returns, and the settings that contrasts share.

Every contrast is an ``nn.Module`` made as ``Contrast(encoder, graph, *, generator=None, **settings)``:
``encoder`` is the one that is trained, whose sizes are read or which is copied; ``graph`` is the training
graph; ``generator`` draws the start, the global one if ``None``. Its parameters are trained with the encoder,
and all that outlives a step (a queue, a momentum twin, prototypes) is in its ``state_dict``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, cast, runtime_checkable

from torch import Generator, Tensor, nn

from gclrec.common.declaration import Around, Setting, Span
from gclrec.encoders import Embeddings, Encoder
from gclrec.encoders.content.attribute_map import PredictsVectors
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.passes import Passes
from gclrec.views.views import View

TEMPERATURE = Setting(
    "temperature",
    "Temperature of the contrastive loss: a number, or learned[:START], trained with the rest.",
    search=Span(0.03, 1.0, log=True),
    type=float | str,
)
SSL_LAYER = Setting(
    "ssl_layer",
    "Layer that cross_layer (default 1) or ncl (an even one, default 2) contrasts with; 0 is the input.",
)
MOMENTUM = Setting(
    "momentum",
    "Share of itself that the twin of moco, or the target of byol, keeps when it follows the encoder.",
    low=0,
    high=1,
    search=Span(0.9, 0.999),
)
HEAD_LAYERS = Setting(
    "head_layers",
    "Layers of a projection head (0 to 3) whose output the contrast compares in place of the embeddings.",
    low=0,
    high=3,
)
NUM_PROTOTYPES = Setting(
    "num_prototypes",
    "Clusters of users, and as many of items, of swav and concat.",
    low=2,
    high=65536,
    search=Around(5.0),
)

PROTOTYPE_QUEUE = Setting(
    "prototype_queue",
    "Rows of former batches that swav and concat balance codes with, for batches of fewer nodes than "
    "prototypes; 0 for none.",
    low=0,
    high=2**24,
)


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """One training step, before anything is encoded.

    Args:
        encoder: the encoder that is trained.
        graph: the training graph.
        views: as many prepared views as the contrast asks for.
        users: ``(B,)`` int64 users of the batch's pairs.
        items: ``(B,)`` int64 their items, the positives.
        generator: source of all further randomness; the global one if ``None``.
        passes: the passes through the encoder, which further parts of the batch may share.
    """

    encoder: Encoder
    graph: BipartiteGraph
    views: tuple[View, ...]
    users: Tensor
    items: Tensor
    generator: Generator | None = None
    passes: Passes = field(default_factory=Passes)

    def encode(
        self, view: View | None = None, *, layers: bool = False, encoder: Encoder | None = None
    ) -> Embeddings:
        """Return the embeddings of all users and items.

        Args:
            view: of the graph; the training graph itself if ``None``.
            layers: also return each layer's output.
            encoder: another one than that which is trained.
        """
        seen = self.passes.whole(self.graph) if view is None else view
        return self.passes.encode(encoder or self.encoder, seen, layers=layers)

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Return the distinct users and the distinct items of the batch, ascending."""
        return self.users.unique(), self.items.unique()


class Contrasted(NamedTuple):
    """What a contrast returns.

    Args:
        main: embeddings for the ranking loss.
        loss: the contrastive loss, a scalar, not yet weighted.
    """

    main: Embeddings
    loss: Tensor


class Contrast(Protocol):
    """One kind of self-supervision, an ``nn.Module``."""

    def __call__(self, step: TrainingStep) -> Contrasted:
        """Return the loss of one step and the embeddings to rank by."""


@runtime_checkable
class OfBatch(Protocol):
    """A contrast that looks at users of the batch's pairs alone, so that others need not be encoded."""

    of_batch: bool


@runtime_checkable
class BeginsEpochs(Protocol):
    """A part of an objective that acts at the start of an epoch, for example by clustering."""

    def begin_epoch(self, epoch: int, encoder: Encoder, graph: BipartiteGraph) -> None:
        """Prepare for epoch ``epoch``, from 1; called without gradient, the encoder in evaluation mode."""


@contextmanager
def evaluating(encoder: Encoder) -> Iterator[None]:
    """Put an encoder into evaluation mode for a block, so that statistics are taken with no id hidden."""
    module = cast("nn.Module", encoder)
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)


@runtime_checkable
class FollowsSteps(Protocol):
    """A part of an objective that acts after each step of the optimiser, such as a momentum twin."""

    def after_step(self, encoder: Encoder) -> None:
        """Follow the updated encoder; called without gradient."""


@runtime_checkable
class MapsAttributes(Protocol):
    """A contrast that trains what gives vectors to nodes without interactions."""

    @property
    def maps(self) -> Mapping[str, PredictsVectors]:
        """What gives them, by ``"user"`` and ``"item"``."""


@runtime_checkable
class Ranks(Protocol):
    """A contrast whose method ranks by vectors made from the encoder's, such as those of a predictor."""

    def ranked(self, embeddings: Embeddings) -> Embeddings:
        """Return the vectors whose inner product is the score; called without gradient."""
