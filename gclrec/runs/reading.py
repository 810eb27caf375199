"""Reading the settings and the split of a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gclrec.common.checksums import there
from gclrec.common.errors import InputError, UnfinishedError
from gclrec.common.files import read_json, read_parquet, read_toml
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import Interactions, Vocabulary

PARTS = ("train", "valid", "test")
REMOVED = "removed"  # pairs that ``train_fraction`` took away from ``train``
JOINED = "joined"  # the validation pairs that a refit trains on, if that is not all of them


def check_run(run: Path) -> None:
    """Check that a run folder is there and has embeddings.

    Raises:
        InputError: it is missing, was interrupted, or its method has no embeddings; the message says what
            to do.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder")
    if (run / "embeddings").is_dir():
        return
    if not (run / "config.toml").is_file():
        raise InputError(f"{run}: not a run folder (it has no embeddings and no config.toml)")
    if not (run / "result.json").is_file():
        raise UnfinishedError(
            run, f"{run}: has no embeddings, since its training did not finish; resume its training"
        )
    baseline = settings_of(run).get("baseline")
    if baseline is not None and not (run / "fold_in").is_dir():
        raise InputError(
            f"{run}: its method, {baseline}, ranks without vectors, so it has no index and cannot be served"
        )
    raise UnfinishedError(run, f"{run / 'embeddings'}: missing from a finished run; resume its training")


def settings_of(run: Path) -> dict[str, Any]:
    """Return the settings in ``config.toml`` of a run folder, none without that file.

    Those of the recipe that a pilot has chosen take the place of the pilot's own.

    Raises:
        InputError: a file is damaged.
    """
    path, pilot = run / "config.toml", run / "pilot.json"
    values = read_toml(path) if there(path) else {}
    if not there(pilot):
        return values
    settings = read_json(pilot).get("settings")
    if settings is None:
        return values
    if not isinstance(settings, dict):
        raise InputError(f"{pilot}: damaged, found settings = {settings!r}")
    merged = {name: value for name, value in values.items() if name not in ("pilot", "held")} | settings
    return {name: value for name, value in merged.items() if value is not None}


def usual_columns(run: Path) -> dict[str, str]:
    """Return the names that were given for the columns of a run's data, by role."""
    settings = settings_of(run)
    names = {role: settings.get(f"{role}_column") for role in ("user", "item", "time")}
    return {role: str(name) for role, name in names.items() if name}


def reads_histories(run: Path) -> bool:
    """Return whether the encoder of a run reads the histories of users."""
    settings = settings_of(run)
    return "baseline" not in settings and settings.get("history", "none") != "none"


def checked_parts(seen: Iterable[str], allowed: Sequence[str] = PARTS) -> list[str]:
    """Return the names of parts of the split as a list.

    Raises:
        InputError: a name is not allowed.
    """
    parts = [seen] if isinstance(seen, str) else list(seen)
    for part in parts:
        if part not in allowed:
            raise InputError(
                f"seen: unknown part {part!r} of the split, expected some of {', '.join(allowed)}"
            )
    return parts


def read_vocabulary(path: Path) -> Vocabulary:
    """Return the raw ids in the column ``id`` of a Parquet file, by row.

    Raises:
        InputError: the file is missing or damaged, or holds no distinct ids.
    """
    return vocabulary_of(read_parquet(path), path)


def vocabulary_of(frame: pl.DataFrame, path: Path) -> Vocabulary:
    """Return the raw ids of a table of a run; see :func:`read_vocabulary`."""
    if "id" not in frame.columns or frame["id"].dtype not in (pl.Int64, pl.String):
        raise InputError(f"{path}: expected a column 'id' of whole numbers or text")
    ids = frame["id"]
    if ids.null_count() or ids.n_unique() < len(ids):
        raise InputError(f"{path}: an id is missing or there twice, expected each id once")
    return Vocabulary(ids)


def read_pairs(path: Path, users: Vocabulary, items: Vocabulary) -> Interactions:
    """Return the pairs of a part of the split.

    Raises:
        InputError: the file is missing, damaged or does not fit the vocabularies.
    """
    frame = read_parquet(path)
    rows = {}
    for side, vocabulary in (("user", users), ("item", items)):
        if side not in frame.columns or not frame[side].dtype.is_integer() or frame[side].null_count():
            raise InputError(f"{path}: expected a column {side!r} of row numbers")
        rows[side] = found = frame[side].to_numpy()
        if len(found) and (found.min() < 0 or found.max() >= len(vocabulary)):
            raise InputError(
                f"{path}: {side} rows must lie in [0, {len(vocabulary):,}), found {found.max():,}"
            )
    time = frame["time"].to_numpy() if "time" in frame.columns else None
    if time is not None and time.dtype not in (np.int64, np.float64):
        raise InputError(f"{path}: found times of type {frame['time'].dtype}, expected Int64 or Float64")
    return Interactions(users, items, **rows, time=time)


def read_part_lists(run: Path, parts: Iterable[str], users: Vocabulary, items: Vocabulary) -> Ragged:
    """Return the distinct items of each user in parts of the split of a run."""
    names = checked_parts(parts, (*PARTS, REMOVED, JOINED))
    pairs = [read_pairs(run / "split" / f"{name}.parquet", users, items) for name in names]
    return items_by_user(pairs, len(users))


def items_by_user(parts: Iterable[Interactions], num_users: int) -> Ragged:
    """Return the distinct items that each user has in any of several parts."""
    parts = list(parts)
    user, item = (
        np.concatenate([np.empty(0, dtype=np.int64), *(getattr(part, side) for part in parts)])
        for side in ("user", "item")
    )
    return Ragged.from_pairs(user, item, num_users, distinct=True)


def read_known(run: Path, parts: Iterable[str], users: Vocabulary, items: Vocabulary) -> Ragged:
    """Return the distinct items of each user in parts of the split, as a service knows them.

    The pairs that ``train_fraction`` took away from ``train`` were not trained on, but they are known.
    """
    names = checked_parts(parts)
    if "train" in names and there(run / "split" / f"{REMOVED}.parquet"):
        names.append(REMOVED)
    return read_part_lists(run, names, users, items)
