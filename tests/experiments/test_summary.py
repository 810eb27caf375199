"""Sentences and rows of a comparison, from findings that are written down here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from gclrec.experiments.comparison import Plan, make_plan
from gclrec.experiments.findings import (
    BASELINE,
    BETTER,
    FINDING_COLUMNS,
    NO_SPREAD,
    SAME,
    TOO_FEW,
    WORSE,
    Findings,
)
from gclrec.experiments.summary import answer, caveats, claim_rows, geometry_rows, grid_rows, sentences
from gclrec.settings.config import TrainConfig

VERDICTS = {
    "all": (SAME, 0.4),
    "warm_users": (BETTER, 0.0002),
    "near_cold_users": (WORSE, 0.0312),
    "cold_users": (TOO_FEW, None),
    "cold_items": (NO_SPREAD, None),
    "tail_items": (SAME, 1.0),
}


def row(group: str, variant: str, metric: str, **values: Any) -> dict[str, Any]:
    usual = {"train_fraction": 1.0, "variant": variant, "setting": "", "group": group, "metric": metric}
    usual |= {"users": 1200, "pairs": 3400, "seeds": 3, "mean": 0.25, "low": 0.2, "high": 0.3}
    usual |= dict.fromkeys(FINDING_COLUMNS[11:]) | {"verdict": BASELINE}
    return usual | values


@pytest.fixture
def findings() -> Findings:
    plan = make_plan(TrainConfig(), augs=["none", "noise"], num_seeds=3)
    rows = []
    for group, (verdict, p) in VERDICTS.items():
        rows.append(row(group, "none", "recall@20"))
        change = {"difference": 0.01, "difference_low": -0.01, "difference_high": 0.03}
        rows.append(row(group, "noise", "recall@20", **change, p=p, p_holm=p, verdict=verdict))
        rows += [row(group, name, "ndcg@20", mean=0.125) for name in plan.variants]
    table = pl.DataFrame(rows, infer_schema_length=None).select(FINDING_COLUMNS)
    chosen = {(1.0, name): "" for name in plan.variants}
    empty = pl.DataFrame()
    return Findings(plan, chosen, table, empty, empty, empty, 4, ())


def test_every_group_is_in_the_sentences(findings: Findings) -> None:
    assert sentences(findings) == [
        "noise against none: better on warm users (+0.0100, p < 0.001); worse on near-cold users (+0.0100, p "
        "0.031); no significant difference on all (+0.0100), tail items. Nothing varies on cold items "
        "(+0.0100). Too few users to test on cold users (1200)."
    ]
    untested = findings.table.filter(pl.col("group") == "cold_users")
    only = replace(findings, table=untested)
    assert sentences(only)[0].startswith("noise against none: nothing could be tested. Too few users")


def test_the_answer_names_the_best_and_what_it_costs(findings: Findings) -> None:
    p = {"p_holm": 0.004, "difference": 0.05, "difference_low": 0.04, "difference_high": 0.06}
    rows = [
        row("cold_items", "none", "recall@20", mean=0.1),
        row("cold_items", "noise", "recall@20", mean=0.15, **p),
        row("warm_items", "none", "recall@20", mean=0.3),
        row("warm_items", "noise", "recall@20", mean=0.28, **p),
        row("cold_users", "none", "recall@20", mean=0.2),
        row("cold_users", "noise", "recall@20", mean=0.1, **p),
    ]
    table = pl.DataFrame(rows, infer_schema_length=None).select(FINDING_COLUMNS)
    found = replace(findings, table=table, plan=replace(findings.plan, group="cold_items"))
    said = (
        "Cold items (1,200 users): noise is the best of 2, recall@20 0.1500 (+0.0500 [+0.0400, +0.0600], "
        "p 0.004) against none with 0.1000"
    )
    assert answer(found, "cold_items") == sentences(found)[0]
    assert answer(found, "cold_items") == f"{said}; warm items have 0.2800, -0.0200 from none, their best."
    one = replace(found, table=table.filter(pl.col("group") != "warm_items"))
    assert answer(one, "cold_items") == f"{said}."
    both = table.with_columns(mean=pl.when(group="warm_items", variant="noise").then(0.4).otherwise("mean"))
    best = answer(replace(found, table=both), "cold_items")
    assert best == f"{said}; it is also the best for warm items, 0.4000."
    nothing = "Cold users (1,200 users): nothing is better than none, recall@20 0.2000."
    assert answer(found, "cold_users") == nothing
    assert answer(found, "tail_items") == "No test pair has tail items."


def test_rows_of_a_group_stand_together(findings: Findings) -> None:
    heads, rows, starts = claim_rows(findings)
    assert heads == [
        *("group", "users", "pairs", "variant", "recall@20", "95 %", "less none", "95 %", "p (Holm)"),
        *("ndcg@20", "verdict"),
    ]
    assert starts == [True, False] * len(VERDICTS)
    assert rows[2] == [
        *("warm users", "1,200", "3,400", "none", "0.2500", "[0.2000, 0.3000]"),
        *("", "", "", "0.1250", BASELINE),
    ]
    assert rows[3] == [
        *("", "", "", "noise", "0.2500", "[0.2000, 0.3000]", "+0.0100", "[-0.0100, +0.0300]", "< 0.001"),
        *("0.1250", BETTER),
    ]
    brief, short, _ = claim_rows(findings, brief=True)
    assert [head for head in heads if head not in ("pairs", "ndcg@20")] == brief
    assert all(len(cells) == len(brief) for cells in short)
    assert geometry_rows(findings)[1] == grid_rows(findings)[1] == []


def test_caveats_follow_the_plan(findings: Findings) -> None:
    def told(**changes: Any) -> str:
        plan: Plan = replace(findings.plan, **changes)
        return " ".join(caveats(replace(findings, plan=plan, unfinished=("noise",))))

    def seeds(count: int) -> tuple[Any, ...]:
        return tuple(cell for cell in findings.plan.cells if cell.seed < count)

    def shares(*fractions: float) -> tuple[Any, ...]:
        return tuple(replace(cell, fraction=f) for f in fractions for cell in findings.plan.cells)

    assert "4 in all" in told()
    assert "Best at the last epoch in most runs: noise." in told()
    assert "There is one seed" in told(cells=seeds(1))
    assert "Two seeds" in told(cells=seeds(2))
    assert not any(words in told() for words in ("one seed", "Two seeds", "Every share", "smaller share"))
    assert "--same-steps avoids that" in told(cells=shares(1, 0.1))
    assert "same number of steps" in told(cells=shares(1, 0.1), same_steps=True)
    patient = replace(findings.plan.common, patience=5)
    assert "5 times in a row" in told(cells=shares(1, 0.1), common=patient)
