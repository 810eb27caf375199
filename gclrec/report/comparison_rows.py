"""What a comparison found, as rows of text for a terminal, Markdown or a page, and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from gclrec.report.comparison_table import (
    AGAIN,
    ALPHA,
    BASELINE,
    BETTER,
    NO_SPREAD,
    SAME,
    TOO_FEW,
    WORSE,
    Findings,
    spaced,
)

Rows = tuple[list[str], list[list[str]]]


def claim_rows(findings: Findings, *, brief: bool = False) -> tuple[list[str], list[list[str]], list[bool]]:
    """Return heads and rows of the main table, and whether a row begins a new group.

    Args:
        findings: what was found.
        brief: leave out test pairs and the second metric, so that it fits a terminal.
    """
    plan = findings.plan
    several = len(plan.fractions) > 1
    second = "ndcg" if plan.claim.partition("@")[0] != "ndcg" else "recall"
    beside = f"{second}@{plan.claim.partition('@')[2]}"
    beside = beside if second in plan.common.metrics and not brief else ""
    heads = [
        *(["train fraction"] if several else []),
        "group",
        "users",
        *([] if brief else ["pairs"]),
        "variant",
        plan.claim,
        "95 %",
    ]
    heads += [f"less {plan.against}", "95 %", "p (Holm)", *([beside] if beside else []), "verdict"]
    rows: list[list[str]] = []
    starts: list[bool] = []
    order = {name: n for n, name in enumerate(plan.variants)}
    table = findings.table
    for (fraction, group), part in table.group_by("train_fraction", "group", maintain_order=True):
        others = {
            row["variant"]: row["mean"] for row in part.iter_rows(named=True) if row["metric"] == beside
        }
        claims = part.filter(pl.col("metric") == plan.claim).to_dicts()
        for row in sorted(claims, key=lambda row: order[row["variant"]]):
            new = not starts or row["variant"] == plan.variants[0]
            start = [spaced(str(group)), f"{row['users']:,}", *([] if brief else [f"{row['pairs']:,}"])]
            start = start if new else [""] * len(start)
            start = [*([f"{fraction:g}" if new else ""] if several else []), *start]
            cells = figures_of(row)
            ndcg = [f"{others[row['variant']]:.4f}"] if beside else []
            rows.append([*start, row["variant"], *cells[:-1], *ndcg, cells[-1]])
            starts.append(new)
    return heads, rows, starts


def figures_of(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of a row of the table, from the mean to the verdict."""

    def between(low: float | None, high: float | None, sign: str = "") -> str:
        return "-" if low is None or high is None else f"[{low:{sign}.4f}, {high:{sign}.4f}]"

    cells = [f"{row['mean']:.4f}", between(row["low"], row["high"])]
    if row["verdict"] == BASELINE:
        return [*cells, "", "", "", BASELINE]
    cells += [f"{row['difference']:+.4f}", between(row["difference_low"], row["difference_high"], "+")]
    return [*cells, p_value(row["p_holm"]), row["verdict"]]


def geometry_rows(findings: Findings, *, brief: bool = False) -> Rows:
    """Return the geometry of each variant's space, mean over seeds; empty where none has vectors."""
    brief_ones = ("alignment", "users/uniformity", "items/uniformity", "items/effective_rank")
    several = len(findings.plan.fractions) > 1
    names = [name for name in findings.geometry.columns if name not in ("train_fraction", "variant")]
    names = [name for name in names if not brief or name in brief_ones]
    rows = []
    for row in findings.geometry.iter_rows(named=True):
        values = ["-" if row[name] is None else f"{row[name]:.3f}" for name in names]
        rows.append([row["variant"], *([f"{row['train_fraction']:g}"] if several else []), *values])
    heads = ["geometry", *(["train fraction"] if several else [])]
    return [*heads, *(name.replace("_", " ").replace("/", " ") for name in names)], rows


