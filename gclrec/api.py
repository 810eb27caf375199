"""Train from Python and use what was trained; the commands call the same functions."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from rich.console import Console

from gclrec.baselines import Scorer
from gclrec.common.errors import InputError, UnfinishedError, reading
from gclrec.common.files import local_path, read_json
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.evaluator import Evaluation
from gclrec.recall.build_index import build_index
from gclrec.recall.index import Index
from gclrec.recall.new_items import agree, read_catalogue
from gclrec.recall.recommender import Recommender
from gclrec.report.figures_table import figures_table
from gclrec.report.run_report import write_run_page
from gclrec.runs.embeddings import Embedded, as_matrix, read_embeddings
from gclrec.runs.folder import WAIT, RunFolder
from gclrec.runs.reading import PARTS, check_run, read_part_lists
from gclrec.settings.config import TrainConfig
from gclrec.settings.validation import validate
from gclrec.training.distributed import Processes
from gclrec.training.estimate import WORTH, estimated
from gclrec.training.fit import fit as fit_in_memory
from gclrec.training.fit import fitted
from gclrec.training.prepare import TrainingData, config_of, prepare, requested
from gclrec.training.progress import shown
from gclrec.training.recorder import continued_data, creating_run, fit_run, save_run
from gclrec.training.results import Result, evaluate_on
from gclrec.training.trained import load_recommender, recommender_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gclrec.settings.typed import Settings


def fit(
    data: Any = None,
    *,
    method: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    progress: bool | object | None = None,
    callbacks: Iterable[object] = (),
    force: bool = False,
    **settings: Unpack[Settings],
) -> Run:
    """Train on interactions and test once, as ``gclrec train`` does with the same settings.

    Settings given here go before those of ``config``, which go before those of ``method``.

    Args:
        data: a file or folder, a name of the catalogue, a polars or pandas table, a PyG ``HeteroData``,
            :class:`~gclrec.data.interactions.Interactions` or a
            :class:`~gclrec.data.interactions.Dataset`; that of the setting ``dataset`` if ``None``.
        method: name of a published model or baseline; ``gclrec methods`` lists them. If ``None``, and no
            setting chooses a part of a model, it is ``auto``, which chooses a recipe by a pilot.
        config: TOML file of settings, or a mapping.
        folder: run folder to make; with ``None`` everything stays in memory.
        progress: whether to show progress, or a callback that does; ``None`` shows it in a notebook only.
        callbacks: objects with methods that are called as training goes; see
            :mod:`gclrec.training.callbacks`.
        force: start even if the memory that a few steps predict is not there; they are taken from 300,000
            training pairs on.
        settings: named as the flags of ``gclrec train``, with underscores. ``user_attributes`` and
            ``item_attributes`` may be tables too.

    Returns:
        The finished run.

    Raises:
        InputError: the data cannot be read, a setting is unknown, out of range or does not suit the data,
            the memory does not suffice, or ``folder`` exists.

    Example:
        >>> run = fit("synthetic-60x40x600", aug="edge_drop", epochs=2, dim=8)
        >>> sorted(run.metrics)[:3], len(run.history)
        (['all', 'cold_items', 'cold_users'], 2)
    """
    made, load = requested(data, settings, config=config, method=method, auto=True)
    prepared = prepare(made, load())
    if len(prepared.split.train) >= WORTH and not force:
        estimated(prepared)
    with shown(progress) as bars:
        return fit_prepared(prepared, folder=folder, callbacks=[*bars, *callbacks])


def fit_prepared(
    data: TrainingData, *, folder: str | Path | None = None, callbacks: Iterable[object] = ()
) -> Run:
    """Train on data that :func:`~gclrec.training.prepare.prepare` returned.

    Args:
        data: settings, split and attributes.
        folder: run folder to make; with ``None`` everything stays in memory.
        callbacks: see :mod:`gclrec.training.callbacks`.

    Raises:
        InputError: the settings do not suit the data, or ``folder`` exists. Nothing is left behind.
    """
    if folder is not None:
        with creating_run(local_path(folder), data) as made:
            return go_on(made, data, callbacks=callbacks)
    if data.config.tensorboard:
        raise InputError("tensorboard: its files go into a run folder; give folder=")
    given: dict[str, Any] = {"attributes": data.attributes, "exposed": data.exposed, "start": data.start}
    result = fit_in_memory(data.config, data.split, callbacks=callbacks, **given)
    return Run(result.config, result=result, data=data)


def resume(
    folder: str | Path,
    *,
    epochs: int | None = None,
    progress: bool | object | None = None,
    callbacks: Iterable[object] = (),
) -> Run:
    """Go on with an interrupted run, to the numbers that it would have had.

    Args:
        folder: the run folder.
        epochs: train for more epochs than the run was made for.
        progress: see :func:`fit`.
        callbacks: see :mod:`gclrec.training.callbacks`.

    Raises:
        InputError: the folder is not there or damaged, or its number of epochs cannot change.
    """
    made = RunFolder.open(local_path(folder))
    with made.held(), shown(progress) as bars:
        return go_on(made, continued_data(made, epochs), callbacks=[*bars, *callbacks])


def go_on(
    folder: RunFolder,
    data: TrainingData,
    *,
    callbacks: Iterable[object] = (),
    processes: Processes | None = None,
) -> Run:
    """Train in a run folder from its last checkpoint, if it has one, and write its page."""
    result = fit_run(folder, data, callbacks=callbacks, processes=processes)
    write_run_page(folder)
    return Run(result.config, result=result, data=data, folder=folder)


def export_index(
    folder: str | Path,
    *,
    backend: str = "auto",
    target_recall: float = 0.95,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Index:
    """Build ``index/`` of a run from its vectors and those of added items; it is tuned and measured.

    All arguments but the run folder are those of :func:`~gclrec.recall.build_index.build_index`.

    Raises:
        InputError: the run has no vectors, or a file is damaged.
    """
    path = local_path(folder)
    check_run(path)
    vectors, _ = read_catalogue(path)
    read_part_lists(path, PARTS, vectors.users, vectors.items)  # service needs them
    index = build_index(
        vectors.item_vectors,
        vectors.items,
        backend=backend,
        queries=vectors.user_vectors,
        target_recall=target_recall,
        seed=seed,
        progress=progress,
    )
    with RunFolder(path).held("exporting", wait=WAIT):
        if not agree(index, read_catalogue(path)[0], len(index)):
            raise InputError(f"{path}: its vectors or added items were replaced meanwhile; export again")
        index.save(path / "index")
    if (path / "result.json").is_file():
        write_run_page(RunFolder.open(path))
    return index


def load_run(folder: str | Path) -> Run:
    """Return a run of a folder; its parts are read when they are first used.

    Raises:
        InputError: it is not there, or its settings are damaged.
    """
    made = RunFolder.open(local_path(folder))
    return Run(config_of(made), folder=made)


class Run:
    """A finished run, in memory or in a folder; printing it shows its test figures by group.

    Returned by :func:`fit` and :func:`load_run`.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        result: Result | None = None,
        data: TrainingData | None = None,
        folder: RunFolder | None = None,
    ) -> None:
        self.config = config
        """All settings."""
        self.result = result
        """What training returned; ``None`` for a run that was loaded."""
        self.folder = folder
        """The run folder; ``None`` for a run in memory."""
        self._data = data

    @cached_property
    def values(self) -> dict[str, Any]:
        """Test figures, cases, geometry, seconds and the chosen epoch, as ``result.json`` has them.

        Raises:
            InputError: the run is not finished, or the file is damaged.
        """
        where = {} if self.folder is None else {"run": str(self.folder.path)}
        if self.result is not None:
            return {**where, **self.result.values}
        path = self._folder.path
        if not (path / "result.json").is_file():
            raise UnfinishedError(path, f"{path}: its training did not finish; resume its training")
        values = read_json(path / "result.json")
        for part in ("metrics", "cases"):
            with reading(path / "result.json", "cannot be used"):
                values[part] = {str(name): value for name, value in values[part].items()}
                if not all(isinstance(value, (int, float)) for value in values[part].values()):
                    raise InputError(f"{path / 'result.json'}: found {part} that are no numbers")
        return values

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Test figures by group: ``run.metrics["cold_items"]["recall@20"]``; empty for one without cases."""
        found: dict[str, dict[str, float]] = {group: {} for group in self.cases}
        for name, value in self.figures.items():
            group, _, figure = name.partition("/")
            found[group][figure] = value
        return found

    @property
    def figures(self) -> dict[str, float]:
        """Test figures by ``GROUP/METRIC@K``."""
        return {name.removeprefix("test/"): value for name, value in self.values["metrics"].items()}

    @property
    def cases(self) -> dict[str, int]:
        """Users that the figures of each group are averaged over."""
        return {name.removeprefix("test/"): count for name, count in self.values["cases"].items()}

    @property
    def history(self) -> pl.DataFrame:
        """A row an epoch: phase, losses, validation figures, geometry and seconds."""
        records = self._folder.metrics() if self.result is None else self.result.history
        return pl.DataFrame(records, infer_schema_length=None)

    @cached_property
    def split(self) -> Split:
        """Training, validation and test pairs, with the raw ids of users and items."""
        return self._folder.split() if self._data is None else self._data.split

    @cached_property
    def embeddings(self) -> Embedded:
        """Final vectors of users and items with their raw ids; the score of a pair is their inner product.

        Raises:
            InputError: the method ranks without vectors, or the run is not finished.
        """
        if self.result is None:
            check_run(self._folder.path)
            return read_embeddings(self._folder.path / "embeddings")
        vectors, train = self.result.vectors, self.result.train
        if vectors is None:
            raise InputError(f"{self.config.baseline} ranks without vectors, so there are no embeddings")
        return Embedded(
            train.users,
            as_matrix(vectors.users, "user vectors"),
            train.user_degrees(),
            train.items,
            as_matrix(vectors.items, "item vectors"),
            train.item_degrees(),
        )

    def recommender(self, *, seen: Iterable[str] = PARTS, use_index: bool = True) -> Recommender:
        """Return what recommends items to users of the run and to new ones.

        Args:
            seen: parts of the split whose pairs are left out of a user's list.
            use_index: search with the exported index of the run folder, if there is one.

        Raises:
            InputError: the method ranks without vectors, or a file of the run is damaged.
        """
        if self.result is None or self.folder is not None:
            return load_recommender(self._folder.path, seen=seen, use_index=use_index)
        return recommender_of(self.result, seen=seen)

    def evaluate(
        self,
        part: str = "test",
        *,
        ks: Sequence[int] | None = None,
        metrics: Sequence[str] | None = None,
        near_cold: int | None = None,
    ) -> Evaluation:
        """Rank the whole catalogue again for every user with pairs in a part of the split.

        Args:
            part: ``test`` or ``valid``.
            ks: cut-offs; those of the run if ``None``.
            metrics: names of figures; likewise.
            near_cold: highest degree of near-cold users and items; likewise.

        Raises:
            InputError: a name is unknown, the part has no pairs, or the run was trained on them.
        """
        given: dict[str, Any] = {
            "ks": None if ks is None else tuple(ks),
            "metrics": None if metrics is None else tuple(metrics),
            "near_cold": near_cold,
        }
        config = dataclasses.replace(
            self.config, **{name: value for name, value in given.items() if value is not None}
        )
        k = config.ks[0] if config.ks else 0
        config = validate(dataclasses.replace(config, select=f"{next(iter(config.metrics), '')}@{k}"))
        where = "the run" if self.folder is None else self.folder.path
        if part == "valid" and config.refit:
            raise InputError(f"{where}: was refitted on its validation pairs, so they cannot be evaluated on")
        split = self.split.refit() if config.refit else self.split
        if len(getattr(split, part)) == 0:
            other = "valid" if part == "test" else "test"
            instead = f"; --part {other} has some" if len(getattr(split, other)) else ""
            raise InputError(f"{where}: its split has no {part} pairs to evaluate on{instead}")
        return evaluate_on(self._ranker(split), split, part, config)

    def _ranker(self, split: Split) -> Embeddings | Scorer:
        if self.result is not None:
            return self.result.ranker
        if self.config.baseline and not (self._folder.path / "embeddings").exists():
            # Without vectors to read: it is fitted again, to the same numbers.
            return fitted(self.config, split.train, TrainingData.read(self._folder).attributes)
        held = self.embeddings
        return Embeddings(torch.from_numpy(held.user_vectors), torch.from_numpy(held.item_vectors))

    def export(self, **how: Any) -> Index:
        """Build the index of a run in a folder; see :func:`export_index`."""
        return export_index(self._folder.path, **how)

    def save(self, path: str | Path) -> None:
        """Write a run that is in memory into a run folder, as ``gclrec train`` would have.

        Raises:
            InputError: the folder exists, or the run is in a folder already.
        """
        if self.result is None or self._data is None or self.folder is not None:
            raise InputError(f"{path}: the run is in a folder already, {self._folder.path}")
        with creating_run(local_path(path), self._data) as folder:
            save_run(folder, self.result)
            write_run_page(folder)
        self.folder, self.result = folder, dataclasses.replace(self.result, last=None)
        self.__dict__.pop("values", None)

    @property
    def _folder(self) -> RunFolder:
        assert self.folder is not None
        return self.folder

    def __repr__(self) -> str:
        console = Console(file=io.StringIO(), width=110, highlight=False, markup=False, emoji=False)
        console.print(figures_table(self.figures, self.cases))
        kept = "" if self.folder is None else f", {str(self.folder.path)!r}"
        what = self.config.baseline or f"{self.config.encoder}, aug {self.config.aug}"
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return f"Run({self.config.dataset!r}, {what}{kept})\n{text}"
