"""``gclrec export``: the nearest-neighbour index of a run, with measured recall and speed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.progress import Progress
from rich.table import Table

from gclrec.api import export_index
from gclrec.cli.console import Json, command, emit_json, output, progress_console
from gclrec.common.shell import command_line
from gclrec.recall.index import Index
from gclrec.stores import STORES, shown_url
from gclrec.stores.upload import CHECKED_K, CHECKED_USERS, export_to

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
    to: Annotated[
        str | None,
        Parameter(
            help="Instead of building an index, write vectors and seen items to the vector database of this "
            f"URL: {', '.join(f'{kind.url} ({kind.about})' for kind in STORES.values())}."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Build RUN/index from the vectors of a run and its added items, tuned to a recall and measured."""
    if to is not None:
        _to_store(run, to, json)
        return
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


def _to_store(run: Path, url: str, json: bool) -> None:
    """Write a run to a vector database, with a progress bar."""
    with Progress(console=progress_console(), transient=True) as bars:
        bar = bars.add_task("writing", total=None)
        done = export_to(run, url, progress=lambda now, total: bars.update(bar, completed=now, total=total))
    where = shown_url(url)
    resumed = f" ({done.resumed:,} rows were there)" if done.resumed else ""
    counts = f"{done.items:,} items and {done.users:,} users{resumed} in {done.seconds:.1f} s"
    console = output(json)
    console.print(f"{where}: {counts}", soft_wrap=True)
    found = f"recall@{CHECKED_K} against the exact lists of {CHECKED_USERS} users: {done.recall:.4f}"
    console.print(found, soft_wrap=True)
    if json:
        emit_json({"run": str(run), "to": where, **done._asdict()})


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
