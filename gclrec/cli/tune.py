"""``gclrec tune``: good settings for a method on a data set, found on validation alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.argument import ArgumentCollection
from rich.console import Console
from rich.table import Table

from gclrec.cli.console import (
    ConfigFile,
    Json,
    command,
    emit_json,
    fill,
    main_of,
    note_given,
    output,
    with_config,
)
from gclrec.cli.train import describe
from gclrec.common.declaration import Span
from gclrec.common.errors import InputError
from gclrec.experiments.tuning import (
    Trial,
    Tuning,
    TuningFolder,
    best_of,
    curve_on,
    importance,
    need_optuna,
    run_trials,
    selection_only,
    trials_of,
)
from gclrec.runs.folder import plain_name
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS, method_settings
from gclrec.settings.search_space import search_space
from gclrec.training.build import pick_device
from gclrec.training.prepare import new_split, prepare, prepared_dataset
from gclrec.training.progress import Bars, Lines, progress_of
from gclrec.training.recorder import create_run

app = command("tune")

_OWN = {"method", "trials", "space", "prune_after", "out", "config", "json"}
_SHOWN = 10


def layered(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001
    """Fill in what no flag said: from ``--config``, then from ``--method``; the former counts as given."""
    by_name = with_config(arguments)
    note_given(by_name, _OWN)
    if by_name["method"].tokens:
        name = by_name["method"].tokens[0].value
        fill(by_name, method_settings(name), source=f"method {name}")


app.config = (layered,)


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
        Parameter(help="Trials in all, those that --out holds included; the first has the settings given."),
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
            help="Epochs that a trial gets before it may be cut short; --epochs cuts none short. "
            "Default: a quarter of --epochs."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Parameter(
            help="Folder for trials and best settings; it is gone on with. Default: tuning/DATASET-METHOD."
        ),
    ] = None,
    config_file: ConfigFile = None,  # noqa: ARG001 - read by layered()
    json: Json = False,
    given: Annotated[tuple[str, ...], Parameter(show=False, negative=())] = (),
) -> None:
    """Try settings, compare them on validation, and write the best as a file for gclrec train --config.

    The test part is not read. What is searched follows from the method; what a flag or --config says stays
    as it is. Stopped, it goes on with the same command.
    """
    need_optuna()
    tuning = make_tuning(
        config or TrainConfig(), method, given=frozenset(given), asked=space, prune_after=prune_after
    )
    if trials < 1:
        raise InputError(f"--trials: must be at least 1, got {trials}")
    pick_device(tuning.config.device)
    what = method or tuning.config.baseline or f"{tuning.config.encoder}-{tuning.config.aug}"
    path = out or Path("tuning") / plain_name(f"{Path(tuning.config.dataset).name}-{what}")
    folder = TuningFolder(path)
    if folder.begun(tuning):
        title = f"going on in {path}"
    else:
        dataset = prepared_dataset(tuning.config)
        title = describe(dataset.name, dataset)
        split = new_split(tuning.config, dataset)
        selection_only(split)
        create_run(folder.start.path, prepare(tuning.config, dataset, split))
    console = output(json)
    with folder.locked():
        study, curve = folder.study(tuning), curve_on(folder.start)
        names = ", ".join(name.replace("_", "-") for name in tuning.space)
        console.print(f"[bold]{title}[/bold]", soft_wrap=True)
        console.print(f"{trials} trials of {what} in {path}", soft_wrap=True)
        console.print(f"searched by {tuning.config.select} on validation: {names}", soft_wrap=True)
        try:
            with progress_of(trials) as bars:
                run_trials(tuning, study, trials, curve, _Watch(bars))
        except KeyboardInterrupt:
            folder.write(tuning, trials_of(study))
            console.print("stopped; the same command goes on where it was", soft_wrap=True)
            raise
        done, shares = trials_of(study), importance(study)
        files = folder.write(tuning, done)
    report(console, tuning, done, shares, files)
    if json:
        best = best_of(done)
        emit_json(
            {
                "out": str(path),
                "select": tuning.config.select,
                "trials": [{**vars(trial), "settings": dict(trial.settings)} for trial in done],
                "best": best.number if best else None,
                "importance": shares,
                "files": {name: str(file) for name, file in files.items()},
            }
        )


def make_tuning(
    config: TrainConfig,
    method: str | None,
    *,
    given: frozenset[str],
    asked: tuple[str, ...],
    prune_after: int | None,
) -> Tuning:
    """Return what is searched, checked; the split has one seed, whatever the best settings are run with."""
    split_seed = config.seed if config.split_seed is None else config.split_seed
    config = dataclasses.replace(config, split_seed=split_seed)
    if config.valid_share == 0:
        raise InputError("--valid-share: 0 leaves no validation pairs, and trials are compared on them")
    if config.refit or config.tensorboard:
        name = "--refit" if config.refit else "--tensorboard"
        raise InputError(f"{name}: a trial ends with its validation; give it to gclrec train afterwards")
    config, space = search_space(config, method, given=given, asked=asked)
    after = max(1, config.epochs // 4) if prune_after is None else prune_after
    if after < 1:
        raise InputError(f"--prune-after: must be at least 1, got {after}")
    return Tuning(config, space, after)


@dataclasses.dataclass
class _Watch:
    """Shows which trial is on."""

    bars: Bars | Lines

    def trial(self, number: int, count: int, settings: Mapping[str, Any]) -> Bars | Lines:  # noqa: ARG002
        """Move the bar of the trials."""
        self.bars.run(number, "  ".join(f"{name} {_short(value)}" for name, value in settings.items()))
        return self.bars


def report(
    console: Console,
    tuning: Tuning,
    trials: list[Trial],
    shares: Mapping[str, float],
    files: Mapping[str, Path],
) -> None:
    """Print the best trials beside the first, what decided, and what to type next."""
    best = best_of(trials)
    order = sorted(trials, key=lambda trial: (trial.state != "complete", -(trial.value or 0.0)))
    shown = order[:_SHOWN] + [trial for trial in order[_SHOWN:] if trial.number == 1]
    heads = ("trial", tuning.config.select, "at epoch", *(name.replace("_", "-") for name in tuning.space))
    table = Table(*heads)
    for column in table.columns:
        column.justify = "right"
    for trial in shown:
        state = "" if trial.state == "complete" else f" {trial.state}"
        value = "-" if trial.value is None else f"{trial.value:.4f}"
        cells = (_short(trial.settings.get(name)) for name in tuning.space)
        table.add_row(f"{trial.number}{state}", value, str(trial.epoch or "-"), *cells)
    console.print(table)
    states = [trial.state for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    seconds = sum(trial.seconds for trial in trials)
    console.print(f"{len(trials)} trials: {counts}; {seconds:.1f} s in all; trial 1 has the settings given")
    if shares:
        decided = ", ".join(f"{name.replace('_', '-')} {share:.0%}" for name, share in shares.items())
        console.print(f"what decides who is among the best 30 %: {decided}", soft_wrap=True)
    for name, file in files.items():
        console.print(f"{name}: {file}", soft_wrap=True)
    if best is None:
        console.print("no trial came to its end, so there are no best settings", soft_wrap=True)
    else:
        ends = [
            f"{name.replace('_', '-')} in {axis.low:g}..{axis.high:g}"
            for name, axis in tuning.space.items()
            if isinstance(axis, Span) and not 0.05 < axis.place(best.settings[name]) < 0.95
        ]
        if ends:
            where = ", ".join(ends)
            console.print(f"best at an end of its range: {where}; --space looks further", soft_wrap=True)
        console.print(f"next: gclrec train --config {files['best settings']}", soft_wrap=True)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


main = main_of(app)

if __name__ == "__main__":
    main()
