"""``gclrec compare``: which augmentation or method helps which users and items, and is it significant?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.argument import ArgumentCollection
from rich.console import Console
from rich.table import Table

from gclrec.cli.console import (
    CONFIG,
    Json,
    Ray,
    command,
    emit_json,
    main_of,
    note_given,
    output,
    with_config,
)
from gclrec.common.errors import InputError
from gclrec.common.files import read_toml
from gclrec.common.shell import flag
from gclrec.data.statistics import headline
from gclrec.experiments.cold_study import STUDIES
from gclrec.experiments.comparison import DEFAULT_AUGS
from gclrec.experiments.field import FIELD, tuned_rows
from gclrec.experiments.findings import Findings
from gclrec.experiments.summary import Rows, caveats, claim_rows, geometry_rows, grid_rows, sentences
from gclrec.runs.folder import plain_name
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.studies import Comparison
from gclrec.studies import compare as run

app = command("compare")

_OWN = {
    *("augs", "methods", "grid", "seeds", "train_fractions", "same_steps", "against", "claim"),
    *("against_field", "trials", "study", "thorough", "jobs", "ray"),
    *("out", "config", "json"),
}


def layered(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001
    """Fill in from ``--config FILE.toml`` what no flag said, and note which settings were asked for."""
    by_name = with_config(arguments, apart=("variants",))
    for name, instead in (("aug", "--augs"), ("baseline", "--methods")):
        if by_name[name].tokens:
            raise InputError(f"{flag(name)}: a comparison has several; name them with {instead}")
    note_given(by_name, _OWN)


app.config = (layered, *CONFIG)


def _several(text: str) -> Any:
    return Parameter(consume_multiple=True, negative=(), show_default=False, help=text)


@app.default
def compare(
    config: TrainConfig | None = None,
    *,
    augs: Annotated[
        tuple[str, ...],
        _several(
            "Augmentations to compare, separated by commas or spaces, each written as --aug of gclrec train "
            "has it, but A/B for a different one in each view. Default, without --methods: "
            f"{','.join(DEFAULT_AUGS)}."
        ),
    ] = (),
    methods: Annotated[
        tuple[str, ...], _several(f"Methods to compare, likewise: {', '.join(METHODS)}.")
    ] = (),
    grid: Annotated[
        tuple[str, ...],
        _several(
            "Settings to try, NAME=VALUE,VALUE and so on; every variant gets those that are best for it on "
            "validation."
        ),
    ] = (),
    seeds: Annotated[int, Parameter(help="Runs of each; they share the split. First seed: --seed.")] = 3,
    train_fractions: Annotated[
        tuple[str, ...], _several("Shares of the training pairs, such as 1,0.1,0.01: a sparsity study.")
    ] = (),
    same_steps: Annotated[
        bool,
        Parameter(
            help="Train every share of the pairs for as many steps as all of them: epochs, and those from "
            "one validation to the next, are divided by the share."
        ),
    ] = False,
    against: Annotated[
        str | None, Parameter(help="Variant that the others are compared with. Default: the first.")
    ] = None,
    claim: Annotated[
        str | None, Parameter(help="Figure that the tests are about, METRIC@K. Default: that of --select.")
    ] = None,
    against_field: Annotated[
        bool,
        Parameter(
            help=f"Compare with {', '.join(FIELD)}, and tune every variant on validation first, each with "
            "--trials. Alone, it compares what gclrec train does with the same flags."
        ),
    ] = False,
    trials: Annotated[int, Parameter(help="Trials of each variant with --against-field.")] = 8,
    study: Annotated[
        str | None,
        Parameter(
            help=f"A study with variants of its own: {', '.join(STUDIES)}. Cold holds out items (or users) "
            "whose attributes are known and compares baselines, uses of attributes and contrasts."
        ),
    ] = None,
    thorough: Annotated[
        bool,
        Parameter(help="More variants of the study, each with the whole budget of its method.", negative=()),
    ] = False,
    jobs: Annotated[
        int,
        Parameter(
            help="Trainings at once, each in a process with its share of the threads and memory of its own."
        ),
    ] = 1,
    ray: Ray = None,
    out: Annotated[
        Path | None,
        Parameter(
            help="Folder for runs, tables and report; finished runs are kept. Default: comparisons/DATASET."
        ),
    ] = None,
    config_file: Annotated[
        Path | None,
        Parameter(
            name="--config",
            help="TOML file with settings, named as the flags are, and with a table [variants.NAME] for each "
            "variant that differs in settings of its own.",
        ),
    ] = None,
    json: Json = False,
    given: Annotated[tuple[str, ...], Parameter(show=False, negative=())] = (),
) -> None:
    """Train each variant with several seeds on one split; ends with tested differences and report.html.

    The other settings are those of gclrec train and hold for all runs; with --methods they go before the
    methods' own. With no flag it compares three augmentations on a small synthetic data set.
    """
    config = config or TrainConfig()
    console = output(json)
    path = out or Path("comparisons") / plain_name(Path(config.dataset).name)
    try:
        done = run(
            augs=_parts(augs, "--augs"),
            methods=_parts(methods, "--methods"),
            variants=_named(config_file),
            grid=grid,
            seeds=seeds,
            train_fractions=_shares(train_fractions),
            same_steps=same_steps,
            against=against,
            claim=claim,
            against_field=against_field,
            trials=trials,
            study=study,
            thorough=thorough,
            jobs=jobs,
            ray=ray,
            folder=path,
            progress=True,
            callbacks=[_Title(console)],
            **{name: getattr(config, name) for name in given},
        )
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where it was", soft_wrap=True)
        raise
    report(console, done.findings, tuned_rows(done.tunings))
    for name, file in done.files.items():
        console.print(f"{name}: {file}", soft_wrap=True)
    if json:
        emit_json(
            {
                "out": str(path),
                "against": done.plan.against,
                "claim": done.plan.claim,
                "tests": done.findings.claims,
                "table": done.table.to_dicts(),
                "sentences": done.sentences,
                "tuned": {name: tuning.best for name, tuning in done.tunings.items() if tuning.winner},
                "files": {name: str(file) for name, file in done.files.items()},
            }
        )


class _Title:
    """Prints what is going to be done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_comparison_start(self, comparison: Comparison) -> None:
        """Print the data and the number of runs."""
        runs = f"{len(comparison.plan.cells)} runs in {comparison.folder.path / 'runs'}"
        self._console.print(headline(comparison.dataset), style="bold", soft_wrap=True)
        self._console.print(runs, soft_wrap=True)


