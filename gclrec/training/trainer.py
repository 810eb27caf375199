"""One phase of training: an encoder, its optimiser, and an epoch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Generator, Tensor

from gclrec.contrast.negatives import NEGATIVES, Sampler, none
from gclrec.contrast.ranking_losses import LOSSES, SCORES
from gclrec.contrast.views import View, make_view, parse_augmentations
from gclrec.data.fields import Attributes
from gclrec.encoders import Embeddings, Encoder, build_encoder
from gclrec.errors import InputError
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.training.batches import Batch, PairBatches
from gclrec.training.config import TrainConfig
from gclrec.training.objective import Objective, Parts

OnBatch = Callable[[int, int, dict[str, float]], None]
"""Told after some batches: batches done, batches in all, mean of each loss part so far."""


class Trainer:
    """Trains one encoder on one graph. All its state can be taken out and put back.

    Args:
        config: the settings.
        graph: the training interactions, on the device to train on.
        attributes: of users and items; needed where ``config.attributes`` is not ``none``.

    The start is drawn on the CPU from ``config.seed``, everything later from one generator on the
    device of ``graph``; so the same seed on the same machine gives the same numbers, bit for bit.
    """

    def __init__(
        self, config: TrainConfig, graph: BipartiteGraph, attributes: Attributes | None = None
    ) -> None:
        self.config = config
        self.graph = graph if attributes is None else with_fields(graph, attributes)
        self.generator = Generator(graph.device).manual_seed(config.seed)
        module = build_encoder(
            config.encoder,
            graph.num_users,
            graph.num_items,
            dim=config.dim,
            num_layers=config.num_layers,
            layer_weights=config.layer_weights,
            init_std=config.init_std,
            generator=Generator().manual_seed(config.seed),
            attributes=attributes,
            use=config.attributes,
            degrees=None if attributes is None else graph.degrees(),
            id_dropout=config.id_dropout,
            draws=self.generator,
        ).to(graph.device)
        self.module = module
        self.encoder = cast("Encoder", module)
        self.optimizer = torch.optim.Adam(module.parameters(), lr=config.learning_rate, fused=True)
        self.batches = PairBatches(
            graph,
            config.batch_size,
            sampler_of(config),
            self.generator,
            known_only=attributes is not None,
        )
        self.objective = Objective(
            config.l2_weight,
            config.ssl_weight,
            config.temperature,
            config.ssl,
            config.ssl_layer,
            config.loss,
            config.loss_settings(),
        )
        chains = parse_augmentations(config.aug, config.aug_p)
        differ = any(step.name != "none" for chain in chains for step in chain)
        contrasts = config.ssl == "cross_layer" or differ
        self.chains = chains if contrasts and config.ssl_weight > 0 else None

    def run_epoch(self, on_batch: OnBatch | None = None) -> dict[str, float]:
        """Train on every pair once and return the mean of each loss part, ``total`` included.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        self.module.train()
        sums: dict[str, Tensor] = {}
        pairs = 0
        count = len(self.batches)
        views = self.views()
        for number, batch in enumerate(self.batches, start=1):
            size = len(batch.users)
            pairs += size
            for name, part in self.step(batch, next(views)).items():
                sums[name] = sums[name] + part * size if name in sums else part * size
            if on_batch is not None and (number % 10 == 0 or number == count):
                on_batch(number, count, {name: float(value) / pairs for name, value in sums.items()})
        means = {name: float(value) / pairs for name, value in sums.items()}
        if not all(map(torch.isfinite, sums.values())):
            raise FloatingPointError(f"the loss is no longer finite ({means}); try a smaller --learning-rate")
        return means

    def step(self, batch: Batch, views: tuple[View, View] | None) -> Parts:
        """Take one step of the optimiser and return the loss parts, ``total`` included."""
        loss, parts = self.objective(batch, self.encoder, self.graph, views)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"total": loss.detach(), **parts}

    def views(self) -> Iterator[tuple[View, View] | None]:
        """Yield the views for one batch after another."""
        if self.chains is None:
            while True:
                yield None
        first, second = self.chains
        while True:
            views = tuple(
                make_view(chain, self.graph, generator=self.generator, num_layers=self.config.num_layers)
                for chain in (first, second)
            )
            yield cast("tuple[View, View]", views)
            while self.config.views_every == "epoch":
                yield cast("tuple[View, View]", views)

    @torch.no_grad()
    def embeddings(self) -> Embeddings:
        """Return the final embeddings on the whole training graph, as evaluation and the index see them.

        The score of a pair is always the inner product: where it is to be the cosine, all have unit length.
        """
        self.module.eval()
        prepare = SCORES[self.config.score]
        users, items = self.encoder(self.graph)
        return Embeddings(prepare(users).detach(), prepare(items).detach())

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on."""
        tensors = {f"encoder.{name}": value for name, value in self.module.state_dict().items()}
        for name, parameter in self.module.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{name}.{key}"] = value
        tensors["generator"] = self.generator.get_state()
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`state` returned."""
        self.load_encoder(tensors)
        for name, parameter in self.module.named_parameters():
            prefix = f"adam.{name}."
            saved = {
                key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
            }
            if saved:
                self.optimizer.state[parameter] = {
                    key: value.to(parameter.device) for key, value in saved.items()
                }
        self.generator.set_state(tensors["generator"].cpu())

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder's tensors alone."""
        return {name: value for name, value in self.state().items() if name.startswith("encoder.")}

    def load_encoder(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`encoder_state` (or :meth:`state`) returned."""
        encoder: dict[str, Any] = {
            name.removeprefix("encoder."): value
            for name, value in tensors.items()
            if name.startswith("encoder.")
        }
        self.module.load_state_dict(encoder)


def with_fields(graph: BipartiteGraph, attributes: Attributes) -> BipartiteGraph:
    """Return a graph whose nodes have as many attributes as there are fields: 0, or -1 once one is hidden."""
    x = [
        None
        if table is None
        else torch.zeros(table.num_rows, len(table.columns), dtype=torch.int8, device=graph.device)
        for table in (attributes.users, attributes.items)
    ]
    return graph.with_features(x[0], x[1])


def sampler_of(config: TrainConfig) -> Sampler:
    """Return what draws the negatives that the settings ask for."""
    if not LOSSES[config.loss].needs_negatives:
        return none
    settings: dict[str, Any] = {"alpha": config.popularity_alpha, "log_q": config.logq}
    if config.num_negatives is not None:
        settings["count"] = config.num_negatives
    return partial(NEGATIVES[config.negatives], **settings)


def pick_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` means here.

    Raises:
        InputError: CUDA was asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device: no CUDA device is available here; choose cpu or auto")
    return torch.device(name)
