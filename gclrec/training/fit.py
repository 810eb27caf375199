"""A whole run: train, choose the best epoch on validation, maybe refit, read the test once."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from gclrec.common.errors import InputError
from gclrec.data.interactions import Interactions
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.runs.checkpoint import load_state, save_state
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.build import pick_device
from gclrec.training.callbacks import Listener, Scalars, Silent
from gclrec.training.fitting import fit_baseline
from gclrec.training.memory import keep_freed_memory
from gclrec.training.results import (
    Result,
    finish,
    peak_rss_mb,
    shape_of,
    validation_record,
    warn_of_collapse,
)
from gclrec.training.sequences import sequences_of
from gclrec.training.trainer import Trainer


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    phase: str = "select"
    epoch: int = 0
    best_epoch: int | None = None
    best_value: float | None = None
    stale: int = 0
    lines: int = 0
    warned: bool = False
    settle_seconds: float = 0.0


def fit(config: TrainConfig, folder: RunFolder, listener: Listener | None = None) -> Result:
    """Train until done, from the folder's last checkpoint if it has one, and write the final figures.

    The best epoch is the one with the highest validation figure ``config.select``; the test part is read
    once, at the end. With ``config.refit`` the encoder is then trained anew on train and validation pairs
    for as many epochs. Where there is nothing to validate on, the last epoch stands. With
    ``config.baseline`` a baseline is fitted instead.

    Args:
        config: the settings.
        folder: the run folder; its split is what is trained and tested on.
        listener: told about every batch and epoch.

    Raises:
        InputError: a file of the folder is damaged, or another process trains there.
    """
    keep_freed_memory()
    with folder.held():
        return _fit(config, folder, listener or Silent())


def _fit(config: TrainConfig, folder: RunFolder, listener: Listener) -> Result:
    split = folder.split()
    device = pick_device(config.device)
    if config.tensorboard:
        listener = Scalars(folder.path / "tensorboard", listener)
    if config.baseline is not None:
        return fit_baseline(config, folder, listener)
    trainer, progress = _start(config, split, folder, device)
    if progress.phase == "select":
        _select(trainer, split, folder, progress, listener)
        if trainer.scoring.calibrates and progress.best_value is not None:
            _settle(trainer, split, folder, progress)
        if config.refit and len(split.valid):
            progress = replace(progress, phase="refit", epoch=0)
            trainer = new_trainer(config, split.refit().train, folder, device)
            trainer.load_scoring(load_state(folder.best_checkpoint)[0])
    if progress.phase == "refit":
        _refit(trainer, folder, progress, listener)
        save_state(folder.best_checkpoint, trainer.model_state(), {"epoch": progress.epoch, "phase": "refit"})
    return _finish(trainer, split, folder, progress)


def _start(
    config: TrainConfig, split: Split, folder: RunFolder, device: torch.device
) -> tuple[Trainer, Progress]:
    """Return a trainer where the last checkpoint left it, or a fresh one."""
    resumed = folder.last_checkpoint.exists()
    tensors, values = load_state(folder.last_checkpoint) if resumed else ({}, {})
    progress = Progress(**values)
    pairs = split.refit().train if progress.phase == "refit" else split.train
    try:
        trainer = new_trainer(config, pairs, folder, device)
        if resumed:
            trainer.load_state(tensors)
    except (ValueError, RuntimeError, KeyError) as error:
        where = f"{folder.path}: " if resumed else ""
        raise InputError(f"{where}{' '.join(str(error).split())}") from error
    folder.keep_metrics(progress.lines)
    return trainer, progress


def new_trainer(config: TrainConfig, train: Interactions, folder: RunFolder, device: torch.device) -> Trainer:
    """Return a fresh trainer on some pairs, with the shown pairs and the attributes of a run folder."""
    graph = BipartiteGraph.from_interactions(train).to(device)
    exposed = folder.exposed() if config.negatives == "exposed" else None
    attributes = None if config.attributes == "none" else folder.attributes()
    sequences = None if config.history == "none" else sequences_of(train, config.history_length)
    return Trainer(config, graph, exposed=exposed, attributes=attributes, sequences=sequences)


def _select(
    trainer: Trainer, split: Split, folder: RunFolder, progress: Progress, listener: Listener
) -> None:
    config = trainer.config
    listener.phase("select", progress.epoch + 1, config.epochs)
    while progress.epoch < config.epochs and not _out_of_patience(config, progress):
        record = _train_epoch(trainer, progress, listener)
        due = progress.epoch % config.eval_every == 0 or progress.epoch == config.epochs
        if due and len(split.valid):
            began = time.perf_counter()
            embeddings, figures = validated(trainer, split)
            shape = shape_of(embeddings, split.train)
            record["eval_seconds"] = time.perf_counter() - began
            record |= figures
            record |= {f"geometry/{name}": value for name, value in shape.items()}
            if not progress.warned:
                progress.warned = warn_of_collapse(
                    shape, embeddings.users.shape[1], f"epoch {progress.epoch}"
                )
            value = figures[f"valid/{config.selected}"]
            if progress.best_value is None or value > progress.best_value:
                progress.best_epoch, progress.best_value, progress.stale = progress.epoch, value, 0
                save_state(
                    folder.best_checkpoint,
                    trainer.model_state(),
                    {"epoch": progress.epoch, "phase": "select"},
                )
            else:
                progress.stale += 1
        _close_epoch(trainer, folder, progress, record, listener)
    if progress.best_epoch is None:
        progress.best_epoch = progress.epoch
        save_state(
            folder.best_checkpoint, trainer.model_state(), {"epoch": progress.epoch, "phase": "select"}
        )


def _settle(trainer: Trainer, split: Split, folder: RunFolder, progress: Progress) -> None:
    """Choose the exponent of the best epoch's score once more, on all users that validation has."""
    began = time.perf_counter()
    best, values = load_state(folder.best_checkpoint)
    trainer.load_model(best)
    trainer.scoring.settle(trainer.raw_embeddings(), split, trainer.config.selected)
    save_state(folder.best_checkpoint, trainer.model_state(), values)
    progress.settle_seconds = time.perf_counter() - began