def grid_rows(findings: Findings) -> Rows:
    """Return the points that were tried and what was chosen; empty without a grid."""
    plan = findings.plan
    if not any(cell.setting for cell in plan.cells):
        return [], []
    several = len(plan.fractions) > 1
    heads = [
        "variant",
        *(["train fraction"] if several else []),
        "setting",
        f"validation {plan.common.select}",
        "",
    ]
    rows = []
    for row in findings.grid.iter_rows(named=True):
        taken = findings.chosen[row["fraction"], row["variant"]] == row["setting"]
        fraction = [f"{row['fraction']:g}"] if several else []
        figure = "-" if row["validation"] is None else f"{row['validation']:.4f}"
        figure += f" {row['select']}" if row["select"] != plan.common.select else ""
        rows.append([row["variant"], *fraction, row["setting"] or "-", figure, "chosen" if taken else ""])
    return heads, rows


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def sentences(findings: Findings) -> list[str]:
    """Return what the tests say, one paragraph for each variant and share of the training pairs.

    Every group is named: where the variant is better or worse, with figures, and where no difference could be
    shown, with the figure of all users alone; the others are in the table.
    """
    plan = findings.plan
    claims = findings.table.filter(pl.col("metric") == plan.claim)
    told = []
    for fraction in plan.fractions:
        for name in plan.variants:
            if name == plan.against:
                continue
            rows = claims.filter((pl.col("train_fraction") == fraction) & (pl.col("variant") == name))
            by = {
                verdict: [row for row in rows.iter_rows(named=True) if row["verdict"] == verdict]
                for verdict in (BETTER, WORSE, SAME, TOO_FEW, NO_SPREAD)
            }
            where = f" at train fraction {fraction:g}" if len(plan.fractions) > 1 else ""
            start = f"{name} against {plan.against}{where}: "
            found = [f"{verdict} on {_listed(by[verdict])}" for verdict in (BETTER, WORSE) if by[verdict]]
            unsure = f"no significant difference on {_named(by[SAME])}" if by[SAME] else ""
            text = start + "; ".join([*found, *([unsure] if unsure else [])]) + "."
            if not found and not unsure:
                text = f"{start}nothing could be tested."
            if by[NO_SPREAD]:
                text += f" Nothing varies on {_listed(by[NO_SPREAD])}."
            if by[TOO_FEW]:
                text += f" Too few users to test on {_names(by[TOO_FEW])}."
            told.append(text)
    return told


def _listed(rows: Sequence[Mapping[str, Any]]) -> str:
    def figure(row: Mapping[str, Any]) -> str:
        p = f", p {p_value(row['p_holm'])}" if row["verdict"] in (BETTER, WORSE) else ""
        return f"{spaced(row['group'])} ({row['difference']:+.4f}{p})"

    return ", ".join(map(figure, rows))


def _named(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(_listed([row]) if row["group"] == "all" else spaced(row["group"]) for row in rows)


def _names(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{spaced(row['group'])} ({row['users']})" for row in rows)


def p_value(p: float | None) -> str:
    """Return a p value as it is read."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def caveats(findings: Findings) -> list[str]:
    """Return what a reader must know to take the figures for what they are."""
    plan = findings.plan
    number = len(plan.seeds)
    told = [
        f"Tests are of {plan.claim}: one for each variant and group, {findings.claims} in all, corrected "
        "together (Holm), so that the chance of any false finding is that of one test: nominally "
        f"{100 * ALPHA:g} %, measured as 7 % with 3 seeds and 4 % with 5.",
        "Intervals are 95 %, over users and seeds, each for itself and not corrected.",
    ]
    twins = findings.table.filter(pl.col("verdict").str.starts_with(AGAIN))
    if len(twins):
        same = dict(twins.select("group", "verdict").iter_rows())
        told.append(
            "Not tested twice: "
            + ", ".join(f"{spaced(group)} ({verdict})" for group, verdict in same.items())
            + "."
        )
    if len(plan.fractions) > 1:
        told.append(
            "Every share of the training pairs was trained for as many steps."
            if plan.same_steps
            else "Every share of the training pairs was trained until validation had not risen "
            f"{plan.common.patience} times in a row."
            if plan.common.patience
            else "An epoch is a pass over the training pairs that are left, so a smaller share was trained "
            "for fewer steps; --same-steps avoids that."
        )
    if findings.unfinished:
        told.append(
            f"Best at the last epoch in most runs: {', '.join(findings.unfinished)}. With more --epochs the "
            "comparison may come out otherwise."
        )
    if number == 1:
        told.append(
            "There is one seed: what is found holds for these trained models and these users' like, and may "
            "be luck of the seed. Ask for --seeds 5."
        )
    elif number == 2:
        told.append(
            "Two seeds cannot show well how much seeds matter: a 5 % test may err in up to 12 %. Ask for "
            "--seeds 3 or more."
        )
    return told
