"""Runs of several variants, grid points and seeds on one split, in a folder of run folders."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gclrec.common.errors import InputError
from gclrec.common.files import read_json, write_atomically
from gclrec.common.shell import flag
from gclrec.runs.folder import RunFolder, plain_name
from gclrec.settings.budget import EPOCHS, budgeted, replaced, without_rivals
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS, method_settings
from gclrec.settings.search_space import idle_settings, named_values, setting_value, variant_settings
from gclrec.settings.validation import validate
from gclrec.training.prepare import given_config

DEFAULT_AUGS = ("none", "edge_drop", "node_drop")
"""What is compared if nothing is named."""


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Args:
        variant: an augmentation as ``--augs`` has it, a method, or the name of a table of settings.
        setting: the grid point, such as ``aug-p=0.3``; empty without a grid.
        fraction: share of the training pairs.
        seed: of the initial vectors and the batches.
        config: all settings of the run.
        name: of its folder; no two cells of a comparison have the same.
        former_name: of its folder in version 0.1.0, where two cells could have the same.
    """

    variant: str
    setting: str
    fraction: float
    seed: int
    config: TrainConfig
    name: str
    former_name: str = ""


@dataclass(frozen=True)
class Plan:
    """All runs of a comparison, in the order in which they are made.

    Args:
        cells: the runs.
        variants: names of what is compared.
        against: the variant that the others are compared with.
        claim: the figure that is tested, such as ``recall@20``.
        common: settings that all runs share.
        same_steps: whether every share of the training pairs is trained for the same number of steps.
        group: whose figures the comparison is about, first of all; ``None`` for no group before others.
    """

    cells: tuple[Cell, ...]
    variants: tuple[str, ...]
    against: str
    claim: str
    common: TrainConfig
    same_steps: bool = False
    group: str | None = None

    @property
    def fractions(self) -> tuple[float, ...]:
        """Shares of the training pairs, largest first."""
        return tuple(sorted({cell.fraction for cell in self.cells}, reverse=True))

    def without(self, variant: str) -> Plan:
        """Return the plan without the runs of a variant that nothing is compared with."""
        cells = tuple(cell for cell in self.cells if cell.variant != variant)
        names = tuple(name for name in self.variants if name != variant)
        return dataclasses.replace(self, cells=cells, variants=names)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of each variant."""
        return tuple(dict.fromkeys(cell.seed for cell in self.cells))


def make_plan(
    common: TrainConfig,
    *,
    augs: Sequence[str] = (),
    methods: Sequence[str] = (),
    named: Mapping[str, Any] | None = None,
    grid: Sequence[str] = (),
    num_seeds: int = 3,
    fractions: Sequence[float] = (),
    same_steps: bool = False,
    against: str | None = None,
    claim: str | None = None,
    given: Collection[str] = (),
) -> Plan:
    """Return the runs of a comparison, with checked settings.

    Arguments are those of :func:`gclrec.compare`, with all settings in ``common`` and the names of those that
    override a method's in ``given``. With ``same_steps`` a share ``f`` of the pairs is trained for ``1/f``
    times the epochs, and validated as often.

    Raises:
        InputError: a name is unknown, a setting is out of range, or there is nothing to compare.
    """
    if num_seeds < 1:
        raise InputError(f"--seeds: must be at least 1, got {num_seeds}")
    split_seed = common.seed if common.split_seed is None else common.split_seed
    common = validate(dataclasses.replace(common, split_seed=split_seed))
    if common.baseline is not None:
        raise InputError("--baseline: name it in --methods, beside what it is compared with")
    if common.test_share == 0:
        raise InputError("--test-share: 0 leaves no test pairs, and a comparison is of test figures")
    variants = _variants(common, augs, methods, named or {}, given)
    names = tuple(variants)
    if len(names) < 2:
        raise InputError(f"a comparison needs two variants or more, found {', '.join(names) or 'none'}")
    against = names[0] if against is None else against
    if against not in names:
        raise InputError(f"--against: {against!r} is not among {', '.join(names)}")
    claim = common.selected.partition("/")[2] if claim is None else claim
    measured = [f"{metric}@{k}" for metric in common.metrics for k in common.ks]
    if claim not in measured:
        raise InputError(f"--claim: {claim!r} is not measured; choose one of {', '.join(measured)}")
    points = [dict(point) for point in itertools.product(*_axes(grid))]
    shares = tuple(dict.fromkeys(fractions)) or (common.train_fraction,)
    seeds = range(common.seed, common.seed + num_seeds)
    cells: dict[tuple[str, str, float, int], Cell] = {}
    for share, (name, config), point, seed in itertools.product(shares, variants.items(), points, seeds):
        whole = replaced(config, {**point, "train_fraction": share, "seed": seed})
        if same_steps and whole.steps is None:
            epochs, between = round((whole.epochs or EPOCHS) / share), round((whole.eval_every or 1) / share)
            whole = dataclasses.replace(whole, epochs=epochs, eval_every=between)
        try:
            validate(whole)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        # Grid points that differ only in settings without effect are one run.
        idle = point.keys() & idle_settings(whole)
        whole = dataclasses.replace(whole, **{key: getattr(config, key) for key in idle})
        chosen = [f"{flag(key)[2:]}={value}" for key, value in point.items() if key not in idle]
        setting = ", ".join(chosen)
        rest = [*chosen, *([f"train-fraction={share:g}"] if len(shares) > 1 else []), f"seed={seed}"]
        former = plain_name("__".join([name.replace("/", ","), *rest]))
        cell = Cell(name, setting, share, seed, whole, folder_name([name, *rest]), former)
        cells.setdefault((name, setting, share, seed), cell)
    return Plan(tuple(cells.values()), names, against, claim, common, same_steps)


def folder_name(parts: Iterable[str]) -> str:
    """Return a name for a folder from which the parts can be read back: unquoted, after a split at ``__``.

    Letters, digits and ``_.+,=-`` are kept; all else is percent-encoded, and so is an underscore where it
    could be taken for part of a separator.

    Example:
        >>> folder_name(["edge_drop:0.2/noise", "seed=0"]), folder_name(["a__b", "seed=0"])
        ('edge_drop%3A0.2%2Fnoise__seed=0', 'a%5F_b__seed=0')
    """

    def encoded(part: str) -> str:
        text = re.sub(r"[^\w.+,=-]", lambda found: quote(found[0], safe=""), part)
        return re.sub(r"_(?=_)|^_|_$|^\.", lambda found: f"%{ord(found[0]):02X}", text)

    return "__".join(map(encoded, parts))


def _variants(
    common: TrainConfig,
    augs: Sequence[str],
    methods: Sequence[str],
    named: Mapping[str, Any],
    given: Collection[str],
) -> dict[str, TrainConfig]:
    def of_method(name: str, source: str) -> TrainConfig:
        if name not in METHODS:
            raise InputError(f"{source}: {name!r} is not one of {', '.join(METHODS)}")
        values = method_settings(name, given=given)
        own = {key: value for key, value in values.items() if key not in given}
        return replaced(common, without_rivals(own, given))

    augs = augs or (() if methods or named else DEFAULT_AUGS)
    variants = [(aug, dataclasses.replace(common, aug=aug.replace("/", ","))) for aug in augs]
    variants += [(name, of_method(name, "--methods")) for name in methods]
    for name, values in named.items():
        source = f"variant {name!r}"
        if not isinstance(values, dict):
            raise InputError(f"{source}: found {values!r}, expected a table of settings")
        settings = dict(values)
        method = settings.pop("method", None)
        config = common if method is None else of_method(method, source)
        variants.append((name, replaced(config, variant_settings(settings, source))))
    names = [name for name, _ in variants]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name!r} is named twice, among --augs, --methods and variants")
    return dict(variants)


def _axes(grid: Sequence[str]) -> list[list[tuple[str, Any]]]:
    """Return for each axis of a grid its settings as (name, value)."""
    axes: dict[str, list[tuple[str, Any]]] = {}
    for text in grid:
        name, values = named_values(text, "--grid", "VALUE,VALUE")
        if name in axes:
            raise InputError(f"--grid: {flag(name)[2:]!r} is named twice")
        axes[name] = [(name, setting_value(name, part, "--grid", text)) for part in values.split(",")]
    return list(axes.values())


# -- making the runs -----------------------------------------------------------------------------


class ComparisonFolder:
    """A folder with run folders ``runs/NAME`` and, in ``comparison.json``, the settings that they share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, cell: Cell) -> RunFolder:
        """Return the folder of a run, which need not exist."""
        path, former = (self.path / "runs" / name for name in (cell.name, cell.former_name))
        if path != former and not path.exists() and (former / "config.toml").is_file():
            found = RunFolder(former)
            if difference(*with_budgets(found, given_config(found), cell.config), {"split"}) is None:
                return found
        return RunFolder(path)

    def check(self, plan: Plan) -> None:
        """Check that the runs of a plan can be made here, or are there with the same settings.

        Raises:
            InputError: the folder holds something else, or runs with other settings.
        """
        self.check_common(plan)
        for cell in plan.cells:
            run = self.run(cell)
            if run.path.exists():
                begun = RunFolder.open(run.path)
                check_same(self.path, *with_budgets(begun, given_config(begun), cell.config), {"split"})

    def check_common(self, plan: Plan) -> None:
        """Check that the folder is free, or holds a comparison with the same settings of all runs.

        Raises:
            InputError: it holds something else, or runs with other settings.
        """
        path = self.path / "comparison.json"
        if not path.exists():
            if not is_vacant(self.path):
                raise InputError(f"{self.path}: is not empty and holds no comparison; choose another --out")
            return
        settings = read_json(path).get("settings")
        if not isinstance(settings, dict):
            raise InputError(f"{path}: damaged, it names no settings")
        found = TrainConfig.from_dict(settings, source=str(path))
        check_same(self.path, found, plan.common, {"seed", "train_fraction"})

    def begin(self, plan: Plan) -> None:
        """Write the settings that the runs share."""
        values = {"settings": plan.common.to_dict(), "variants": plan.variants, "against": plan.against}
        write_atomically(self.path / "comparison.json", json.dumps(values, indent=2))


