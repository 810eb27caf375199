"""Components of a run, made from its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn

from gclrec.common.errors import InputError
from gclrec.contrast import SSL, build_contrast
from gclrec.contrast.base import Contrast
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.schema import Attributes
from gclrec.data.splits import SPLITS, Split, make_split
from gclrec.encoders import ENCODERS, MAP, Encoder, EncoderInputs, Sequences
from gclrec.encoders.content.attribute_map import AttributeMap, PredictsVectors
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.ranking_losses import LOSSES
from gclrec.losses.temperature import make_temperature
from gclrec.negatives.registry import NEGATIVES, build_sampler, no_negatives
from gclrec.negatives.sampler import Sampler
from gclrec.settings.config import TrainConfig
from gclrec.settings.validation import naming_flags
from gclrec.training.sequences import sequences_of
from gclrec.views.views import Chain, parse_augmentations


def encoder_of(
    config: TrainConfig,
    graph: BipartiteGraph,
    *,
    attributes: Attributes | None = None,
    sequences: Sequences | None = None,
    generator: Generator | None = None,
    draws: Generator | None = None,
) -> nn.Module:
    """Return the encoder that the settings ask for, on the device of the graph.

    Attributes and sequences are needed where the settings use them. The start is drawn from ``generator`` on
    the CPU; in training hidden ids are drawn from ``draws`` on the device of the graph.
    """
    kind = ENCODERS[config.encoder]
    inputs = EncoderInputs(
        attributes, None if attributes is None else graph.degrees(), sequences, generator, draws
    )
    with naming_flags(kind.declared):
        encoder = kind.make(graph.num_users, graph.num_items, inputs, **config.arguments("encoder"))
    return encoder.to(graph.device)


def chains_of(config: TrainConfig) -> tuple[Chain, ...] | None:
    """Return how the views of a step are made, or ``None`` when the settings ask for no contrast."""
    kind = SSL[config.ssl]
    return parse_augmentations(config.aug, config.aug_p)[: kind.views] if config.contrasts else None


def halves_propagation(config: TrainConfig) -> bool:
    """Return whether training steps on a CPU propagate in half precision."""
    kind = ENCODERS[config.encoder]
    able = kind.propagates and not kind.needs_edges and config.attributes != "nodes"
    return able and config.precision in ("half", "half_propagation")


def contrast_of(
    config: TrainConfig, encoder: Encoder, graph: BipartiteGraph, attributes: Attributes | None = None
) -> Contrast:
    """Return the contrast that the settings ask for, its start drawn from their seed."""
    settings = config.arguments("ssl")
    if "temperature" in settings:
        settings["temperature"] = make_temperature(settings["temperature"], graph, start=0.2)
    with naming_flags(SSL[config.ssl].declared):
        return build_contrast(
            config.ssl,
            encoder,
            graph,
            attributes=attributes,
            generator=Generator().manual_seed(config.seed),
            **settings,
        )


def loss_of(config: TrainConfig, graph: BipartiteGraph) -> dict[str, Any]:
    """Return what the objective takes for the main loss, its temperature apart from the other settings."""
    settings = config.arguments("loss")
    temperature = settings.pop("temperature", None)
    if temperature is not None:
        temperature = make_temperature(temperature, graph, start=0.1)
    return {"loss_settings": settings, "temperature": temperature}


def with_fields(graph: BipartiteGraph, attributes: Attributes) -> BipartiteGraph:
    """Return a graph whose nodes have as many attributes as there are fields: 0, or -1 once one is hidden."""
    x = [
        None
        if table is None
        else torch.zeros(table.num_rows, len(table.columns), dtype=torch.int8, device=graph.device)
        for table in (attributes.users, attributes.items)
    ]
    return graph.with_features(x[0], x[1])


def maps_of(
    config: TrainConfig, graph: BipartiteGraph, attributes: Attributes | None
) -> Mapping[str, PredictsVectors]:
    """Return what predicts the vectors of users and of items without interactions, by side."""
    if config.attributes != MAP or attributes is None:
        return {}
    tables = {"user": attributes.users, "item": attributes.items}
    return {
        side: AttributeMap(table, degrees)
        for (side, table), degrees in zip(tables.items(), graph.degrees(), strict=True)
        if table is not None
    }


def sampler_of(config: TrainConfig, graph: BipartiteGraph, exposed: Tensor | None = None) -> Sampler:
    """Return what draws the negatives that the settings ask for."""
    if not LOSSES[config.loss].needs_negatives:
        return no_negatives
    if exposed is not None:
        exposed = exposed.to(graph.device)
    settings = {**config.arguments("negatives"), "exposed": exposed}  # the file is read
    with naming_flags(NEGATIVES[config.negatives].declared):
        return build_sampler(config.negatives, graph, **settings)


def split_of(config: TrainConfig, dataset: Dataset) -> Split:
    """Return the split that the settings ask for."""
    name = dataset.default_split if config.split is None else config.split
    settings = {} if name not in SPLITS else dataclasses.replace(config, split=name).arguments("split")
    seed = config.seed if config.split_seed is None else config.split_seed
    return make_split(dataset, name, train_fraction=config.train_fraction, seed=seed, **settings)


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


def inputs_of(
    config: TrainConfig, train: Interactions, attributes: Attributes | None, device: torch.device
) -> tuple[BipartiteGraph, dict[str, Any]]:
    """Return the graph of some pairs and, as far as the settings use them, attributes and sequences."""
    used: Attributes | None = None if config.attributes == "none" else attributes
    sequences: Sequences | None = None
    if config.history != "none":
        sequences = sequences_of(train, config.history_length)
    graph = BipartiteGraph.from_interactions(train).to(device)
    return graph, {"attributes": used, "sequences": sequences}
