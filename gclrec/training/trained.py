"""The trained model of a run folder, and new users and items as it encodes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from gclrec.common.errors import InputError, UnfinishedError
from gclrec.common.files import local_path
from gclrec.common.manifest import read_manifest
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray
from gclrec.data.schema import Schema
from gclrec.recall.index import Index
from gclrec.recall.new_users import EncodeUsers
from gclrec.recall.recommender import Recommender
from gclrec.runs.checkpoint import checksum_in, load_state
from gclrec.runs.embeddings import EMBEDDINGS_KIND, FloatArray, as_matrix
from gclrec.runs.folder import RunFolder
from gclrec.runs.reading import PARTS, check_run, checked_parts, items_by_user, reads_histories
from gclrec.training.build import inputs_of
from gclrec.training.model import Model, build_model
from gclrec.training.prepare import TrainingData, config_of
from gclrec.training.results import Result


def load_model(folder: RunFolder) -> Model:
    """Return the model of the chosen epoch of a run, on the CPU.

    Raises:
        InputError: a file is missing or damaged, or the vectors of the run are not those of this model.
    """
    tensors, values = load_state(folder.best_checkpoint)
    made_of = read_manifest(folder.path / "embeddings", EMBEDDINGS_KIND, check=False).get("checkpoint")
    if made_of is not None and made_of != checksum_in(folder.best_checkpoint):
        raise UnfinishedError(
            folder.path,
            f"{folder.best_checkpoint}: is of a later epoch than embeddings/, since the run is being trained "
            "on or was stopped; resume its training",
        )
    data = TrainingData.read(folder)
    train = data.split.refit().train if values.get("phase") == "refit" else data.split.train
    graph, given = inputs_of(data.config, train, data.attributes, torch.device("cpu"))
    model = build_model(data.config, graph, **given)
    model.load(tensors, folder.best_checkpoint)
    return model


def load_recommender(
    run: str | Path, *, use_index: bool = True, seen: Iterable[str] = PARTS, with_added: bool = True
) -> Recommender:
    """Return the recommender of a run, with the run's own encoder of users where it has one.

    :meth:`Recommender.load` with ``encode_users`` filled in; all arguments are those of it.

    Raises:
        InputError: a file is missing, damaged or does not fit the others (it is named).
    """
    run = local_path(run)
    check_run(run)
    encode = history_encoder(RunFolder.open(run)) if reads_histories(run) else None
    return Recommender.load(run, use_index=use_index, seen=seen, with_added=with_added, encode_users=encode)


def recommender_of(result: Result, *, seen: Iterable[str] = PARTS) -> Recommender:
    """Return the recommender of a run in memory.

    Args:
        result: of a run with vectors.
        seen: parts of the split whose pairs count as known.

    Raises:
        InputError: the method ranks without vectors.
    """
    train, vectors = result.train, result.vectors
    if vectors is None:
        raise InputError(f"{result.config.baseline} ranks without vectors, so it cannot recommend")
    users, items = (as_matrix(rows, "vectors") for rows in vectors)
    names = checked_parts(seen)
    parts = [getattr(result.split, name) for name in names]
    if "train" in names and result.split.removed is not None:
        parts.append(result.split.removed)
    encode = None
    if result.model is not None and result.config.history != "none":
        encode = UsersByHistory(result.model)
    return Recommender(
        train.users,
        users,
        Index.exact(items, train.items),
        items_by_user(parts, len(train.users)),
        item_degrees=train.item_degrees(),
        encode_users=encode,
        fold_in=result.fold_in,
        trained_on=items_by_user([train], len(train.users)),
    )


def item_encoder(folder: RunFolder) -> Callable[[pl.DataFrame], npt.NDArray[Any]]:
    """Return the ``encode`` of ``Recommender.add_items``, with the trained encoder of a run.

    It turns a table of new items' attributes into vectors: the vector that an item of the catalogue with
    the same attributes and no interaction has; NaN where the table has no value for an item.

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
    return items_by(load_model(folder), schema)


def items_by(model: Model, schema: Schema) -> Callable[[pl.DataFrame], npt.NDArray[Any]]:
    """Return what :func:`item_encoder` does, of a model in memory and the schema of its items."""

    def encode(table: pl.DataFrame) -> npt.NDArray[Any]:
        if not any(known.name in table.columns for known in schema.fields):
            expected = ", ".join(known.name for known in schema.fields)
            found = ", ".join(name for name in table.columns if name != "id") or "none"
            raise InputError(
                f"the attributes of new items: found fields {found}, expected some of {expected}"
            )
        encoded = schema.encode(table)
        vectors = model.cold_items(encoded).cpu().numpy()
        vectors[encoded.missing.all(axis=1)] = np.nan
        return vectors

    return encode


def history_encoder(folder: RunFolder) -> EncodeUsers | None:
    """Return the ``encode_users`` of ``Recommender.load``; ``None`` for a run without histories.

    A user of the run is encoded by id, attributes and the newest items of training and since; a new one by
    the newest items given.

    Args:
        folder: of the run.

    Raises:
        InputError: a file is missing or damaged.
    """
    config = config_of(folder)
    if config.baseline is not None or config.history == "none":
        return None
    return UsersByHistory(load_model(folder))


@dataclass(frozen=True, eq=False)
class UsersByHistory:
    """What :func:`history_encoder` returns, of a model in memory; it can be pickled.

    Args:
        model: with a history encoder.
    """

    model: Model

    def __call__(self, rows: IntArray, given: Ragged, items: FloatArray) -> npt.NDArray[Any]:
        """Return ``(B, D)`` vectors of users; see :data:`~gclrec.recall.new_users.EncodeUsers`."""
        vectors = torch.from_numpy(items).to(self.model.graph.device)
        return self.model.users_by_histories(rows, given, vectors).cpu().numpy()
