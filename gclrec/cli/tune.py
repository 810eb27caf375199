"""``gclrec tune``: good settings for a method on a data set, found on validation alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.argument import ArgumentCollection
from rich.console import Console
from rich.table import Table

from gclrec.cli.console import (
    CONFIG,
    ConfigFile,
    Json,
    Ray,
    command,
    emit_json,
    note_given,
    output,
    with_config,
)
from gclrec.common.shell import command_line
from gclrec.data.interactions import Dataset
from gclrec.data.statistics import headline
from gclrec.experiments.search import short
from gclrec.experiments.tuning import Tuning
from gclrec.runs.folder import plain_name
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.studies import tune as run

app = command("tune")

_OWN = {"method", "trials", "space", "prune_after", "jobs", "ray", "out", "config", "json"}
_SHOWN = 10


def layered(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001
    """Fill in from ``--config FILE.toml`` what no flag said, and note which settings were given."""
    note_given(with_config(arguments), _OWN)


app.config = (layered, *CONFIG)


@app.default
def tune(
    config: TrainConfig | None = None,
    *,
    method: Annotated[
        str | None,
        Parameter(help=f"Method to tune: {', '.join(METHODS)}. Flags override its settings and hold them."),
    ] = None,
    trials: Annotated[
        int,
        Parameter(help="Number of trials, those in --out included; the first one has the settings given."),
    ] = 30,
    space: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            negative=(),
            show_default=False,
            help="Settings to search besides the usual ones, or elsewhere: NAME=LOW..HIGH or "
            "NAME=VALUE,VALUE.",
        ),
    ] = (),
    prune_after: Annotated[
        int | None,
        Parameter(
            help="Epochs that a trial gets before it may be pruned; as many as --epochs prunes none. "
            "Default: a quarter of --epochs."
        ),
    ] = None,
    jobs: Annotated[
        int,
        Parameter(
            help="Trials at once, each in a process with its share of the threads and memory of its own."
        ),
    ] = 1,
    ray: Ray = None,
    out: Annotated[
        Path | None,
        Parameter(
            help="Folder for trials and best settings; a search that it holds is resumed. "
            "Default: tuning/DATASET-METHOD."
        ),
    ] = None,
    config_file: ConfigFile = None,  # noqa: ARG001 - read by layered()
    json: Json = False,
    given: Annotated[tuple[str, ...], Parameter(show=False, negative=())] = (),
) -> None:
    """Try settings, compare them on validation, and write the best as a file for gclrec train --config.

    The test part is not read. The method says what is searched; settings given by a flag or in --config are
    held. The same command resumes an interrupted search.
    """
    config = config or TrainConfig()
    console = output(json)
    what = method or config.baseline or f"{config.encoder}-{config.aug}"
    path = out or Path("tuning") / plain_name(f"{Path(config.dataset).name}-{what}")
    try:
        done = run(
            method=method,
            trials=trials,
            space=space,
            prune_after=prune_after,
            jobs=jobs,
            ray=ray,
            folder=path,
            progress=True,
            callbacks=[_Title(console, what)],
            **{name: getattr(config, name) for name in given},
        )
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where it was", soft_wrap=True)
        raise
    report(console, done)
    if json:
        emit_json(
            {
                "out": str(path),
                "select": done.search.config.chosen_by,
                "trials": [{**vars(trial), "settings": dict(trial.settings)} for trial in done.done],
                "best": done.winner.number if done.winner else None,
                "importance": done.importance,
                "files": {name: str(file) for name, file in done.files.items()},
            }
        )


class _Title:
    """Prints what is going to be done."""

    def __init__(self, console: Console, what: str) -> None:
        self._console, self._what = console, what

    def on_tuning_start(self, tuning: Tuning, dataset: Dataset | None) -> None:
        """Print the data, the number of trials and the names of what is searched."""
        search, path = tuning.search, tuning.path
        title = f"going on in {path}" if dataset is None else headline(dataset)
        self._console.print(title, style="bold", soft_wrap=True)
        self._console.print(f"{search.trials} trials of {self._what} in {path}", soft_wrap=True)
        names = ", ".join(name.replace("_", "-") for name in search.space)
        self._console.print(f"searched by {search.config.chosen_by} on validation: {names}", soft_wrap=True)


def report(console: Console, tuning: Tuning) -> None:
    """Print the best trials beside the first, the settings that matter, and the next command."""
    search, trials, best = tuning.search, tuning.done, tuning.winner
    order = sorted(trials, key=lambda trial: (trial.state != "complete", -(trial.value or 0.0)))
    rows = order[:_SHOWN] + [trial for trial in order[_SHOWN:] if trial.number == 1]
    heads = ("trial", search.config.chosen_by, "at epoch", *(name.replace("_", "-") for name in search.space))
    table = Table(*heads)
    for column in table.columns:
        column.justify = "right"
    for trial in rows:
        state = "" if trial.state == "complete" else f" {trial.state}"
        value = "-" if trial.value is None else f"{trial.value:.4f}"
        cells = (short(trial.settings.get(name)) for name in search.space)
        table.add_row(f"{trial.number}{state}", value, str(trial.epoch or "-"), *cells)
    console.print(table)
    states = [trial.state for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    seconds = sum(trial.seconds for trial in trials)
    console.print(f"{len(trials)} trials: {counts}; {seconds:.1f} s in all; trial 1 has the settings given")
    if tuning.importance:
        shares = ", ".join(f"{name.replace('_', '-')} {x:.0%}" for name, x in tuning.importance.items())
        console.print(f"what decides who is among the best 30 %: {shares}", soft_wrap=True)
    for name, file in tuning.files.items():
        console.print(f"{name}: {file}", soft_wrap=True)
    if best is None:
        console.print("no trial came to its end, so there are no best settings", soft_wrap=True)
        return
    ends = [f"{name.replace('_', '-')} in {x.low:g}..{x.high:g}" for name, x in tuning.at_the_ends.items()]
    if ends:
        where = ", ".join(ends)
        console.print(f"best at an end of its range: {where}; --space looks further", soft_wrap=True)
    command = command_line("gclrec", "train", config=tuning.files["best settings"])
    console.print(f"next: {command}", soft_wrap=True)
