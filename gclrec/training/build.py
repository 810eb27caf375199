"""Components of a run, made from its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn

from gclrec.common.errors import InputError, SettingError
from gclrec.contrast import SSL, build_contrast
from gclrec.contrast.base import Contrast
from gclrec.data.schema import Attributes
from gclrec.encoders import ENCODERS, Encoder, EncoderInputs, Sequences
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.ranking_losses import LOSSES
from gclrec.losses.temperature import make_temperature
from gclrec.negatives.registry import NEGATIVES, Sampler, build_sampler, none
from gclrec.settings.config import TrainConfig
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

    Args:
        config: the settings.
        graph: the training interactions.
        attributes: of users and items; needed where the settings use them.
        sequences: users' items in order; needed where the settings use histories.
        generator: where the start is drawn from, on the CPU.
        draws: where hidden ids are drawn from in training, on the device of the graph.
    """
    kind = ENCODERS[config.encoder]
    inputs = EncoderInputs(
        attributes, None if attributes is None else graph.degrees(), sequences, generator, draws
    )
    with _flags(kind.settings):
        encoder = kind.make(graph.num_users, graph.num_items, inputs, **_values(config, kind.settings))
    return encoder.to(graph.device)


@contextmanager
def _flags(settings: Mapping[str, str]) -> Iterator[None]:
    """Name the flag of a setting in place of the argument."""
    try:
        yield
    except SettingError as error:
        name = settings.get(error.argument, error.argument).replace("_", "-")
        raise InputError(f"--{name}: {error.message}") from None


def _values(config: TrainConfig, settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of a component; one that has no value keeps its default."""
    values = {argument: getattr(config, name) for argument, name in settings.items()}
    return {argument: value for argument, value in values.items() if value is not None}


def chains_of(config: TrainConfig) -> tuple[Chain, ...] | None:
    """Return how the views of a step are made, or ``None`` when the settings ask for no contrast."""
    kind = SSL[config.ssl]
    return parse_augmentations(config.aug, config.aug_p)[: kind.views] if config.contrasts else None


def contrast_of(config: TrainConfig, encoder: Encoder, graph: BipartiteGraph) -> Contrast:
    """Return the contrast that the settings ask for, its start drawn from their seed."""
    names = SSL[config.ssl].settings
    settings = _values(config, names)
    if "temperature" in settings:
        settings["temperature"] = make_temperature(settings["temperature"], graph, start=0.2)
    with _flags(names):
        return build_contrast(
            config.ssl, encoder, graph, generator=Generator().manual_seed(config.seed), **settings
        )


def loss_of(config: TrainConfig, graph: BipartiteGraph) -> dict[str, Any]:
    """Return what the objective takes for the main loss, its temperature apart from the other settings."""
    settings = config.loss_settings()
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


def sampler_of(config: TrainConfig, graph: BipartiteGraph, exposed: Tensor | None = None) -> Sampler:
    """Return what draws the negatives that the settings ask for."""
    if not LOSSES[config.loss].needs_negatives:
        return none
    kind = NEGATIVES[config.negatives]
    settings = {name: getattr(config, source) for name, source in kind.settings.items()}
    given = {name: value for name, value in settings.items() if value is not None}
    if exposed is not None:
        exposed = exposed.to(graph.device)
    return build_sampler(config.negatives, graph, exposed=exposed, **given)


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
