"""What a run learns: an encoder, an objective and a score. It needs no optimiser to be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from gclrec.common.errors import reading
from gclrec.common.ragged import Ragged
from gclrec.contrast.base import Ranks
from gclrec.data.interactions import IntArray
from gclrec.data.schema import Attributes, AttributeTable
from gclrec.encoders import (
    Embeddings,
    Encoder,
    EncodesContent,
    EncodesHistories,
    PropagatesLinearly,
    Sequences,
)
from gclrec.encoders.init import STARTS
from gclrec.evaluation.scoring import Scoring
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.fold_in import FoldIn
from gclrec.settings.config import TrainConfig
from gclrec.training.build import chains_of, contrast_of, encoder_of, loss_of, with_fields
from gclrec.training.objective import Objective
from gclrec.training.sequences import continued
from gclrec.training.warm_start import take_over


class Model(nn.Module):
    """An encoder with its objective and its score, on one graph.

    The objective belongs to the model because some contrasts have parameters that take part in ranking.

    Args:
        graph: the training interactions, with as many node attributes as there are fields.
        encoder: turns a graph into embeddings.
        objective: what a training step minimises.
        scoring: turns embeddings into the vectors that items are ranked by.
    """

    def __init__(
        self, graph: BipartiteGraph, encoder: nn.Module, objective: Objective, scoring: Scoring
    ) -> None:
        super().__init__()
        self.graph = graph
        self.encoder = cast("Encoder", encoder)
        self.objective = objective
        self.scoring = scoring

    @torch.no_grad()
    def raw_embeddings(self) -> Embeddings:
        """Return the final embeddings on the whole training graph, before scoring changes their length."""
        self.eval()
        users, items = self.objective.ranked(self.encoder(self.graph))
        return Embeddings(users.detach(), items.detach())

    @torch.no_grad()
    def embeddings(self) -> Embeddings:
        """Return the vectors that evaluation and index rank by; the score of a pair is their inner product.

        Where the score is a cosine, the vectors have unit length.
        """
        return cast("Embeddings", self.scoring(self.raw_embeddings()))

    @torch.no_grad()
    def fold_in(self) -> FoldIn:
        """Return what gives vectors to new users and items; exact where the encoder propagates linearly."""
        self.eval()
        exponents, layers, encoder = self.scoring.exponents, self._polynomial(), self.encoder
        if layers is not None:
            assert isinstance(encoder, PropagatesLinearly)
            how: dict[str, Any] = {"exponents": exponents, "degree_exponent": encoder.degree_exponent}
            return FoldIn.of_layers(self.graph, *layers, **how)
        users, items = self.raw_embeddings()
        return FoldIn.of_vectors(self.graph, users, items, exponents=exponents)

    @torch.no_grad()
    def cold_items(self, table: AttributeTable) -> Tensor:
        """Return the ``start`` that :meth:`FoldIn.new_items` takes for items without users, ``(N, D)``.

        Layer 0 where vectors come from neighbours, otherwise the whole vector before its length is changed.

        Args:
            table: attributes, encoded by the schema of those that the encoder was made with.
        """
        self.eval()
        encoder: object = self.encoder
        assert isinstance(encoder, EncodesContent)
        if self._polynomial() is not None:
            return encoder.encode_content("item", table)
        items = encoder.encode_cold("item", table, self.graph)
        return self.objective.ranked(Embeddings(items[:0], items)).items

    @torch.no_grad()
    def users_by_histories(self, users: IntArray, given: Ragged, items: Tensor) -> Tensor:
        """Return vectors of users by the items they took, before their length is changed, ``(B, D)``.

        Args:
            users: ``(B,)`` their rows, ``-1`` for a user that training did not know.
            given: items that each took after training, oldest to newest.
            items: ``(I, D)`` vectors of the items, before their length is changed.
        """
        self.eval()
        encoder: object = self.encoder
        assert isinstance(encoder, EncodesHistories)
        assert encoder.sequences is not None
        rows = continued(encoder.sequences, users, given)
        device = self.graph.device
        found = encoder.encode_history(items, rows.to(device), torch.from_numpy(users).to(device))
        return self.objective.ranked(Embeddings(found, items[:0])).users

    def load(self, tensors: Mapping[str, Tensor], source: object = "the best checkpoint") -> None:
        """Take over the tensors of a model's ``state_dict``; others among them are left out.

        The tensors themselves become the parameters; the former ones keep their values.

        Raises:
            InputError: a tensor is missing or does not fit; names the source.
        """
        device = self.graph.device
        own = {name: value.to(device) for name, value in model_tensors(tensors).items()}
        with reading(source, "does not fit the settings of the run"):
            for name, value in self.state_dict().items():
                if name in own and own[name].dtype != value.dtype:
                    raise ValueError(f"{name} holds {own[name].dtype}, expected {value.dtype}")
            self.load_state_dict(own, assign=True)

    def load_scoring(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over how another model ranks, such as a calibrated exponent, and nothing else of it."""
        own = {name: value for name, value in tensors.items() if name.startswith("scoring.")}
        self.load_state_dict(own, strict=False)

    def _polynomial(self) -> tuple[Tensor, Tensor, list[float]] | None:
        """Return the ranked vectors as a polynomial of the propagation, ``None`` if they are none."""
        encoder: object = self.encoder
        if isinstance(self.objective.contrast, Ranks) or not isinstance(encoder, PropagatesLinearly):
            return None
        return encoder.as_polynomial(self.graph)


def model_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those of a checkpoint's tensors that belong to the model."""
    own = ("encoder.", "objective.", "scoring.")
    return {name: value for name, value in tensors.items() if name.startswith(own)}


def build_model(
    config: TrainConfig,
    graph: BipartiteGraph,
    *,
    attributes: Attributes | None = None,
    sequences: Sequences | None = None,
    draws: Generator | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> Model:
    """Return an untrained model on the device of the graph, its start drawn on the CPU from ``config.seed``.

    With ``start``, the state of another encoder, the encoder begins with that. The other arguments are those
    of :func:`~gclrec.training.build.encoder_of`.

    Raises:
        InputError: ``start`` is not of such an encoder.
    """
    drawn = Generator().manual_seed(config.seed)
    module = encoder_of(
        config, graph, attributes=attributes, sequences=sequences, generator=drawn, draws=draws
    )
    encoder = cast("Encoder", module)
    STARTS[config.init](encoder, graph, drawn, **config.arguments("init"))
    if start is not None:
        take_over(module, start, config.start_from)
    contrast = contrast_of(config, encoder, graph) if chains_of(config) is not None else None
    objective = Objective(
        config.l2_weight, config.ssl_weight, contrast, config.loss, **loss_of(config, graph)
    )
    whole = graph if attributes is None else with_fields(graph, attributes)
    return Model(
        whole, module, objective, Scoring(config.score, **config.arguments("score")).to(graph.device)
    )
