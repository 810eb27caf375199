"""What a run learns: an encoder, an objective and a score. It needs no optimiser to be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Generator, Tensor, nn

from gclrec.common.errors import reading
from gclrec.common.ragged import Ragged
from gclrec.contrast.base import MapsAttributes, Ranks
from gclrec.data.interactions import IntArray
from gclrec.data.schema import Attributes, AttributeTable
from gclrec.data.splits import Split
from gclrec.encoders import (
    Embeddings,
    Encoder,
    EncodesContent,
    EncodesHistories,
    PropagatesLinearly,
    Sequences,
)
from gclrec.encoders.content.attribute_map import MAP_L2, PredictsVectors
from gclrec.encoders.init import STARTS
from gclrec.evaluation.cold_items import PENALTIES, ColdItems
from gclrec.evaluation.cold_neighbours import ColdNeighbours
from gclrec.evaluation.cold_users import USER_PENALTIES, ColdUsers
from gclrec.evaluation.scoring import Scoring
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.fold_in import FoldIn
from gclrec.settings.config import TrainConfig
from gclrec.training.build import chains_of, contrast_of, encoder_of, loss_of, maps_of, with_fields
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
        maps: by ``"user"`` and ``"item"``, what predicts the vectors of those without interactions.
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        encoder: nn.Module,
        objective: Objective,
        scoring: Scoring,
        maps: Mapping[str, PredictsVectors] | None = None,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.encoder = cast("Encoder", encoder)
        self.objective = objective
        self.scoring = scoring
        self.maps = maps or {}

    @torch.no_grad()
    def raw_embeddings(self) -> Embeddings:
        """Return the final embeddings on the whole training graph, before scoring changes their length."""
        return self._mapped(self._encoded())

    @torch.no_grad()
    def choose_scoring(self, split: Split, figure: str, *, settle: bool = False) -> dict[str, float]:
        """Choose on validation what the score leaves open, and return the exponent where it has one.

        Args:
            split: its validation pairs are the ones to rank.
            figure: such as ``all/recall@20``.
            settle: go on from what was chosen, on all validation users; see :meth:`Scoring.settle`.
        """
        encoded, scoring, found = self._encoded(), self.scoring, dict[str, float]()
        cold = scoring.cold
        if cold is not None and not settle:
            cold.order(lambda l2: self._mapped(encoded, l2), split, figure)
        raw = self._mapped(encoded)
        if scoring.calibrates:
            # Predicted vectors get a length of their own afterwards.
            rated = (
                raw if cold is None else Embeddings(raw.users, raw.items.masked_fill(cold.mask[:, None], 0))
            )
            choose = scoring.settle if settle else scoring.calibrate
            found["norm_exponent"] = choose(rated, split, figure)
        if cold is not None:
            cold.scale.fill_(1.0)
            if scoring.neighbours is not None and not settle:
                scoring.neighbours.choose(scoring.before_neighbours(raw), split, figure)
            cold.place(scoring(raw), split, figure)
        if scoring.cold_users is not None and not settle:
            scoring.cold_users.choose(
                lambda l2: scoring.before_users(self._mapped(encoded, user_l2=l2)), split, figure
            )
        return found

    def _encoded(self) -> Embeddings:
        self.eval()
        users, items = self.objective.ranked(self.encoder(self.graph))
        return Embeddings(users.detach(), items.detach())

    def _mapped(
        self, encoded: Embeddings, l2: float | None = None, *, user_l2: float | None = None
    ) -> Embeddings:
        """Return embeddings with predicted vectors for users and items without interactions."""
        users, items = encoded
        if "user" in self.maps:
            assert self.scoring.cold_users is not None
            users = self.maps["user"](
                users, float(self.scoring.cold_users.l2) if user_l2 is None else user_l2
            )
        if "item" in self.maps:
            assert self.scoring.cold is not None
            items = self.maps["item"](items, float(self.scoring.cold.l2) if l2 is None else l2)
        return Embeddings(users, items)

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
            found = FoldIn.of_layers(self.graph, *layers, **how)
        else:
            found = FoldIn.of_vectors(self.graph, *self._encoded(), exponents=exponents)
        if not self.maps:
            return found
        lengths = self.raw_embeddings().users.norm(dim=1).cpu().numpy()
        found = replace(found, user_length=lengths, maps_attributes="item" in self.maps)
        neighbours = self.scoring.neighbours
        if neighbours is None or not neighbours.used:
            return found
        content = (neighbours.content * ~neighbours.mask[:, None]).cpu().numpy()
        sent = np.concatenate([found.item_sent, content], axis=1)
        return replace(found, item_sent=sent, content_dim=neighbours.dim)

    @torch.no_grad()
    def cold_items(self, table: AttributeTable) -> Tensor:
        """Return the ``start`` that :meth:`FoldIn.new_items` takes for items without users, ``(N, D)``.

        The vector to rank by where a map predicts it. Otherwise layer 0 where vectors come from neighbours,
        and the whole vector before its length is changed where they do not.

        Args:
            table: attributes, encoded by the schema of those that the encoder was made with.
        """
        self.eval()
        cold = self.scoring.cold
        if cold is not None:
            found = self.scoring.of_cold(
                self.maps["item"].encode(table, self._encoded().items, float(cold.l2))
            )
            neighbours = self.scoring.neighbours
            if neighbours is None or not neighbours.used:
                return found
            return torch.cat([found, neighbours.encode(table) * float(cold.scale)], dim=1)
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
    contrast = contrast_of(config, encoder, graph, attributes) if chains_of(config) is not None else None
    objective = Objective(
        config.l2_weight, config.ssl_weight, contrast, config.loss, **loss_of(config, graph)
    )
    own: object = contrast
    trained = (own.maps or None) if isinstance(own, MapsAttributes) else None
    maps = maps_of(config, graph, attributes) if trained is None else trained
    whole = graph if attributes is None or maps else with_fields(graph, attributes)
    user_degrees, item_degrees = graph.degrees()
    one = None if trained is None else (MAP_L2,)
    cold = ColdItems(item_degrees == 0, MAP_L2, one or PENALTIES) if "item" in maps else None
    users = None
    if "user" in maps:
        users = ColdUsers(user_degrees == 0, item_degrees, MAP_L2, one or USER_PENALTIES)
    near = None
    if cold is not None and attributes is not None and attributes.items is not None:
        near = ColdNeighbours(graph, attributes.items, cold.mask)
    scoring = Scoring(config.score, cold=cold, cold_users=users, neighbours=near, **config.arguments("score"))
    return Model(whole, module, objective, scoring.to(graph.device), maps)
