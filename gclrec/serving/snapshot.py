"""A run with arrays that are mapped from the disk, so that all workers share one copy in memory."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gclrec.common.atomic import replacing
from gclrec.common.errors import InputError
from gclrec.common.locks import holding
from gclrec.common.manifest import MANIFEST
from gclrec.common.ragged import Ragged
from gclrec.recall.recommender import Recommender
from gclrec.runs.reading import check_run, reads_histories

LOAD_SECONDS = 600.0
"""Seconds that a worker waits for another one that loads the run."""

_KEPT = 2  # snapshots that stay: the newest, and the one that other workers still answer from
_TRIES = 5  # to read a run that other processes change meanwhile
_PARTS = ("embeddings", "added", "fold_in", "index", "split", "attributes")


def version_of(run: Path) -> str:
    """Return a name of what a run folder holds now, of 12 letters and digits.

    It changes with the manifests and the other files of the run, so also when a link leads to another run.
    """
    found = hashlib.sha256()
    for part in _PARTS:
        folder = run / part
        manifest = folder / MANIFEST
        try:
            found.update(part.encode() + manifest.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                state = path.stat()
                found.update(f"{part}/{path.name} {state.st_size} {state.st_mtime_ns}".encode())
    return found.hexdigest()[:12]


def shared_recommender(run: Path, folder: Path) -> tuple[str, Recommender]:
    """Return what a run folder holds now, by its version, and its recommender with mapped arrays.

    Workers load a run one after the other. The first one writes the arrays; what another one read itself is
    dropped for them. The structure of an approximate index, and text ids, stay with each worker.

    Args:
        run: the run folder, or a link to it.
        folder: where the arrays are kept.

    Raises:
        InputError: a file of the run is missing or damaged, or the run changes again and again.
        OSError: the disk is full, or the folder is not writable.
    """
    run = run.resolve()
    check_run(run)
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder, "loading a run", wait=LOAD_SECONDS):
        for _ in range(_TRIES):
            version = version_of(run)
            recommender = _loaded(run)
            if version_of(run) == version:
                break
        else:
            raise InputError(f"{run}: was replaced again and again while it was read; try later")
        place = folder / version
        place.mkdir(exist_ok=True)
        mapped = _mapped(recommender, place)
        others = sorted(folder.glob("[0-9a-f]" * 12), key=lambda path: path.stat().st_mtime)
        for former in [path for path in others if path != place][: 1 - _KEPT]:
            shutil.rmtree(former, ignore_errors=True)
        return version, mapped


def _loaded(run: Path) -> Recommender:
    if reads_histories(run):
        from gclrec.training.trained import load_recommender  # with torch, for the encoder of histories

        return load_recommender(run)
    return Recommender.load(run)


def _mapped(recommender: Recommender, place: Path) -> Recommender:
    """Return a recommender with its large arrays mapped from files, which are written where missing."""

    def shared(name: str, array: Any) -> Any:
        path = place / f"{name}.npy"
        if isinstance(array.base, np.memmap):
            return array
        if not path.exists():
            with replacing(path) as fresh, fresh.open("wb") as file:
                np.save(file, array, allow_pickle=False)
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))

    def lists(name: str, rows: Ragged) -> Ragged:
        return Ragged(shared(f"{name}_indptr", rows.indptr), shared(name, rows.values))

    parts: dict[str, Any] = {
        "user_vectors": shared("user_vectors", recommender.user_vectors),
        "index": replace(recommender.index, vectors=shared("item_vectors", recommender.index.vectors)),
        "known": lists("known", recommender.known),
    }
    if recommender.run is not None and (recommender.run / "fold_in").exists():
        folding = recommender.folding
        names = ("item_sent", "user_sent", "user_onward")
        parts["fold_in"] = replace(folding, **{name: shared(name, getattr(folding, name)) for name in names})
        parts["trained_on"] = lists("trained_on", recommender.training_items)
    return replace(recommender, **parts)
