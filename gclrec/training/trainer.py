"""One phase of training: an encoder, its optimiser, and an epoch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Generator, Tensor, nn

from gclrec.common.ragged import Ragged
from gclrec.common.schedules import factor
from gclrec.contrast.base import Ranks
from gclrec.data.interactions import IntArray
from gclrec.data.schema import Attributes, AttributeTable
from gclrec.encoders import (
    Embeddings,
    Encoder,
    EncodesContent,
    LightGCN,
    Sequences,
    TwoTower,
    ValueNodes,
)
from gclrec.encoders.init import STARTS
from gclrec.evaluation.scoring import Scoring
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.fold_in import FoldIn
from gclrec.settings.config import TrainConfig
from gclrec.training.batches import Batch, KnownItems, PairBatches
from gclrec.training.build import chains_of, contrast_of, encoder_of, loss_of, sampler_of, with_fields
from gclrec.training.objective import Objective, Parts
from gclrec.training.sequences import continued
from gclrec.views.views import View, make_view

OnBatch = Callable[[int, int, dict[str, float]], None]
"""Told after some batches: batches done, batches in all, mean of each loss part so far."""


class Trainer:
    """Trains one encoder on one graph. All its state can be taken out and put back.

    Args:
        config: the settings.
        graph: the training interactions, on the device to train on.
        exposed: ``(2, X)`` pairs that were shown and not clicked, for ``exposed`` negatives.
        attributes: of users and items; needed where ``config.attributes`` is not ``none``.
        sequences: users' items in order; needed where ``config.history`` is not ``none``.

    The start is drawn on the CPU from ``config.seed``, everything later from one generator on the
    device of ``graph``; so the same seed on the same machine gives the same numbers, bit for bit.
    """

    def __init__(
        self,
        config: TrainConfig,
        graph: BipartiteGraph,
        *,
        exposed: Tensor | None = None,
        attributes: Attributes | None = None,
        sequences: Sequences | None = None,
    ) -> None:
        self.config = config
        self.graph = graph if attributes is None else with_fields(graph, attributes)
        self.generator = Generator(graph.device).manual_seed(config.seed)
        drawn = Generator().manual_seed(config.seed)
        module = encoder_of(
            config, graph, attributes=attributes, sequences=sequences, generator=drawn, draws=self.generator
        )
        self.encoder = cast("Encoder", module)
        STARTS[config.init](self.encoder, graph, drawn)
        known = None if attributes is None else KnownItems.of(graph)
        if known is None:
            self.sampler = sampler_of(config, graph, exposed)
        else:
            shown = None if exposed is None else known.renumbered(exposed.to(graph.device))
            self.sampler = sampler_of(config, known.graph, shown)
        self.batches = PairBatches(graph, config.batch_size, self.sampler, self.generator, known=known)
        self.chains = chains_of(config)
        self.objective = Objective(
            config.l2_weight,
            config.ssl_weight,
            contrast_of(config, self.encoder, graph) if self.chains is not None else None,
            config.loss,
            **loss_of(config, graph),
        )
        self.scoring = Scoring(config.score).to(graph.device)
        self.modules = nn.ModuleDict(
            {"encoder": module, "objective": self.objective, "scoring": self.scoring}
        )
        self.optimizer = torch.optim.Adam(
            [p for p in self.modules.parameters() if p.requires_grad], lr=config.learning_rate, fused=True
        )

    def run_epoch(self, epoch: int, on_batch: OnBatch | None = None) -> dict[str, float]:
        """Train on every pair once and return the mean of each loss part, ``total`` included.

        Args:
            epoch: its number, from 1.
            on_batch: told after some batches.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        self.modules.train()
        sums: dict[str, Tensor] = {}
        pairs = 0
        count = len(self.batches)
        views = self.views()
        self.objective.begin_epoch(epoch, self.encoder, self.graph)
        for number, batch in enumerate(self.batches, start=1):
            size = len(batch.users)
            pairs += size
            self._set_rate((epoch - 1) * count + number - 1)
            for name, part in self.step(batch, next(views)).items():
                sums[name] = sums[name] + part * size if name in sums else part * size
            if on_batch is not None and (number % 10 == 0 or number == count):
                on_batch(number, count, {name: float(value) / pairs for name, value in sums.items()})
        means = {name: float(value) / pairs for name, value in sums.items()}
        if not all(map(torch.isfinite, sums.values())):
            raise FloatingPointError(f"the loss is no longer finite ({means}); try a smaller --learning-rate")
        return means

    def _set_rate(self, step: int) -> None:
        config, count = self.config, len(self.batches)
        share = factor(config.schedule, step, config.epochs * count, round(config.warmup * count))
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * share

    def step(self, batch: Batch, views: tuple[View, ...]) -> Parts:
        """Take one step of the optimiser and return the loss parts, ``total`` included."""
        half = self.config.precision == "half"
        with torch.autocast(self.graph.device.type, torch.bfloat16, enabled=half):
            loss, parts = self.objective(batch, self.encoder, self.graph, views, generator=self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.objective.after_step(self.encoder)
        return {"total": loss.detach(), **parts}

    def views(self) -> Iterator[tuple[View, ...]]:
        """Yield the views for one batch after another: as many as the contrast asks for."""
        chains = self.chains or ()
        while True:
            views = tuple(
                make_view(
                    chain,
                    self.graph,
                    generator=self.generator,
                    num_layers=self.config.num_layers,
                    degree_exponent=self.config.degree_exponent,
                )
                for chain in chains
            )
            yield views
            while self.config.views_every == "epoch":
                yield views

    @torch.no_grad()
    def embeddings(self) -> Embeddings:
        """Return the final embeddings on the whole training graph, as evaluation and the index see them.

        The score of a pair is always the inner product: where it is to be the cosine, all have unit length.
        """
        return self.scoring(self.raw_embeddings())  # type: ignore[no-any-return]

    @torch.no_grad()
    def raw_embeddings(self) -> Embeddings:
        """Return the final embeddings on the whole training graph before :class:`Scoring` has them."""
        self.modules.eval()
        users, items = self.objective.ranked(self.encoder(self.graph))
        return Embeddings(users.detach(), items.detach())

    @torch.no_grad()
    def fold_in(self) -> FoldIn:
        """Return what gives vectors to new users and items; exact where the encoder propagates linearly."""
        exponents = self.scoring.exponents
        encoder = self._linear()
        if encoder is not None:
            self.modules.eval()
            return FoldIn.of_layers(
                self.graph,
                *encoder.as_polynomial(self.graph),
                exponents=exponents,
                degree_exponent=encoder.degree_exponent,
            )
        users, items = self.raw_embeddings()
        return FoldIn.of_vectors(self.graph, users, items, exponents=exponents)

    @torch.no_grad()
    def cold_items(self, table: AttributeTable) -> Tensor:
        """Return what :meth:`FoldIn.new_items` takes as ``start`` of items without users, ``(N, D)``.

        That is layer 0 where vectors come from neighbours, and else the whole vector, as it is ranked by but
        for its length.

        Args:
            table: attributes, encoded by the schema of those that the encoder was made with.
        """
        self.modules.eval()
        encoder: object = self.encoder
        assert isinstance(encoder, EncodesContent)
        if self._linear() is not None:
            return encoder.encode_content("item", table)
        items = encoder.encode_cold("item", table, self.graph)
        return self.objective.ranked(Embeddings(items[:0], items)).items

    @torch.no_grad()
    def users_by_histories(self, users: IntArray, given: Ragged, items: Tensor) -> Tensor:
        """Return what users are ranked by, but for its length, by what they took, ``(B, D)``.

        Args:
            users: ``(B,)`` their rows, ``-1`` for a user that training did not know.
            given: what each has come to since training, oldest to newest.
            items: ``(I, D)`` vectors of the items, as they are before their length is changed.
        """
        self.modules.eval()
        encoder: object = self.encoder
        assert isinstance(encoder, TwoTower)
        assert encoder.sequences is not None
        rows = continued(encoder.sequences, users, given)
        found = encoder.encode_history(items, rows, torch.from_numpy(users))
        return self.objective.ranked(Embeddings(found, items[:0])).users

    def _linear(self) -> LightGCN | None:
        """Return the encoder if its final vectors are weighted sums of layers, with no further nodes."""
        encoder: object = self.encoder
        if not isinstance(encoder, LightGCN) or isinstance(encoder.content, ValueNodes):
            return None
        return None if isinstance(self.objective.contrast, Ranks) else encoder

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on."""
        tensors = dict(self.modules.state_dict())
        for name, parameter in self.modules.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{name}.{key}"] = value
        tensors["generator"] = self.generator.get_state()
        if isinstance(self.sampler, nn.Module):
            tensors |= {f"{_SAMPLER}{name}": value for name, value in self.sampler.state_dict().items()}
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`state` returned."""
        self.load_model(tensors)
        for name, parameter in self.modules.named_parameters():
            prefix = f"adam.{name}."
            saved = {
                key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
            }
            if saved:
                self.optimizer.state[parameter] = {
                    key: value.to(parameter.device) for key, value in saved.items()
                }
        self.generator.set_state(tensors["generator"].cpu())
        if isinstance(self.sampler, nn.Module):
            mine = {
                name.removeprefix(_SAMPLER): value
                for name, value in tensors.items()
                if name.startswith(_SAMPLER)
            }
            self.sampler.load_state_dict(mine)

    def model_state(self) -> dict[str, Tensor]:
        """Return the tensors that :meth:`embeddings` depends on: no optimiser, no generator."""
        return dict(self.modules.state_dict())

    def load_model(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`model_state` (or :meth:`state`) returned."""
        mine = {name: value for name, value in tensors.items() if name.startswith(_MODEL)}
        self.modules.load_state_dict(mine)

    def load_scoring(self, tensors: dict[str, Tensor]) -> None:
        """Take over how another model ranks, such as a calibrated exponent, and nothing else of it."""
        self.modules.load_state_dict(
            {name: value for name, value in tensors.items() if name.startswith("scoring.")}, strict=False
        )


_MODEL = ("encoder.", "objective.", "scoring.")
"""How the names of a model's tensors begin."""

_SAMPLER = "negatives."
"""How the names of a sampler's tensors begin."""
