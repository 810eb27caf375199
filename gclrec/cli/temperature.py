"""``gclrec temperature``: on how many negatives the gradient of a run falls, at each temperature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter
from rich.table import Table

from gclrec.cli.console import Json, command, emit_json, main_of, output
from gclrec.common.errors import InputError
from gclrec.common.files import read_json
from gclrec.contrast import SSL
from gclrec.evaluation.hardness import HARDEST, embedding_hardness
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.ranking_losses import LOSSES
from gclrec.runs.embeddings import read_embeddings
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig, flag
from gclrec.training.build import chains_of
from gclrec.training.prepare import config_of

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

    From the final embeddings of a run: users against the items they have not (the ranking loss), and users
    and items among themselves (the contrast).
    """
    folder = RunFolder.open(run)
    config = config_of(folder)
    if not temperatures or not all(0.0 < tau < float("inf") for tau in temperatures):
        raise InputError(f"--temperatures: must be above 0, got {list(temperatures)}")
    if rows < 2:
        raise InputError(f"--rows: must be at least 2, got {rows}")
    if not (folder.path / "embeddings").is_dir():
        raise InputError(f"{run}: has no embeddings: it is not finished, or is of a baseline without vectors")
    own = own_temperatures(folder, config)
    taus = sorted({*temperatures, *own.values()})
    held = read_embeddings(folder.path / "embeddings")
    split = folder.split()
    train = split.refit().train if config.refit else split.train
    asked = str(config.arguments("loss").get("score", "cosine"))
    score = asked if config.score == "dot" else "cosine"  # otherwise the lengths are no longer the encoder's
    curves = embedding_hardness(
        torch.from_numpy(held.user_vectors),
        torch.from_numpy(held.item_vectors),
        BipartiteGraph.from_interactions(train),
        taus,
        score=score,
        rows=rows,
        generator=torch.Generator().manual_seed(seed),
    )

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


def own_temperatures(folder: RunFolder, config: TrainConfig) -> dict[str, float]:
    """Return the temperatures that a run was trained at; one that changes at the chosen epoch."""
    used = []
    if config.baseline is None and "temperature" in LOSSES[config.loss].settings:
        used.append("loss_temperature")
    contrasts = config.baseline is None and chains_of(config) is not None
    if contrasts and "temperature" in SSL[config.ssl].settings:
        used.append("temperature")
    chosen = read_json(folder.path / "result.json")["epochs"]
    line = next((line for line in reversed(folder.metrics()) if line["epoch"] == chosen), None) or {}
    values = {name: line.get(f"temperature/{name}", getattr(config, name)) for name in used}
    return {name: float(value) for name, value in values.items() if not isinstance(value, str)}


main = main_of(app)

if __name__ == "__main__":
    main()
