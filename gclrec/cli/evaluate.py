"""``gclrec evaluate``: the figures of a run again, at other cut-offs or on its validation part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter

from gclrec.api import load_run
from gclrec.cli.console import Json, command, emit_json, output
from gclrec.common.files import write_parquet
from gclrec.evaluation.metrics import METRICS
from gclrec.report.figures_table import figures_table, share_of_cold_items
from gclrec.training.results import raw_scores

app = command("evaluate")


@app.default
def evaluate(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    part: Annotated[Literal["test", "valid"], Parameter(help="Which held-out pairs to rank for.")] = "test",
    ks: Annotated[
        tuple[int, ...] | None,
        Parameter(consume_multiple=True, negative=(), help="Cut-offs. Default: those of the run."),
    ] = None,
    metrics: Annotated[
        tuple[str, ...] | None,
        Parameter(
            consume_multiple=True, negative=(), help=f"From {', '.join(METRICS)}. Default: those of the run."
        ),
    ] = None,
    near_cold: Annotated[int | None, Parameter(help="Highest degree of near-cold users and items.")] = None,
    per_user: Annotated[
        Path | None, Parameter(help="Also write each user's scores to this Parquet file.")
    ] = None,
    json: Json = False,
) -> None:
    """Rank the whole catalogue for every held-out user of a run, and print figures by group."""
    done = load_run(run)
    figures = done.evaluate(part, ks=ks, metrics=metrics, near_cold=near_cold)
    console = output(json)
    console.print(figures_table(figures.values, figures.cases, pairs=figures.pairs, title=part))
    if cold := share_of_cold_items(figures.values, figures.pairs):
        console.print(cold, soft_wrap=True)
    ranked, every = figures.cases["all"], len(np.unique(getattr(done.split, part).user))
    if ranked < every:
        console.print(f"figures of {ranked:,} users, drawn from {every:,}, as the run's settings have it")
    if per_user is not None:
        write_parquet(per_user, raw_scores(figures, done.split.train.users))
        console.print(f"scores of each user: {per_user}", soft_wrap=True)
    if json:
        values = {f"{part}/{name}": value for name, value in figures.values.items()}
        cases = {f"{part}/{name}": count for name, count in figures.cases.items()}
        emit_json({"run": str(run), "metrics": values, "cases": cases})
