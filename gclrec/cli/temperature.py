"""``gclrec temperature``: on how many negatives the gradient of a run falls, at each temperature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from gclrec.cli.console import Json, command, emit_json, output
from gclrec.common.shell import flag
from gclrec.evaluation.hardness import HARDEST
from gclrec.runs.folder import RunFolder
from gclrec.training.run_hardness import hardness_of_run

app = command("temperature")


@app.default
def temperature(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    temperatures: Annotated[
        tuple[float, ...],
        Parameter(
            consume_multiple=True, negative=(), help="Temperatures; those of the run come in addition."
        ),
    ] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0),
    rows: Annotated[int, Parameter(help="Users and items drawn, at most.")] = 2048,
    seed: Annotated[int, Parameter(help="Seed of the draw.")] = 0,
    json: Json = False,
) -> None:
    """Print how much of a softmax loss's gradient falls on the hardest negatives, at each temperature.

    From the final embeddings of a run: users against the items they do not have (ranking loss), and users
    and items among themselves (contrast).
    """
    taus, own, curves, score = hardness_of_run(RunFolder.open(run), temperatures, rows=rows, seed=seed)
    table = Table("temperature", title="share of the gradient that falls on the hardest negatives")
    for name in curves:
        for share in HARDEST:
            table.add_column(f"{name}, {share:.0%}", justify="right")
    for place, tau in enumerate(taus):
        mark = ", ".join(flag(name) for name, value in own.items() if value == tau)
        cells = [f"{value:.1%}" for curve in curves.values() for value in curve[place].tolist()]
        table.add_row(f"{tau:.3g}" + (f"  ({mark})" if mark else ""), *cells)
    console = output(json)
    console.print(table)
    console.print(
        f"user-item: users against all items that they have not ({score}); users, items: among themselves",
        soft_wrap=True,
    )
    if json:
        listed = {
            name: {f"{share:g}": column for share, column in zip(HARDEST, curve.T.tolist(), strict=True)}
            for name, curve in curves.items()
        }
        emit_json({"run": str(run), "temperatures": taus, "own": own, "hardest": listed})
