"""The findings of a comparison as tables of text and as sentences, for a terminal, Markdown or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from gclrec.experiments.findings import (
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
"""Headings of a table, and its rows."""


def claim_rows(findings: Findings, *, brief: bool = False) -> tuple[list[str], list[list[str]], list[bool]]:
    """Return headings and rows of the main table, and whether each row starts a new group.

    Args:
        findings: the results of the comparison.
        brief: without test pairs and the second metric, for a terminal.
    """
    plan = findings.plan
    several = len(plan.fractions) > 1
    metric, _, cut = plan.claim.partition("@")
    second = "ndcg" if metric != "ndcg" else "recall"
    beside = [f"{second}@{cut}"] if second in plan.common.metrics and not brief else []
    heads = ["train fraction"] * several + ["group", "users"] + ["pairs"] * (not brief)
    heads += ["variant", plan.claim, "95 %", f"less {plan.against}", "95 %", "p (Holm)", *beside, "verdict"]
    rows: list[list[str]] = []
    starts: list[bool] = []
    for (fraction, group), part in findings.table.group_by("train_fraction", "group", maintain_order=True):
        means = {(row["variant"], row["metric"]): row["mean"] for row in part.iter_rows(named=True)}
        claims = {row["variant"]: row for row in part.iter_rows(named=True) if row["metric"] == plan.claim}
        for name in plan.variants:
            row = claims[name]
            start = [f"{fraction:g}"] * several + [spaced(str(group)), f"{row['users']:,}"]
            start += [f"{row['pairs']:,}"] * (not brief)
            starts.append(name == plan.variants[0])
            *figures, verdict = figures_of(row)
            figures += [f"{means[name, other]:.4f}" for other in beside]
            rows.append([*(start if starts[-1] else [""] * len(start)), name, *figures, verdict])
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
    """Return the geometry of each variant, averaged over seeds; no rows if none has vectors.

    Args:
        findings: the results of the comparison.
        brief: the most important figures only, for a terminal.
    """
    several = len(findings.plan.fractions) > 1
    names = [name for name in findings.geometry.columns if name not in ("train_fraction", "variant")]
    if brief:
        told = ("alignment", "users/uniformity", "items/uniformity", "items/effective_rank")
        names = [name for name in names if name in told]
    rows = []
    for row in findings.geometry.iter_rows(named=True):
        values = ["-" if row[name] is None else f"{row[name]:.3f}" for name in names]
        rows.append([row["variant"], *[f"{row['train_fraction']:g}"] * several, *values])
    heads = ["geometry", *["train fraction"] * several]
    return [*heads, *(name.replace("_", " ").replace("/", " ") for name in names)], rows


def grid_rows(findings: Findings) -> Rows:
    """Return the grid points with their validation figures, the chosen ones marked."""
    plan = findings.plan
    if not any(cell.setting for cell in plan.cells):
        return [], []
    several = len(plan.fractions) > 1
    heads = ["variant", *["train fraction"] * several, "setting", f"validation {plan.common.chosen_by}", ""]
    rows = []
    for row in findings.grid.iter_rows(named=True):
        taken = findings.chosen[row["fraction"], row["variant"]] == row["setting"]
        fraction = [f"{row['fraction']:g}"] * several
        figure = "-" if row["validation"] is None else f"{row['validation']:.4f}"
        figure += f" {row['select']}" if row["select"] != plan.common.chosen_by else ""
        rows.append([row["variant"], *fraction, row["setting"] or "-", figure, "chosen" if taken else ""])
    return heads, rows


def sentences(findings: Findings) -> list[str]:
    """Return the outcome of the tests in words, one text for each variant and share of the training pairs.

    Every tested group is named; those with a significant difference, and ``all``, with figures.
    """
    plan = findings.plan
    claims = findings.table.filter(pl.col("metric") == plan.claim)
    texts = [] if plan.group is None else [answer(findings, plan.group)]
    for fraction in plan.fractions:
        for name in plan.variants:
            if name == plan.against:
                continue
            rows = claims.filter((pl.col("train_fraction") == fraction) & (pl.col("variant") == name))
            by: dict[str, list[dict[str, Any]]] = {}
            for row in rows.iter_rows(named=True):
                by.setdefault(row["verdict"], []).append(row)
            where = f" at train fraction {fraction:g}" if len(plan.fractions) > 1 else ""
            parts = [f"{verdict} on {_listed(by[verdict])}" for verdict in (BETTER, WORSE) if verdict in by]
            if SAME in by:
                same = [_listed([row]) if row["group"] == "all" else spaced(row["group"]) for row in by[SAME]]
                parts.append(f"no significant difference on {', '.join(same)}")
            text = f"{name} against {plan.against}{where}: {'; '.join(parts) or 'nothing could be tested'}."
            if NO_SPREAD in by:
                text += f" Nothing varies on {_listed(by[NO_SPREAD])}."
            if TOO_FEW in by:
                few = ", ".join(f"{spaced(row['group'])} ({row['users']})" for row in by[TOO_FEW])
                text += f" Too few users to test on {few}."
            texts.append(text)
    return texts


def answer(findings: Findings, group: str) -> str:
    """Return which variant is best for a group, by how much, how surely, and what it costs the opposite one.

    Args:
        findings: the results of the comparison, on all training pairs.
        group: of users or items; the opposite of a cold group is the warm one.
    """
    plan = findings.plan
    claims = findings.table.filter(
        (pl.col("metric") == plan.claim) & (pl.col("train_fraction") == plan.fractions[0])
    )

    def rows_of(group: str) -> dict[str, dict[str, Any]]:
        return {row["variant"]: row for row in claims.filter(group=group).iter_rows(named=True)}

    rows = rows_of(group)
    if not rows:
        return f"No test pair has {spaced(group)}."
    best = max(rows.values(), key=lambda row: row["mean"])
    name, base = best["variant"], rows[plan.against]
    where = f"{spaced(group).capitalize()} ({best['users']:,} users)"
    if name == plan.against:
        return f"{where}: nothing is better than {name}, {plan.claim} {best['mean']:.4f}."
    sure = f"{best['difference']:+.4f} {_between(best)}, p {p_value(best['p_holm'])}"
    text = f"{where}: {name} is the best of {len(rows)}, {plan.claim} {best['mean']:.4f} ({sure}) against "
    text += f"{plan.against} with {base['mean']:.4f}"
    others = rows_of(group.replace("cold", "warm")) if group.startswith("cold") else {}
    if not others:
        return f"{text}."
    warm = max(others.values(), key=lambda row: row["mean"])
    cost = others[name]["mean"] - warm["mean"]
    opposite = spaced(warm["group"])
    if warm["variant"] == name:
        return f"{text}; it is also the best for {opposite}, {others[name]['mean']:.4f}."
    return (
        f"{text}; {opposite} have {others[name]['mean']:.4f}, {cost:+.4f} from {warm['variant']}, their best."
    )


def _between(row: Mapping[str, Any]) -> str:
    if row["difference_low"] is None or row["difference_high"] is None:
        return "(no interval)"
    return f"[{row['difference_low']:+.4f}, {row['difference_high']:+.4f}]"


def _listed(rows: Sequence[Mapping[str, Any]]) -> str:
    def figure(row: Mapping[str, Any]) -> str:
        p = f", p {p_value(row['p_holm'])}" if row["verdict"] in (BETTER, WORSE) else ""
        return f"{spaced(row['group'])} ({row['difference']:+.4f}{p})"

    return ", ".join(map(figure, rows))


def p_value(p: float | None) -> str:
    """Return a p value with three decimals."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def caveats(findings: Findings) -> list[str]:
    """Return the limits of the tests: corrections, groups that were not tested, epochs and seeds."""
    plan = findings.plan
    texts = [
        f"Tests are of {plan.claim}: one for each variant and group, {findings.claims} in all, corrected "
        "together (Holm), so that the probability of any false finding is that of one test: nominally "
        f"{100 * ALPHA:g} %, measured as 7 % with 3 seeds and 4 % with 5.",
        "Intervals are 95 % each, over users and seeds, and are not corrected.",
    ]
    twins = findings.table.filter(pl.col("verdict").str.starts_with(AGAIN))
    if len(twins):
        same = dict(twins.select("group", "verdict").iter_rows())
        listed = ", ".join(f"{spaced(group)} ({verdict})" for group, verdict in same.items())
        texts.append(f"Not tested twice: {listed}.")
    if len(plan.fractions) > 1:
        texts.append(
            "Every share of the training pairs was trained for the same number of steps."
            if plan.same_steps
            else "Every share of the training pairs was trained until validation had not improved "
            f"{plan.common.patience} times in a row."
            if plan.common.patience
            else "An epoch is a pass over the remaining training pairs, so a smaller share was trained for "
            "fewer steps; --same-steps avoids that."
        )
    if findings.unfinished:
        texts.append(
            f"Best at the last epoch in most runs: {', '.join(findings.unfinished)}. With more --epochs the "
            "comparison may come out differently."
        )
    if len(plan.seeds) == 1:
        texts.append(
            "There is one seed: the findings hold for these trained models and for users like these, and may "
            "be due to the seed. Use --seeds 5."
        )
    elif len(plan.seeds) == 2:
        texts.append(
            "Two seeds cannot show well how much seeds matter: a 5 % test may err in up to 12 %. Use "
            "--seeds 3 or more."
        )
    return texts
