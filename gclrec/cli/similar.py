"""``gclrec similar``: the items most similar to an item of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gclrec.cli.console import Json, command, show_items

app = command("similar")


@app.default
def similar(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    item: Annotated[str, Parameter(help="Id of an item.")],
    k: Annotated[int, Parameter(name=("-k", "--k"), help="Number of items.")] = 10,
    json: Json = False,
) -> None:
    """Print the items whose vectors have the highest cosine with that of an item."""
    from gclrec.recall.recommender import Recommender

    recommender = Recommender.load(run, use_index=False, seen=())
    found = recommender.similar_items(item, k)
    given = {"item": recommender.items.ids[recommender.items.row(item)]}
    show_items(f"items like {item}", found, given, json=json, score="cosine")
