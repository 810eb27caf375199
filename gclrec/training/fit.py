"""A whole run: train, choose the best epoch on validation, maybe refit, read the test once."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import torch

from gclrec.data.interactions import Interactions
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.errors import InputError
from gclrec.evaluation.evaluator import Evaluation, evaluate
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.embeddings import write_embeddings
from gclrec.training.checkpoint import load_state, save_state
from gclrec.training.config import TrainConfig
from gclrec.training.listeners import Listener, Scalars, Silent
from gclrec.training.run import RunFolder
from gclrec.training.trainer import Trainer, pick_device


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    phase: str = "select"
    epoch: int = 0
    best_epoch: int | None = None
    best_value: float | None = None
    stale: int = 0
    lines: int = 0


@dataclass
class Result:
    """What a run gave.

    Args:
        values: what ``train --json`` prints.
        evaluation: test figures by group, with the number of cases.
        validated: whether there was anything to choose the epoch by.
    """

    values: dict[str, Any]
    evaluation: Evaluation
    validated: bool


def fit(config: TrainConfig, folder: RunFolder, listener: Listener | None = None) -> Result:
    """Train until done, from the folder's last checkpoint if it has one, and write the final figures.

    The best epoch is the one with the highest validation figure ``config.select``; the test part is read
    once, at the end. With ``config.refit`` the encoder is then trained anew on train and validation pairs
    for as many epochs. Where there is nothing to validate on, the last epoch stands.

    Args:
        config: the settings.
        folder: the run folder; its split is what is trained and tested on.
        listener: told about every batch and epoch.
    """
    split = folder.split()
    device = pick_device(config.device)
    listener = listener or Silent()
    if config.tensorboard:
        listener = Scalars(folder.path / "tensorboard", listener)
    trainer, progress = _start(config, split, folder, device)
    if progress.phase == "select":
        _select(trainer, split, folder, progress, listener)
        if config.refit and len(split.valid):
            progress = replace(progress, phase="refit", epoch=0)
            trainer = Trainer(config, BipartiteGraph.from_interactions(split.refit().train).to(device))
    if progress.phase == "refit":
        _refit(trainer, folder, progress, listener)
        save_state(
            folder.best_checkpoint, trainer.encoder_state(), {"epoch": progress.epoch, "phase": "refit"}
        )
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
        trainer = Trainer(config, BipartiteGraph.from_interactions(pairs).to(device))
        if resumed:
            trainer.load_state(tensors)
    except (ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"{folder.path}: {' '.join(str(error).split())}") from error
    folder.keep_metrics(progress.lines)
    return trainer, progress


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
            figures = evaluate_on(trainer.embeddings(), split.train, split.valid, config)
            record["eval_seconds"] = time.perf_counter() - began
            record |= {f"valid/{name}": value for name, value in figures.values.items()}
            value = figures.values[f"all/{config.select}"]
            if progress.best_value is None or value > progress.best_value:
                progress.best_epoch, progress.best_value, progress.stale = progress.epoch, value, 0
                save_state(
                    folder.best_checkpoint,
                    trainer.encoder_state(),
                    {"epoch": progress.epoch, "phase": "select"},
                )
            else:
                progress.stale += 1
        _close_epoch(trainer, folder, progress, record, listener)
    if progress.best_epoch is None:
        progress.best_epoch = progress.epoch
        save_state(
            folder.best_checkpoint, trainer.encoder_state(), {"epoch": progress.epoch, "phase": "select"}
        )


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
        losses = trainer.run_epoch(listener.batch)
    except FloatingPointError as error:
        raise InputError(f"epoch {progress.epoch + 1}: {error}") from error
    progress.epoch += 1
    return {
        "phase": progress.phase,
        "epoch": progress.epoch,
        **{f"loss/{name}": value for name, value in losses.items()},
        "train_seconds": time.perf_counter() - began,
        "eval_seconds": 0.0,
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
    config = trainer.config
    best, _ = load_state(folder.best_checkpoint)
    trainer.load_encoder(best)
    embeddings = trainer.embeddings()
    train = split.refit().train if progress.phase == "refit" else split.train
    write_embeddings(
        folder.path / "embeddings",
        user_ids=train.users,
        user_vectors=embeddings.users.cpu().numpy(),
        user_degrees=train.user_degrees(),
        item_ids=train.items,
        item_vectors=embeddings.items.cpu().numpy(),
        item_degrees=train.item_degrees(),
    )
    known = None if progress.phase == "refit" else split.valid
    figures = evaluate_on(embeddings, train, split.test, config, exclude=known)
    lines = folder.metrics()
    values = {
        "run": str(folder.path),
        "epochs": progress.best_epoch,
        "epochs_trained": sum(line["phase"] == "select" for line in lines),
        "seconds": sum(line["train_seconds"] + line["eval_seconds"] for line in lines),
        "metrics": {f"test/{name}": value for name, value in figures.values.items()},
        "cases": {f"test/{name}": count for name, count in figures.cases.items()},
    }
    raw = train.users.raw(figures.per_user["user"].to_numpy())
    folder.write_result(values, figures.per_user.with_columns(pl.Series("user", raw)))
    return Result(values, figures, validated=progress.best_value is not None)


def evaluate_on(
    embeddings: Embeddings,
    train: Interactions,
    targets: Interactions,
    config: TrainConfig,
    *,
    exclude: Interactions | None = None,
) -> Evaluation:
    """Rank the whole catalogue for every user with targets, the training pairs left out."""
    return evaluate(
        embeddings.users,
        embeddings.items,
        train,
        targets,
        ks=config.ks,
        metrics=config.metrics,
        near_cold=config.near_cold,
        exclude=exclude,
    )


def peak_rss_mb() -> float:
    """Return the largest resident memory of this process so far, in MiB (0 where it is not known)."""
    try:
        import resource
        import sys
    except ImportError:  # not a POSIX system
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
