"""``gclrec train``: from interactions to a trained encoder in a run folder."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, Token
from cyclopts.argument import ArgumentCollection
from rich.console import Console

from gclrec.api import Run, go_on
from gclrec.cli.console import (
    CONFIG,
    ConfigFile,
    Json,
    command,
    emit_json,
    fill,
    main_of,
    named,
    output,
    progress_console,
)
from gclrec.common.errors import DivergenceError, InputError
from gclrec.common.files import local_path
from gclrec.common.shell import command_line, flag
from gclrec.data.catalog.loader import prepared_dataset
from gclrec.data.interactions import Dataset
from gclrec.data.splits import Split
from gclrec.data.statistics import headline, seconds_since_1970
from gclrec.experiments.run_cells import fingerprint
from gclrec.recall.raw_ids import counted
from gclrec.report.figures_table import figures_table, share_of_cold_items
from gclrec.report.run_report import PAGE
from gclrec.runs.folder import RunFolder, check_free, free_name
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import AUTO, METHODS
from gclrec.settings.sources import layers
from gclrec.settings.validation import validate
from gclrec.training.build import pick_device
from gclrec.training.distributed import Processes, check_divisible, each, joined
from gclrec.training.estimate import WORTH, estimated
from gclrec.training.fit import assist
from gclrec.training.prepare import TrainingData, config_of, prepare
from gclrec.training.progress import progress_of
from gclrec.training.recorder import continued_data, creating_run

app = command("train")


def layered(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001
    """Fill in what no flag said: first from ``--config FILE.toml``, then from ``--method NAME``."""
    by_name = named(arguments)
    positional = by_name.pop("DATASET").tokens
    if positional and by_name["dataset"].tokens:
        raise InputError(f"--dataset: the data set is named twice, as {positional[0].value} too")
    if positional:
        by_name["dataset"].append(Token(keyword="--dataset", value=positional[0].value))
    given = {name: argument.tokens[0].value for name, argument in by_name.items() if argument.tokens}
    if "resume" in given:
        for name in given.keys() - {"resume", "epochs", "json"}:
            raise InputError(f"--resume: {flag(name)} cannot be given; only --epochs may change in a run")
        folder = RunFolder.open(local_path(given["resume"]))
        fill(by_name, config_of(folder).to_dict(), source=str(folder.path / "config.toml"))
        return
    named_by = {name: given.get(name) for name in ("config", "method", "start_from")}
    for source, settings in layers(**named_by, given=given, auto=True):
        fill(by_name, settings, source=source)


app.config = (layered, *CONFIG)


@app.default
def train(
    table: Annotated[  # noqa: ARG001 - read by layered()
        str | None, Parameter(name="DATASET", show_default=False, help="The same as --dataset.")
    ] = None,
    /,
    *,
    config: TrainConfig | None = None,
    method: Annotated[  # noqa: ARG001 - read by layered()
        str | None,
        Parameter(
            help=f"A named set of settings: {', '.join(METHODS)}. Flags override them. Default: "
            f"{AUTO}, which chooses a recipe by short trainings, unless a flag chooses a part of the model."
        ),
    ] = None,
    config_file: ConfigFile = None,  # noqa: ARG001 - read by layered()
    run: Annotated[
        Path | None, Parameter(help="Folder to make for the run. Default: runs/DATASET-ENCODER-AUG-N.")
    ] = None,
    resume: Annotated[
        Path | None, Parameter(help="Continue an interrupted run; only --epochs may be given besides.")
    ] = None,
    force: Annotated[
        bool, Parameter(negative=(), help="Start even if the estimate says that the memory does not suffice.")
    ] = False,
    json: Json = False,
) -> None:
    """Train an encoder on user-item interactions; ends with test figures and a run folder.

    With no flag it trains on a small synthetic data set. Flags override --config, which overrides --method.
    """
    config = config or TrainConfig()
    console = output(json)
    with joined() as processes:
        if processes is not None and not processes.first:
            follow(processes, config, resume)
            return
        if resume is not None:
            folder = RunFolder.open(resume)
            with folder.held():
                title = f"resuming {config.dataset}"
                data = agreed(processes, partial(continued_data, folder, config.epochs))
                done = trained(console, title, folder, data, processes)
        else:
            dataset = each(processes, partial(_dataset, config, run, processes))
            data = agreed(processes, partial(prepare, config, dataset))
            stem = f"{Path(config.dataset).name}-{config.baseline or f'{config.encoder}-{config.aug}'}"
            title = f"{headline(dataset)}, {len(data.split.train):,} of them to train on"
            title += _other_splits(dataset, data.split, asked=config.split)
            if data.tables and config.baseline is None:
                title += (
                    f"\nattributes of {' and '.join(data.tables)}: {config.attributes}{_items_to_add(data)}"
                )
            if len(data.split.train) >= WORTH and processes is None:
                with progress_console().status("measuring a few steps"):
                    title += f"\n{estimated(data, force=force)}, by a few steps on this machine"
            with creating_run(run or free_name(Path("runs"), stem), data) as folder:
                done = trained(console, title, folder, data, processes)
    path = folder.path
    report(console, done, path)
    console.print(f"report: {path / PAGE}", soft_wrap=True)
    if json:
        emit_json(done.values)


def _dataset(config: TrainConfig, run: Path | None, processes: Processes | None) -> Dataset:
    """Return the data set of a new run, after the settings were checked."""
    validate(config)
    pick_device(config.device)
    if processes is not None:
        check_divisible(config, processes.count)
    if run is not None:
        check_free(run)
    return prepared_dataset(config)


def follow(processes: Processes, config: TrainConfig, resume: Path | None) -> None:
    """Train along with the first process, which alone prints and writes."""
    warnings.simplefilter("ignore")
    if resume is None:
        dataset = each(processes, partial(_dataset, config, None, processes))
        data = agreed(processes, partial(prepare, config, dataset))
    else:
        data = agreed(processes, lambda: TrainingData.read(RunFolder.open(resume)))
    try:
        assist(data.config, data.split, processes, exposed=data.exposed, start=data.start)
    except DivergenceError:  # in all of them: the first one says so
        sys.exit(2)


def agreed(processes: Processes | None, make: Callable[[], TrainingData]) -> TrainingData:
    """Return what this process trains on, with the settings of the first, once all have the same pairs.

    Raises:
        InputError: a process cannot read its data, has other data, or the training cannot be divided.
    """
    data = each(processes, make)
    if processes is None:
        return data
    config, expected = processes.share(lambda: (data.config, fingerprint(data.split)))

    def check() -> None:
        check_divisible(config, processes.count)
        if fingerprint(data.split) != expected:
            raise InputError("the data set is not that of the first process")

    processes.each(check)
    return replace(data, config=replace(config, device="cpu"))


def trained(
    console: Console, title: str, folder: RunFolder, data: TrainingData, processes: Processes | None = None
) -> Run:
    """Train in a run folder whose lock is held; what stops it, such as a full disk, says how to continue."""
    console.print(title, style="bold", soft_wrap=True)
    console.print(f"run folder {folder.path}", soft_wrap=True)
    if processes is not None:
        console.print(f"{processes.count} processes share the {data.config.dim} dimensions", soft_wrap=True)
    try:
        with progress_of() as bars:
            return go_on(folder, data, callbacks=[bars], processes=processes)
    except (KeyboardInterrupt, MemoryError, OSError, RuntimeError):
        again = command_line("gclrec", "train", resume=folder.path)
        console.print(f"stopped; continue with: {again}", soft_wrap=True)
        raise


def _other_splits(dataset: Dataset, split: Split, *, asked: str | None) -> str:
    """Return a line on the splits by time, where times are known and nobody chose a split."""
    if asked is not None or split.name != "random" or seconds_since_1970(dataset) is None:
        return ""
    return "\nsplit random; times are known: --split temporal (or leave_one_out) tests on what came later"


def _items_to_add(data: TrainingData) -> str:
    """Return a line on rows of a file of item attributes whose item is not in the data, and how to add it."""
    path = data.config.item_attributes
    if path is None or "items" not in data.tables:
        return ""
    _, table = data.tables["items"]
    count = int((data.split.train.items.rows(table["id"]) < 0).sum())
    if not count:
        return ""
    command = command_line("gclrec", "add-items", "RUN", "--item-attributes", path, "--skip-known")
    names = f"{counted(count, 'row')} of items that are not in the data"
    return f"\n{path} has {names}; to recommend them too, after training: {command}"


def report(console: Console, run: Run, path: Path) -> None:
    """Print the final table, how the model was chosen and what to type next."""
    config, result = run.config, run.result
    assert result is not None
    if run.cases["all"]:
        console.print(figures_table(run.figures, run.cases, pairs=result.evaluation.pairs))
        if cold := share_of_cold_items(run.figures, result.evaluation.pairs, result.alone):
            console.print(cold, soft_wrap=True)
    else:
        console.print("no test figures: the split has no test pairs")
    if sample := run.values.get("test_users"):
        error = run.values["errors"].get(f"test/{config.selected}", 0.0)
        drawn = f"test figures of {sample['ranked']:,} users, drawn from {sample['of']:,}"
        console.print(f"{drawn}; standard error of {config.chosen_by} {error:.4f}", soft_wrap=True)
    if result.pilot is not None:
        console.print(str(result.pilot), soft_wrap=True)
    again = "fitted again" if config.baseline else "refit"
    refit = f", then {again} on train + valid" if result.refitted else ""
    if config.baseline:
        chosen = f"{config.baseline}, fitted to train{refit}"
    else:
        length = "" if result.exponent is None else f", items' lengths to the power {result.exponent:g}"
        how = (
            f"by validation {config.chosen_by}"
            if result.validated
            else "the last one: there was nothing to validate on"
        )
        rounds = "epoch" if config.steps is None else "round"
        epochs = f"{rounds} {result.epoch} of {run.values['epochs_trained']}"
        chosen = f"chosen: {epochs}{length}, {how}{refit}"
    console.print(f"{chosen}; {result.seconds:.1f} s in all", soft_wrap=True)
    console.print(f"run folder: {path}", soft_wrap=True)
    if result.vectors is not None:
        user, k = run.split.train.users.ids[0], min(10, run.split.train.num_items)
        export = command_line("gclrec", "export", path)
        command = f"{export}    then: {command_line('gclrec', 'recommend', path, user=user, k=k)}"
    else:
        command = (
            f"{command_line('gclrec', 'evaluate', path)} (it has no vectors, so there is nothing to export)"
        )
    console.print(f"next: {command}", soft_wrap=True)


main = main_of(app)

if __name__ == "__main__":
    main()
