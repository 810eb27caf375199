"""``gclrec methods``: what ``--method`` takes, and what each is made of."""

from __future__ import annotations

from gclrec.cli.console import Json, command, emit_json, output

app = command("methods")


@app.default
def methods(*, json: Json = False) -> None:
    """Print the methods by name: views, encoder, losses, source."""
    from rich.table import Table

    from gclrec.settings.methods_table import METHOD_COLUMNS, method_rows

    rows = method_rows()
    table = Table(*METHOD_COLUMNS)
    for row in rows:
        table.add_row(*(row[column] for column in METHOD_COLUMNS))
    console = output(json)
    console.print(table)
    console.print("next: gclrec train --method NAME")
    if json:
        emit_json({"methods": rows})
