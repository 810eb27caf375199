"""``gclrec data``: list and describe data sets."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from gclrec.cli.console import Json, command, emit_json, main_of, output, with_flags
from gclrec.cli.expand import expand
from gclrec.cli.reading import Splitting
from gclrec.common.errors import InputError, InputWarning, SettingError
from gclrec.data.catalog.entries import CATALOG
from gclrec.data.catalog.loader import VARIABLE, cache_folder, locate, prepared_dataset
from gclrec.data.interactions import Interactions
from gclrec.data.io.columns import Columns
from gclrec.data.io.formats import columns_read
from gclrec.data.splits import SPLITS
from gclrec.data.statistics import dataset_statistics

app = command("data", help="List, describe and expand data sets.")
app.command(expand, name="expand", usage="Usage: gclrec data expand NAME --out FILE [OPTIONS]")


@app.command(name="list", usage="Usage: gclrec data list [OPTIONS]")
def list_command(*, json: Json = False) -> None:
    """List the named data sets and where they are on this machine."""
    facts = ("title", "synthetic", "users", "items", "interactions", "default_split", "terms", "origin")
    rows: list[dict[str, Any]] = [
        {"name": name, **{fact: getattr(entry, fact) for fact in facts}, **_whereabouts(name)}
        for name, entry in CATALOG.items()
    ]
    console = output(json)
    header = ["name", "users", "items", "interactions", "default split", "found", "terms"]
    header = header if console.width >= 120 else header[:-1]
    table = _grid(*header)
    for column in table.columns[4:]:
        column.justify = "left"
    table.columns[0].no_wrap = True
    for row in rows:
        counts = [f"{row[key]:,}" for key in ("users", "items", "interactions")]
        cells = [row["name"], *counts, row["default_split"], row["found"], row["terms"]]
        table.add_row(*cells[: len(header)])
    console.print(table)
    folder = os.environ.get(VARIABLE)
    where = f"${VARIABLE} is {folder or 'not set'}; cache is {cache_folder()}"
    console.print(f"\n{where}\nsource, terms and what to cite: gclrec data describe NAME", soft_wrap=True)
    if json:
        emit_json({"datasets": rows})


@app.command(name="describe", usage="Usage: gclrec data describe NAME [OPTIONS]")
def describe_command(
    name: Annotated[str, Parameter(help="Name in `gclrec data list`, or a file or folder.")],
    /,
    *,
    reading: Splitting | None = None,
    aug: Annotated[
        str | None, Parameter(help="Also describe two views of the graph: as --aug of `gclrec train`.")
    ] = None,
    aug_p: Annotated[float, Parameter(help="Strength of augmentations that name none.")] = 0.1,
    plot: Annotated[
        Path | None, Parameter(help="Draw degrees, times and ratings into this .png, .svg or .pdf file.")
    ] = None,
    estimate: Annotated[
        bool,
        Parameter(negative=(), help="Also predict time and memory of a training, from a few steps of it."),
    ] = False,
    method: Annotated[
        str | None,
        Parameter(
            help="Method or baseline of --estimate, see `gclrec methods`. Default: that of `gclrec train`."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Describe sizes, degrees, times, ratings, attributes and cold users and items of a data set."""
    if method is not None and not estimate:
        raise InputError("--method is about --estimate, which is not given")
    reading = reading or Splitting()
    if reading.split is not None and reading.split not in SPLITS:
        raise SettingError("split", f"{reading.split!r} is not one of {', '.join(SPLITS)}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        dataset = prepared_dataset(reading, name)
        split = reading.divided(dataset)
    for warning in caught:
        warnings.warn(warning.message, stacklevel=1)
    figures = dataset_statistics(dataset, split)
    figures["catalogue"] = _known(name)
    figures["files"] = list(dataset.files)
    figures["columns"] = None
    if name not in CATALOG and Path(name).expanduser().exists():
        figures["columns"] = columns_read(name, columns=Columns.of(reading), format=reading.format)
    figures["notes"] = [with_flags(warning.message) for warning in caught if warning.category is InputWarning]
    console = output(json)
    _print(console, figures)
    if aug is not None:
        train = split.train if split is not None else dataset.parts.get("train", dataset.interactions)
        figures["views"] = _views(train, aug, aug_p, reading.seed)
        console.print(_view_table(figures["views"]))
        console.print()
    if estimate:
        from gclrec.cli.estimates import estimate_table, predicted

        found = predicted(name, dataset, reading, method)
        figures["estimate"] = {**found.values, "method": method}
        console.print(estimate_table(found))
    if plot is not None:
        from gclrec.report.plots import plot_dataset

        plot_dataset(dataset, plot)
        figures["plot"] = str(plot)
        console.print(f"plot: {plot}", soft_wrap=True)
    if json:
        emit_json(figures)


def _views(train: Interactions, aug: str, aug_p: float, seed: int) -> dict[str, Any]:
    """Return statistics of two views of the graph; only this imports PyTorch."""
    from torch import Generator

    from gclrec.graph.bipartite import BipartiteGraph
    from gclrec.views.view_statistics import view_statistics

    graph = BipartiteGraph.from_interactions(train)
    return view_statistics(graph, aug, aug_p, generator=Generator().manual_seed(seed))


def _known(name: str) -> dict[str, str] | None:
    """Return the catalogue's entry of a data set, ``None`` if there is none."""
    if name not in CATALOG:
        return None
    entry = CATALOG[name]
    keys = ("title", "about", "origin", "terms", "cite", "format")
    return {key: getattr(entry, key) for key in keys}


def _whereabouts(name: str) -> dict[str, Any]:
    """Return where a data set is on this machine, in words and as a path."""
    entry = CATALOG[name]
    if entry.synthetic:
        return {"found": "made in code", "path": None}
    try:
        place = locate(name)
    except InputError:
        return {"found": "incomplete", "path": None}
    if place is None:
        return {"found": "to download" if entry.downloads else "not here", "path": None}
    return {"found": "in cache" if place.parent == cache_folder() else f"in ${VARIABLE}", "path": str(place)}


def _print(console: Console, figures: dict[str, Any]) -> None:
    kind = ": synthetic data, made in code" if figures["synthetic"] else ""
    console.print(f"{figures['name']}{kind}", style="bold", soft_wrap=True)
    tables = [_overview(figures), _degrees(figures)]
    tables += [_part_table(title, parts) for title, parts in _parts(figures)]
    if figures["ratings"]:
        tables.append(_ratings(figures["ratings"]))
    for owner in ("user", "item"):
        if figures[f"{owner}_attributes"]:
            tables.append(_attributes(owner, figures[f"{owner}_attributes"]))
    for table in tables:
        console.print(table)
        console.print()


def _grid(*header: str) -> Table:
    table = Table(*header, show_edge=False, pad_edge=False, box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    return table


def _overview(figures: dict[str, Any]) -> Table:
    table = Table(show_header=False, show_edge=False, pad_edge=False, box=None)
    known = figures["catalogue"]
    about = [("what", f"{known['title']}. {known['about']}"), ("origin", known["origin"])] if known else []
    terms = [("terms", known["terms"]), ("cite", known["cite"])] if known else []
    rows = [
        *about,
        *(() if figures["synthetic"] else terms),
        *([("files read", ", ".join(figures["files"]))] if figures["files"] else []),
        *_columns(figures["columns"]),
        ("users", _with_rest(figures, "users")),
        ("items", _with_rest(figures, "items")),
        ("interactions", f"{figures['interactions']:,}"),
        ("density", f"{figures['density']:.3%}"),
        ("times", _span(figures["time"])),
        ("default split", figures["default_split"]),
    ]
    for k, core in figures["k_cores"].items():
        size = f"{core['users']:,} users, {core['items']:,} items, {core['interactions']:,} interactions"
        rows.append((f"{k}-core", size if core["interactions"] else "empty"))
    for row in rows:
        table.add_row(*row)
    return table


def _columns(columns: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Return table rows with the columns that are read and those that are ignored."""
    if columns is None:
        return []
    read = ", ".join(f"{role} from {name}" for role, name in columns["read"].items())
    rows = [("columns read", read)]
    return [*rows, ("ignored", ", ".join(columns["ignored"]))] if columns["ignored"] else rows


def _with_rest(figures: dict[str, Any], kind: str) -> str:
    without = figures[f"{kind}_without_interactions"]
    return f"{figures[kind]:,}" + (f" ({without:,} without interactions)" if without else "")


def _span(time: dict[str, Any] | None) -> str:
    if time is None:
        return "none"
    if time["kind"] == "order":
        return "each user's order only, no clock"
    if time["kind"] == "numbers":
        return f"numbers from {time['first']:g} to {time['last']:g}"
    return f"{time['first'][:10]} to {time['last'][:10]} ({time['days']:,.0f} days)"


def _degrees(figures: dict[str, Any]) -> Table:
    table = _grid(
        "interactions of", "min", "10 %", "25 %", "median", "75 %", "90 %", "99 %", "max", "mean", "Gini"
    )
    for kind in ("user", "item"):
        degrees = dict(figures[f"{kind}_degrees"])
        gini, mean = degrees.pop("gini"), degrees.pop("mean")
        table.add_row(
            f"a {kind}" if kind == "user" else "an item",
            *(f"{value:,.0f}" for value in degrees.values()),
            f"{mean:,.1f}",
            f"{gini:.2f}",
        )
    return table


def _parts(figures: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    tables = []
    if figures["parts"]:
        tables.append(("published part", figures["parts"]))
    if figures["split"]:
        split = figures["split"]
        tables.append((f"split {split['name']}, seed {split['seed']}", split["parts"]))
    return tables


def _part_table(title: str, parts: dict[str, Any]) -> Table:
    table = _grid(
        title, "interactions", "users", "items", "cold users", "cold items", "cold pairs", "dispersion"
    )
    keys = ("interactions", "users", "items", "cold_users", "cold_items", "cold_interactions")
    for name, part in parts.items():
        dispersion = part.get("item_dispersion")
        cells = [f"{part[key]:,}" if key in part else "" for key in keys]
        table.add_row(name, *cells, "" if dispersion is None else f"{dispersion:.2f}")
    return table


def _view_table(views: dict[str, Any]) -> Table:
    first, second = views["views"]
    table = _grid("view", "the graph", "+".join(first["steps"]), "+".join(second["steps"]))
    columns = (views["graph"], first, second)
    for name in ("interactions", "isolated_users", "isolated_items", "components", "largest_component"):
        table.add_row(name.replace("_", " "), *(f"{column[name]:,}" for column in columns))
    for side in ("user", "item"):
        cells = [f"{column[f'{side}_degrees']['median']:,.0f}" for column in columns]
        table.add_row(f"median interactions of {'a user' if side == 'user' else 'an item'}", *cells)
    table.add_row("kept", "", *(f"{view['kept_share']:.1%}" for view in (first, second)))
    table.add_row("added", "", *(f"{view['added']:,}" for view in (first, second)))
    for group in first["kept_share_by_item_degree"]:
        shares = [view["kept_share_by_item_degree"][group] for view in (first, second)]
        cells = ["-" if share is None else f"{share:.1%}" for share in shares]
        table.add_row(f"kept, of items with {group}", "", *cells)
    for step in dict.fromkeys(first["untold"] + second["untold"]):
        table.add_row(f"{step}: acts on embeddings or layers, not in these figures", "", "", "")
    table.add_row("interactions that both views share", "", f"{views['overlap']:.1%}", "")
    return table


def _ratings(ratings: dict[str, Any]) -> Table:
    table = _grid("rating", "interactions", "share")
    bars = ratings["histogram"]
    total = sum(bar["interactions"] for bar in bars)
    for bar in bars:
        value = f"{bar['from']:g}" if bar["from"] == bar["to"] else f"{bar['from']:g} to {bar['to']:g}"
        table.add_row(value, f"{bar['interactions']:,}", f"{bar['interactions'] / total:.1%}")
    table.add_row("mean", f"{ratings['mean']:.3f}", "")
    return table


def _attributes(owner: str, fields: list[dict[str, Any]]) -> Table:
    table = _grid(f"{owner} attribute", "kind", "known", "values")
    for field in fields:
        table.add_row(field["field"], field["kind"], f"{field['coverage']:.1%}", _variety(field))
    return table


def _variety(field: dict[str, Any]) -> str:
    if field["kind"] == "vector":
        return f"{field['length']} numbers each"
    if field["kind"] == "number":
        return "" if field["least"] is None else f"{field['least']:g} to {field['most']:g}"
    each = f", {field['per_row']:.1f} each" if field["kind"] == "categories" else ""
    return f"{field['distinct']:,}{each}"


main = main_of(app)
