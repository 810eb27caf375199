"""Reading what a run folder says of its users, items and pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.files import read_parquet, read_toml
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray, Vocabulary

PARTS = ("train", "valid", "test")
REMOVED = "removed"  # beside the parts: known pairs that ``train_fraction`` took away
JOINED = "joined"  # likewise: the validation pairs that were trained on, where that is not all of them


def check_run(run: Path) -> None:
    """Check that a run folder is there and has embeddings.

    Raises:
        InputError: it is not, or has not (a run that was interrupted has none, and some baselines never
            have); the message says what to do.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder")
    if (run / "embeddings").is_dir():
        return
    again = f"gclrec train --resume {run}"
    if not (run / "config.toml").is_file():
        raise InputError(f"{run}: not a run folder (it has no embeddings and no config.toml)")
    if not (run / "result.json").is_file():
        raise InputError(f"{run}: has no embeddings, since its training did not finish; go on with: {again}")
    baseline = settings_of(run).get("baseline")
    if baseline is not None and not (run / "fold_in").is_dir():
        raise InputError(
            f"{run}: its method, {baseline}, ranks without vectors, so it has no index and cannot be served"
        )
    raise InputError(f"{run / 'embeddings'}: missing from a finished run; write it anew with: {again}")


def settings_of(run: Path) -> dict[str, Any]:
    """Return the settings that a run folder says it was trained with, none where it says nothing.

    Raises:
        InputError: the file is damaged.
    """
    path = run / "config.toml"
    return read_toml(path) if path.is_file() else {}


def usual_columns(run: Path) -> dict[str, str]:
    """Return what the columns of a run's data were called, by their roles; only those that were named."""
    settings = settings_of(run)
    names = {role: settings.get(f"{role}_column") for role in ("user", "item", "time")}
    return {role: str(name) for role, name in names.items() if name}


def reads_histories(run: Path) -> bool:
    """Return whether the users of a run are encoded by what they took last."""
    settings = settings_of(run)
    return "baseline" not in settings and settings.get("history", "none") != "none"


def checked_parts(seen: Iterable[str], allowed: Sequence[str] = PARTS) -> list[str]:
    """Return the names of parts of the split, after checking them."""
    parts = [seen] if isinstance(seen, str) else list(seen)
    for part in parts:
        if part not in allowed:
            raise InputError(
                f"seen: unknown part {part!r} of the split, expected some of {', '.join(allowed)}"
            )
    return parts


def read_pairs(path: Path, users: Vocabulary, items: Vocabulary) -> tuple[IntArray, IntArray]:
    """Return the user and item rows of a part of the split, checked against the vocabularies."""
    frame = read_parquet(path)
    columns: list[IntArray] = []
    for name, vocabulary in (("user", users), ("item", items)):
        if name not in frame.columns or not frame[name].dtype.is_integer() or frame[name].null_count():
            raise InputError(f"{path}: expected a column {name!r} of row numbers")
        rows = frame[name].cast(pl.Int64).to_numpy()
        if len(rows) and (rows.min() < 0 or rows.max() >= len(vocabulary)):
            raise InputError(
                f"{path}: {name} rows must lie in [0, {len(vocabulary):,}), found {rows.max():,}"
            )
        columns.append(rows)
    return columns[0], columns[1]


def read_parts(run: Path, parts: Iterable[str], users: Vocabulary, items: Vocabulary) -> Ragged:
    """Return the distinct items of each user in parts of the split of a run."""
    named = checked_parts(parts, (*PARTS, JOINED))
    return _lists(run, named, users, items)


def read_known(run: Path, parts: Iterable[str], users: Vocabulary, items: Vocabulary) -> Ragged:
    """Return what :func:`read_parts` does and, where ``train`` is among the parts, what was taken from it.

    Nobody was trained on the pairs that a sparsity study took away, but they are known all the same.
    """
    names = checked_parts(parts)
    if "train" in names and (run / "split" / f"{REMOVED}.parquet").exists():
        names.append(REMOVED)
    return _lists(run, names, users, items)


def _lists(run: Path, names: Sequence[str], users: Vocabulary, items: Vocabulary) -> Ragged:
    pairs = [read_pairs(run / "split" / f"{name}.parquet", users, items) for name in names]
    empty = np.empty(0, dtype=np.int64)
    user, item = (np.concatenate([empty, *(pair[side] for pair in pairs)]) for side in (0, 1))
    return Ragged.from_pairs(user, item, len(users), distinct=True)