def validated(trainer: Trainer, split: Split) -> tuple[Embeddings, dict[str, float]]:
    """Rank the validation part, after calibrating a score that asks for it.

    Args:
        trainer: as far as it is trained.
        split: its training pairs are left out of the lists.

    Returns:
        The embeddings that were ranked by, and the figures by their names in ``metrics.jsonl``.
    """
    config = trainer.config
    record: dict[str, float] = {}
    if trainer.scoring.calibrates:
        raw = trainer.raw_embeddings()
        record["norm_exponent"] = trainer.scoring.calibrate(raw, split, config.selected)
    embeddings = trainer.embeddings()
    return embeddings, record | validation_record(embeddings, split, config)


def _out_of_patience(config: TrainConfig, progress: Progress) -> bool:
    return 0 < config.patience <= progress.stale


def _refit(trainer: Trainer, folder: RunFolder, progress: Progress, listener: Listener) -> None:
    epochs = progress.best_epoch or trainer.config.epochs
    listener.phase("refit", progress.epoch + 1, epochs)
    while progress.epoch < epochs:
        record = _train_epoch(trainer, progress, listener)
        _close_epoch(trainer, folder, progress, record, listener)


def _train_epoch(trainer: Trainer, progress: Progress, listener: Listener) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        losses = trainer.run_epoch(progress.epoch + 1, listener.batch)
    except FloatingPointError as error:
        raise InputError(f"epoch {progress.epoch + 1}: {error}") from error
    progress.epoch += 1
    return {
        "phase": progress.phase,
        "epoch": progress.epoch,
        **{f"loss/{name}": value for name, value in losses.items()},
        "train_seconds": time.perf_counter() - began,
        "eval_seconds": 0.0,
        **{f"temperature/{name}": value for name, value in trainer.objective.temperatures().items()},
    }


def _close_epoch(
    trainer: Trainer, folder: RunFolder, progress: Progress, record: dict[str, Any], listener: Listener
) -> None:
    """Write the epoch down: its line first, then the checkpoint that makes it count."""
    record["peak_rss_mb"] = peak_rss_mb()
    folder.append_metrics(record)
    progress.lines += 1
    save_state(folder.last_checkpoint, trainer.state(), vars(progress))
    listener.epoch(record, progress.best_epoch)


def _finish(trainer: Trainer, split: Split, folder: RunFolder, progress: Progress) -> Result:
    best, _ = load_state(folder.best_checkpoint)
    trainer.load_model(best)
    embeddings = trainer.embeddings()
    result = finish(
        trainer.config,
        folder,
        split,
        embeddings,
        fold_in=trainer.fold_in(),
        epochs=progress.best_epoch,
        refitted=progress.phase == "refit",
        validated=progress.best_value is not None,
        exponent=float(trainer.scoring.exponent) if trainer.scoring.calibrates else None,
        further_seconds=progress.settle_seconds,
    )
    if not progress.warned:
        warn_of_collapse(result.values["geometry"], embeddings.users.shape[1], "at the end")
    return result
