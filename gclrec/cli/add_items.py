"""``gclrec add-items``: add items after training, by their users or their attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gclrec.cli.console import Json, command, emit_json, output
from gclrec.common.errors import InputError
from gclrec.common.shell import command_line

app = command("add-items")


@app.default
def add_items(
    run: Annotated[Path, Parameter(help="Run folder.")],
    table: Annotated[
        Path | None, Parameter(help="File of interactions: users of the run with items that are new to it.")
    ] = None,
    *,
    item_attributes: Annotated[
        Path | None,
        Parameter(help="File of new items' attributes, for a run that was trained with such attributes."),
    ] = None,
    vectors: Annotated[
        Path | None,
        Parameter(help="Parquet file of ids and layer-0 vectors of new items, such as a content encoder's."),
    ] = None,
    user_column: Annotated[
        str | None, Parameter(help="Column with user ids. Default: that of the run, or guessed.")
    ] = None,
    item_column: Annotated[str | None, Parameter(help="Column with item ids, likewise.")] = None,
    item_id_column: Annotated[
        str | None, Parameter(help="Column with the ids in the file of attributes or vectors, likewise.")
    ] = None,
    skip_known: Annotated[
        bool, Parameter(negative=(), help="Leave out items that are in the run already, instead of refusing.")
    ] = False,
    skip_unknown: Annotated[
        bool,
        Parameter(
            negative=(), help="Leave out unknown users, and items without users or attributes, with a note."
        ),
    ] = False,
    replace: Annotated[bool, Parameter(negative=(), help="Remove the items that were added before.")] = False,
    json: Json = False,
) -> None:
    """Give vectors to new items without training again; all other commands then include them."""
    if vectors is not None and item_attributes is not None:
        raise InputError("--vectors: --item-attributes gives vectors already; take one of them")
    if table is None and vectors is None and item_attributes is None:
        raise InputError(
            "give a TABLE of interactions, or --item-attributes FILE (or --vectors FILE), or both"
        )
    if table is None and (user_column or item_column):
        raise InputError("--user-column and --item-column name columns of TABLE, and there is none")
    from gclrec.data.io.attributes import read_attributes
    from gclrec.data.io.columns import Columns
    from gclrec.data.io.readers import read_raw
    from gclrec.recall.new_items import with_vector_column
    from gclrec.recall.recommender import Recommender
    from gclrec.runs.folder import WAIT, RunFolder
    from gclrec.runs.reading import check_run, settings_of, usual_columns

    if item_id_column is None and item_attributes is not None:
        item_id_column = settings_of(run).get("item_id_column")
    check_run(run)
    columns = Columns(user=user_column, item=item_column, time="", weight="", usual=usual_columns(run))
    interactions = None if table is None else read_raw(table, columns=columns)
    attributes, encode = None, None
    if vectors is not None:
        attributes = with_vector_column(
            read_attributes(vectors, id_column=item_id_column, side="item"), vectors
        )
    elif item_attributes is not None:
        from gclrec.training.trained import item_encoder

        encode = item_encoder(RunFolder.open(run))
        attributes = read_attributes(item_attributes, id_column=item_id_column, side="item")
    how: dict[str, Any] = {"encode": encode, "skip_known": skip_known, "skip_unknown": skip_unknown}
    with RunFolder(run).held("adding items", wait=WAIT):
        before = Recommender.load(run, use_index=False, seen=(), with_added=not replace)
        after = before.add_items(interactions, attributes=attributes, **how)
        count, total = len(after.items) - len(before.items), 0 if after.added is None else len(after.added)
        if after.added is not None and (count or replace):
            after.added.write(run)

    console = output(json)
    console.print(
        f"{run}: {count:,} {'item' if count == 1 else 'items'} added, {total:,} since training",
        soft_wrap=True,
    )
    if count:
        few = {"k": len(after.items)} if len(after.items) < 10 else {}
        command = command_line("gclrec", "similar", run, item=after.items.ids[-1], **few)
        console.print(f"next: {command}", soft_wrap=True)
    if (run / "index").exists() and (count or replace):
        command = command_line("gclrec", "export", run)
        console.print(f"to build them into the index: {command}", soft_wrap=True)
    if json:
        emit_json({"run": str(run), "added": count, "added_in_all": total, "items": len(after.items)})
