"""The files of a comparison: tables as CSV, Parquet and Markdown, and one self-contained page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import polars as pl

from gclrec.common.files import read_json, write_atomically, write_parquet
from gclrec.experiments.comparison import ComparisonFolder
from gclrec.experiments.findings import ALPHA, BASELINE, BETTER, WORSE, Findings, spaced
from gclrec.experiments.summary import Rows, caveats, claim_rows, geometry_rows, grid_rows, sentences
from gclrec.report.charts import Effect, Series, chart, forest
from gclrec.report.page import render
from gclrec.report.run_report import PAGE, TENTHS, norm_chart, norm_curve, settings_rows
from gclrec.runs.folder import RunFolder
from gclrec.training.prepare import config_of

_VARIED = ("aug", "baseline", "seed")


def write_comparison(
    findings: Findings, folder: ComparisonFolder, about: str, *, synthetic: bool, tuned: Rows = ([], [])
) -> dict[str, Path]:
    """Write ``table.csv``, ``table.parquet``, ``table.md`` and ``report.html``; return their paths.

    Args:
        findings: the results of the comparison.
        folder: the comparison's folder.
        about: one line about the data.
        synthetic: whether the data was made by code.
        tuned: headings and rows of what tuning has changed, where the variants were tuned first.
    """
    files = {"csv": "table.csv", "parquet": "table.parquet", "markdown": "table.md", "report": PAGE}
    paths = {name: folder.path / file for name, file in files.items()}
    buffer = io.BytesIO()
    findings.table.write_csv(buffer)
    write_atomically(paths["csv"], buffer.getvalue())
    write_parquet(paths["parquet"], findings.table)
    write_atomically(paths["markdown"], comparison_markdown(findings, about, tuned))
    page = comparison_page(findings, folder, about, synthetic=synthetic, tuned=tuned)
    write_atomically(paths["report"], page)
    return paths


def comparison_markdown(findings: Findings, about: str, tuned: Rows = ([], [])) -> str:
    """Return the tables of a comparison and their outcome in words, in Markdown."""
    return render(
        "comparison.md.j2",
        title=_title(findings),
        about=about,
        sentences=sentences(findings),
        tables=[claim_rows(findings)[:2], tuned, geometry_rows(findings), grid_rows(findings)],
        caveats=caveats(findings),
    )


def comparison_page(
    findings: Findings, folder: ComparisonFolder, about: str, *, synthetic: bool, tuned: Rows = ([], [])
) -> str:
    """Return the page of a comparison."""
    plan = findings.plan
    return render(
        "comparison.html.j2",
        title=_title(findings),
        about=about,
        plan=plan,
        split=config_of(folder.run(plan.cells[0])),
        synthetic=synthetic,
        sentences=sentences(findings),
        caveats=caveats(findings),
        colours=_colours(findings),
        forests=_forests(findings),
        groups=_groups(findings),
        popularity=_by_popularity(findings),
        space=_space(findings, folder),
        sparsity=_sparsity(findings),
        geometry=geometry_rows(findings),
        grid=grid_rows(findings),
        tuned=tuned,
        settings=settings_rows(plan.common, without=_VARIED),
        runs=_runs(findings, folder),
    )


def _title(findings: Findings) -> str:
    others = [name for name in findings.plan.variants if name != findings.plan.against]
    named = ", ".join(others) if len(others) < 4 else f"{len(others)} variants"
    return f"{named} against {findings.plan.against}"


def _colours(findings: Findings) -> dict[str, int]:
    """Return the colour of each variant: grey for the baseline, which is the first."""
    plan = findings.plan
    others = [name for name in plan.variants if name != plan.against]
    return {name: 1 + others.index(name) % 7 if name in others else 0 for name in plan.variants}


def _groups(findings: Findings) -> Mapping[str, object]:
    """Return the arguments of the main table, with each group on a line of its own above its variants."""
    heads, rows, starts = claim_rows(findings)
    first = heads.index("variant")
    above = {}
    for place in np.flatnonzero(starts).tolist():
        *fraction, group, users, pairs = rows[place][:first]
        share = f"train fraction {fraction[0]}: " if fraction else ""
        above[place] = f"{share}{group} ({users} users, {pairs} test pairs)"
    return {
        "heads": heads[first:],
        "rows": [row[first:] for row in rows],
        "text": [0, len(heads) - first - 1],
        "classes": [row[-1] if row[-1] in (BETTER, WORSE, BASELINE) else "" for row in rows],
        "above": above,
    }


def _others(findings: Findings) -> list[tuple[str, str, pl.Expr]]:
    """Return name, heading and row filter of everything that is compared with the baseline."""
    plan = findings.plan
    several = len(plan.fractions) > 1
    return [
        (
            name,
            f"{name}, train fraction {fraction:g}" if several else name,
            (pl.col("train_fraction") == fraction) & (pl.col("variant") == name),
        )
        for fraction in plan.fractions
        for name in plan.variants
        if name != plan.against
    ]


def _columns(table: pl.DataFrame, *names: str) -> list[list[float]]:
    return [table[name].cast(pl.Float64).fill_null(float("nan")).to_list() for name in names]


def _forests(findings: Findings) -> dict[str, str]:
    """Return the differences by group, a chart for each heading."""
    plan, drawn = findings.plan, {}
    for name, heading, rows in _others(findings):
        table = findings.table.filter((pl.col("metric") == plan.claim) & rows)
        effects = [
            Effect(
                spaced(row["group"]),
                row["difference"],
                row["difference_low"],
                row["difference_high"],
                filled=row["p_holm"] is not None and row["p_holm"] < ALPHA,
            )
            for row in table.iter_rows(named=True)
        ]
        drawn[heading] = forest(
            effects,
            label=f"difference of {heading} to {plan.against} by group",
            x_label=f"{plan.claim}, {name} less {plan.against}",
            colour=_colours(findings)[name],
        )
    return drawn


def _by_popularity(findings: Findings) -> dict[str, str]:
    """Return the differences by tenth of item popularity, a chart for each heading."""
    drawn = {}
    cut = findings.plan.claim.partition("@")[2]
    for name, heading, rows in _others(findings) if len(findings.deciles) else ():
        table = findings.deciles.filter(rows)
        x, y, low, high = _columns(table, "decile", "difference", "low", "high")
        notes = [f"({users:,} users)" for users in table["users"]]
        series = Series(x, y, low, high, _colours(findings)[name], name, line=False, notes=notes)
        drawn[heading] = chart(
            [series],
            label=f"difference in recall of {heading} by tenth of popularity",
            x_label="tenth of popularity, the most popular first",
            y_label=f"recall@{cut}, difference",
            x_names=TENTHS,
            zero=True,
            signed=True,
        )
    return drawn


def _space(findings: Findings, folder: ComparisonFolder) -> dict[str, str]:
    """Return learning curves, the plane of alignment and uniformity, and lengths by popularity."""
    plan, colours = findings.plan, _colours(findings)
    curves, plane, norms = [], [], {}
    for name, colour in colours.items():
        runs = [folder.run(cell) for cell in findings.runs(plan.fractions[0], name)]
        x, *y = _columns(_learning(runs, f"valid/{plan.common.selected}"), "epoch", "mean", "low", "high")
        if len(x) > 1:
            curves.append(Series(x, y[0], y[1], y[2], colour, name, marks=len(x) <= 40, band=True))
        shapes = [read_json(run.path / "result.json").get("geometry", {}) for run in runs]
        shapes = [shape for shape in shapes if {"alignment", "users/uniformity"} <= shape.keys()]
        if shapes:
            x = [shape["alignment"] for shape in shapes]
            uniform = [(shape["users/uniformity"] + shape["items/uniformity"]) / 2 for shape in shapes]
            plane.append(Series(x, uniform, colour=colour, line=False, faint=True, name=name))
            plane.append(Series([fmean(x)], [fmean(uniform)], colour=colour, line=False, name=name))
        lengths = pl.concat([norm_curve(run) for run in runs]).group_by("level")
        norms[name] = lengths.agg(pl.col("length").mean(), pl.col("items").max()).sort("level")
    select = f"validation {plan.common.chosen_by}"
    where = "plane of alignment and uniformity"
    return {
        "curves": chart(curves, label="validation by epoch", x_label="epoch", y_label=select),
        "plane": chart(plane, label=where, x_label="alignment", y_label="uniformity"),
        "norms": norm_chart(norms, colours),
    }


def _learning(runs: Sequence[RunFolder], column: str) -> pl.DataFrame:
    """Return mean, lowest and highest value over runs of a column of ``metrics.jsonl``, by epoch."""
    lines = [line for run in runs for line in run.metrics() if line["phase"] == "select" and column in line]
    values = {"epoch": [line["epoch"] for line in lines], "value": [line[column] for line in lines]}
    value = pl.col("value")
    by_epoch = pl.DataFrame(values).group_by("epoch")
    return by_epoch.agg(mean=value.mean(), low=value.min(), high=value.max()).sort("epoch")


def _sparsity(findings: Findings) -> dict[str, str]:
    """Return figures and differences by share of the training pairs, by heading; empty for a single share."""
    plan, drawn = findings.plan, {}
    for group in ("all", "tail_items") if len(plan.fractions) > 1 else ():
        rows = findings.table.filter((pl.col("metric") == plan.claim) & (pl.col("group") == group))
        for what, low, high in (("mean", "low", "high"), ("difference", "difference_low", "difference_high")):
            less = what == "difference"
            series = []
            for place, (name, colour) in enumerate(_colours(findings).items()):
                if not less or name != plan.against:
                    part = rows.filter(pl.col("variant") == name).sort("train_fraction")
                    x, mean, start, end = _columns(part, "train_fraction", what, low, high)
                    aside = 1.06 ** (place - (len(plan.variants) - 1) / 2)  # so that intervals do not overlap
                    series.append(Series([share * aside for share in x], mean, start, end, colour, name))
            drawn[f"{spaced(group)}, less {plan.against}" if less else spaced(group)] = chart(
                series,
                label=f"{what} by share of the training pairs, {spaced(group)}",
                x_label="share of the training pairs",
                y_label=f"{plan.claim}, difference" if less else plan.claim,
                x_names={fraction: f"{fraction:g}" for fraction in plan.fractions},
                log_x=True,
                zero=less,
                signed=less,
            )
    return drawn


def _runs(findings: Findings, folder: ComparisonFolder) -> list[list[str]]:
    """Return a row for each run; the test figures of settings that were not chosen are not shown."""
    rows = []
    for cell in findings.plan.cells:
        result = read_json(folder.run(cell).path / "result.json")
        chosen = findings.chosen[cell.fraction, cell.variant] == cell.setting
        figure = f"{result['metrics'][f'test/all/{findings.plan.claim}']:.4f}" if chosen else "not chosen"
        rows.append([cell.name, str(result["epochs"]), f"{result['seconds']:.0f}", figure])
    return rows
