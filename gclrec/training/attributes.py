"""Which attributes a run uses, and with which schema."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl

from gclrec.baselines import BASELINES
from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Dataset
from gclrec.data.schema import Schema
from gclrec.data.splits import Split
from gclrec.settings.config import TrainConfig

_MANY_COLD = 0.1  # share of the test pairs from which on a split is one of cold start


def chosen_attributes(dataset: Dataset, config: TrainConfig) -> dict[str, tuple[Schema, pl.DataFrame]]:
    """Return schema and table of ``users`` and ``items``, of those that the settings use.

    The schema is fitted to all rows of a table, of items without interactions too: attributes are no
    interactions, and a cold item's are known when it appears.

    Args:
        dataset: with its attribute tables.
        config: the settings.

    Raises:
        InputError: attributes are asked for and there are none, or none is left to use.
    """
    tables = {"users": dataset.user_attributes, "items": dataset.item_attributes}
    if config.baseline is not None:
        wanted = ["items"] if BASELINES[config.baseline].needs_attributes else []
    else:
        wanted = [] if config.attributes == "none" else list(tables)
    found = {side: table for side in wanted if (table := tables[side]) is not None}
    if wanted and not found:
        what = config.baseline or f"--attributes {config.attributes}"
        flags = " or ".join(f"--{side.removesuffix('s')}-attributes FILE" for side in reversed(wanted))
        raise InputError(f"{what}: {dataset.name} has no attributes of {' or '.join(wanted)}; give {flags}")
    chosen = {}
    for side, table in found.items():
        source = f"{side.removesuffix('s')} attributes"
        chosen[side] = Schema.fit(table, min_count=config.attribute_min_count, source=source), table
    return chosen


def advise_attributes(dataset: Dataset, config: TrainConfig, split: Split) -> None:
    """Say with an :class:`~gclrec.InputWarning` that attributes lie unused where many are cold."""
    if config.baseline is not None or config.attributes != "none" or len(split.test) == 0:
        return
    for side, cold, rows, table in (
        ("item", split.cold_items, split.test.item, dataset.item_attributes),
        ("user", split.cold_users, split.test.user, dataset.user_attributes),
    ):
        share = float(np.isin(rows, cold).mean())
        if table is not None and share >= _MANY_COLD:
            why = f"{share:.0%} of the test pairs have a cold {side}, of which ids know nothing"
            message = f"{why}; --attributes input uses the attributes of {side}s"
            warnings.warn(message, InputWarning, stacklevel=2)
