"""``gclrec recommend``: the best items for users of a run, for all of them, or for new ones."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gclrec.cli.console import command, emit_json, output, progress_console, show_items
from gclrec.common.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from gclrec.recall.explain import Explanation
    from gclrec.recall.recommendation import Recommendation
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
    items: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            negative=(),
            show_default=False,
            help="For a new user who has these items, by their ids.",
        ),
    ] = (),
    users_file: Annotated[
        Path | None,
        Parameter(
            help="For the users of this file of interactions; for users of the run their training items "
            "count too."
        ),
    ] = None,
    k: Annotated[int, Parameter(name=("-k", "--k"), help="Number of items for a user.")] = 10,
    all: Annotated[bool, Parameter(negative=(), help="For every user; needs --out.")] = False,
    shard: Annotated[
        str | None,
        Parameter(
            help="With --all: only the I-th of N equal parts of the users, as I/N; so that N processes or "
            "machines share the work."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Parameter(help="Write user, item, rank, score to this .parquet or .csv file, instead of the screen."),
    ] = None,
    exclude_seen: Annotated[
        bool,
        Parameter(help="Leave out what the user has in the parts of --seen, or in the given history."),
    ] = True,
    seen: Annotated[
        str,
        Parameter(
            help="Parts of the split whose items the user has: train,valid leaves the test items in, for "
            "evaluations of one's own."
        ),
    ] = "train,valid,test",
    cold_only: Annotated[
        bool,
        Parameter(
            negative=(), help="Recommend only items without training interaction; added items are such."
        ),
    ] = False,
    candidates: Annotated[
        Path | None,
        Parameter(
            help="Recommend only items of this file (one id a line, or a table), by exact search among them."
        ),
    ] = None,
    user_column: Annotated[
        str | None, Parameter(help="Column with user ids. Default: that of the run, or guessed.")
    ] = None,
    item_column: Annotated[str | None, Parameter(help="Column with item ids, likewise.")] = None,
    time_column: Annotated[str | None, Parameter(help="Column with timestamps, likewise.")] = None,
    skip_unknown: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Leave out, with a note, unknown items of a history or of --candidates, and users without "
            "any known item.",
        ),
    ] = False,
    explain: Annotated[
        int | None,
        Parameter(
            help="Name this many items of the user behind each recommendation, with what each contributes to "
            "its score; with what the others and the user's own vector contribute they add up to it."
        ),
    ] = None,
    exact: Annotated[
        bool, Parameter(negative=(), help="Search exactly also where the run has an index.")
    ] = False,
    json: Annotated[
        bool, Parameter(negative=(), help="Print one JSON object for each user, one a line, on stdout.")
    ] = False,
) -> None:
    """Print the best items for users of a run or for new users, by their ids in the input."""
    if sum((bool(user), all, bool(items), users_file is not None)) != 1:
        raise InputError("give one of --user ID (one or several), --items ID ..., --users-file FILE, --all")
    if all and out is None:
        raise InputError("--all needs --out FILE.parquet or --out FILE.csv")
    if shard is not None and not (all and re.fullmatch(r"\d+/\d+", shard)):
        raise InputError(f"--shard: found {shard!r}, expected I/N such as 1/4, beside --all")
    if items and out is not None:
        raise InputError("--items prints its answer; for a file give the history with --users-file")
    if skip_unknown and not (items or users_file or candidates):
        raise InputError("--skip-unknown is about --items, --users-file and --candidates; none is given")
    if explain is not None and explain < 1:
        raise InputError(f"--explain: found {explain}, expected a number of items from 1")
    if user_column and users_file is None:
        raise InputError("--user-column names a column of --users-file, and there is none")
    if (item_column or time_column) and not (users_file or candidates):
        raise InputError("--item-column and --time-column name columns of files, and there is none")
    from gclrec.common.files import check_table_path
    from gclrec.data.io.columns import Columns
    from gclrec.data.io.ids import id_series
    from gclrec.recall.recommendation import shard_rows
    from gclrec.recall.recommender import Recommender
    from gclrec.runs.reading import usual_columns

    counted = [part.strip() for part in seen.split(",") if part.strip()]
    if out is not None:
        check_table_path(out)
    if items or users_file is not None:
        from gclrec.training.trained import load_recommender

        recommender = load_recommender(run, use_index=not exact, seen=counted)
    else:
        recommender = Recommender.load(run, use_index=not exact, seen=counted)
    timed = time_column if time_column or recommender.encode_users else ""  # else no time counts
    columns = Columns(user=user_column, item=item_column, time=timed, weight="", usual=usual_columns(run))
    if candidates is not None:
        from gclrec.data.io.readers import read_ids

        recommender = recommender.within(
            read_ids(candidates, columns=columns, known=recommender.items), skip_unknown=skip_unknown
        )
    if cold_only:
        recommender = recommender.cold_only()

    if items:
        found = recommender.recommend_for(items, k, exclude_seen=exclude_seen, skip_unknown=skip_unknown)
        given = {"history": list(items)}
        known = recommender.items.rows(id_series(items)) >= 0  # the others were left out with a note
        history = [one for one, is_known in zip(items, known.tolist(), strict=True) if is_known]
        why = _explained(recommender, None, found, explain, history)
        show_items("a new user", found, given, json=json, why=why)
    elif users_file is not None:
        from gclrec.data.io.readers import read_raw

        began = time.perf_counter()
        histories = read_raw(users_file, columns=columns)
        table = recommender.recommend_for(histories, k, exclude_seen=exclude_seen, skip_unknown=skip_unknown)
        if explain is not None:
            table = recommender.explainer.columns(table, histories=histories, top=explain)
        if out is None:
            _show_table(table, json, explain)
        else:
            _write(iter([table]), 1, histories["user"].n_unique(), out, json, began)
    elif out is None:
        answers = [(one, recommender.recommend(one, k, exclude_seen=exclude_seen)) for one in user]
        for one, found in answers:
            raw = recommender.users.ids[recommender.users.row(one)]
            why = _explained(recommender, one, found, explain)
            show_items(f"user {one}", found, {"user": raw}, json=json, why=why)
    else:
        began, batch = time.perf_counter(), 1024
        if user:
            tables = iter([recommender.recommend_many(user, k, exclude_seen=exclude_seen)])
            steps, count = 1, len(user)
        else:
            number, _, parts = (shard or "1/1").partition("/")
            part = int(number), int(parts)
            tables = recommender.recommend_all(k, batch=batch, exclude_seen=exclude_seen, shard=part)
            count = len(shard_rows(len(recommender.users), *part))
            steps = -(-count // batch)
        if explain is not None:
            tables = (recommender.explainer.columns(table, top=explain) for table in tables)
        _write(tables, steps, count, out, json, began)


def _show_table(table: pl.DataFrame, json: bool, explain: int | None) -> None:
    """Show one table for each user with a recommendation."""
    from gclrec.recall.recommendation import Recommendation

    for (user,), part in table.group_by("user", maintain_order=True):
        found = [Recommendation(item, score) for item, score in part.select("item", "score").iter_rows()]
        why = None if explain is None else list(_of_columns(part, explain))
        show_items(f"user {user}", found, {"user": user}, json=json, why=why)


def _explained(
    recommender: Recommender,
    user: str | None,
    found: list[Recommendation],
    explain: int | None,
    history: list[str] | None = None,
) -> list[Explanation] | None:
    if explain is None or not found:
        return None
    return recommender.explain(user, [item for item, _ in found], history=history, top=explain)


def _of_columns(table: pl.DataFrame, top: int) -> Iterator[Explanation]:
    """Yield the explanations that the columns of a table hold."""
    from gclrec.recall.explain import Explanation
    from gclrec.recall.recommendation import Recommendation

    for row in table.iter_rows(named=True):
        named = [(row[f"because_{rank}"], row[f"contribution_{rank}"]) for rank in range(1, top + 1)]
        because = [Recommendation(*pair) for pair in named if pair[0] is not None]
        yield Explanation(row["item"], row["score"], because, row["others"], row["own"])


def _write(
    tables: Iterator[pl.DataFrame], steps: int, count: int, out: Path, json: bool, began: float
) -> None:
    from rich.progress import track

    from gclrec.common.files import write_table

    shown = track(tables, "recommending", total=steps, console=progress_console(), transient=True)
    rows = write_table(out, shown)
    seconds = time.perf_counter() - began
    output(json).print(f"{out}: {rows:,} rows for {count:,} users in {seconds:.1f} s", soft_wrap=True)
    if json:
        emit_json({"out": str(out), "users": count, "rows": rows, "seconds": seconds})
