"""``gclrec train``: from interactions to a trained encoder in a run folder."""

from __future__ import annotations

import dataclasses
import shlex
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, Token
from cyclopts.argument import ArgumentCollection
from rich.console import Console
from rich.table import Table

from gclrec.cli.console import ConfigFile, Json, command, emit_json, main_of, output
from gclrec.cli.progress import progress_of
from gclrec.common.errors import InputError, InputWarning
from gclrec.common.files import read_toml
from gclrec.data.catalog.loader import load
from gclrec.data.filters import filtered
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.io.attributes import with_attribute_files
from gclrec.data.io.columns import Columns
from gclrec.data.io.readers import read_exposed
from gclrec.data.splits import Split, make_split
from gclrec.data.statistics import has_clock
from gclrec.evaluation.evaluator import Evaluation
from gclrec.report.run_report import write_run_page
from gclrec.runs.folder import RunFolder, check_free, free_name
from gclrec.settings.config import TrainConfig, flag, method_settings
from gclrec.settings.methods import METHODS
from gclrec.settings.validation import advise_views, check_selection
from gclrec.training.attributes import advise_attributes, chosen_attributes
from gclrec.training.build import pick_device
from gclrec.training.fit import fit
from gclrec.training.prepare import config_of
from gclrec.training.results import Result

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
        folder = RunFolder.open(Path(given["resume"]))
        fill(by_name, config_of(folder).to_dict(), source=str(folder.path / "config.toml"))
        return
    if "config" in given:
        settings = read_toml(Path(given["config"]))
        if "method" in settings and "method" not in given:
            given["method"] = str(settings["method"])
        fill(by_name, settings, source=given["config"])
    if "method" in given:
        fill(by_name, method_settings(given["method"]), source=f"method {given['method']}")


def fill(by_name: Mapping[str, Any], settings: Mapping[str, Any], *, source: str) -> None:
    """Give the arguments of a command that no flag gave the values of a file or a method."""
    for name, value in settings.items():
        key = name.replace("-", "_")
        if key not in by_name or key in ("config", "resume", "json"):
            raise InputError(f"{source}: unknown setting {name!r}; see --help")
        if by_name[key].tokens:
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


app.config = (layered,)


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
        Parameter(help=f"A published model's settings: {', '.join(METHODS)}. Flags override them."),
    ] = None,
    config_file: ConfigFile = None,  # noqa: ARG001 - read by layered()
    run: Annotated[
        Path | None, Parameter(help="Folder to make for the run. Default: runs/DATASET-ENCODER-AUG-N.")
    ] = None,
    resume: Annotated[
        Path | None, Parameter(help="Continue an interrupted run; only --epochs may be given besides.")
    ] = None,
    json: Json = False,
) -> None:
    """Train an encoder on user-item interactions; ends with test figures and a run folder.

    With no flag it trains on a small synthetic data set. Flags override --config, which overrides --method.
    """
    config = config or TrainConfig()
    if resume is not None:
        folder = RunFolder.open(resume)
        config = _continued(folder, config)
        title = f"resuming {config.dataset}"
    else:
        config = config.checked()
        pick_device(config.device)
        if run is not None:
            check_free(run)
        dataset = prepared_dataset(config)
        stem = f"{Path(config.dataset).name}-{config.baseline or f'{config.encoder}-{config.aug}'}"
        folder, split = new_run(run or free_name(Path("runs"), stem), config, dataset)
        title = f"{describe(dataset.name, dataset)}, {len(split.train):,} of them to train on"
        title += _other_splits(dataset, split, asked=config.split)
        config = dataclasses.replace(config, split=split.name)
    console = output(json)
    console.print(f"[bold]{title}[/bold]\nrun folder {folder.path}", soft_wrap=True)
    try:
        with progress_of() as bars:
            result = fit(config, folder, bars)
    except InputError:
        if resume is None:
            folder.discard_unless_trained()
        raise
    except KeyboardInterrupt:
        console.print(f"stopped; continue with: gclrec train --resume {folder.path}", soft_wrap=True)
        raise
    page = write_run_page(folder)
    report(console, config, result)
    console.print(f"report: {page}", soft_wrap=True)
    if json:
        emit_json(result.values)


def prepared_dataset(config: TrainConfig) -> Dataset:
    """Return the data set that the settings name, filtered as they say."""
    columns = Columns(
        user=config.user_column, item=config.item_column, time=config.time_column, weight=config.weight_column
    )
    files = {"test": config.test_file, "valid": config.valid_file}
    dataset = load(config.dataset, columns=columns, format=config.format, **files)
    dataset = with_attribute_files(dataset, config.user_attributes, config.item_attributes)
    return filtered(dataset, min_rating=config.min_rating, k_core=config.k_core)


