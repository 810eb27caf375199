"""The page of one run, made from the files of its folder alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from gclrec.common.errors import reading
from gclrec.common.files import read_json, read_parquet, write_atomically
from gclrec.common.shell import flag
from gclrec.evaluation.evaluator import DECILES
from gclrec.experiments.findings import spaced
from gclrec.recall.index import Quality
from gclrec.report.charts import Series, chart
from gclrec.report.figures_table import share_of_cold_items
from gclrec.report.page import render
from gclrec.runs.embeddings import read_embeddings
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.prepare import config_of

PAGE = "report.html"

TENTHS = {float(n): str(n) for n in range(1, DECILES + 1)}
"""Tick labels of an axis of tenths of item popularity."""


class Drawing(NamedTuple):
    """A chart and the colour of each name in its legend; an empty ``svg`` if there is nothing to draw."""

    svg: str
    names: dict[str, int]


def write_run_page(run: RunFolder) -> Path:
    """Write ``report.html`` into the folder of a finished run.

    Raises:
        InputError: a file of the run is missing or damaged.
    """
    path = run.path / PAGE
    with reading(run.path, "its page cannot be made from its files"):
        page = run_page(run)
    write_atomically(path, page)
    return path


def run_page(run: RunFolder) -> str:
    """Return the page of a finished run."""
    config, result = config_of(run), read_json(run.path / "result.json")
    lines = [line for line in run.metrics() if line["phase"] == "select"]
    lines = lines if len(lines) > 1 else []
    parts = {name.removeprefix("loss/"): name for name in (lines or [{}])[0] if name.startswith("loss/")}
    chosen_by, _, metric = config.selected.partition("/")
    shown = dict.fromkeys(("all", "warm_items", "near_cold_items", "tail_items", chosen_by))
    manifest = run.path / "index" / "manifest.json"
    index = read_json(manifest) if manifest.is_file() else {}
    trials = [Quality(**trial) for trial in index.get("compared", [])]
    k = int(config.select.partition("@")[2])
    return render(
        "run.html.j2",
        title=f"Run {run.path.resolve().name}",
        config=config,
        result=result,
        method=config.baseline or f"{config.encoder}, {config.loss}, --aug {config.aug}",
        group_heads=["group", "users", *(f"{metric}@{k}" for metric in config.metrics)],
        groups=_groups(result, config.metrics, k) if result["cases"]["test/all"] else [],
        cold=share_of_cold_items(_test(result, "metrics"), _test(result, "pairs"), result.get("alone")),
        loss=_by_epoch(lines, "loss", "mean loss", parts),
        validation=_by_epoch(
            lines, "validation", metric, {spaced(group): f"valid/{group}/{metric}" for group in shown}
        ),
        chosen_by=spaced(chosen_by),
        errors=", ".join(
            f"{metric}@{k} {error:.4f}"
            for metric in config.metrics
            if (error := result.get("errors", {}).get(f"test/all/{metric}@{k}")) is not None
        ),
        sampled=_sampled(lines, config),
        space=_by_epoch(
            lines,
            "alignment and uniformity",
            "value",
            {name: f"geometry/{name}" for name in ("alignment", "users/uniformity", "items/uniformity")},
        ),
        popularity=_by_popularity(read_parquet(run.path / "per_user.parquet"), k),
        norms=norm_chart({"length": norm_curve(run)}, {"length": 2}),
        geometry=[
            [name.replace("_", " "), f"{value:.4f}"] for name, value in result.get("geometry", {}).items()
        ],
        trials=trials,
        backends=[
            [trial.backend + " *" * (trial.backend == index.get("backend")), *trial.cells()]
            for trial in trials
        ],
        settings=settings_rows(config),
    )


def _test(result: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return the values of a part of a result by their names without ``test/``."""
    return {name.removeprefix("test/"): value for name, value in result.get(part, {}).items()}


def _sampled(lines: Sequence[Mapping[str, Any]], config: TrainConfig) -> str:
    """Return a sentence on the sample of users that validations rank, empty where they rank all."""
    found = [line for line in lines if "valid_users" in line]
    if not found:
        return ""
    error = max(line[f"valid_error/{config.selected}"] for line in found)
    return f" A sample of {found[0]['valid_users']:,.0f} users is ranked: standard error at most {error:.4f}."


