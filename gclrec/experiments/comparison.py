"""Many runs under one roof: variants, settings to choose from and seeds, on the same split."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from gclrec.common.errors import InputError
from gclrec.common.files import read_json, write_atomically
from gclrec.runs.folder import RunFolder, plain_name
from gclrec.settings.config import TrainConfig, flag
from gclrec.settings.methods import METHODS, method_settings
from gclrec.settings.search_space import idle_settings, named_values, setting_value, variant_settings
from gclrec.settings.validation import validate
from gclrec.training.prepare import config_of
from gclrec.training.recorder import fit_run

Choice: TypeAlias = "dict[tuple[float, str], str]"
"""The setting that was chosen, by share of the training pairs and variant."""

DEFAULT_AUGS = ("none", "edge_drop", "node_drop")
"""What is compared when nothing is named."""


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Args:
        variant: what is compared: an augmentation as ``--augs`` has it, a method, or a name of one's own.
        setting: the point of the grid, such as ``aug-p=0.3``; empty where there is nothing to choose.
        fraction: share of the training pairs.
        seed: of the start and the batches.
        config: all settings of the run.
        name: of its folder.
    """

    variant: str
    setting: str
    fraction: float
    seed: int
    config: TrainConfig
    name: str


@dataclass(frozen=True)
class Plan:
    """All runs of a comparison, in the order in which they are made.

    Args:
        cells: the runs.
        variants: names of what is compared, as asked.
        against: the variant that the others are compared with.
        claim: the figure that the tests are about, such as ``recall@20``.
        common: settings that all runs share.
        same_steps: whether every share of the training pairs is trained for as many steps as all of them.
    """

    cells: tuple[Cell, ...]
    variants: tuple[str, ...]
    against: str
    claim: str
    common: TrainConfig
    same_steps: bool = False

    @property
    def fractions(self) -> tuple[float, ...]:
        """Shares of the training pairs, largest first."""
        return tuple(sorted({cell.fraction for cell in self.cells}, reverse=True))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of each variant."""
        return tuple(dict.fromkeys(cell.seed for cell in self.cells))


class Audience(Protocol):
    """Is told how a comparison goes."""

    def cell(self, number: int, count: int, cell: Cell, *, held: bool) -> object:
        """Hear which run comes next and whether it is there already; return a callback for it."""


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
    given: frozenset[str] = frozenset(),
) -> Plan:
    """Return the runs that a comparison consists of, every one of them checked.

    Args:
        common: settings of all runs.
        augs: augmentations to compare, each as ``--aug`` has it, but with ``/`` between two different views.
        methods: names in ``METHODS`` to compare.
        named: variants with names of their own: for each its settings, ``method`` among them if it has one.
        grid: settings to choose from on validation, each ``NAME=VALUE,VALUE``.
        num_seeds: runs of each variant; they share the split.
        fractions: shares of the training pairs; that of ``common`` if empty.
        same_steps: train a share of the pairs for as many steps as all of them would take: with ``f`` of the
            pairs ``1/f`` times the epochs, and as many from one validation to the next.
        against: the variant that the others are compared with; the first if ``None``.
        claim: figure that is tested; the one that is selected by if ``None``.
        given: settings in ``common`` that were asked for and so go before those of a method.

    Raises:
        InputError: a name is unknown, a setting is out of range, or there is nothing to compare.
    """
    if num_seeds < 1:
        raise InputError(f"--seeds: must be at least 1, got {num_seeds}")
    split_seed = common.seed if common.split_seed is None else common.split_seed
    common = validate(dataclasses.replace(common, split_seed=split_seed))
    if common.baseline is not None:
        raise InputError("--baseline: name it in --methods, beside what it is compared with")
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
    cells: dict[tuple[str, str, float, int], Cell] = {}
    seeds = range(common.seed, common.seed + num_seeds)
    for share, (name, config), point, seed in itertools.product(shares, variants.items(), points, seeds):
        whole = dataclasses.replace(config, **point, train_fraction=share, seed=seed)
        if same_steps:
            epochs, between = round(whole.epochs / share), round(whole.eval_every / share)
            whole = dataclasses.replace(whole, epochs=epochs, eval_every=between)
        try:
            validate(whole)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        idle = idle_settings(whole)
        chosen = {key: value for key, value in point.items() if key not in idle}
        whole = dataclasses.replace(whole, **{key: getattr(config, key) for key in point.keys() & idle})
        setting = ", ".join(f"{flag(key)[2:]}={value}" for key, value in chosen.items())
        parts = [name.replace("/", ","), *setting.split(", ")]
        parts += [f"train-fraction={share:g}"] if len(shares) > 1 else []
        stem = "__".join(part for part in [*parts, f"seed={seed}"] if part)
        cells.setdefault(
            (name, setting, share, seed), Cell(name, setting, share, seed, whole, plain_name(stem))
        )
    return Plan(tuple(cells.values()), names, against, claim, common, same_steps)


def _variants(
    common: TrainConfig,
    augs: Sequence[str],
    methods: Sequence[str],
    named: Mapping[str, Any],
    given: frozenset[str],
) -> dict[str, TrainConfig]:
    def of_method(name: str, source: str) -> TrainConfig:
        if name not in METHODS:
            raise InputError(f"{source}: {name!r} is not one of {', '.join(METHODS)}")
        own = {key: value for key, value in method_settings(name).items() if key not in given}
        return dataclasses.replace(common, **own)

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
        variants.append((name, dataclasses.replace(config, **variant_settings(settings, source))))
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
    """A folder of run folders, ``DIR/runs/NAME``, with what they share in ``DIR/comparison.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, cell: Cell) -> RunFolder:
        """Return the folder of a run, which need not be there."""
        return RunFolder(self.path / "runs" / cell.name)

    def holds(self, cell: Cell) -> bool:
        """Return whether a run is complete."""
        return (self.run(cell).path / "result.json").is_file()

    def check(self, plan: Plan) -> None:
        """Refuse to mix a comparison with another one.

        Raises:
            InputError: the folder holds something else, or runs with other settings.
        """
        path = self.path / "comparison.json"
        if not path.exists():
            if self.path.exists() and any(self.path.iterdir()):
                raise InputError(f"{self.path}: is not empty and holds no comparison; choose another --out")
            return
        free = {"seed", "train_fraction"}
        settings = read_json(path).get("settings")
        if not isinstance(settings, dict):
            raise InputError(f"{path}: damaged, it names no settings")
        same_settings(self.path, TrainConfig.from_dict(settings, source=str(path)), plan.common, free)
        for cell in plan.cells:
            if self.run(cell).path.exists():
                found = config_of(RunFolder.open(self.run(cell).path))
                same_settings(self.path, found, cell.config, {"split"})

    def begin(self, plan: Plan) -> None:
        """Write down what the runs share."""
        values = {"settings": plan.common.to_dict(), "variants": plan.variants, "against": plan.against}
        write_atomically(self.path / "comparison.json", json.dumps(values, indent=2))


