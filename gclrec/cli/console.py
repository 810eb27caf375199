"""Parsing, printing and errors of all commands.

A command module holds ``app = command("train")`` and a function under ``@app.default``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, get_args

from cyclopts import App, CycloptsError, Parameter, Token, UnusedCliTokensError
from cyclopts.argument import ArgumentCollection
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.table import Table

from gclrec.cli.signals import Terminated, forget_interrupt, signals_raise, starting
from gclrec.common.errors import (
    CollapseWarning,
    InputError,
    InputWarning,
    SettingError,
    UnfinishedError,
    is_out_of_memory,
)
from gclrec.common.files import read_toml
from gclrec.common.shell import command_line, flag, printable

if TYPE_CHECKING:
    from gclrec.recall.explain import Explanation
    from gclrec.recall.recommendation import Recommendation

Json = Annotated[bool, Parameter(negative=(), help="Print one JSON object as the last line on stdout.")]
"""The ``--json`` flag of every command: tables then go to stderr, so that stdout is for machines."""


Ray = Annotated[
    str | None,
    Parameter(
        help="Address of a Ray cluster, such as auto or HOST:6379, where the trainings of --jobs run; all "
        "its machines must see the folder of --out at the same path."
    ),
]
"""The flag ``--ray``."""

ConfigFile = Annotated[
    Path | None, Parameter(name="--config", help="TOML file with settings, named as the flags are.")
]
"""The ``--config`` flag of the commands that train; it is read before they are called."""


def command(name: str, **options: Any) -> App:
    """Return an empty command that is called ``gclrec NAME`` and ``python -m gclrec.MODULE``."""
    return App(
        name=name,
        usage=f"Usage: gclrec {name} [ARGS] [OPTIONS]",
        help_format="plaintext",
        version_flags=[],
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        config=CONFIG,
        **options,
    )


def refuse_fractions(_: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001
    """Refuse text such as ``2.5`` or ``1e3`` for a setting that is a whole number, which would be rounded.

    Raises:
        InputError: names the setting.
    """
    for argument in arguments:
        kinds = {
            part for hint in (argument.hint, *get_args(argument.hint)) for part in (hint, *get_args(hint))
        }
        for token in argument.tokens if int in kinds and not kinds & {float, str} else ():
            if re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", token.value, re.IGNORECASE) and not re.fullmatch(
                r"[+-]?[0-9]+", token.value
            ):
                raise InputError(f"{argument.name}: found {token.value}, expected a whole number")


def expand_home(_: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001
    """Expand ``~`` in paths, where no shell does: ``--out=~/lists.csv``, files of settings."""
    for argument in arguments:
        if Path in (argument.hint, *get_args(argument.hint)):
            argument.tokens[:] = [
                token.evolve(value=str(Path(token.value).expanduser())) for token in argument.tokens
            ]


CONFIG = (refuse_fractions, expand_home)
"""What every command does with its arguments before they are converted."""


def main_of(app: App) -> Callable[..., None]:
    """Return the ``main(argv=None)`` of a command; errors become one line.

    Exit codes: 0 done, 2 bad input or a file that cannot be read or written, 130 interrupted, 143 terminated.
    """

    def main(argv: Sequence[str] | None = None) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # where the encoding lacks a letter of an id
        tokens = sys.argv[1:] if argv is None else list(argv)
        with starting(), contextlib.suppress(KeyError):
            _ = app[tokens[0]] if tokens else None  # imports the command, if it is not there yet
        with warnings.catch_warnings():
            warnings.simplefilter("always", InputWarning)
            warnings.simplefilter("always", CollapseWarning)
            warnings.showwarning = _show_warning
            try:
                with signals_raise(to_the_end=argv is None):
                    app(tokens, exit_on_error=False, print_error=False)
                    sys.stdout.flush()
            except UnusedCliTokensError as error:
                unused = " ".join(error.unused_tokens or ())
                fail(
                    f"found {unused!r} where nothing more is taken; settings are named with flags, see --help"
                )
            except CycloptsError as error:
                fail(with_flags(error))
            except UnfinishedError as error:
                fail(f"{with_flags(error)}: {command_line('gclrec', 'train', resume=error.run)}")
            except SettingError as error:
                fail(f"{flag(error.argument)}: {with_flags(error.message)}")
            except InputError as error:
                fail(with_flags(error))
            except BrokenPipeError:
                sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - the reader has left
                sys.exit(0)
            except OSError as error:
                where = f"{error.filename}: " if error.filename else ""
                fail(f"{where}{error.strerror or error}")
            except Terminated:
                forget_interrupt()
                print("terminated", file=sys.stderr)
                sys.exit(143)
            except KeyboardInterrupt:
                forget_interrupt()
                print("interrupted", file=sys.stderr)
                sys.exit(130)
            except SystemExit:
                raise
            except BaseException as error:
                if is_out_of_memory(error):
                    fail(
                        "there is not enough memory; smaller settings, as of --dim or --batch-size, need less"
                    )
                if type(error).__name__ != "PanicException":  # that of Polars, which is no Exception
                    raise
                fail(f"Polars failed on this input ({with_flags(error)}); please report it")

    return main


def fill(by_name: Mapping[str, Any], settings: Mapping[str, Any], *, source: str) -> None:
    """Give the values of a file or a method to those arguments of a command that no flag gave."""
    from gclrec.settings.budget import RIVALS  # not above: commands that train nothing start without torch

    taken = [name for name, argument in by_name.items() if argument.tokens]
    for name, value in settings.items():
        key = name.replace("-", "_")
        if key not in by_name or key in ("config", "resume", "json"):
            raise InputError(f"{source}: unknown setting {name!r}; see --help")
        if by_name[key].tokens or RIVALS.get(key) in taken:
            continue
        for part in value if isinstance(value, list) else [value]:
            text = str(part).lower() if isinstance(part, bool) else str(part)
            if isinstance(part, bool):
                by_name[key].append(Token(keyword=flag(key), implicit_value=part, source=source))
            else:
                by_name[key].append(Token(keyword=flag(key), value=text, source=source))


def named(arguments: ArgumentCollection) -> dict[str, Any]:
    """Return the arguments of a command by their names, as settings are written."""
    return {argument.name.removeprefix("--").replace("-", "_"): argument for argument in arguments}


def with_config(arguments: ArgumentCollection, apart: Collection[str] = ()) -> dict[str, Any]:
    """Return the arguments of a command that notes what was given, filled in from ``--config FILE.toml``.

    Args:
        arguments: of the command.
        apart: what the file may hold besides settings.
    """
    by_name = named(arguments)
    if by_name["given"].tokens:
        raise InputError("unknown option --given")
    if by_name["config"].tokens:
        path = by_name["config"].tokens[0].value
        settings = {key: value for key, value in read_toml(Path(path)).items() if key not in apart}
        fill(by_name, settings, source=path)
    return by_name


def note_given(by_name: Mapping[str, Any], own: Collection[str]) -> None:
    """Append to the hidden argument ``--given`` the name of each training setting that was asked for.

    Args:
        by_name: the arguments of a command.
        own: names of those that are no training settings.
    """
    for name, argument in by_name.items():
        if argument.tokens and name not in {*own, "given"}:
            by_name["given"].append(Token(keyword="--given", value=name, source="flags"))


def fail(message: str) -> NoReturn:
    """Print one line on stderr and end with exit code 2."""
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def output(as_json: bool = False) -> Console:
    """Return the console for tables: stdout, or stderr when stdout is for JSON."""
    console = _console(stderr=as_json)
    return console if console.is_terminal else _console(stderr=as_json, width=140)


def progress_console() -> Console:
    """Return the console for progress bars: stderr, silent when it is not a terminal."""
    return _console(stderr=True, quiet=not sys.stderr.isatty())


def _console(**options: Any) -> Console:
    """Return a console that shows text as it is: no markup, no emoji names, no control characters."""
    console = Console(highlight=False, markup=False, emoji=False, **options)
    console.push_render_hook(_Plain())
    return console


class _Plain(RenderHook):
    """Makes the text of everything that a console prints printable."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap what is to be printed."""
        return [_Printable(each) for each in renderables]


