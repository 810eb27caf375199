"""``gclrec similar``: the items most similar to an item of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gclrec.cli.console import Json, command, emit_json, main_of, output

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
    from rich.table import Table

    from gclrec.recall.recommender import Recommender

    recommender = Recommender.load(run, use_index=False, seen=())
    found = recommender.similar_items(item, k)
    table = Table("rank", "item", "cosine", title=f"items like {item}", title_justify="left")
    table.columns[0].justify = table.columns[2].justify = "right"
    for rank, (other, cosine) in enumerate(found, 1):
        table.add_row(str(rank), str(other), f"{cosine:.4f}")
    output(json).print(table)
    if json:
        raw = recommender.items.ids[recommender.items.row(item)]
        emit_json({"item": raw, "items": [i for i, _ in found], "scores": [s for _, s in found]})


main = main_of(app)

if __name__ == "__main__":
    main()
