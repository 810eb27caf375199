"""Write the files generated from the code: ``python scripts/reference.py [NAME ...]``.

``typed`` is gclrec/settings/typed.py, from which editors complete the keywords of ``gclrec.fit``; the others
are pages of docs/reference (``datasets``: its catalogue). Without a name all are written.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from cyclopts import App

from gclrec.baselines import BASELINES
from gclrec.cli.commands import app as COMMANDS  # noqa: N812
from gclrec.common.declaration import Around, Span
from gclrec.common.shell import flag
from gclrec.data.catalog.entries import CATALOG
from gclrec.serving.openapi import document
from gclrec.settings.config import CoreSettings, TrainConfig
from gclrec.settings.methods import DEPARTURES, METHODS
from gclrec.settings.methods_table import METHOD_COLUMNS, method_rows
from gclrec.settings.registries import REGISTRIES, RunSetting

ROOT = Path(__file__).resolve().parent.parent
DATASETS = ROOT / "docs" / "reference" / "datasets.md"
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "minLength": "with a length of at least",
    "maxLength": "at most",
}
"""Words for the bounds of a JSON schema."""


def methods_page() -> str:
    """Return docs/reference/methods.md."""
    lines = [
        "# Methods",
        "",
        "A method is a set of settings under one name, `gclrec train --method NAME`; flags and",
        "`--config` override them, and everything that is not named keeps its default. `gclrec",
        "methods` prints this table. Made by `python scripts/reference.py` from",
        "`gclrec/settings/methods.toml`; a test compares them.",
        "",
        *_head(METHOD_COLUMNS),
    ]
    for row in method_rows():
        cells = {**row, "method": f"`{row['method']}`", "source": _linked(row["source"])}
        lines.append(_row(cells[column] for column in METHOD_COLUMNS))
    lines += ["", "## Settings of each", "", *_head(("method", "settings"))]
    for name, method in METHODS.items():
        settings = " ".join(f"{flag(key)} {value}" for key, value in method.settings.items())
        lines.append(_row((f"`{name}`", f"`{settings}`")))
    lines += [
        "",
        "## Departures from the papers",
        "",
        "Optimisers, rates, epochs and L2 are gclrec's defaults in all methods but its own. What else",
        "differs on purpose, from `gclrec/settings/departures.toml`. Measured is test recall@20 of one run",
        "each, as it is here and with the settings named: `gclrec train --dataset ml-100k --split random",
        "--epochs 15 --batch-size 512 --seed 0 --method NAME`. Seeds differ by 0.001 to 0.003",
        "([methods compared](../studies/methods-compared.md)).",
        "",
        *_head(("method or component", "here", "in the paper or its code", "why", "measured")),
    ]
    for name, departures in DEPARTURES.items():
        lines += [_row((f"`{name}`", each.here, each.paper, each.why, each.measured)) for each in departures]
    lines += [
        "",
        "## Baselines",
        "",
        f"{_several(BASELINES)} are fitted once,",
        "on the CPU, without epochs, and use the same split, evaluation and run folder. `popularity`,",
        "`group_popularity`, `pure_svd` and `ials` have vectors and can be exported and served; `ials`",
        "solves for new users and items exactly as it does in training. The others rank without vectors:",
        "`gclrec export` and `recommend` say so in one line, and `gclrec evaluate` fits them again, to the",
        "same numbers. `--refit` fits to train and validation together. `content_knn` and `linear_map` need",
        "attributes of the items, `group_popularity` those of the users",
        "([attributes](../how-to/attributes.md)). `ease` needs 8 bytes for each pair of items (7 GiB for",
        "30,000) and says so where they are not free.",
        "",
        *_head(("baseline", "score of item `j` for user `u`", "settings")),
    ]
    for name, entry in BASELINES.items():
        used = [flag(found.setting.name) for found in entry.declared.values()]
        if entry.attributes_of is not None:
            used += [f"--{entry.attributes_of.removesuffix('s')}-attributes", "--attribute-min-count"]
        lines.append(_row((f"`{name}`", entry.about, ", ".join(f"`{each}`" for each in used) or "none")))
    return "\n".join(lines) + "\n"


def settings_page(config: type[CoreSettings] = TrainConfig) -> str:
    """Return docs/reference/settings.md.

    Args:
        config: the class of all settings.
    """
    lines = [
        "# Settings",
        "",
        "Every setting of a run: a flag of `gclrec train`, `compare` and `tune`, a key of TOML files and a",
        "keyword of `gclrec.fit` (there with `_` for `-`). Components declare them in their signatures;",
        "made by `python scripts/reference.py`, and a test compares them.",
    ]
    groups: dict[str, list[RunSetting]] = {}
    for known in sorted(config.known.values(), key=lambda known: known.group.sort_key):
        groups.setdefault(str(known.group.name), []).append(known)
    for group, members in groups.items():
        heads = ("flag", "type", "default", "values", "searched by `tune`", "used by", "meaning")
        lines += ["", f"## {group}", "", *_head(heads)]
        for known in members:
            setting = known.setting
            names = "" if setting.composed else ", ".join(f"`{name}`" for name in setting.choices)
            used = [
                f"any {choice}"
                if len(users) == len(REGISTRIES[choice].entries)
                else f"{choice} {_several(users)}"
                for choice, users in known.users.items()
            ]
            cells = (
                f"`{flag(setting.name)}`",
                _type_name(known.type),
                "" if known.default is None else f"`{_plain(known.default)}`",
                names or setting.bounds,
                _searched(setting.search),
                "; ".join(used),
                known.help
                if setting.name not in REGISTRIES
                else setting.help.replace(": {choices}", ", see below"),
            )
            lines.append(_row(cells))
    for registry in REGISTRIES.values():
        lines += ["", f"## `{flag(registry.name)}`", "", *_head(("name", "what it is", "settings"))]
        for name, entry in registry.entries.items():
            used = [f"`{flag(each.setting.name)}`" for each in registry.declared(name).values()]
            lines.append(_row((f"`{name}`", entry.about, ", ".join(used))))
    return "\n".join(lines) + "\n"


def datasets_page() -> str:
    """Return docs/reference/datasets.md, with a table and a list of sources between its marks."""
    rows = [["name", "users", "items", "interactions", "default split", "download", "what it is"]]
    rows.append(["---", "--:", "--:", "--:", "---", "---", "---"])
    sources = []
    for name, entry in CATALOG.items():
        counts = [f"{number:,}" for number in (entry.users, entry.items, entry.interactions)]
        download = "made in code" if entry.synthetic else "yes" if entry.downloads else "no"
        what = f"{entry.title}. {entry.about}"
        rows.append([f"`{name}`", *counts, f"`{entry.default_split}`", download, what])
        if entry.synthetic:
            continue
        ways = (", ".join(f"`{file}`" for file in layout.needed.values()) for layout in entry.layouts)
        folder = f", in folder `{entry.folder}`" if entry.folder else ""
        optional = {file for layout in entry.layouts for names in layout.optional.values() for file in names}
        also = f"; also read: {', '.join(f'`{file}`' for file in sorted(optional))}" if optional else ""
        sources.append(
            f"- `{name}`: <{entry.origin}>. Terms: {entry.terms}. Cite: {entry.cite}.\n"
            f"  Files: {' or '.join(ways)}{folder}{also}."
        )
    begin, end = "<!-- catalogue -->\n", "<!-- end of catalogue -->"
    before, _, rest = DATASETS.read_text(encoding="utf-8").partition(begin)
    lines = [*(f"| {' | '.join(row)} |" for row in rows), "", *sources, ""]
    return before + begin + "\n".join(lines) + end + rest.partition(end)[2]


def commands_page() -> str:
    """Return docs/reference/commands.md."""
    lines = [
        "# Commands",
        "",
        "Every command with its own flags; `gclrec COMMAND --help` prints the same. `train`, `compare` and",
        "`tune` take every [setting](settings.md) as a flag too. Made by `python scripts/reference.py`.",
        "",
        "Exit codes: 0 done, 2 bad input or a file that cannot be read or written (one line on stderr), 130",
        "interrupted, 143 terminated. `--json` prints one JSON object as the last line on stdout.",
    ]
    for names, app in _apps(COMMANDS, ("gclrec",)):
        default = app.default_command
        if default is None:
            continue
        first, _, rest = inspect.cleandoc(default.__doc__ or "").partition("\n\n")
        rows = [
            _row(
                (
                    ", ".join(f"`{name}`" for name in argument.names),
                    str(_default_of(argument)),
                    argument.parameter.help or "",
                )
            )
            for argument in app.assemble_argument_collection()
            if argument.parameter.show is not False and _own(argument)
        ]
        lines += ["", f"## {' '.join(names)}", "", " ".join(first.split())]
        lines += ["", rest.strip()] if rest.strip() else []
        lines += ["", *_head(("argument", "default", "meaning")), *rows]
    return "\n".join(lines) + "\n"


def _apps(app: App, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], App]]:
    """Yield the commands below one, by the words that call them."""
    for name in app:
        if not name.startswith("-"):
            yield (*names, name), app[name]
            yield from _apps(app[name], (*names, name))


def _own(argument: Any) -> bool:
    """Return whether an argument of a command is none of the settings that several commands share."""
    return (
        argument.name != "*" and argument.name.removeprefix("--").replace("-", "_") not in TrainConfig.known
    )


def _default_of(argument: Any) -> str:
    default = argument.field_info.default
    if argument.required:
        return "needed"
    return "" if default in (None, (), False, argument.field_info.empty) else f"`{_plain(default)}`"


def http_page() -> str:
    """Return docs/reference/http.md."""
    api = document()
    schemas = api["components"]["schemas"]
    lines = [
        "# HTTP",
        "",
        "What `gclrec serve` answers ([how to](../how-to/serve.md)): the OpenAPI document of `/openapi.json`",
        "as a page. Made by `python scripts/reference.py`. Errors are problem JSON (RFC 9457).",
        "",
        "## Addresses",
        "",
        *_head(("address", "what it does", "takes", "gives")),
    ]
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            taken = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            given = next(iter(operation["responses"]["200"]["content"].items()))
            cells = (
                f"`{method.upper()} {path}`",
                operation["summary"],
                _kind(taken.get("schema", {})),
                _kind(given[1]["schema"]) if given[0] == "application/json" else f"`{given[0]}`",
            )
            lines.append(_row(cells))
    lines += ["", "## Messages"]
    for name, schema in sorted(schemas.items()):
        lines += ["", f"### {name}", ""]
        lines += [schema["description"], ""] if "description" in schema else []
        if "properties" not in schema:
            lines.append(f"{_kind(schema)}.")
            continue
        needed = schema.get("required", ())
        lines += _head(("field", "type", "default", "meaning"))
        for field, about in schema["properties"].items():
            default = "needed" if field in needed else f"`{json.dumps(about.get('default'))}`"
            lines.append(_row((f"`{field}`", _kind(about), default, about.get("description", ""))))
    return "\n".join(lines) + "\n"


def _kind(schema: Mapping[str, Any]) -> str:
    """Return the type of a JSON schema in words, with links to the messages of the page."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return _several(tuple(map(str, schema["enum"])))
    kind = schema.get("type", "anything" if schema else "")
    if kind == "array":
        most = f", at most {schema['maxItems']:,}" if "maxItems" in schema else ""
        return f"list of {_kind(schema.get('items', {}))}{most}"
    if schema.get("maximum") == 2**63 - 1:
        return "64-bit integer"
    bounds = [f"{word} {schema[key]:,}" for key, word in BOUNDS.items() if key in schema]
    return f"{kind} {', '.join(bounds)}".strip()


