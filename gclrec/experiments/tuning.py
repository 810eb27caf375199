"""The trials of a search, in memory or in a folder where the search can be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import tomli_w

from gclrec.common.declaration import Span
from gclrec.common.errors import InputError
from gclrec.common.files import read_json, write_atomically
from gclrec.experiments.comparison import check_same, is_vacant
from gclrec.experiments.search import (
    Search,
    Trial,
    best_of,
    importance_of,
    need_optuna,
    new_study,
    run_trials,
    table_of,
    training_on,
    trials_of,
)
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig, flag
from gclrec.settings.validation import validate
from gclrec.training.prepare import TrainingData, config_of
from gclrec.training.recorder import create_run

if TYPE_CHECKING:
    import optuna


class Tuning:
    """The trials of a search so far.

    Args:
        search: what is searched.
        data: what every trial is trained on.
        folder: where the trials are kept; in memory if ``None``.

    Attributes:
        search: what is searched.
        done: the finished trials.
        importance: how much each setting decides; see :func:`importance_of`.
        files: the files that were written, by name.
    """

    def __init__(self, search: Search, data: TrainingData, folder: TuningFolder | None = None) -> None:
        self.search, self.folder = search, folder
        self.done: list[Trial] = []
        self.importance: dict[str, float] = {}
        self.files: dict[str, Path] = {}
        self._data = data

    @contextlib.contextmanager
    def study(self) -> Iterator[optuna.Study]:
        """Yield the study that keeps the trials; other processes cannot search in its folder meanwhile.

        Raises:
            InputError: the folder is damaged, or another process is searching there.
        """
        if self.folder is None:
            yield new_study(self.search)
        else:
            with self.folder.opened(self.search, self._data) as study:
                yield study

    def run(self, study: optuna.Study, *, callbacks: Iterable[object] = ()) -> Tuning:
        """Make the trials that are missing; see :func:`~gclrec.experiments.search.run_trials`.

        Raises:
            InputError: the settings do not suit the data.
        """
        train = training_on(self._data)
        try:
            run_trials(self.search, study, self.search.trials, train, callbacks=callbacks)
        finally:
            self.done, self.importance = trials_of(study), importance_of(study)
            if self.folder is not None:
                self.files = self.folder.write(self.search, self.done)
        return self

    @property
    def winner(self) -> Trial | None:
        """The complete trial with the highest figure, the earliest of equal ones; ``None`` without any."""
        return best_of(self.done)

    @property
    def best(self) -> dict[str, Any]:
        """The settings of the best trial, as keyword arguments of ``gclrec.fit`` beside those given.

        Raises:
            InputError: no trial is complete.
        """
        if self.winner is None:
            raise InputError("no trial came to its end, so there are no best settings")
        return {**self.search.moved, **self.winner.settings}

    @property
    def config(self) -> TrainConfig:
        """All settings of the best trial."""
        return dataclasses.replace(self.search.config, **self.best)

    @property
    def trials(self) -> pl.DataFrame:
        """A row a trial: ``number, state, value, epoch, epochs, seconds`` and its settings."""
        return table_of(self.done)

    @property
    def at_the_ends(self) -> dict[str, Span]:
        """The spans that have the best value at an end, by name: a better one may lie beyond."""
        values = {} if self.winner is None else self.winner.settings
        spans = {name: axis for name, axis in self.search.space.items() if isinstance(axis, Span)}
        return {
            name: axis
            for name, axis in spans.items()
            if name in values and not 0.05 < axis.place(values[name]) < 0.95
        }

    def __repr__(self) -> str:
        best = (
            "no complete trial" if self.winner is None else f"best {self.winner.value:.4f} with {self.best}"
        )
        return f"Tuning({len(self.done)} trials by {self.search.config.select}, {best})"


class TuningFolder:
    """A folder that holds a search.

    ================  ==========================================================
    ``start/``        settings, split and attributes, as in a run folder
    ``tuning.json``   the space
    ``study.db``      the Optuna study ``gclrec``, in SQLite
    ``trials.csv``    one row a trial
    ``best.toml``     settings of the best trial
    ================  ==========================================================
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def start(self) -> RunFolder:
        """The folder with the settings, split and attributes of all trials."""
        return RunFolder(self.path / "start")

    def begun(self, search: Search) -> bool:
        """Return whether this search has begun here.

        Raises:
            InputError: the folder holds something else, or a search with other settings.
        """
        if not (self.start.path / "config.toml").is_file():
            if not is_vacant(self.path):
                raise InputError(f"{self.path}: is not empty and holds no tuning; choose another --out")
            return False
        check_same(
            self.path, config_of(self.start), search.config, {"split"} if search.config.split is None else ()
        )
        path = self.path / "tuning.json"
        for name, now in search.to_json().items() if path.exists() else ():
            before = read_json(path).get(name)
            if before != now:
                said = f"{json.dumps(before)}, now {json.dumps(now)} is asked for"
                raise InputError(f"{self.path}: holds {flag(name)} {said}; choose another --out")
        journal = self.path / "study.jsonl"
        if journal.exists():
            raise InputError(f"{journal}: trials of gclrec 0.1.0 cannot be added to; choose another --out")
        return True

    @contextlib.contextmanager
    def opened(self, search: Search, data: TrainingData) -> Iterator[optuna.Study]:
        """Yield the study, which is made if needed; other processes cannot search here meanwhile.

        A trial that a killed process has left is marked as failed.

        Raises:
            InputError: another process is searching here, Optuna is not installed, or the study is damaged.
        """
        need_optuna()
        from optuna.exceptions import StorageInternalError
        from optuna.storages import RDBStorage
        from optuna.trial import TrialState
        from sqlalchemy.exc import SQLAlchemyError

        if not self.start.path.exists():
            create_run(self.start.path, data)
        path = self.path / "study.db"
        with self.start.held():
            write_atomically(self.path / "tuning.json", json.dumps(search.to_json(), indent=2))
            try:
                # The connection is made by a function, since a URL cannot hold every path.
                connect = partial(_connect, path)
                storage = RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})
                try:
                    study = new_study(search, storage)
                    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                        study.tell(trial.number, state=TrialState.FAIL)
                    yield study
                finally:
                    storage.remove_session()
                    storage.engine.dispose()
            except (SQLAlchemyError, StorageInternalError) as error:
                reason = " ".join(str(error.__cause__ or error).split())
                raise InputError(f"{path}: damaged, or cannot be written ({reason})") from error

    def write(self, search: Search, trials: Sequence[Trial]) -> dict[str, Path]:
        """Write the trials and the best settings, as far as there are any; return the files by name."""
        if not trials:
            return {}
        files = {"trials": self.path / "trials.csv"}
        write_atomically(files["trials"], table_of(trials).write_csv())
        best = best_of(trials)
        if best is not None:
            split = config_of(self.start).split
            config = validate(dataclasses.replace(search.config, **best.settings, split=split))
            files["best settings"] = self.path / "best.toml"
            write_atomically(files["best settings"], tomli_w.dumps(config.to_dict()))
        return files


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database that a killed process does not damage, without waiting for the disk at each commit."""
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
