"""The trials of a search, in memory or in a folder where the search can be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import tomli_w

from gclrec.common.declaration import Span
from gclrec.common.errors import InputError
from gclrec.common.files import read_json, write_atomically
from gclrec.common.locks import holding
from gclrec.common.shell import flag
from gclrec.experiments.comparison import check_same, is_vacant, with_budgets
from gclrec.experiments.parallel import Train, Workers
from gclrec.experiments.search import (
    Search,
    Trial,
    best_of,
    importance_of,
    need_optuna,
    new_study,
    run_trials,
    training_on,
    trials_of,
)
from gclrec.runs.folder import RunFolder
from gclrec.settings.budget import replaced
from gclrec.settings.config import TrainConfig
from gclrec.settings.validation import validate
from gclrec.training.estimate import WORTH
from gclrec.training.prepare import TrainingData, config_of

if TYPE_CHECKING:
    import optuna


class Tuning:
    """A search and its finished trials, in memory or in a folder where it can be resumed.

    ================  ==========================================================
    ``start/``        settings, split and attributes, as in a run folder
    ``tuning.json``   the space
    ``study.db``      the Optuna study ``gclrec``, in SQLite
    ``trials.csv``    one row a trial
    ``best.toml``     settings of the best trial
    ================  ==========================================================

    Args:
        search: what is searched.
        path: the folder; in memory if ``None``.

    Attributes:
        done: the finished trials.
        importance: how much each setting decides; see :func:`~gclrec.experiments.search.importance_of`.
        files: the files with the results, by name.
    """

    def __init__(self, search: Search, path: Path | None = None) -> None:
        self.search, self.path = search, path
        self.done: list[Trial] = []
        self.importance: dict[str, float] = {}
        self.files: dict[str, Path] = {}

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
        return replaced(self.search.config, self.best)

    @property
    def trials(self) -> pl.DataFrame:
        """A row a trial: ``number, state, value, epoch, epochs, seconds`` and its settings."""
        rows = [{**vars(trial), **trial.settings} for trial in self.done]
        return pl.DataFrame(rows, infer_schema_length=None).drop("settings", strict=False)

    @property
    def at_the_ends(self) -> dict[str, Span]:
        """The spans whose best value lies at an end, by name: a better one may lie beyond."""
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
        return f"Tuning({len(self.done)} trials by {self.search.config.chosen_by}, {best})"

    def run(
        self,
        study: optuna.Study,
        data: TrainingData,
        *,
        callbacks: Iterable[object] = (),
        label: str = "",
        workers: Workers | None = None,
    ) -> Tuning:
        """Make the missing trials on some data; see :func:`~gclrec.experiments.search.run_trials`."""
        try:
            train = training_on(data)
            with contextlib.ExitStack() as kept:
                if workers is not None:
                    train = self._training_in(workers, data, kept)
                run_trials(self.search, study, train, callbacks=callbacks, label=label, workers=workers)
        finally:
            self.done, self.importance = trials_of(study), importance_of(study)
            if self.path is not None and self.done:
                self._write(self.path)
        return self

    def _training_in(self, workers: Workers, data: TrainingData, kept: contextlib.ExitStack) -> Train:
        """Return what trains in other processes, which read the data from a folder."""
        if self.path is None:
            path = Path(kept.enter_context(TemporaryDirectory(prefix="gclrec-"))) / "start"
            RunFolder.create(path, data.config.to_dict(), data.split, data.exposed, data.tables)
        else:
            path = self.path / "start"
        if len(data.split.train) >= WORTH:
            dim = self.search.space.get("dim")
            largest = {"dim": int(dim.high)} if isinstance(dim, Span) else {}
            workers.check_memory([(path, replaced(self.search.config, largest))])
        return workers.training_in(path)

    def _write(self, path: Path) -> None:
        self.files["trials"] = path / "trials.csv"
        write_atomically(self.files["trials"], self.trials.write_csv())
        if self.winner is not None:
            split = config_of(RunFolder(path / "start")).split
            config = validate(dataclasses.replace(self.config, split=split))
            self.files["best settings"] = path / "best.toml"
            write_atomically(self.files["best settings"], tomli_w.dumps(config.to_dict()))

    def begun(self) -> TrainingData | None:
        """Return the data of a search that has begun in the folder, ``None`` if it has not.

        Raises:
            InputError: the folder holds something else, or a search with other settings.
        """
        if self.path is None:
            return None
        start = RunFolder(self.path / "start")
        if not start.path.exists():
            if not is_vacant(self.path):
                raise InputError(f"{self.path}: is not empty and holds no tuning; choose another --out")
            return None
        config = self.search.config
        both = with_budgets(start, config_of(start), config)
        check_same(self.path, *both, {"split"} if config.split is None else ())
        path = self.path / "tuning.json"
        for name, now in self.search.to_json().items() if path.exists() else ():
            before = read_json(path).get(name)
            if before != now:
                said = f"{json.dumps(before)}, now {json.dumps(now)} is asked for"
                raise InputError(f"{self.path}: holds {flag(name)} {said}; choose another --out")
        journal = self.path / "study.jsonl"
        if journal.exists():
            raise InputError(f"{journal}: trials of gclrec 0.1.0 cannot be added to; choose another --out")
        return TrainingData.read(start)

    @contextlib.contextmanager
    def study(self, data: TrainingData) -> Iterator[optuna.Study]:
        """Yield the study, which is made if needed; other processes cannot search in the folder meanwhile.

        A trial that a killed process has left is marked as failed.

        Args:
            data: what the trials are trained on.

        Raises:
            InputError: another process is searching here, Optuna is not installed, or the study is damaged.
        """
        if self.path is None:
            yield new_study(self.search)
            return
        need_optuna()
        from optuna.exceptions import StorageInternalError
        from optuna.storages import RDBStorage
        from optuna.trial import TrialState
        from sqlalchemy.exc import SQLAlchemyError

        start, path = RunFolder(self.path / "start"), self.path / "study.db"
        self.path.mkdir(parents=True, exist_ok=True)
        with holding(self.path, "searching"):
            if self.begun() is None:
                RunFolder.create(start.path, data.config.to_dict(), data.split, data.exposed, data.tables)
            write_atomically(self.path / "tuning.json", json.dumps(self.search.to_json(), indent=2))
            try:
                # The connection is made by a function, since a URL cannot hold every path.
                connect = partial(_connect, path)
                storage = RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})
                try:
                    study = new_study(self.search, storage)
                    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                        study.tell(trial.number, state=TrialState.FAIL)
                    yield study
                finally:
                    storage.remove_session()
                    storage.engine.dispose()
            except (SQLAlchemyError, StorageInternalError) as error:
                reason = " ".join(str(error.__cause__ or error).split())
                raise InputError(f"{path}: damaged, or cannot be written ({reason})") from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database that a killed process does not damage, without waiting for the disk at each commit."""
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
