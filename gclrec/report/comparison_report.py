"""The files of a comparison: tables as CSV, Parquet and Markdown, and one self-contained page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from gclrec.evaluation.evaluator import DECILES
from gclrec.experiments.comparison import ComparisonFolder
from gclrec.report.charts import Effect, Series, chart, forest
from gclrec.report.comparison_rows import (
    caveats,
    claim_rows,
    geometry_rows,
    grid_rows,
    markdown,
    sentences,
)
from gclrec.report.comparison_table import ALPHA, BASELINE, BETTER, WORSE, Findings, spaced
from gclrec.report.page import bullets, charts, figure, folded, legend, page, paragraph, section, table
from gclrec.report.run_report import PAGE, TENTHS, degree_names, norm_curve, settings
from gclrec.runs.checkpoint import write_atomically
from gclrec.runs.folder import read_json, write_parquet
from gclrec.training.prepare import config_of

_VARIED = ("aug", "baseline", "seed")

HOW_TO_READ = (
    "Every variant was trained with the same seeds on the same split. Its epoch and, where there is a grid, "
    "its settings were chosen on validation; the test pairs were read once by each run.",
    "The mean is over users and seeds. A group of users has those with so many training interactions; a "
    "group of items counts only the test items in it, the ranking is still over the whole catalogue.",
    "The difference is to the same users with the same seeds. Its interval and its test take both users and "
    "seeds as drawn at random, so what is found should hold for other users and other seeds.",
    "No significant difference does not mean that there is none: look how far the interval reaches.",
)


def write_comparison(
    findings: Findings, folder: ComparisonFolder, about: str, *, synthetic: bool
) -> dict[str, Path]:
    """Write ``table.csv``, ``table.parquet``, ``table.md`` and ``report.html``; return their paths.

    Args:
        findings: what was found.
        folder: the comparison's folder.
        about: one line about the data.
        synthetic: whether the data was made by code.
    """
    paths = {
        name: folder.path / file
        for name, file in (
            ("csv", "table.csv"),
            ("parquet", "table.parquet"),
            ("markdown", "table.md"),
            ("report", PAGE),
        )
    }
    buffer = io.BytesIO()
    findings.table.write_csv(buffer)
    write_atomically(paths["csv"], buffer.getvalue())
    write_parquet(paths["parquet"], findings.table)
    write_atomically(paths["markdown"], comparison_markdown(findings, about))
    write_atomically(paths["report"], comparison_page(findings, folder, about, synthetic=synthetic))
    return paths


def comparison_markdown(findings: Findings, about: str) -> str:
    """Return the tables and what they say, in Markdown."""
    heads, rows, _ = claim_rows(findings)
    parts = [f"# {_title(findings)}", about, "\n".join(f"- {text}" for text in sentences(findings))]
    parts += [markdown(heads, rows)]
    parts += [markdown(*part) for part in (geometry_rows(findings), grid_rows(findings)) if part[1]]
    parts += ["\n".join(f"- {text}" for text in (*caveats(findings), *HOW_TO_READ))]
    return "\n\n".join(parts) + "\n"


def comparison_page(findings: Findings, folder: ComparisonFolder, about: str, *, synthetic: bool) -> str:
    """Return the page of a comparison."""
    plan = findings.plan
    lead = [about, f"split {_split(findings, folder)}; {len(plan.seeds)} seeds; {len(plan.cells)} runs"]
    if synthetic:
        lead.append(
            "Synthetic data: it shows how the comparison works, not which method is better for people."
        )
    names = {name: _colour(findings, name) for name in plan.variants}
    shape_heads, shape_rows = geometry_rows(findings)
    grid_heads, points = grid_rows(findings)
    return page(
        _title(findings),
        lead,
        [
            section("In short", bullets(sentences(findings)), bullets(caveats(findings))),
            section(
                f"Difference to {plan.against}",
                paragraph(
                    f"In {plan.claim}, with 95 % intervals. Filled: significant after Holm's correction; "
                    "open: not significant, or not tested.",
                    soft=True,
                ),
                charts(_forests(findings)),
            ),
            section("All groups", _groups(findings)),
            section(
                "Where in the catalogue",
                paragraph(
                    f"{TENTHS} The intervals are 95 % each and are not tests.",
                    soft=True,
                ),
                charts(_by_popularity(findings)),
            ),
            section("Learning and space", legend(names), charts(_plots(findings, folder))),
            section("Sparsity", *_sparsity(findings, names)),
            section(
                "Geometry",
                table(shape_heads, shape_rows),
                paragraph("Mean over seeds; see docs/training.md for the meaning of each.", soft=True),
            )
            if shape_rows
            else "",
            section("Settings tried", table(grid_heads, points, text=(0, len(grid_heads) - 3), classes=())),
            section("How to read it", bullets(HOW_TO_READ)),
            section("Settings that the runs share", settings(plan.common, without=_VARIED)),
            section("Runs", folded(f"{len(plan.cells)} runs", _runs(findings, folder))),
        ],
    )


def _groups(findings: Findings) -> str:
    """Return the main table, each group under a line of its own."""
    heads, rows, starts = claim_rows(findings)
    first = heads.index("variant")
    above = {}
    for place, (row, start) in enumerate(zip(rows, starts, strict=True)):
        if start:
            *fraction, group, users, pairs = row[:first]
            share = f"train fraction {fraction[0]}: " if fraction else ""
            above[place] = f"{share}{group} ({users} users, {pairs} test pairs)"
    kinds = {BETTER: "better", WORSE: "worse", BASELINE: "base"}
    return table(
        heads[first:],
        [row[first:] for row in rows],
        text=(0, len(heads) - first - 1),
        classes=[kinds.get(row[-1], "") for row in rows],
        above=above,
    )


def _title(findings: Findings) -> str:
    plan = findings.plan
    others = [name for name in plan.variants if name != plan.against]
    return (
        f"{', '.join(others)} against {plan.against}"
        if len(others) < 4
        else f"{len(others)} variants against {plan.against}"
    )


def _split(findings: Findings, folder: ComparisonFolder) -> str:
    config = config_of(folder.run(findings.plan.cells[0]))
    return f"{config.split}, seed {config.split_seed}"


def _colour(findings: Findings, name: str) -> int:
    """Return the colour of a variant: grey for the one that the others are compared with."""
    others = [other for other in findings.plan.variants if other != findings.plan.against]
    return 0 if name == findings.plan.against else 1 + others.index(name) % 7


def _others(findings: Findings) -> list[tuple[float, str, str]]:
    """Return (share, variant, heading) of all that is compared with the baseline."""
    plan = findings.plan
    several = len(plan.fractions) > 1
    return [
        (fraction, name, f"{name}, train fraction {fraction:g}" if several else name)
        for fraction in plan.fractions
        for name in plan.variants
        if name != plan.against
    ]


def _forests(findings: Findings) -> list[str]:
    plan = findings.plan
    drawn = []
    for fraction, name, heading in _others(findings):
        rows = findings.table.filter(
            (pl.col("metric") == plan.claim)
            & (pl.col("train_fraction") == fraction)
            & (pl.col("variant") == name)
        )
        effects = [
            Effect(
                spaced(row["group"]),
                row["difference"],
                row["difference_low"],
                row["difference_high"],
                row["p_holm"] is not None and row["p_holm"] < ALPHA,
            )
            for row in rows.iter_rows(named=True)
        ]
        drawing = forest(
            effects,
            label=f"difference of {heading} to {plan.against} by group",
            x_label=f"{plan.claim}, {name} less {plan.against}",
            colour=_colour(findings, name),
        )
        drawn.append(figure(heading, drawing))
    return drawn


def _by_popularity(findings: Findings) -> list[str]:
    plan = findings.plan
    cut = plan.claim.partition("@")[2]
    drawn = []
    for fraction, name, heading in _others(findings) if len(findings.deciles) else []:
        rows = findings.deciles.filter((pl.col("train_fraction") == fraction) & (pl.col("variant") == name))
        series = Series(
            rows["decile"].cast(pl.Float64).to_list(),
            rows["difference"].to_list(),
            rows["low"].to_list(),
            rows["high"].to_list(),
            colour=_colour(findings, name),
            name=name,
            line=False,
            notes=[f"({users:,} users)" for users in rows["users"]],
        )
        drawing = chart(
            [series],
            label=f"difference in recall of {heading} by tenth of popularity",
            x_label="tenth of popularity, the most popular first",
            y_label=f"recall@{cut}, difference",
            x_names={float(n): str(n) for n in range(1, DECILES + 1)},
            zero=True,
            signed=True,
        )
        drawn.append(figure(heading, drawing))
    return drawn


def _plots(findings: Findings, folder: ComparisonFolder) -> list[str]:
    """Return learning curves, the plane of alignment and uniformity, and lengths by popularity."""
    plan = findings.plan
    fraction = plan.fractions[0]
    curves, plane, norms = [], [], []
    for name in plan.variants:
        colour = _colour(findings, name)
        runs = [folder.run(cell) for cell in findings.runs(fraction, name)]
        by_epoch: dict[int, list[float]] = {}
        for run in runs:
            for line in run.metrics():
                if line["phase"] == "select" and f"valid/{plan.common.selected}" in line:
                    by_epoch.setdefault(line["epoch"], []).append(line[f"valid/{plan.common.selected}"])
        if len(by_epoch) > 1:
            ends = [(float(np.mean(v)), min(v), max(v)) for v in by_epoch.values()]
            mean, low, high = (list(column) for column in zip(*ends, strict=True))
            epochs = [float(epoch) for epoch in by_epoch]
            curves.append(Series(epochs, mean, low, high, colour, name, marks=len(epochs) <= 40, band=True))
        shapes = [read_json(run.path / "result.json").get("geometry", {}) for run in runs]
        points = [
            (shape["alignment"], (shape["users/uniformity"] + shape["items/uniformity"]) / 2)
            for shape in shapes
            if {"alignment", "users/uniformity", "items/uniformity"} <= shape.keys()
        ]
        if points:
            x, y = ([float(value) for value in column] for column in zip(*points, strict=True))
            plane += [
                Series(x, y, colour=colour, line=False, faint=True, name=name),
                Series([float(np.mean(x))], [float(np.mean(y))], colour=colour, line=False, name=name),
            ]
        norms.append(_mean_curve([norm_curve(run) for run in runs], colour, name))
    places = [x for one in norms for x in one.x]
    where = f" At train fraction {fraction:g}." if len(plan.fractions) > 1 else ""
    return [
        figure(
            "Learning curves",
            chart(
                curves,
                label="validation by epoch",
                x_label="epoch",
                y_label=f"validation {plan.common.select}",
            ),
            f"Mean over seeds; the band reaches from the lowest to the highest seed.{where}",
        ),
        figure(
            "Alignment and uniformity",
            chart(
                plane, label="plane of alignment and uniformity", x_label="alignment", y_label="uniformity"
            ),
            "Smaller is better for both, so the lower left is best. Large: mean; small: each seed. "
            f"Uniformity is the mean of users' and items'.{where}",
        ),
        figure(
            "Length of item vectors",
            chart(
                norms,
                label="length of item vectors by popularity",
                x_label="training interactions of an item, at least",
                y_label="length, 1 is the mean",
                x_names=degree_names(places),
            ),
            f"Mean over items and seeds; under the inner product a longer vector ranks higher.{where}",
        ),
    ]


def _mean_curve(
    found: Sequence[tuple[list[float], list[float], list[str]]], colour: int, name: str
) -> Series:
    """Return the mean of curves over their common places."""
    places: dict[float, list[float]] = {}
    for x, y, _ in found:
        for place, value in zip(x, y, strict=True):
            places.setdefault(place, []).append(value)
    kept = {place: float(np.mean(values)) for place, values in sorted(places.items())}
    return Series(list(kept), list(kept.values()), colour=colour, name=name)


def _sparsity(findings: Findings, names: Mapping[str, int]) -> list[str]:
    """Return figures and differences by share of the training pairs; nothing for a single share."""
    plan = findings.plan
    if len(plan.fractions) < 2:
        return []
    drawn = []
    for group in ("all", "tail_items"):
        rows = findings.table.filter((pl.col("metric") == plan.claim) & (pl.col("group") == group))
        rows = rows.sort("train_fraction")
        parts = {name: rows.filter(pl.col("variant") == name) for name in plan.variants}
        for what, low, high in (("mean", "low", "high"), ("difference", "difference_low", "difference_high")):
            series = [
                Series(
                    _moved(part["train_fraction"].to_list(), place, len(parts)),
                    *_columns(part, what, low, high),
                    colour=_colour(findings, name),
                    name=name,
                )
                for place, (name, part) in enumerate(parts.items())
                if what == "mean" or name != plan.against
            ]
            less = what == "difference"
            drawing = chart(
                series,
                label=f"{what} by share of the training pairs, {spaced(group)}",
                x_label="share of the training pairs",
                y_label=f"{plan.claim}{', difference' if less else ''}",
                x_names={fraction: f"{fraction:g}" for fraction in plan.fractions},
                log_x=True,
                zero=less,
                signed=less,
            )
            drawn.append(figure(f"{spaced(group)}{f', less {plan.against}' if less else ''}", drawing))
    return [legend(names), charts(drawn)]


def _columns(part: pl.DataFrame, *names: str) -> tuple[list[float], list[float], list[float]]:
    mean, low, high = (part[name].fill_null(float("nan")).to_list() for name in names)
    return mean, low, high


def _moved(fractions: Sequence[float], place: int, count: int) -> list[float]:
    """Return places a little beside each other, so that intervals do not hide one another."""
    return [fraction * 1.06 ** (place - (count - 1) / 2) for fraction in fractions]


def _runs(findings: Findings, folder: ComparisonFolder) -> str:
    plan = findings.plan
    rows = []
    for cell in plan.cells:
        result = read_json(folder.run(cell).path / "result.json")
        taken = findings.chosen[cell.fraction, cell.variant] == cell.setting
        figures = [f"{result['metrics'][f'test/all/{plan.claim}']:.4f}" if taken else "not chosen"]
        rows.append([cell.name, str(result["epochs"]), f"{result['seconds']:.0f}", *figures])
    return table(["run", "epoch", "seconds", f"test {plan.claim}"], rows)
