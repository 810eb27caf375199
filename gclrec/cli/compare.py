"""``gclrec compare``: which augmentation or method helps whom, by how much, and is it sure?"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.argument import ArgumentCollection
from rich.console import Console
from rich.table import Table

from gclrec.cli.console import Json, command, emit_json, main_of, note_given, output, with_config
from gclrec.cli.train import describe
from gclrec.common.errors import InputError, InputWarning
from gclrec.common.files import read_toml
from gclrec.experiments.comparison import DEFAULT_AUGS, Cell, ComparisonFolder, make_plan, run_comparison
from gclrec.experiments.findings import Findings, analyse
from gclrec.experiments.summary import caveats, claim_rows, geometry_rows, grid_rows, sentences
from gclrec.report.comparison_report import write_comparison
from gclrec.report.run_report import write_run_page
from gclrec.runs.folder import RunFolder, plain_name
from gclrec.settings.config import TrainConfig, flag
from gclrec.settings.methods import METHODS
from gclrec.training.build import pick_device
from gclrec.training.prepare import prepare, prepared_dataset
from gclrec.training.progress import Bars, Lines, progress_of
from gclrec.training.recorder import create_run

app = command("compare")

_OWN = {
    *("augs", "methods", "grid", "seeds", "train_fractions", "same_steps", "against", "claim"),
    *("out", "config", "json"),
}


def layered(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001
    """Fill in from ``--config FILE.toml`` what no flag said, and note which settings were asked for."""
    by_name = with_config(arguments, apart=("variants",))
    for name, instead in (("aug", "--augs"), ("baseline", "--methods")):
        if by_name[name].tokens:
            raise InputError(f"{flag(name)}: a comparison has several; name them with {instead}")
    note_given(by_name, _OWN)


app.config = (layered,)


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
    out: Annotated[
        Path | None,
        Parameter(
            help="Folder for runs, tables and report. What it holds is kept. Default: comparisons/DATASET."
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
    plan = make_plan(
        config or TrainConfig(),
        augs=_parts(augs, "--augs"),
        methods=_parts(methods, "--methods"),
        named=_named(config_file),
        grid=grid,
        num_seeds=seeds,
        fractions=_shares(train_fractions),
        same_steps=same_steps,
        against=against,
        claim=claim,
        given=frozenset(given),
    )
    if plan.common.test_share == 0:
        raise InputError("--test-share: 0 leaves no test pairs, and a comparison is of test figures")
    pick_device(plan.common.device)
    path = out or Path("comparisons") / plain_name(Path(plan.common.dataset).name)
    folder = ComparisonFolder(path)
    folder.check(plan)
    dataset = prepared_dataset(plan.common)
    console = output(json)
    console.print(f"[bold]{describe(dataset.name, dataset)}[/bold]", soft_wrap=True)
    console.print(f"{len(plan.cells)} runs in {path / 'runs'}", soft_wrap=True)

    def create(where: Path, settings: TrainConfig) -> RunFolder:
        with warnings.catch_warnings():
            if any((path / "runs").glob("*/config.toml")):  # what is odd about the split was told already
                warnings.simplefilter("ignore", InputWarning)
            return create_run(where, prepare(settings, dataset))

    try:
        with progress_of(len(plan.cells)) as bars:
            run_comparison(
                plan,
                folder,
                create,
                _Watch(bars),
                done=write_run_page,
            )
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where it was", soft_wrap=True)
        raise
    findings = analyse(plan, folder)
    about = describe(dataset.name, dataset)
    files = write_comparison(findings, folder, about, synthetic=dataset.synthetic)
    report(console, findings)
    for name, file in files.items():
        console.print(f"{name}: {file}", soft_wrap=True)
    if json:
        rows = findings.table.to_dicts()
        emit_json(
            {
                "out": str(path),
                "against": plan.against,
                "claim": plan.claim,
                "tests": findings.claims,
                "table": rows,
                "sentences": sentences(findings),
                "files": {name: str(file) for name, file in files.items()},
            }
        )


def _named(path: Path | None) -> dict[str, Any]:
    """Return the variants that a file of settings names."""
    variants = {} if path is None else read_toml(path).get("variants", {})
    if not isinstance(variants, dict):
        raise InputError(f"{path}: found variants = {variants!r}, expected tables [variants.NAME]")
    return variants


def _parts(texts: tuple[str, ...], name: str) -> list[str]:
    """Return what is separated by commas or spaces."""
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


@dataclasses.dataclass
class _Watch:
    """Shows which run of the comparison is on."""

    bars: Bars | Lines

    def cell(self, number: int, count: int, cell: Cell, *, held: bool) -> Bars | Lines:  # noqa: ARG002
        """Move the bar of the runs."""
        self.bars.run(number, cell.name)
        return self.bars


def report(console: Console, findings: Findings) -> None:
    """Print the table of tested differences, the geometry beside it, and what it says in words."""
    heads, rows, starts = claim_rows(findings, brief=True)
    table = Table(*heads)
    for place in range(heads.index("variant") + 1, len(heads) - 1):
        table.columns[place].justify = "right"
    for row, start in zip(rows, starts, strict=True):
        if start and table.row_count:
            table.add_section()
        table.add_row(*row)
    console.print(table)
    for heads, rows in (geometry_rows(findings, brief=True), grid_rows(findings)):
        if rows:
            table = Table(*heads)
            for row in rows:
                table.add_row(*row)
            console.print(table)
    for text in (*sentences(findings), *caveats(findings)):
        console.print(text, soft_wrap=True)


main = main_of(app)

if __name__ == "__main__":
    main()
