"""A run without training: fit a baseline, validate it, maybe fit it again, read the test once."""

from __future__ import annotations

import time
from typing import Any

from gclrec.baselines import BASELINES, Scorer
from gclrec.common.errors import InputError
from gclrec.data.interactions import Interactions
from gclrec.data.schema import Attributes
from gclrec.data.splits import Split
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.callbacks import Listener
from gclrec.training.results import Result, finish, peak_rss_mb, shape_of, validation_record


def fit_baseline(config: TrainConfig, folder: RunFolder, listener: Listener) -> Result:
    """Fit the baseline of the settings, on the CPU, and write what a training run writes.

    A fit counts as one epoch. There is no checkpoint: an interrupted run begins anew. Vectors are written
    where the baseline has any.

    Args:
        config: the settings; ``baseline`` is set.
        folder: the run folder; its split is what is fitted and tested on.
        listener: told about the fits.
    """
    split = folder.split()
    folder.keep_metrics(0)
    attributes = folder.attributes()
    scorer = _fit(config, folder, listener, "select", split, attributes)
    refit = config.refit and len(split.valid) > 0
    if refit:
        scorer = _fit(config, folder, listener, "refit", split.refit(), attributes)
    return finish(config, folder, split, scorer, epochs=1, refitted=refit, validated=len(split.valid) > 0)


def fitted(config: TrainConfig, train: Interactions, attributes: Attributes | None = None) -> Scorer:
    """Return the baseline of the settings, fitted to some pairs.

    Args:
        config: the settings; ``baseline`` is set.
        train: the pairs.
        attributes: for the baselines that need those of items.

    Raises:
        InputError: there is no pair to fit it to, or it needs attributes that are not there.
    """
    if len(train) == 0:
        raise InputError(f"{config.baseline}: there are no training pairs to fit it to")
    entry = BASELINES[str(config.baseline)]
    settings = {name: getattr(config, source) for name, source in entry.settings.items()}
    graph = BipartiteGraph.from_interactions(train)
    if not entry.needs_attributes:
        return entry.fit(graph, **settings)
    if attributes is None or attributes.items is None:
        raise InputError(f"{config.baseline}: there are no item attributes to fit it to")
    return entry.fit(graph, attributes.items, **settings)


def _fit(
    config: TrainConfig,
    folder: RunFolder,
    listener: Listener,
    phase: str,
    split: Split,
    attributes: Attributes | None,
) -> Scorer:
    listener.phase(phase, 1, 1)
    began = time.perf_counter()
    scorer = fitted(config, split.train, attributes)
    record: dict[str, Any] = {
        "phase": phase,
        "epoch": 1,
        "train_seconds": time.perf_counter() - began,
        "eval_seconds": 0.0,
    }
    if len(split.valid):
        began = time.perf_counter()
        record |= validation_record(scorer, split, config)
        if scorer.vectors is not None:
            shape = shape_of(scorer.vectors, split.train)
            record |= {f"geometry/{name}": value for name, value in shape.items()}
        record["eval_seconds"] = time.perf_counter() - began
    record["peak_rss_mb"] = peak_rss_mb()
    folder.append_metrics(record)
    listener.epoch(record, 1)
    return scorer