@dataclass
class _Printable:
    content: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.content, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def show_items(
    title: str,
    found: Sequence[Recommendation],
    given: Mapping[str, object],
    *,
    json: bool,
    score: str = "score",
    why: Sequence[Explanation] | None = None,
) -> None:
    """Print items with scores, and what explains them, as a table, and as JSON after some given values."""
    table = Table("rank", "item", score, title=title, title_justify="left")
    table.columns[0].justify = table.columns[2].justify = "right"
    if why is not None:
        table.add_column("because of")
    for rank, (item, value) in enumerate(found, 1):
        table.add_row(str(rank), str(item), f"{value:.4f}", *([] if why is None else [_parts(why[rank - 1])]))
    output(json).print(table if found else f"{title} has every item already")
    if json:
        values = {**given, "items": [item for item, _ in found], "scores": [value for _, value in found]}
        if why is not None:
            because = [[{"item": item, "contribution": part} for item, part in each.because] for each in why]
            own = {name: [getattr(each, name) for each in why] for name in ("others", "own")}
            values |= {"because": because, **own}
        emit_json(values)


def _parts(explanation: Explanation) -> str:
    named = [f"{item} {value:.4f}" for item, value in explanation.because]
    return ", ".join([*named, f"other items {explanation.others:.4f}", f"own {explanation.own:.4f}"])


def emit_json(values: Mapping[str, object]) -> None:
    """Print one JSON object on one line of stdout."""
    is_unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    print(json.dumps(values, ensure_ascii=not is_unicode, allow_nan=False), flush=True)


def with_flags(message: object) -> str:
    """Return a message on one line, with the flags of the arguments that it names between backticks.

    Ids and paths are left as they are: they stand between quotes, or have other text around backticks.
    """

    def spelled(found: re.Match[str]) -> str:
        return flag(found[1]) + ("" if found[2] in (None, "True") else f" {found[2]}")

    line = re.sub(r"\s*\n\s*", " ", str(message).strip())
    return re.sub(r"(?<!\S)`([a-z_]+)(?:=([^`]*))?`(?=[\s;,:.)]|$)", spelled, line)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - the signature of warnings.showwarning
    line: str | None = None,
) -> None:
    if issubclass(category, InputWarning):
        print(f"note: {printable(with_flags(message))}", file=sys.stderr)
    elif issubclass(category, CollapseWarning):
        print(f"warning: {printable(with_flags(message))}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))
