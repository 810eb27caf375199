"""``gclrec export``: the nearest-neighbour index of a run, with measured recall and speed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from gclrec.api import export_index
from gclrec.cli.console import Json, command, emit_json, output, progress_console
from gclrec.common.shell import command_line
from gclrec.recall.index import Index

Backend = Literal["auto", "exact", "hnsw", "ivfflat", "ivfpq"]

app = command("export")


@app.default
def export(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    backend: Annotated[
        Backend,
        Parameter(
            help="exact: look at every item. hnsw: a graph. ivfflat: inverted lists. ivfpq: lists of "
            "compressed vectors. auto: exact where fast, else the fastest that reaches --target-recall."
        ),
    ] = "auto",
    target_recall: Annotated[
        float, Parameter(help="Share of the exact 100 best that must be found, from above 0 to 1.")
    ] = 0.95,
    seed: Annotated[
        int, Parameter(help="Decides the structure and the sample of users to measure with.")
    ] = 0,
    json: Json = False,
) -> None:
    """Build RUN/index from the vectors of a run and its added items, tuned to a recall and measured."""
    with progress_console().status("reading the embeddings") as status:
        index = export_index(
            run, backend=backend, target_recall=target_recall, seed=seed, progress=status.update
        )
    console = output(json)
    console.print(comparison(index))
    settings = {} if index.structure is None else {**index.structure.settings, "effort": index.effort}
    how = ", ".join(f"{name} {value}" for name, value in settings.items() if not isinstance(value, dict))
    tried = settings.get("tried", {})
    console.print(f"index: {run / 'index'} ({index.backend}{': ' if how else ''}{how})", soft_wrap=True)
    if len(tried) > 1:
        found = ", ".join(f"{name} {recall:.3f}" for name, recall in tried.items())
        console.print(f"recall of the layouts tried, at the same effort: {found}", soft_wrap=True)
    command = command_line("gclrec", "recommend", run, user="ID", k=min(10, len(index)))
    console.print(f"next: {command}", soft_wrap=True)
    quality = index.quality
    if json and quality is not None:
        emit_json(
            {
                "run": str(run),
                "backend": index.backend,
                "recall@100": quality.recall,
                "build_seconds": quality.build_seconds,
                "queries_per_second": quality.queries_per_second,
                "queries_per_second_batched": quality.queries_per_second_batched,
                "bytes": quality.bytes,
                "settings": settings,
            }
        )


def comparison(index: Index) -> Table:
    """Return the figures of everything that was built and measured, the chosen one marked."""
    k = index.trials[0].k
    table = Table("backend", f"recall@{k}", "queries/s, one by one", "256 at once", "build s", "MB")
    for column in table.columns[1:]:
        column.justify = "right"
    for trial in index.trials:
        mark = " *" if trial.backend == index.backend and len(index.trials) > 1 else ""
        table.add_row(trial.backend + mark, *trial.cells())
    return table