def is_vacant(path: Path) -> bool:
    """Return whether a folder holds nothing, but for what a killed process was writing."""
    return not path.exists() or all(file.name.startswith(".") for file in path.iterdir())


def with_budgets(run: RunFolder, found: TrainConfig, asked: TrainConfig) -> tuple[TrainConfig, TrainConfig]:
    """Return two settings with the budget that the training pairs of a run give those that have none."""
    if budgeted(found, 1) == found and budgeted(asked, 1) == asked:
        return found, asked
    pairs = run.num_pairs()
    return budgeted(found, pairs), budgeted(asked, pairs)


def difference(found: TrainConfig, asked: TrainConfig, free: Collection[str]) -> str | None:
    """Return the first setting that differs, with both values; ``None`` if there is none.

    Args:
        found: settings of before.
        asked: settings of now.
        free: names of settings that may differ.
    """
    for field in dataclasses.fields(TrainConfig):
        pair = getattr(found, field.name), getattr(asked, field.name)
        if field.name not in free and pair[0] != pair[1]:
            before, now = ("its default" if value is None else str(value) for value in pair)
            return f"{flag(field.name)} {before}, now {now} is asked for"
    return None


def check_same(path: Path, found: TrainConfig, asked: TrainConfig, free: Collection[str]) -> None:
    """Check that a folder was begun with the settings that are asked for now; see :func:`difference`.

    Raises:
        InputError: a setting differs; it is named, with both values.
    """
    differs = difference(found, asked, free)
    if differs is not None:
        raise InputError(f"{path}: holds runs with {differs}; choose another --out")


