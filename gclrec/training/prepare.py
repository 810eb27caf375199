"""From settings and a data set to what a run is trained on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gclrec.baselines import BASELINES
from gclrec.common.errors import InputError, InputWarning, reading
from gclrec.common.files import local_path
from gclrec.common.shell import flag
from gclrec.data.catalog.loader import prepared_dataset, times_are_places
from gclrec.data.filters import Keep, filtered
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.io.columns import Columns
from gclrec.data.io.frames import interactions_from
from gclrec.data.io.hetero import dataset_of_hetero, is_hetero
from gclrec.data.io.readers import read_exposed
from gclrec.data.schema import Attributes, Schema
from gclrec.data.splits import Split
from gclrec.encoders import ENCODERS, MAP
from gclrec.runs.folder import RunFolder
from gclrec.settings.budget import budgeted
from gclrec.settings.config import TrainConfig
from gclrec.settings.sources import layered_config
from gclrec.settings.validation import advise_views, check_selection, validate
from gclrec.training.build import split_of
from gclrec.training.callbacks import Pilot
from gclrec.training.pilot import chosen
from gclrec.training.results import MANY_COLD
from gclrec.training.warm_start import WarmStart

IN_MEMORY = "in-memory"
"""The setting ``dataset`` of a run whose data came as a table."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a run is trained on.

    Args:
        config: the settings, with the name of the split.
        split: training, validation and test pairs.
        exposed: pairs that were shown and not clicked, if any.
        tables: schema and raw table of the attributes of ``users`` and ``items``, where they are used.
        start: the run that training starts from, where it was read already.
    """

    config: TrainConfig
    split: Split
    exposed: Interactions | None = None
    tables: Mapping[str, tuple[Schema, pl.DataFrame]] = field(default_factory=dict)
    start: WarmStart | None = None

    @cached_property
    def attributes(self) -> Attributes | None:
        """The encoded attributes of the users and items of the split, ``None`` where none are used."""
        if not self.tables:
            return None
        ids = {"users": self.split.train.users, "items": self.split.train.items}
        encoded = {side: schema.encode(table, ids[side]) for side, (schema, table) in self.tables.items()}
        return Attributes(users=encoded.get("users"), items=encoded.get("items"))

    @classmethod
    def read(cls, folder: RunFolder) -> TrainingData:
        """Return what a run folder was made with.

        Raises:
            InputError: a file is missing or damaged.
        """
        config, split = config_of(folder), folder.split()
        exposed = folder.exposed() if config.negatives == "exposed" else None
        return cls(config, split, exposed, folder.attribute_tables())


def config_of(folder: RunFolder) -> TrainConfig:
    """Return the settings of a run folder, checked, with those of the recipe if one was chosen.

    Raises:
        InputError: ``config.toml`` is missing or damaged, or a setting is unknown or out of range.
    """
    config, pilot = given_config(folder), pilot_of(folder)
    return config if pilot is None or pilot.recipe is None else validate(chosen(config, pilot))


def given_config(folder: RunFolder) -> TrainConfig:
    """Return the settings that a run was begun with; see :func:`config_of`."""
    path = folder.path / "config.toml"
    return validate(TrainConfig.from_dict(folder.settings(), source=str(path)))


def pilot_of(folder: RunFolder) -> Pilot | None:
    """Return what the pilot of a run has done so far; ``None`` where there is none.

    Raises:
        InputError: ``pilot.json`` is damaged.
    """
    values, path = folder.pilot(), folder.path / "pilot.json"
    if not values:
        return None
    with reading(path, "not of a pilot"):
        pilot = Pilot(**values)
        for trial in pilot.trials:
            if not isinstance(trial["value"], (float, type(None))) or not trial["seconds"] >= 0:
                raise ValueError(f"a trial is {trial!r}")
        TrainConfig.from_dict(pilot.settings or {}, source=str(path))
    return pilot


def requested(
    data: Any,
    settings: Mapping[str, Any],
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    method: str | None = None,
    auto: bool = False,
) -> tuple[TrainConfig, Callable[[], Dataset]]:
    """Return the settings that :func:`gclrec.fit` is asked for, and a function that reads their data set.

    Args:
        data: see :func:`gclrec.fit`.
        settings: likewise.
        config: likewise.
        method: likewise.
        auto: see :func:`~gclrec.settings.sources.layered_config`.

    Raises:
        InputError: a setting is unknown or out of range.
    """
    values = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    attributes = {side: f"{side}_attributes" for side in ("user", "item")}
    tables = {
        side: values[name]
        for side, name in attributes.items()
        if not isinstance(values.get(name), (str, type(None)))
    }
    named = isinstance(data, (str, Path))
    if data is not None:
        values["dataset"] = str(data) if named else IN_MEMORY
    # Tables count as given, so that settings that would ignore them are refused.
    values |= {attributes[side]: IN_MEMORY for side in tables}
    made = layered_config(values, config=config, method=method, auto=auto)
    no_files: dict[str, Any] = {attributes[side]: None for side in tables}
    made = replace(made, **no_files)

    def load() -> Dataset:
        dataset = None if named or data is None else dataset_of(data, made)
        return prepared_dataset(made, dataset, tables)

    return made, load


def prepare(config: TrainConfig, dataset: Dataset, split: Split | None = None) -> TrainingData:
    """Return what a run with some settings is trained on.

    Args:
        config: the settings.
        dataset: as :func:`~gclrec.data.catalog.loader.prepared_dataset` returns it.
        split: of the data set; made as the settings say if ``None``.

    Raises:
        InputError: the data set cannot be divided this way, lacks attributes that are asked for, or the run
            to start from is of another kind.
    """
    start = None if config.start_from is None else WarmStart.read(config.start_from, config)
    if start is not None and split is not None:
        raise InputError("--start-from: the runs of a comparison share a split and start alike; leave it out")
    split = new_split(config, dataset) if split is None else split
    split = split if start is None else start.carried_on(split)
    check_selection(config, split)
    exposed = None
    if config.exposed is not None:
        exposed = read_exposed(config.exposed, split.train, columns=Columns.of(config))
    tables = chosen_attributes(dataset, config)
    advise_attributes(dataset, config, split)
    advise_views(config)
    config = budgeted(replace(config, split=split.name), len(split.train))
    return TrainingData(config, split, exposed, tables, start)


def dataset_of(data: Any, config: TrainConfig) -> Dataset:
    """Return a data set of data in memory.

    Args:
        data: a :class:`Dataset`, a PyG ``HeteroData``, or what
            :func:`~gclrec.data.io.frames.interactions_from` takes.
        config: settings, for names of columns.

    Raises:
        InputError: the data cannot be read, or a setting is about files.
    """
    for name, default in (("format", "auto"), ("test_file", None), ("valid_file", None)):
        if getattr(config, name) != default:
            raise InputError(f"{flag(name)}: is about data in files, and this is in memory")
    if isinstance(data, Dataset):
        return filtered(data, min_rating=config.min_rating)
    if isinstance(data, Interactions):
        dataset = filtered(Dataset("Interactions", data), min_rating=config.min_rating)
        return replace(dataset, interactions=dataset.interactions.deduplicated(config.repeats))
    keep = Keep(config.min_rating, config.repeats)
    if is_hetero(data):
        return dataset_of_hetero(data, keep=keep)
    pairs = interactions_from(data, columns=Columns.of(config), keep=keep)
    return Dataset(type(data).__name__, pairs, time_is_order=times_are_places(pairs))


def new_split(config: TrainConfig, dataset: Dataset) -> Split:
    """Return the split that the settings ask for.

    An :class:`~gclrec.InputWarning` says which part has no pairs.
    """
    split = split_of(config, dataset)
    for part, what in (("valid", "choose the best epoch by"), ("test", "report on")):
        if len(getattr(split, part)) == 0:
            message = f"split {split.name} leaves no {part} pairs, so there is nothing to {what}"
            warnings.warn(message, InputWarning, stacklevel=2)
    return split


def chosen_attributes(dataset: Dataset, config: TrainConfig) -> dict[str, tuple[Schema, pl.DataFrame]]:
    """Return schema and table of the attributes of ``users`` and ``items`` that the settings use.

    The schema is fitted to all rows of a table, items without interactions included: attributes are not
    interactions, and those of a cold item are known when it appears. A run that starts from another one has
    its schema, whose values the encoder knows.

    Args:
        dataset: with its attribute tables.
        config: the settings.

    Raises:
        InputError: attributes are asked for and there are none, or none is left to use.
    """
    tables = {"users": dataset.user_attributes, "items": dataset.item_attributes}
    if config.baseline is not None:
        side = BASELINES[config.baseline].attributes_of
        wanted = [] if side is None else [side]
    else:
        wanted = [] if config.attributes == "none" else list(tables)
    found = {side: table for side in wanted if (table := tables[side]) is not None}
    if wanted and not found:
        what = config.baseline or f"--attributes {config.attributes}"
        flags = " or ".join(f"--{side.removesuffix('s')}-attributes FILE" for side in reversed(wanted))
        raise InputError(f"{what}: {dataset.name} has no attributes of {' or '.join(wanted)}; give {flags}")
    chosen = {}
    known = {} if config.start_from is None else RunFolder.open(local_path(config.start_from)).schemas()
    for side, table in found.items():
        source = f"{side.removesuffix('s')} attributes"
        schema = known.get(side) or Schema.fit(table, min_count=config.attribute_min_count, source=source)
        chosen[side] = schema, table
    return chosen


def advise_attributes(dataset: Dataset, config: TrainConfig, split: Split) -> None:
    """Issue an :class:`~gclrec.InputWarning` if attributes are not used although many nodes are cold."""
    if config.baseline is not None or config.attributes != "none" or len(split.test) == 0:
        return
    for side, cold, rows, table in (
        ("item", split.cold_items, split.test.item, dataset.item_attributes),
        ("user", split.cold_users, split.test.user, dataset.user_attributes),
    ):
        share = float(np.isin(rows, cold).mean())
        if table is not None and share >= MANY_COLD:
            why = f"{share:.0%} of the test pairs have a cold {side}, of which ids know nothing"
            use = MAP if MAP in ENCODERS[config.encoder].attribute_uses else "input"
            message = f"{why}; --attributes {use} uses the attributes of {side}s"
            warnings.warn(message, InputWarning, stacklevel=2)
