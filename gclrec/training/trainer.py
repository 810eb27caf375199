"""One phase of training: a step, an epoch, and the state between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Generator, Tensor, nn

from gclrec.common.devices import on_cpu
from gclrec.common.schedules import factor
from gclrec.data.interactions import Interactions
from gclrec.data.schema import Attributes
from gclrec.encoders import Sequences
from gclrec.encoders.base import GraphLike
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.half import in_half
from gclrec.graph.propagation import Adjacency, Operator
from gclrec.graph.sparsify import Sparsifier
from gclrec.settings.budget import BATCH_SIZE, budgeted
from gclrec.settings.config import TrainConfig
from gclrec.training.batches import Batch, KnownItems, PairBatches
from gclrec.training.build import chains_of, halves_propagation, inputs_of, pick_device, sampler_of
from gclrec.training.distributed import Processes
from gclrec.training.model import Model, build_model, model_tensors
from gclrec.training.objective import Parts
from gclrec.training.warm_start import WarmStart
from gclrec.views.passes import Passes
from gclrec.views.views import View, make_view

OnBatch = Callable[[int, int, dict[str, float]], None]
"""Called after some batches: batches done, batches in all, mean of each loss part so far."""


class Trainer:
    """Trains one model on one graph. All of its state can be taken out and put back.

    The start is drawn on the CPU from ``config.seed``, everything later from one generator on the
    device of ``graph``; the same seed on the same machine gives the same numbers, bit for bit.

    Args:
        config: the settings.
        graph: the training interactions, on the device to train on.
        exposed: ``(2, X)`` pairs that were shown and not clicked, for ``exposed`` negatives.
        attributes: of users and items; needed where ``config.attributes`` is not ``none``.
        sequences: users' items in order; needed where ``config.history`` is not ``none``.
        start: state of an encoder to begin with.
        processes: those that share the embedding dimensions; this process has all if ``None``.
    """

    def __init__(
        self,
        config: TrainConfig,
        graph: BipartiteGraph,
        *,
        exposed: Tensor | None = None,
        attributes: Attributes | None = None,
        sequences: Sequences | None = None,
        start: Mapping[str, Tensor] | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.config = config = budgeted(config, graph.num_edges)
        self.generator = Generator(graph.device).manual_seed(config.seed)
        self.model = build_model(
            config, graph, attributes=attributes, sequences=sequences, draws=self.generator, start=start
        )
        self.processes = processes
        self.columns = None if processes is None else processes.divide(self.model)
        known = None if attributes is None else KnownItems.of(graph)
        if known is None:
            self.sampler = sampler_of(config, graph, exposed)
        else:
            shown = None if exposed is None else known.renumbered(exposed.to(graph.device))
            self.sampler = sampler_of(config, known.graph, shown)
        self.batches = PairBatches(
            graph,
            config.batch_size or BATCH_SIZE,
            self.sampler,
            self.generator,
            known=known,
            most=config.micro_batch,
            seed=config.seed,
        )
        self.chains = chains_of(config)
        self._halves = halves_propagation(config) and on_cpu(graph.device)
        self.schedule_settings = config.arguments("schedule")
        self.optimizer = torch.optim.Adam(
            [p for p in self.model.parameters() if p.requires_grad], lr=config.learning_rate, fused=True
        )

    def run_epoch(self, epoch: int, on_batch: OnBatch | None = None) -> dict[str, float]:
        """Train for an epoch, or a round of steps, and return the mean of each loss part and ``total``.

        Args:
            epoch: its number, from 1.
            on_batch: called after some batches.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        model = self.model
        model.train()
        sums: dict[str, Tensor] = {}
        pairs = 0
        first, last = self.steps_before(epoch), self.steps_before(epoch + 1)
        count = last - first
        batches = self.batches if self.config.steps is None else self.batches.between(first, last)
        views = self.views()
        model.objective.begin_epoch(epoch, model.encoder, model.graph)
        for number, batch in enumerate(batches, start=1):
            size = sum(len(part.users) for part in batch)
            pairs += size
            self._set_rate(first + number - 1)
            for name, part in self.step(batch, next(views)).items():
                sums[name] = sums[name] + part * size if name in sums else part * size
            if on_batch is not None and (number % 10 == 0 or number == count):
                on_batch(number, count, {name: float(value) / pairs for name, value in sums.items()})
        means = {name: float(value) / pairs for name, value in sums.items()}
        if not all(map(torch.isfinite, sums.values())):
            raise FloatingPointError(f"the loss is no longer finite ({means}); try a smaller --learning-rate")
        return means

    def steps_before(self, epoch: int) -> int:
        """Return the number of steps before an epoch, or a round of the steps, counted from 1."""
        steps = self.config.steps
        return (epoch - 1) * len(self.batches) if steps is None else steps * (epoch - 1) // self.config.rounds

    def _set_rate(self, step: int) -> None:
        config = self.config
        steps = self.steps_before(config.rounds + 1)
        warmup = round(config.warmup * steps / config.rounds)
        share = factor(config.schedule, step, steps, warmup, **self.schedule_settings)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * share

    def step(self, batch: Sequence[Batch], views: tuple[View, ...]) -> Parts:
        """Take one step of the optimiser and return the loss parts, ``total`` included.

        Args:
            batch: one or more parts, which share the passes through the encoder.
            views: as many as the contrast asks for.
        """
        encoder, objective, graph = self.model.encoder, self.model.objective, self.model.graph
        half = self.config.precision == "half"
        gather = None if self.processes is None else self.processes.gather
        # On a GPU the products cost less than waiting for the number of users' edges.
        users = objective.users_of(batch, encoder) if on_cpu(graph.device) else None
        passes = Passes(shared=len(batch) > 1, operator=self.operator, gather=gather, users=users)
        pairs = sum(len(part.users) for part in batch)
        means: Parts = {}
        self.optimizer.zero_grad(set_to_none=True)
        for part in batch:
            with torch.autocast(graph.device.type, torch.bfloat16, enabled=half):
                loss, parts = objective(part, encoder, graph, views, generator=self.generator, passes=passes)
            share = len(part.users) / pairs
            (loss * share if passes.shared else loss).backward()
            passes.collect()
            for name, value in {"total": loss.detach(), **parts}.items():
                means[name] = means.get(name, 0.0) + value * share
        if passes.shared:
            passes.backward()
            if objective.l2_weight:
                penalty = objective.penalty(batch, encoder)
                penalty.backward()
                means["l2"] = penalty.detach()
                means["total"] = means["total"] + means["l2"]
        self.optimizer.step()
        objective.after_step(encoder)
        return means

    def operator(self, graph: GraphLike) -> GraphLike:
        """Return what a pass of this step propagates over in place of a graph."""
        share, exponent = self.config.sample_edges, self.config.degree_exponent
        if share == 1.0 and not self._halves:
            return graph
        if isinstance(graph, BipartiteGraph):
            whole, remember = graph.weighted(exponent), graph.remember
            if share == 1.0:
                return remember(("half", exponent), lambda: in_half(whole))
            sparsifier = remember(("sparsifier", share, exponent), lambda: Sparsifier(whole, share))
        elif isinstance(graph, Adjacency):
            if share == 1.0:
                return in_half(graph)
            sparsifier = Sparsifier(graph, share)
        elif isinstance(graph, Sequence):
            return [cast("Operator", self.operator(each)) for each in graph]
        else:
            return graph  # of a low rank, which costs little
        drawn = sparsifier.draw(generator=self.generator)
        return in_half(drawn) if self._halves else drawn

    def views(self) -> Iterator[tuple[View, ...]]:
        """Yield the views of each batch, as many as the contrast asks for."""
        chains = self.chains or ()
        while True:
            views = tuple(
                make_view(
                    chain,
                    self.model.graph,
                    generator=self.generator,
                    num_layers=self.config.num_layers,
                    degree_exponent=self.config.degree_exponent,
                    columns=self.columns,
                )
                for chain in chains
            )
            yield views
            while self.config.views_every == "epoch":
                yield views

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on; of several processes, the first gets them."""
        tensors = dict(self.model.state_dict())
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{name}.{key}"] = value
        tensors["generator"] = self.generator.get_state()
        tensors |= {f"generator.{name}": own.get_state() for name, own in self._generators().items()}
        if isinstance(self.sampler, nn.Module):
            tensors |= {f"{_SAMPLER}{name}": value for name, value in self.sampler.state_dict().items()}
        return tensors if self.processes is None else self.processes.collected(tensors)

    def whole(self) -> Model | None:
        """Return the model with all dimensions; of several processes, the first one alone gets it."""
        return self.model if self.processes is None else self.processes.whole(self.model)

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` returned; of several processes, the first one must have it.

        Raises:
            RuntimeError: tensors are missing or of another shape.
            KeyError: there is no state of the generator.
        """
        if self.processes is not None:
            tensors = self.processes.distributed(tensors)
        self.model.load_state_dict(model_tensors(tensors))
        for name, parameter in self.model.named_parameters():
            saved = _below(tensors, f"adam.{name}.")
            if saved:
                self.optimizer.state[parameter] = {
                    key: value.to(parameter.device) for key, value in saved.items()
                }
        self.generator.set_state(tensors["generator"].cpu())
        for name, own in self._generators().items():
            if f"generator.{name}" in tensors:  # version 0.1.0 did not save them
                own.set_state(tensors[f"generator.{name}"].cpu())
        if isinstance(self.sampler, nn.Module):
            self.sampler.load_state_dict(_below(tensors, _SAMPLER))

    def _generators(self) -> dict[str, Generator]:
        """Return the generators that parts of the model have of their own, such as a momentum twin."""
        return {
            f"{name}.{key}": value
            for name, module in self.model.named_modules()
            for key, value in vars(module).items()
            if isinstance(value, Generator) and value is not self.generator
        }


_SAMPLER = "negatives."
"""How the names of a sampler's tensors begin."""


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def new_trainer(
    config: TrainConfig,
    train: Interactions,
    *,
    attributes: Attributes | None = None,
    exposed: Interactions | None = None,
    start: WarmStart | None = None,
    processes: Processes | None = None,
) -> Trainer:
    """Return a fresh trainer on some pairs, on the device of the settings."""
    graph, given = inputs_of(config, train, attributes, pick_device(config.device))
    shown = None
    if exposed is not None and config.negatives == "exposed":
        shown = torch.from_numpy(np.stack([exposed.user, exposed.item]).astype(np.int64))
    tables = None if start is None else start.tables(train)
    return Trainer(config, graph, exposed=shown, start=tables, processes=processes, **given)