def new_split(config: TrainConfig, dataset: Dataset) -> Split:
    """Return the split that the settings ask for, and say what is missing from it."""
    split = make_split(
        dataset,
        config.split,
        valid=config.valid_share,
        test=config.test_share,
        shots=config.shots,
        cold_share=config.cold_share,
        train_fraction=config.train_fraction,
        seed=config.seed if config.split_seed is None else config.split_seed,
    )
    for part, what in (("valid", "choose the best epoch by"), ("test", "report on")):
        if len(getattr(split, part)) == 0:
            message = f"split {split.name} leaves no {part} pairs, so there is nothing to {what}"
            warnings.warn(message, InputWarning, stacklevel=2)
    return split


def new_run(
    path: Path, config: TrainConfig, dataset: Dataset, split: Split | None = None
) -> tuple[RunFolder, Split]:
    """Make a run folder with the attributes that the settings ask for, and their split if none is given."""
    split = new_split(config, dataset) if split is None else split
    check_selection(config, split)
    exposed = exposed_pairs(config, split.train)
    config = dataclasses.replace(config, split=split.name)
    attributes = chosen_attributes(dataset, config)
    advise_attributes(dataset, config, split)
    advise_views(config)
    return RunFolder.create(path, config.to_dict(), split, exposed, attributes), split


def exposed_pairs(config: TrainConfig, train: Interactions) -> Interactions | None:
    """Return the pairs of ``--exposed``, if it was given; id columns are named as in the data."""
    if config.exposed is None:
        return None
    columns = Columns(user=config.user_column, item=config.item_column)
    return read_exposed(config.exposed, train, columns=columns)


def describe(name: str, dataset: Dataset) -> str:
    """Return one line about the data."""
    kind = " (synthetic: made by code, not by people)" if dataset.synthetic else ""
    pairs = dataset.interactions
    return f"{name}{kind}: {pairs.num_users:,} users, {pairs.num_items:,} items, {len(pairs):,} interactions"


def _other_splits(dataset: Dataset, split: Split, *, asked: str | None) -> str:
    """Return a line on the splits by time, where times are known and nobody chose a split."""
    if asked is not None or split.name != "random" or not has_clock(dataset):
        return ""
    return "\nsplit random; times are known: --split temporal (or leave_one_out) tests on what came later"


def _continued(folder: RunFolder, config: TrainConfig) -> TrainConfig:
    """Return the settings to go on with: those of the run, with more epochs if asked."""
    before = config_of(folder)
    if config.epochs != before.epochs:
        if config.refit:
            raise InputError("--resume: --epochs cannot change in a run with --refit")
        if config.schedule != "constant":
            raise InputError(
                f"--resume: --epochs cannot change, since --schedule {config.schedule} has run towards it"
            )
        folder.write_settings(config.to_dict())
    return config.checked()


def report(console: Console, config: TrainConfig, result: Result) -> None:
    """Print the final table, the run folder and what to type next."""
    folder = result.values["run"]
    if result.evaluation.cases["all"]:
        console.print(figures_table(result.evaluation, config.ks, config.metrics))
    else:
        console.print("no test figures: the split has no test pairs")
    seconds, trained = result.values["seconds"], result.values["epochs_trained"]
    chosen = f"epoch {result.values['epochs']} of {trained}"
    how = (
        f"by validation {config.select}"
        if result.validated
        else "the last one: there was nothing to validate on"
    )
    again = "fitted again" if config.baseline else "refit"
    refit = f", then {again} on train + valid" if config.refit and result.validated else ""
    if config.baseline:
        chosen = f"{config.baseline}, fitted to train{refit}"
    else:
        power = result.values.get("norm_exponent")
        length = "" if power is None else f", items' lengths to the power {power:g}"
        chosen = f"chosen: {chosen}{length}, {how}{refit}"
    console.print(f"{chosen}; {seconds:.1f} s in all", soft_wrap=True)
    console.print(f"run folder: {folder}", soft_wrap=True)
    if (Path(folder) / "embeddings").is_dir():
        user = shlex.quote(RunFolder(Path(folder)).example_user())
        command = f"gclrec export {folder}    then: gclrec recommend {folder} --user {user} -k 10"
    else:
        command = f"gclrec evaluate {folder} (it has no vectors, so there is nothing to export)"
    console.print(f"next: {command}", soft_wrap=True)


def figures_table(
    evaluation: Evaluation, ks: tuple[int, ...], metrics: tuple[str, ...], *, title: str = "test"
) -> Table:
    """Return the figures by group: one row a group, recall and ndcg at the middle cut-off first."""
    k = 20 if 20 in ks else ks[len(ks) // 2]
    shown: list[str] = [name for name in ("recall", "ndcg", "hit") if name in metrics] or list(metrics[:3])
    table = Table(title, "users", "pairs", *(f"{name}@{k}" for name in shown))
    for column in table.columns[1:]:
        column.justify = "right"
    for group, users in evaluation.cases.items():
        values = [evaluation.values.get(f"{group}/{name}@{k}") for name in shown]
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        table.add_row(group.replace("_", " "), f"{users:,}", f"{evaluation.pairs[group]:,}", *cells)
    return table


main = main_of(app)

if __name__ == "__main__":
    main()