def same_settings(path: Path, found: TrainConfig, asked: TrainConfig, free: Collection[str]) -> None:
    """Refuse to go on in a folder with other settings than it was begun with.

    Args:
        path: the folder.
        found: the settings that it holds.
        asked: those of now.
        free: names of settings that may differ.

    Raises:
        InputError: one differs; it is named, with both values.
    """
    for field in dataclasses.fields(TrainConfig):
        before, now = getattr(found, field.name), getattr(asked, field.name)
        if field.name not in free and before != now:
            raise InputError(
                f"{path}: holds runs with {flag(field.name)} {_said(before)}, now {_said(now)} is "
                "asked for; choose another --out"
            )


def _said(value: object) -> str:
    return "its default" if value is None else str(value)


def run_comparison(
    plan: Plan,
    folder: ComparisonFolder,
    create: Callable[[Path, TrainConfig], RunFolder],
    audience: Audience,
    done: Callable[[RunFolder], object] = lambda _: None,
) -> None:
    """Make every run that the folder does not hold; one that was interrupted goes on.

    Args:
        plan: the runs.
        folder: where they are.
        create: makes a run folder with its split from settings.
        audience: is told how it goes.
        done: is called with each run that has just been completed.

    Raises:
        InputError: the folder holds runs with other settings, or the data set has changed since.
    """
    folder.check(plan)
    folder.begin(plan)
    prints: dict[float, str] = {}
    for number, cell in enumerate(plan.cells, start=1):
        held = folder.holds(cell)
        listener = audience.cell(number, len(plan.cells), cell, held=held)
        run = folder.run(cell)
        begun = not run.path.exists()
        if begun:
            run = create(run.path, cell.config)
        found = fingerprint(run)
        if prints.setdefault(cell.fraction, found) != found:
            raise InputError(
                f"{run.path}: its split is not that of the other runs; has the data set changed since? "
                "choose another --out"
            )
        if not held:
            try:
                fit_run(run, callbacks=[listener])
            except InputError:
                if begun:
                    run.discard_unless_trained()
                raise
            done(run)


def fingerprint(run: RunFolder) -> str:
    """Return a checksum of a run's split: the ids and the pairs of all parts."""
    digest = hashlib.sha256()
    split = run.split()
    for vocabulary in (split.train.users, split.train.items):
        digest.update("\n".join(map(str, vocabulary.ids.to_list())).encode())
    for part in (split.train, split.valid, split.test):
        digest.update(part.user.tobytes() + part.item.tobytes())
    return digest.hexdigest()


def choose(plan: Plan, folder: ComparisonFolder) -> tuple[Choice, list[dict[str, Any]]]:
    """Choose each variant's point of the grid by its mean validation figure over seeds; tests are not read.

    Returns:
        The chosen setting by ``(fraction, variant)``, and one row for each point with its figures.

    Raises:
        InputError: there are points to choose from but nothing was validated on.
    """
    chosen: Choice = {}
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
        select = cells[0].config.select
        row = {"fraction": fraction, "variant": variant, "setting": setting, "select": select}
        rows.append({**row, "validation": mean})
        if (fraction, variant) not in chosen or (mean or 0.0) > best[fraction, variant]:
            chosen[fraction, variant], best[fraction, variant] = setting, mean or 0.0
    return chosen, rows


def best_validation(run: RunFolder, config: TrainConfig) -> float | None:
    """Return the highest validation figure of a run, by which its epoch was chosen."""
    name = f"valid/{config.selected}"
    return max((line[name] for line in run.metrics() if name in line), default=None)