def typed_module(config: type[CoreSettings] = TrainConfig) -> str:
    """Return gclrec/settings/typed.py.

    Args:
        config: the class of all settings.
    """
    lines = [
        '"""The settings of a run as typed keywords. Made by ``python scripts/reference.py``."""',
        "",
        "# fmt: off",
        "from __future__ import annotations",
        "",
        "from typing import Any, Literal, TypedDict",
        "",
        "",
        "class Settings(TypedDict, total=False):",
        '    """Keywords of :func:`gclrec.fit`; all are optional."""',
        "",
    ]
    for name, known in config.known.items():
        choices = () if known.setting.composed or isinstance(known.default, tuple) else known.setting.choices
        kind = _type_name(known.type)
        if choices:
            kind = f"Literal[{', '.join(map(_quoted, choices))}]" + (" | None" if "None" in kind else "")
        if name in ("user_attributes", "item_attributes"):
            kind = "Any"  # a path or a table
        entry = f"    {name}: {kind}"
        if len(entry) > 110:
            inner = textwrap.fill(", ".join(map(_quoted, choices)), 98).replace("\n", "\n        ")
            entry = f"    {name}: Literal[\n        {inner}\n    ]"
        lines += [entry, textwrap.fill(f'    """{known.help}"""', 108, subsequent_indent="    ")]
    return "\n".join(lines) + "\n"


