"""The page of one run, made from the files of its folder alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gclrec.evaluation.evaluator import DECILES
from gclrec.report.charts import Series, chart
from gclrec.report.comparison_table import spaced
from gclrec.report.page import charts, figure, folded, legend, page, paragraph, section, table
from gclrec.runs.checkpoint import write_atomically
from gclrec.runs.embeddings import read_embeddings, read_frame
from gclrec.runs.folder import RunFolder, read_json
from gclrec.settings.config import TrainConfig, flag
from gclrec.training.prepare import config_of

PAGE = "report.html"


def write_run_page(run: RunFolder) -> Path:
    """Write ``report.html`` into the folder of a finished run.

    Raises:
        InputError: a file of the run is missing or damaged.
    """
    path = run.path / PAGE
    write_atomically(path, run_page(run))
    return path


def run_page(run: RunFolder) -> str:
    """Return the page of a finished run."""
    config, result, lines = config_of(run), read_json(run.path / "result.json"), run.metrics()
    scores = read_frame(run.path / "per_user.parquet")
    k = main_cut(config)
    what = config.baseline or f"{config.encoder}, {config.loss}, --aug {config.aug}"
    lead = [
        f"{config.dataset}, split {config.split}: {what}, seed {config.seed}",
        f"epoch {result['epochs']} of {result['epochs_trained']}, {result['seconds']:.0f} s"
        + (", refitted on train and validation" if config.refit else ""),
    ]
    if config.dataset.startswith("synthetic"):
        lead.append("Synthetic data: made by code, not by people.")
    return page(
        f"Run {run.path.resolve().name}",
        lead,
        [
            section("Test figures", *_tested(result, config, k)),
            section("Learning", charts(_curves(lines, config))),
            section("Popularity", charts([_by_popularity(scores, k), *_norms(run)])),
            section("Geometry", _geometry(result.get("geometry", {}))),
            section("Index", *_index(run)),
            section("Settings", settings(config)),
        ],
    )


def main_cut(config: TrainConfig) -> int:
    """Return the cut-off of the selected figure."""
    return int(config.select.partition("@")[2])


def _tested(result: Mapping[str, Any], config: TrainConfig, k: int) -> list[str]:
    if not result["cases"]["test/all"]:
        return [paragraph("None: the split has no test pairs.")]
    about = (
        f"Warm: more than {config.near_cold} training interactions; near-cold: 1 to {config.near_cold}; "
        "cold: none. Head, mid and tail items hold a third of the training interactions each. Users: those "
        "with a test pair in the group."
    )
    return [_groups(result, config, k), paragraph(about, soft=True)]


def _groups(result: Mapping[str, Any], config: TrainConfig, k: int) -> str:
    rows = []
    for name, users in result["cases"].items():
        group = name.removeprefix("test/")
        values = [result["metrics"].get(f"test/{group}/{metric}@{k}") for metric in config.metrics]
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        rows.append([spaced(group), f"{users:,}", *cells])
    return table(["group", "users", *(f"{metric}@{k}" for metric in config.metrics)], rows)


def _curves(lines: Sequence[Mapping[str, Any]], config: TrainConfig) -> list[str]:
    """Return losses, the validation figure and the space by epoch; nothing for a single epoch."""
    lines = [line for line in lines if line["phase"] == "select"]
    if len(lines) < 2:
        return []
    parts = [name for name in lines[0] if name.startswith("loss/")]
    names = {name.removeprefix("loss/"): n for n, name in enumerate(parts)}
    losses = [_curve(lines, name, n) for n, name in enumerate(parts)]
    figures = [
        figure(
            "Loss",
            chart(losses, label="loss by epoch", x_label="epoch", y_label="mean loss") + legend(names),
            "Weighted parts and their sum.",
        )
    ]
    chosen_by, _, chosen = config.selected.partition("/")
    shown = dict.fromkeys(("all", "warm_items", "near_cold_items", "tail_items", chosen_by))
    by_part = {group: n for n, group in enumerate(shown)}
    valid = [_curve(lines, f"valid/{group}/{chosen}", n) for group, n in by_part.items()]
    drawn = {spaced(group): n for (group, n), one in zip(by_part.items(), valid, strict=True) if one.x}
    drawing = chart(valid, label="validation by epoch", x_label="epoch", y_label=chosen)
    figures.append(
        figure(
            "Validation",
            drawing and drawing + legend(drawn),
            f"The best epoch is chosen by {spaced(chosen_by)}.",
        )
    )
    shapes = {"alignment": 0, "users/uniformity": 1, "items/uniformity": 2}
    space = [_curve(lines, f"geometry/{name}", n) for name, n in shapes.items()]
    drawing = chart(space, label="alignment and uniformity by epoch", x_label="epoch", y_label="value")
    figures.append(
        figure(
            "Alignment and uniformity", drawing and drawing + legend(shapes), "Smaller is better for both."
        )
    )
    return figures


def _curve(lines: Sequence[Mapping[str, Any]], name: str, colour: int) -> Series:
    points = [(float(line["epoch"]), float(line[name])) for line in lines if name in line]
    marks = len(points) <= 40
    return Series([x for x, _ in points], [y for _, y in points], colour=colour, name=name, marks=marks)


def _by_popularity(scores: pl.DataFrame, k: int) -> str:
    if "decile_1/num_relevant" not in scores.columns:
        return ""
    places, values, notes = [], [], []
    for decile in range(1, DECILES + 1):
        relevant = scores[f"decile_{decile}/num_relevant"].to_numpy()
        inside = relevant > 0
        if inside.any():
            hits = scores[f"decile_{decile}/hits@{k}"].to_numpy()
            places.append(float(decile))
            values.append(float((hits[inside] / relevant[inside]).mean()))
            notes.append(f"({int(inside.sum()):,} users)")
    drawing = chart(
        [Series(places, values, colour=1, name=f"recall@{k}", notes=notes)],
        label="recall by tenth of item popularity",
        x_label="tenth of popularity, the most popular items first",
        y_label=f"test recall@{k}",
        x_names={float(n): str(n) for n in range(1, DECILES + 1)},
    )
    return figure("Recall by popularity", drawing, TENTHS)


TENTHS = (
    "Items lined up by popularity and cut into tenths of all training interactions: few items in the first, "
    "very many in the last, which has the cold ones too."
)


def norm_curve(run: RunFolder) -> tuple[list[float], list[float], list[str]]:
    """Return mean lengths of item vectors by popularity: level, length over the mean, number of items.

    Items are put together by the power of two below their degree; nothing for runs without vectors, or whose
    vectors all have the same length.
    """
    if not (run.path / "embeddings").is_dir():
        return [], [], []
    held = read_embeddings(run.path / "embeddings")
    length = np.linalg.norm(held.item_vectors.astype(np.float64), axis=1)
    if not len(length) or np.ptp(length) <= 1e-4 * length.mean():
        return [], [], []
    level = np.where(held.item_degrees > 0, np.floor(np.log2(np.maximum(held.item_degrees, 1))) + 1, 0)
    places, values, notes = [], [], []
    for step in np.unique(level):
        members = level == step
        places.append(float(step))
        values.append(float(length[members].mean() / length.mean()))
        notes.append(f"({int(members.sum()):,} items)")
    return places, values, notes


def degree_names(places: Sequence[float]) -> dict[float, str]:
    """Return what to write below the places of :func:`norm_curve`: the least degree there."""
    wanted = sorted(set(places))
    step = max(1, -(-len(wanted) // 8))
    return {place: f"{2 ** (int(place) - 1):,}" if place else "0" for place in wanted[::step]}


def _norms(run: RunFolder) -> list[str]:
    places, values, notes = norm_curve(run)
    drawing = chart(
        [Series(places, values, colour=2, name="length", notes=notes)],
        label="length of item vectors by popularity",
        x_label="training interactions of an item, at least",
        y_label="length, 1 is the mean",
        x_names=degree_names(places),
    )
    caption = "Under the inner product a longer vector ranks higher."
    return [figure("Length of item vectors", drawing, caption)]


def _geometry(shape: Mapping[str, float]) -> str:
    rows = [[name.replace("_", " "), f"{value:.4f}"] for name, value in shape.items()]
    return table(["figure", "value"], rows)


def _index(run: RunFolder) -> list[str]:
    path = run.path / "index" / "manifest.json"
    if not path.is_file():
        return []
    manifest = read_json(path)
    rows = [
        [
            str(trial["backend"]) + (" *" if trial["backend"] == manifest.get("backend") else ""),
            f"{trial['recall']:.4f}",
            f"{trial['queries_per_second']:,.0f}",
            f"{trial['queries_per_second_batched']:,.0f}",
            f"{trial['build_seconds']:.1f}",
            f"{trial['bytes'] / 1e6:.1f}",
        ]
        for trial in manifest.get("compared", [])
    ]
    if not rows:
        return []
    k = manifest["compared"][0]["k"]
    head = ["backend", f"recall@{k} of exact", "queries/s, one by one", "256 at once", "build s", "MB"]
    return [table(head, rows), paragraph("* is the one that was kept.", soft=True)]


def settings(config: TrainConfig, *, without: Sequence[str] = ()) -> str:
    """Return the settings that are not the default, and all others to be unfolded."""
    default = TrainConfig()
    changed, usual = [], []
    for field in dataclasses.fields(TrainConfig):
        if field.name in without:
            continue
        value, normal = getattr(config, field.name), getattr(default, field.name)
        if value != normal:
            note = "" if normal is None else f"default {_plain(normal)}"
            changed.append([flag(field.name), _plain(value), note])
        elif value is not None:
            usual.append([flag(field.name), _plain(value)])
    shown = table(["setting", "value", ""], changed, text=(0, 1, 2), wrap=(1,))
    rest = table(["setting", "value"], usual, text=(0, 1), wrap=(1,))
    return shown + folded("all others are at their defaults", rest)


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)