def _groups(result: Mapping[str, Any], metrics: Sequence[str], k: int) -> list[list[str]]:
    rows = []
    for name, users in result["cases"].items():
        values = [result["metrics"].get(f"{name}/{metric}@{k}") for metric in metrics]
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        rows.append([spaced(name.removeprefix("test/")), f"{users:,}", *cells])
    return rows


def _by_epoch(
    lines: Sequence[Mapping[str, Any]], what: str, y_label: str, columns: Mapping[str, str]
) -> Drawing:
    """Draw columns of ``metrics.jsonl`` by epoch, each under its name; absent ones are left out."""
    series = []
    for colour, (name, column) in enumerate(columns.items()):
        points = {float(line["epoch"]): float(line[column]) for line in lines if column in line}
        if points:
            marks = len(points) <= 40
            series.append(Series([*points], [*points.values()], colour=colour, name=name, marks=marks))
    svg = chart(series, label=f"{what} by epoch", x_label="epoch", y_label=y_label)
    return Drawing(svg, {one.name: one.colour for one in series})


def _by_popularity(scores: pl.DataFrame, k: int) -> str:
    places, values, notes = [], [], []
    for decile in range(1, DECILES + 1) if "decile_1/num_relevant" in scores.columns else ():
        relevant = scores[f"decile_{decile}/num_relevant"].to_numpy()
        inside = relevant > 0
        if inside.any():
            places.append(float(decile))
            hits = scores[f"decile_{decile}/hits@{k}"].to_numpy()
            values.append(float((hits[inside] / relevant[inside]).mean()))
            notes.append(f"({int(inside.sum()):,} users)")
    return chart(
        [Series(places, values, colour=1, name=f"recall@{k}", notes=notes)],
        label="recall by tenth of item popularity",
        x_label="tenth of popularity, the most popular items first",
        y_label=f"test recall@{k}",
        x_names=TENTHS,
    )


def norm_curve(run: RunFolder) -> pl.DataFrame:
    """Return the mean length of item vectors by popularity: ``level, length, items``.

    A level holds the items whose degree has the same power of two below it; 0 is for items without
    interactions. Lengths are relative to the mean over all items. There are no rows if the run has no vectors
    or all vectors have the same length.
    """
    length, degree = np.empty(0), np.empty(0, dtype=np.int64)
    if (run.path / "embeddings").is_dir():
        held = read_embeddings(run.path / "embeddings")
        norms = np.linalg.norm(held.item_vectors.astype(np.float64), axis=1)
        if len(norms) and np.ptp(norms) > 1e-4 * norms.mean():
            length, degree = norms / norms.mean(), held.item_degrees
    level = np.where(degree > 0, np.floor(np.log2(np.maximum(degree, 1))) + 1, 0)
    levels, inverse, items = np.unique(level, return_inverse=True, return_counts=True)
    return pl.DataFrame({"level": levels, "length": np.bincount(inverse, length) / items, "items": items})


def norm_chart(curves: Mapping[str, pl.DataFrame], colours: Mapping[str, int]) -> str:
    """Draw results of :func:`norm_curve` by name; each tick shows the least degree of its level."""
    series = []
    for name, curve in curves.items():
        level, length, notes = (curve[column].to_list() for column in ("level", "length", "items"))
        notes = [f"({items:,} items)" for items in notes]
        series.append(Series(level, length, colour=colours[name], name=name, notes=notes))
    levels = sorted({level for one in series for level in one.x})
    step = max(1, -(-len(levels) // 8))
    return chart(
        series,
        label="length of item vectors by popularity",
        x_label="training interactions of an item, at least",
        y_label="length, 1 is the mean",
        x_names={level: f"{2 ** (int(level) - 1):,}" if level else "0" for level in levels[::step]},
    )


def settings_rows(
    config: TrainConfig, *, without: Sequence[str] = ()
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the settings that differ from the default, with the default, and then all others."""
    changed, usual = [], []
    for field in dataclasses.fields(TrainConfig):
        value, default = getattr(config, field.name), field.default
        if field.name in without:
            continue
        if value != default:
            note = "" if default is None else f"default {_plain(default)}"
            changed.append([flag(field.name), _plain(value), note])
        elif value is not None:
            usual.append([flag(field.name), _plain(value)])
    return changed, usual


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)
