"""Many runs from Python: compare methods, or tune one; the commands call the same functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from gclrec.api import Run, load_run
from gclrec.common.errors import InputError
from gclrec.common.files import local_path, write_atomically
from gclrec.data.interactions import Dataset
from gclrec.data.statistics import headline
from gclrec.experiments.cold_study import STUDIES, cold_study
from gclrec.experiments.comparison import ComparisonFolder, Plan, make_plan
from gclrec.experiments.field import FIELD, searches_of, tune_field, tuned_rows
from gclrec.experiments.findings import Findings, analyse
from gclrec.experiments.parallel import Workers, workers_of
from gclrec.experiments.ray_cluster import cluster_at
from gclrec.experiments.run_cells import run_comparison
from gclrec.experiments.search import Search, make_search, need_optuna, training_on
from gclrec.experiments.summary import sentences
from gclrec.experiments.tuning import Tuning
from gclrec.report.comparison_report import comparison_markdown, comparison_page, write_comparison
from gclrec.report.run_report import write_run_page
from gclrec.training.build import pick_device
from gclrec.training.callbacks import Callbacks
from gclrec.training.prepare import prepare, requested
from gclrec.training.progress import shown

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gclrec.settings.typed import Settings


def compare(
    data: Any = None,
    *,
    augs: Sequence[str] = (),
    methods: Sequence[str] = (),
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    grid: Sequence[str] | Mapping[str, Any] = (),
    seeds: int = 3,
    train_fractions: Sequence[float] = (),
    same_steps: bool = False,
    against: str | None = None,
    claim: str | None = None,
    against_field: bool = False,
    trials: int = 8,
    study: str | None = None,
    thorough: bool = False,
    jobs: int = 1,
    ray: str | None = None,
    folder: str | Path | None = None,
    progress: bool | object | None = None,
    callbacks: Iterable[object] = (),
    **settings: Unpack[Settings],
) -> Comparison:
    """Train variants with several seeds on one split and test the differences, as ``gclrec compare`` does.

    Args:
        data: see :func:`gclrec.fit`.
        augs: augmentations to compare, each as ``aug`` has it, but with ``/`` between two different views;
            ``none``, ``edge_drop`` and ``node_drop`` if nothing else is compared.
        methods: names of published models and baselines to compare.
        variants: further variants by name, each a mapping of settings, ``method`` among them if it has one.
        grid: settings to choose on validation for each variant, such as ``{"temperature": [0.1, 0.2]}``.
        seeds: runs of each variant; they share the split.
        train_fractions: shares of the training pairs, for a study of sparsity.
        same_steps: train every share of the pairs for the same number of steps.
        against: the variant that the others are compared with; the first if ``None``.
        claim: the figure that is tested, such as ``recall@20``; that of ``select`` if ``None``.
        against_field: add the methods of :data:`~gclrec.experiments.field.FIELD`, and tune every variant on
            validation first. Without other variants the settings of all runs are compared with the field.
        trials: trials of each variant with ``against_field``; settings that are given are held.
        study: a name in :data:`~gclrec.experiments.cold_study.STUDIES`, which brings its variants and its
            split, those that are given besides; the result begins with its answer.
        thorough: more variants of the study, each with the whole budget of its method.
        jobs: trainings at once, each in a process with its share of the threads. Callbacks are then called in
            threads, one at a time, with ``on_run_start`` and the events of phases, batches and epochs.
        ray: address of a Ray cluster where these processes run; every machine reads and writes ``folder``.
        folder: where the runs are kept and the results are written; runs that it holds are not made again.
            A temporary folder if ``None``, which is removed with the returned object.
        progress: see :func:`gclrec.fit`.
        callbacks: see :mod:`gclrec.training.callbacks`. Further events are
            ``on_comparison_start(comparison)`` and, before each run, ``on_run_start(number, runs, name)``.
        settings: of all runs, named as the flags of ``gclrec train``; they go before those of a method.

    Raises:
        InputError: the data cannot be read, a setting is unknown or out of range, there is nothing to
            compare, ``folder`` holds runs with other settings, or, with several ``jobs``, some runs failed;
            the others are kept.
    """
    if study is not None:
        if study not in STUDIES:
            raise InputError(f"--study: must be one of {', '.join(STUDIES)}, got {study!r}")
        if against_field or augs:
            name = "--augs" if augs else "--against-field"
            raise InputError(f"{name}: --study has variants of its own; leave it out")
    elif thorough:
        raise InputError("--thorough: is about a --study; leave it out")
    common, load = requested(data, settings)
    if against_field:
        if grid or train_fractions:
            name = "--grid" if grid else "--train-fractions"
            raise InputError(f"{name}: --against-field tunes every variant on all training pairs instead")
        need_optuna()
        augs = augs or (() if methods or variants else (common.aug.replace(",", "/"),))
        against = next(iter([*augs, *methods, *(variants or {})])) if against is None else against
    dataset, group = None, None
    if study is not None:
        dataset = load()
        found = cold_study(dataset, common, given=given_names(settings), thorough=thorough)
        common, group, variants = found.common, found.group, {**found.variants, **(variants or {})}
        against = next(iter(found.variants)) if against is None else against
    plan = make_plan(
        common,
        augs=augs,
        methods=[*methods, *(name for name in FIELD if against_field and name not in methods)],
        named=variants,
        grid=axis_texts(grid),
        num_seeds=seeds,
        fractions=train_fractions,
        same_steps=same_steps,
        against=against,
        claim=claim,
        given=given_names(settings),
    )
    plan = dataclasses.replace(plan, group=group)
    searches: Mapping[str, Search] = {}
    if against_field:
        own = {name: {key.replace("-", "_") for key in values} for name, values in (variants or {}).items()}
        held = given_names(settings)
        searches = searches_of(plan, lambda name: held | own.get(name, set()), trials)
    if ray is None:
        pick_device(plan.common.device)
    if folder is not None:
        kept = ComparisonFolder(local_path(folder))
        kept.check_common(plan) if against_field else kept.check(plan)
    comparison = Comparison(plan, dataset or load(), folder)
    callbacks = tuple(callbacks)
    Callbacks(callbacks).call("on_comparison_start", comparison)
    with shown(progress) as bars, workers_of(jobs, callbacks, cluster_at(ray, common.device)) as workers:
        every = [*bars, *callbacks]
        if against_field:
            comparison.tune(searches, every, workers)
        run_comparison(
            comparison.plan,
            comparison.folder,
            comparison.dataset,
            callbacks=every,
            done=write_run_page,
            workers=workers,
        )
    if folder is not None:
        comparison.files |= comparison.write()
    return comparison


class Comparison:
    """A comparison; printing it shows its tables in Markdown.

    Returned by :func:`compare`.

    Args:
        plan: the runs.
        dataset: what they are trained and tested on.
        path: folder of the runs; a temporary one if ``None``.

    Attributes:
        tunings: the search of each variant that was tuned first, by name.
        files: the files with the results, by name; empty without a folder.
    """

    def __init__(self, plan: Plan, dataset: Dataset, path: str | Path | None = None) -> None:
        self.plan, self.dataset = plan, dataset
        self._kept = (
            None if path is not None else TemporaryDirectory(prefix="gclrec-", ignore_cleanup_errors=True)
        )
        self.folder = ComparisonFolder(
            local_path(self._kept.name if path is None and self._kept else str(path))
        )
        self.tunings: dict[str, Tuning] = {}
        self.files: dict[str, Path] = {}

    def tune(
        self,
        searches: Mapping[str, Search],
        callbacks: Iterable[object] = (),
        workers: Workers | None = None,
    ) -> None:
        """Tune variants on validation, so that the runs have their best settings."""
        self.folder.begin(self.plan)
        self.plan, self.tunings = tune_field(
            self.plan, searches, self.folder, self.dataset, callbacks=callbacks, workers=workers
        )

    @cached_property
    def findings(self) -> Findings:
        """The results, with geometry, grid and figures by popularity.

        Raises:
            InputError: a run is missing or damaged.
        """
        return analyse(self.plan, self.folder)

    @property
    def table(self) -> pl.DataFrame:
        """A row for each variant, group and metric, with the columns ``FINDING_COLUMNS``."""
        return self.findings.table

    @property
    def sentences(self) -> list[str]:
        """The outcome of the tests in words, one text for each variant."""
        return sentences(self.findings)

    @property
    def runs(self) -> dict[str, Run]:
        """All runs, by the names of their folders."""
        return {cell.name: load_run(self.folder.run(cell).path) for cell in self.plan.cells}

    def report(self, path: str | Path) -> None:
        """Write the page of the comparison: one HTML file without script, which loads nothing."""
        about, synthetic = headline(self.dataset), self.dataset.synthetic
        page = comparison_page(
            self.findings, self.folder, about, synthetic=synthetic, tuned=tuned_rows(self.tunings)
        )
        write_atomically(local_path(path), page)

    def write(self) -> dict[str, Path]:
        """Write tables and page into the folder of the comparison; return their paths by name."""
        about, synthetic = headline(self.dataset), self.dataset.synthetic
        return write_comparison(
            self.findings, self.folder, about, synthetic=synthetic, tuned=tuned_rows(self.tunings)
        )

    def __str__(self) -> str:
        return comparison_markdown(self.findings, headline(self.dataset), tuned_rows(self.tunings))

    _repr_markdown_ = __str__

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.plan.variants)}, {len(self.plan.cells)} runs)"


def tune(
    data: Any = None,
    *,
    method: str | None = None,
    trials: int = 30,
    space: Sequence[str] | Mapping[str, Any] = (),
    prune_after: int | None = None,
    jobs: int = 1,
    ray: str | None = None,
    folder: str | Path | None = None,
    progress: bool | object | None = None,
    callbacks: Iterable[object] = (),
    **settings: Unpack[Settings],
) -> Tuning:
    """Search for good settings of a method on validation, as ``gclrec tune`` does; test pairs are not read.

    Args:
        data: see :func:`gclrec.fit`; a search that has begun in ``folder`` goes on with its own data.
        method: name of a published model or baseline.
        trials: number of trials in all, those in ``folder`` included; the first has the settings given.
        space: settings to search besides the usual ones or elsewhere, such as
            ``{"dim": [32, 64], "aug_p": "0.05..0.4"}``.
        prune_after: epochs that every trial gets; a quarter of all if ``None``.
        jobs: trainings at once, each in a process with its share of the threads. Callbacks are then called in
            threads, one at a time, with ``on_run_start`` and the events of phases, batches and epochs.
        ray: address of a Ray cluster where these processes run; every machine reads and writes ``folder``.
        folder: where the trials are kept, so that the search can be resumed; in memory if ``None``.
        progress: see :func:`gclrec.fit`.
        callbacks: see :mod:`gclrec.training.callbacks`. Further events are
            ``on_tuning_start(tuning, dataset)`` (``None`` for a search that goes on) and, before each trial,
            ``on_run_start(number, runs, name)``.
        settings: named as the flags of ``gclrec train``; they are held.

    Raises:
        InputError: the data cannot be read, a setting is unknown or out of range, there is nothing to
            search, ``folder`` holds another search, Optuna is not installed, or, with several ``jobs``, some
            trials failed; the others are kept.
    """
    need_optuna()
    config, load = requested(data, settings, method=method)
    search = make_search(
        config,
        method,
        given=given_names(settings),
        asked=axis_texts(space),
        prune_after=prune_after,
        trials=trials,
    )
    if ray is None:
        pick_device(search.config.device)
    tuning, dataset = Tuning(search, None if folder is None else local_path(folder)), None
    content = tuning.begun()
    if content is None:
        dataset = load()
        content = prepare(search.config, dataset)
    training_on(content)  # refuses what cannot be tuned before a folder is made
    callbacks = tuple(callbacks)
    where = workers_of(jobs, callbacks, cluster_at(ray, search.config.device))
    with where as workers, tuning.study(content) as study:
        Callbacks(callbacks).call("on_tuning_start", tuning, dataset)
        with shown(progress) as bars:
            return tuning.run(study, content, callbacks=[*bars, *callbacks], workers=workers)


def given_names(settings: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the settings that have a value."""
    return frozenset(name for name, value in settings.items() if value is not None)


def axis_texts(axes: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return axes of a grid or a space as the command line has them, ``NAME=VALUE,VALUE``.

    Example:
        >>> axis_texts({"dim": [32, 64], "aug_p": "0.1..0.4", "logq": [True]})
        ['dim=32,64', 'aug_p=0.1..0.4', 'logq=true']
    """
    if not isinstance(axes, Mapping):
        return list(axes)

    def text(value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return ",".join(map(text, value))
        return str(value).lower() if isinstance(value, bool) else str(value)

    return [f"{name}={text(value)}" for name, value in axes.items()]