def _named(path: Path | None) -> dict[str, Any]:
    """Return the variants in a file of settings."""
    variants = {} if path is None else read_toml(path).get("variants", {})
    if not isinstance(variants, dict):
        raise InputError(f"{path}: found variants = {variants!r}, expected tables [variants.NAME]")
    return variants


def _parts(texts: tuple[str, ...], name: str) -> list[str]:
    """Return the parts of texts that commas or spaces separate."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    if not all(parts):
        raise InputError(f"{name}: there is nothing between two commas")
    for part in parts:
        if parts.count(part) > 1:
            raise InputError(f"{name}: {part!r} is named twice")
    return parts


def _shares(texts: tuple[str, ...]) -> list[float]:
    shares = []
    for part in _parts(texts, "--train-fractions"):
        try:
            shares.append(float(part))
        except ValueError:
            raise InputError(f"--train-fractions: found {part!r}, expected a number in (0, 1]") from None
    return shares


def report(console: Console, findings: Findings, tuned: Rows) -> None:
    """Print the tested differences, tuned settings, geometry and grid as tables, and the outcome in words.

    The answer of a study stands first.
    """
    texts = sentences(findings)
    if findings.plan.group is not None:
        console.print(texts.pop(0), style="bold", soft_wrap=True)
    heads, rows, starts = claim_rows(findings, brief=True)
    table = Table(*heads)
    for place in range(heads.index("variant") + 1, len(heads) - 1):
        table.columns[place].justify = "right"
    for row, start in zip(rows, starts, strict=True):
        if start and table.row_count:
            table.add_section()
        table.add_row(*row)
    console.print(table)
    for heads, rows in (tuned, geometry_rows(findings, brief=True), grid_rows(findings)):
        if rows:
            table = Table(*heads)
            for row in rows:
                table.add_row(*row)
            console.print(table)
    for text in (*texts, *caveats(findings)):
        console.print(text, soft_wrap=True)


main = main_of(app)