def choose(plan: Plan, folder: ComparisonFolder) -> tuple[dict[tuple[float, str], str], list[dict[str, Any]]]:
    """Choose each variant's grid point by the mean validation figure over seeds; test figures are not read.

    Returns:
        The chosen setting by ``(fraction, variant)``, and one row for each grid point with its figures.

    Raises:
        InputError: there are points to choose from but the split has no validation pairs.
    """
    chosen: dict[tuple[float, str], str] = {}
    rows: list[dict[str, Any]] = []
    best: dict[tuple[float, str], float] = {}
    points = dict.fromkeys((cell.fraction, cell.variant, cell.setting) for cell in plan.cells)
    several = len(points) > len({point[:2] for point in points})
    for fraction, variant, setting in points:
        cells = [c for c in plan.cells if (c.fraction, c.variant, c.setting) == (fraction, variant, setting)]
        found = [value for c in cells if (value := best_validation(folder.run(c), c.config)) is not None]
        if several and len(found) < len(cells):
            raise InputError("--grid: the split leaves no validation pairs to choose by")
        mean = sum(found) / len(found) if found else None
        select = cells[0].config.chosen_by
        row = {"fraction": fraction, "variant": variant, "setting": setting, "select": select}
        rows.append({**row, "validation": mean})
        if (fraction, variant) not in chosen or (mean or 0.0) > best[fraction, variant]:
            chosen[fraction, variant], best[fraction, variant] = setting, mean or 0.0
    return chosen, rows


def best_validation(run: RunFolder, config: TrainConfig) -> float | None:
    """Return the highest validation figure of a run, the one that its epoch was selected by."""
    name = f"valid/{config.selected}"
    return max((line[name] for line in run.metrics() if name in line), default=None)
