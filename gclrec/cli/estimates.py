"""What a training on a described data set will take."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.table import Table

from gclrec.baselines import BASELINES
from gclrec.cli.reading import Splitting
from gclrec.data.interactions import Dataset
from gclrec.settings.sources import layered_config
from gclrec.training.estimate import CostEstimate, estimated, spoken_bytes, spoken_time
from gclrec.training.prepare import prepare


def predicted(name: str, dataset: Dataset, reading: Splitting, method: str | None) -> CostEstimate:
    """Return the estimate of a training with a method or baseline on a data set, split as the flags say."""
    values: dict[str, Any] = {
        field.name: value
        for field in dataclasses.fields(reading)
        if (value := getattr(reading, field.name)) != field.default and field.name != "seed"
    }
    if reading.seed:
        values["split_seed"] = reading.seed
    values = {key: str(value) if hasattr(value, "parts") else value for key, value in values.items()}
    values["dataset"] = name
    if method in BASELINES:
        values, method = {**values, "baseline": method}, None
    return estimated(prepare(layered_config(values, method=method, auto=True), dataset), force=True)


def estimate_table(found: CostEstimate) -> Table:
    """Return the seconds of each part, the memory and whether it suffices."""
    table = Table("training", "", show_edge=False, pad_edge=False, box=None, header_style="bold")
    for part, seconds in found.seconds.items():
        table.add_row(part, spoken_time(seconds))
    table.add_row("in all", f"about {spoken_time(found.total)}")
    verdict = "" if found.fits else ": not enough"
    table.add_row(
        "peak memory", f"{spoken_bytes(found.peak_bytes)} of {spoken_bytes(found.available)}{verdict}"
    )
    return table
