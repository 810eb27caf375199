"""New users and items, as the encoder of a run sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray
from gclrec.recall.new_users import EncodeUsers
from gclrec.recall.recommender import Recommender
from gclrec.runs.checkpoint import load_state
from gclrec.runs.embeddings import FloatArray
from gclrec.runs.folder import RunFolder
from gclrec.runs.reading import PARTS, check_run, reads_histories
from gclrec.settings.config import TrainConfig
from gclrec.training.fit import new_trainer
from gclrec.training.prepare import config_of
from gclrec.training.trainer import Trainer


def load_recommender(
    run: str | Path, *, use_index: bool = True, seen: Iterable[str] = PARTS, with_added: bool = True
) -> Recommender:
    """Return what answers for users of a run and new ones, with the run's own encoder where one is needed.

    :meth:`Recommender.load` with ``encode_users`` filled in; all arguments are those of it.

    Raises:
        InputError: a file is missing, damaged or does not fit the others (it is named).
    """
    run = Path(run)
    check_run(run)
    encode = history_encoder(RunFolder.open(run)) if reads_histories(run) else None
    return Recommender.load(run, use_index=use_index, seen=seen, with_added=with_added, encode_users=encode)


def item_encoder(folder: RunFolder) -> Callable[[pl.DataFrame], npt.NDArray[Any]]:
    """Return what makes vectors of a table of new items' attributes, with the trained encoder of a run.

    The vectors are those that ``Recommender.add_items(attributes=table, encode=...)`` takes, so that a new
    item ends with the vector that an item of the catalogue with the same attributes and no interaction has.
    A row of NaN where a table says nothing of an item.

    Args:
        folder: of a run that uses attributes of items.

    Raises:
        InputError: it uses none, or a file is missing or damaged.
    """
    config, schema = config_of(folder), folder.schemas().get("items")
    if config.baseline is not None or schema is None:
        raise InputError(
            f"{folder.path}: was trained without attributes of items, so they tell nothing of new ones; "
            "train with --attributes input (or nodes)"
        )
    trainer = _trained(config, folder)

    def encode(table: pl.DataFrame) -> npt.NDArray[Any]:
        if not any(known.name in table.columns for known in schema.fields):
            expected = ", ".join(known.name for known in schema.fields)
            found = ", ".join(name for name in table.columns if name != "id") or "none"
            raise InputError(
                f"the attributes of new items: found fields {found}, expected some of {expected}"
            )
        encoded = schema.encode(table)
        vectors = trainer.cold_items(encoded).numpy()
        vectors[encoded.missing.all(axis=1)] = np.nan
        return vectors

    return encode


def history_encoder(folder: RunFolder) -> EncodeUsers | None:
    """Return what ``Recommender.load(run, encode_users=...)`` takes: the run's own encoder of histories.

    A user of the run is encoded by his id, his attributes and the last items of what he was trained on and
    has come to since; a new one by the last items that he has. ``None`` for a run without histories.

    Args:
        folder: of the run.

    Raises:
        InputError: a file is missing or damaged.
    """
    config = config_of(folder)
    if config.baseline is not None or config.history == "none":
        return None
    trainer = _trained(config, folder)

    def encode(rows: IntArray, given: Ragged, items: FloatArray) -> npt.NDArray[Any]:
        return trainer.users_by_histories(rows, given, torch.from_numpy(items)).numpy()

    return encode


def _trained(config: TrainConfig, folder: RunFolder) -> Trainer:
    """Return the trainer of the run's best epoch."""
    tensors, values = load_state(folder.best_checkpoint)
    split = folder.split()
    train = split.refit().train if values.get("phase") == "refit" else split.train
    trainer = new_trainer(config, train, folder, torch.device("cpu"))
    trainer.load_model(tensors)
    return trainer
