"""``gclrec recommend``: the best items for some users of a run, or for all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gclrec.command_line import Json, command, emit_json, main_of, output, progress_console
from gclrec.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from gclrec.recall.recommender import Recommender

app = command("recommend")


@app.default
def recommend(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    user: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True, negative=(), show_default=False, help="Id of a user; several may follow."
        ),
    ] = (),
    k: Annotated[int, Parameter(name=("-k", "--k"), help="Number of items for a user.")] = 10,
    all: Annotated[bool, Parameter(negative=(), help="For every user; needs --out.")] = False,
    out: Annotated[
        Path | None,
        Parameter(help="Write user, item, rank, score to this .parquet or .csv file, instead of the screen."),
    ] = None,
    exclude_seen: Annotated[
        bool, Parameter(help="Leave out what the user has in the train, valid or test part.")
    ] = True,
    exact: Annotated[
        bool, Parameter(negative=(), help="Search exactly also where the run has an index.")
    ] = False,
    json: Json = False,
) -> None:
    """Print the best items for users of a run, by their ids in the input."""
    if bool(user) == all:
        raise InputError("give either --user ID (one or several) or --all")
    if all and out is None:
        raise InputError("--all needs --out FILE.parquet or --out FILE.csv")
    from gclrec.recall.recommender import Recommender
    from gclrec.recall.tables import check_table_path

    if out is not None:
        check_table_path(out)
    recommender = Recommender.load(run, use_index=not exact)
    if out is not None:
        _write(recommender, user, k, out, exclude_seen, json)
    else:
        _show(recommender, user, k, exclude_seen, json)


def _show(recommender: Recommender, users: tuple[str, ...], k: int, exclude_seen: bool, json: bool) -> None:
    from rich.table import Table

    answers = [(user, recommender.recommend(user, k, exclude_seen=exclude_seen)) for user in users]
    console = output(json)
    for user, found in answers:
        table = Table("rank", "item", "score", title=f"user {user}", title_justify="left")
        table.columns[0].justify = table.columns[2].justify = "right"
        for rank, (item, score) in enumerate(found, 1):
            table.add_row(str(rank), str(item), f"{score:.4f}")
        console.print(table if found else f"user {user} has every item already")
        if json:
            raw = recommender.users.ids[recommender.users.row(user)]
            emit_json({"user": raw, "items": [i for i, _ in found], "scores": [s for _, s in found]})


def _write(
    recommender: Recommender, users: tuple[str, ...], k: int, out: Path, exclude_seen: bool, json: bool
) -> None:
    from rich.progress import track

    from gclrec.recall.tables import write_table

    began, batch = time.perf_counter(), 1024
    count = len(users) or len(recommender.users)
    if users:
        tables: Iterator[pl.DataFrame] = iter(
            [recommender.recommend_many(users, k, exclude_seen=exclude_seen)]
        )
    else:
        tables = recommender.recommend_all(k, batch=batch, exclude_seen=exclude_seen)
    steps = 1 if users else -(-count // batch)
    shown = track(tables, "recommending", total=steps, console=progress_console(), transient=True)
    rows = write_table(out, shown)
    seconds = time.perf_counter() - began
    output(json).print(f"{out}: {rows:,} rows for {count:,} users in {seconds:.1f} s", soft_wrap=True)
    if json:
        emit_json({"out": str(out), "users": count, "rows": rows, "seconds": seconds})


main = main_of(app)

if __name__ == "__main__":
    main()
