"""``gclrec evaluate``: the figures of a run again, at other cut-offs or on its validation part."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import torch
from cyclopts import Parameter

from gclrec.baselines import Scorer
from gclrec.cli.console import Json, command, emit_json, main_of, output
from gclrec.cli.train import figures_table
from gclrec.common.errors import InputError
from gclrec.common.files import write_parquet
from gclrec.encoders import Embeddings
from gclrec.evaluation.metrics import METRICS
from gclrec.runs.embeddings import read_embeddings
from gclrec.runs.folder import RunFolder
from gclrec.runs.reading import check_run
from gclrec.training.fitting import fitted
from gclrec.training.prepare import config_of
from gclrec.training.results import evaluate_on

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
    folder = RunFolder.open(run)
    given: dict[str, Any] = {"ks": ks, "metrics": metrics, "near_cold": near_cold}
    config = dataclasses.replace(
        config_of(folder), **{name: value for name, value in given.items() if value is not None}
    )
    k = config.ks[0] if config.ks else 0
    config = dataclasses.replace(config, select=f"{next(iter(config.metrics), '')}@{k}").checked()
    if part == "valid" and config.refit:
        raise InputError(f"{run}: was refitted on its validation pairs, so they cannot be evaluated on")

    split = folder.split()
    split = split.refit() if config.refit else split
    train = split.train
    if len(getattr(split, part)) == 0:
        other = "valid" if part == "test" else "test"
        instead = f"; --part {other} has some" if len(getattr(split, other)) else ""
        raise InputError(f"{run}: its split has no {part} pairs to evaluate on{instead}")
    ranker: Embeddings | Scorer
    if config.baseline and not (folder.path / "embeddings").exists():
        # Without vectors to read: it is fitted again, to the same numbers.
        ranker = fitted(config, train, folder.attributes())
    else:
        check_run(folder.path)
        held = read_embeddings(folder.path / "embeddings")
        ranker = Embeddings(torch.from_numpy(held.user_vectors), torch.from_numpy(held.item_vectors))
    figures = evaluate_on(ranker, split, part, config)

    console = output(json)
    console.print(figures_table(figures, config.ks, config.metrics, title=part))
    if per_user is not None:
        raw = train.users.raw(figures.per_user["user"].to_numpy())
        write_parquet(per_user, figures.per_user.with_columns(pl.Series("user", raw)))
        console.print(f"scores of each user: {per_user}", soft_wrap=True)
    if json:
        values = {f"{part}/{name}": value for name, value in figures.values.items()}
        cases = {f"{part}/{name}": count for name, count in figures.cases.items()}
        emit_json({"run": str(run), "metrics": values, "cases": cases})


main = main_of(app)

if __name__ == "__main__":
    main()
