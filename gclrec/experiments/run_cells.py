"""Make the runs of a comparison: one after another, or several at once in processes of their own."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from gclrec.common.atomic import discard
from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Dataset
from gclrec.data.splits import Split
from gclrec.experiments.comparison import Cell, ComparisonFolder, Plan
from gclrec.experiments.parallel import Workers
from gclrec.runs.folder import RunFolder
from gclrec.training.callbacks import Callbacks
from gclrec.training.estimate import WORTH
from gclrec.training.prepare import TrainingData, new_split, prepare
from gclrec.training.recorder import creating_run, fit_run


def run_comparison(
    plan: Plan,
    folder: ComparisonFolder,
    dataset: Dataset,
    *,
    callbacks: Iterable[object] = (),
    done: Callable[[RunFolder], object] = lambda _: None,
    workers: Workers | None = None,
) -> None:
    """Make every run that the folder does not hold; a run that was interrupted goes on.

    Args:
        plan: the runs.
        folder: where they are.
        dataset: as :func:`~gclrec.data.catalog.loader.prepared_dataset` returns it.
        callbacks: see :mod:`gclrec.training.callbacks`; ``on_run_start(number, runs, name)`` is called
            before each run, even if it is there already.
        done: called with the folder of each run that has just been completed.
        workers: where to train; one run after another in this process if ``None``.

    Raises:
        InputError: the folder holds runs with other settings, the data set has changed since, or, with
            ``workers``, some runs failed; the others are made.
    """
    folder.check(plan)
    folder.begin(plan)
    cells = _Cells(plan, folder, dataset, tuple(callbacks), done)
    if workers is None:
        for number, cell in enumerate(plan.cells, start=1):
            cells.make(number, cell)
        return
    if len(dataset.interactions) >= WORTH:
        cells.check_memory(workers)
    workers.each(
        {
            cell.name: partial(cells.make_in, workers, number, cell)
            for number, cell in enumerate(plan.cells, start=1)
        }
    )


class _Cells:
    """The runs of a plan, each made once."""

    def __init__(
        self,
        plan: Plan,
        folder: ComparisonFolder,
        dataset: Dataset,
        callbacks: tuple[object, ...],
        done: Callable[[RunFolder], object],
    ) -> None:
        self.plan, self.folder, self.dataset = plan, folder, dataset
        self.callbacks, self.done = callbacks, done
        self._splits: dict[float, tuple[Split, str]] = {}
        # Warnings about the data are the same for all runs: they are shown with the first one.
        self._quiet = any((folder.path / "runs").glob("*/config.toml"))

    def prepared(self, cell: Cell) -> tuple[RunFolder, TrainingData | None]:
        """Return the folder of a run and what to make it with, ``None`` where it is there already."""
        run, data = self.folder.run(cell), None
        begun = run.path.exists()
        with warnings.catch_warnings():
            if self._quiet:
                warnings.simplefilter("ignore", InputWarning)
            if cell.fraction not in self._splits:
                made = new_split(cell.config, self.dataset)
                self._splits[cell.fraction] = made, fingerprint(made)
            split, expected = self._splits[cell.fraction]
            if not begun:
                data = prepare(cell.config, self.dataset, split)
        if data is None and fingerprint(run.split()) != expected:
            raise InputError(
                f"{run.path}: its split is not that of the other runs; has the data set changed since? "
                "choose another --out"
            )
        self._quiet = True
        return run, data

    def start(self, number: int, cell: Cell) -> tuple[RunFolder, TrainingData | None]:
        """Announce a run, and return what :meth:`prepared` does."""
        Callbacks(self.callbacks).call("on_run_start", number, len(self.plan.cells), cell.name)
        return self.prepared(cell)

    def make(self, number: int, cell: Cell) -> None:
        """Make a run in this process."""
        run, data = self.start(number, cell)
        if is_finished(run):
            return
        with run.held() if data is None else creating_run(run.path, data) as held:
            fit_run(held, data, callbacks=self.callbacks)
            self.done(held)

    def make_in(self, workers: Workers, number: int, cell: Cell) -> None:
        """Make a run in another process, which holds its lock meanwhile."""
        with workers.lock:
            run, data = self.start(number, cell)
            if is_finished(run):
                return
            if data is not None:
                with creating_run(run.path, data):
                    pass
        try:
            workers.run(run.path, self.callbacks)
        except InputError:
            if data is not None and not run.last_checkpoint.exists():
                discard(run.path)
            raise
        with workers.lock, run.held():
            self.done(run)

    def check_memory(self, workers: Workers) -> None:
        """Check that the largest variant fits into memory as often as there are processes."""
        points = {(cell.variant, cell.setting): cell for cell in reversed(self.plan.cells)}
        with contextlib.ExitStack() as made:
            paths = []
            for cell in points.values():
                run, data = self.prepared(cell)
                if is_finished(run):
                    continue
                if data is not None:  # removed again if the check fails
                    made.enter_context(creating_run(run.path, data))
                paths.append((run.path, None))
            workers.check_memory(paths)


def is_finished(run: RunFolder) -> bool:
    """Return whether a run has its final figures."""
    return (run.path / "result.json").is_file()


def fingerprint(split: Split) -> str:
    """Return a checksum of a split: the ids and the pairs of all parts."""
    digest = hashlib.sha256()
    for vocabulary in (split.train.users, split.train.items):
        digest.update("\n".join(map(str, vocabulary.ids.to_list())).encode())
    for part in (split.train, split.valid, split.test):
        digest.update(np.stack([part.user, part.item]).astype(np.int64).tobytes())
    return digest.hexdigest()