def _head(columns: tuple[str, ...]) -> tuple[str, str]:
    return _row(columns), "|" + "---|" * len(columns)


def _row(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _several(names: Mapping[str, Any] | tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _linked(source: str) -> str:
    return re.sub(r"^(.*), (https://\S+)$", r"[\1](\2)", source)


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else _spelled(kind)


def _spelled(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"tuple[{get_args(kind)[0].__name__}, ...]"
    return " | ".join("None" if each is type(None) else each.__name__ for each in get_args(kind))


def _searched(search: Span | Around | None) -> str:
    if search is None:
        return ""
    if isinstance(search, Around):
        return f"method's value / {search.factor:g} to x {search.factor:g}"
    return f"{search.low:g} to {search.high:g}" + (", log scale" if search.log else "")


PAGES: Mapping[str, tuple[Path, Callable[[], str]]] = {
    "methods": (ROOT / "docs" / "reference" / "methods.md", methods_page),
    "settings": (ROOT / "docs" / "reference" / "settings.md", settings_page),
    "commands": (ROOT / "docs" / "reference" / "commands.md", commands_page),
    "http": (ROOT / "docs" / "reference" / "http.md", http_page),
    "typed": (ROOT / "gclrec" / "settings" / "typed.py", typed_module),
    "datasets": (DATASETS, datasets_page),
}

if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        path, page = PAGES[name]
        path.write_text(page(), encoding="utf-8")
        print(path)
