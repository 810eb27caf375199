"""On which negatives the gradient of a run falls, at its own temperatures and at others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gclrec.common.errors import InputError
from gclrec.common.files import read_json
from gclrec.contrast import SSL
from gclrec.evaluation.hardness import embedding_hardness
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.ranking_losses import LOSSES
from gclrec.runs.embeddings import read_embeddings
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.build import chains_of
from gclrec.training.prepare import config_of


class RunHardness(NamedTuple):
    """Shares of the gradient by temperature.

    Args:
        temperatures: ascending.
        own: the temperatures that the run was trained at, by setting.
        curves: ``(T, H)`` each, as :func:`embedding_hardness` returns them.
        score: what pairs were compared by.
    """

    temperatures: list[float]
    own: dict[str, float]
    curves: dict[str, Tensor]
    score: str


def hardness_of_run(
    folder: RunFolder, temperatures: Sequence[float], *, rows: int = 2048, seed: int = 0
) -> RunHardness:
    """Return how much of a softmax loss's gradient falls on the hardest negatives, by temperature.

    Args:
        folder: of a run with vectors.
        temperatures: above 0; those of the run come in addition.
        rows: users and items drawn, at most.
        seed: of the draw.

    Raises:
        InputError: an argument is out of range, or the run has no vectors.
    """
    config = config_of(folder)
    if not temperatures or not all(0.0 < tau < float("inf") for tau in temperatures):
        raise InputError(f"--temperatures: must be above 0, got {list(temperatures)}")
    if rows < 2:
        raise InputError(f"--rows: must be at least 2, got {rows}")
    if not (folder.path / "embeddings").is_dir():
        found = "has no embeddings: it is not finished, or is of a baseline without vectors"
        raise InputError(f"{folder.path}: {found}")
    own = own_temperatures(folder, config)
    taus = sorted({*temperatures, *own.values()})
    held, split = read_embeddings(folder.path / "embeddings"), folder.split()
    train = split.refit().train if config.refit else split.train
    asked = str(config.arguments("loss").get("score", "cosine"))
    score = asked if config.score == "dot" else "cosine"  # otherwise the lengths are no longer the encoder's
    curves = embedding_hardness(
        torch.from_numpy(held.user_vectors),
        torch.from_numpy(held.item_vectors),
        BipartiteGraph.from_interactions(train),
        taus,
        score=score,
        rows=rows,
        generator=torch.Generator().manual_seed(seed),
    )
    return RunHardness(taus, own, curves, score)


def own_temperatures(folder: RunFolder, config: TrainConfig) -> dict[str, float]:
    """Return the temperatures that a run was trained at; one that changes at the chosen epoch."""
    used = []
    if config.baseline is None and "temperature" in LOSSES[config.loss].declared:
        used.append("loss_temperature")
    contrasts = config.baseline is None and chains_of(config) is not None
    if contrasts and "temperature" in SSL[config.ssl].declared:
        used.append("temperature")
    chosen = read_json(folder.path / "result.json").get("epochs")
    line = next((line for line in reversed(folder.metrics()) if line["epoch"] == chosen), None) or {}
    values = {name: line.get(f"temperature/{name}", getattr(config, name)) for name in used}
    return {name: float(value) for name, value in values.items() if not isinstance(value, str)}
