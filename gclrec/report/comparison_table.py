"""From the runs of a comparison to one table: means, intervals, differences, tests, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError
from gclrec.evaluation.evaluator import DECILES
from gclrec.evaluation.groups import ITEM_GROUPS, USER_GROUPS
from gclrec.experiments.comparison import Cell, ComparisonFolder, Plan, choose
from gclrec.experiments.significance import holm, intervals, paired_test
from gclrec.runs.embeddings import read_frame
from gclrec.runs.folder import RunFolder, read_json

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

COLUMNS = (
    *("train_fraction", "variant", "setting", "group", "metric", "users", "pairs", "seeds"),
    *("mean", "low", "high", "difference", "difference_low", "difference_high", "p", "p_holm", "verdict"),
)
"""Columns of the table of a comparison."""

MIN_USERS = 10
"""A group of fewer users is shown but not tested."""
ALPHA = 0.05
"""Chance of any false finding in the whole table."""

BETTER, WORSE, SAME = "better", "worse", "not significant"
BASELINE, TOO_FEW, AGAIN = "baseline", "too few users to test", "same pairs as "
NO_SPREAD, UNTESTED = "nothing varies", "not tested"


@dataclass(frozen=True, eq=False)
class Findings:
    """What a comparison found.

    Args:
        plan: what was compared.
        chosen: the setting that each variant was given, by ``(fraction, variant)``.
        table: one row for each share of the training pairs, variant, group and metric at the claim's
            cut-off, with the columns :data:`COLUMNS`; the tests are of the claim's metric.
        deciles: difference by tenth of item popularity: ``train_fraction, variant, decile, users,
            difference, low, high``.
        geometry: mean over seeds of each figure about the shape of the space.
        grid: mean validation figure of each point of the grid.
        claims: number of tests that Holm's correction is over.
        unfinished: variants whose best epoch was the last one in most runs, so that more epochs might help.
    """

    plan: Plan
    chosen: Mapping[tuple[float, str], str]
    table: pl.DataFrame
    deciles: pl.DataFrame
    geometry: pl.DataFrame
    grid: pl.DataFrame
    claims: int
    unfinished: tuple[str, ...] = ()

    def runs(self, fraction: float, variant: str) -> list[Cell]:
        """Return the runs behind a variant's figures, one for each seed."""
        point = (fraction, variant, self.chosen[fraction, variant])
        return [cell for cell in self.plan.cells if (cell.fraction, cell.variant, cell.setting) == point]


def find(plan: Plan, folder: ComparisonFolder) -> Findings:
    """Read the runs of a finished comparison and compare them.

    The settings of each variant are chosen on validation; test figures are read of the chosen runs alone.
    Differences are over the same users and seeds. There is one test for each variant, group and share of the
    training pairs, of the claim's metric; all of them are corrected together.

    Raises:
        InputError: a run is missing or damaged, or the runs were not tested on the same users.
    """
    chosen, points = choose(plan, folder)
    rows: list[dict[str, Any]] = []
    deciles: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    empty = pl.DataFrame()
    findings = Findings(plan, chosen, empty, empty, empty, pl.DataFrame(points), 0)
    for fraction in plan.fractions:
        scores = {name: _scores(findings.runs(fraction, name), folder) for name in plan.variants}
        _check_users(scores, fraction)
        rows += _rows(plan, chosen, scores, fraction)
        deciles += _deciles(plan, scores, fraction)
        for name in plan.variants:
            shape = _shape([folder.run(cell) for cell in findings.runs(fraction, name)])
            if shape:
                shapes.append({"train_fraction": fraction, "variant": name, **shape})
    table = pl.DataFrame(rows, infer_schema_length=None)
    adjusted = holm(table["p"].cast(pl.Float64).fill_null(float("nan")).to_numpy())
    table = table.with_columns(pl.Series("p_holm", adjusted).fill_nan(None))
    significant = pl.col("p_holm") < ALPHA
    table = table.with_columns(
        verdict=pl.when(pl.col("p_holm").is_null())
        .then("verdict")
        .when(significant & (pl.col("difference") > 0))
        .then(pl.lit(BETTER))
        .when(significant)
        .then(pl.lit(WORSE))
        .otherwise(pl.lit(SAME))
    ).select(COLUMNS)
    return Findings(
        plan,
        chosen,
        table,
        pl.DataFrame(deciles, infer_schema_length=None),
        pl.DataFrame(shapes, infer_schema_length=None),
        pl.DataFrame(points),
        int(np.isfinite(adjusted).sum()),
        tuple(name for name in plan.variants if _at_the_end(findings, folder, name)),
    )


def spaced(group: str) -> str:
    """Return the name of a group as it is read."""
    return group.replace("_", " ").replace("near cold", "near-cold")


def _at_the_end(findings: Findings, folder: ComparisonFolder, name: str) -> bool:
    """Return whether most runs of a variant were best at the last epoch that they were allowed."""
    cells = [cell for fraction in findings.plan.fractions for cell in findings.runs(fraction, name)]
    last: list[bool] = []
    for cell in cells:
        if cell.config.baseline is None:
            result = read_json(folder.run(cell).path / "result.json")
            last.append(result.get("epochs") == cell.config.epochs)
    return 2 * sum(last) > len(last)


def _scores(cells: Sequence[Cell], folder: ComparisonFolder) -> list[pl.DataFrame]:
    frames = []
    for cell in cells:
        path = folder.run(cell).path / "per_user.parquet"
        frame = read_frame(path)
        if "decile_1/num_relevant" not in frame.columns:
            raise InputError(f"{path}: has no scores by group; it was written by an older gclrec")
        frames.append(frame)
    return frames


def _check_users(scores: Mapping[str, list[pl.DataFrame]], fraction: float) -> None:
    users = [frame["user"] for frames in scores.values() for frame in frames]
    if any(not column.equals(users[0]) for column in users[1:]):
        raise InputError(f"train fraction {fraction:g}: the runs were not tested on the same users")
    if len(users[0]) == 0:
        raise InputError("the split leaves no test pairs, so there is nothing to compare")


def _rows(
    plan: Plan,
    chosen: Mapping[tuple[float, str], str],
    scores: Mapping[str, list[pl.DataFrame]],
    fraction: float,
) -> list[dict[str, Any]]:
    """Return the rows of one share of the training pairs; p values are not yet corrected."""
    one = scores[plan.against][0]
    cut = plan.claim.partition("@")[2]
    metrics = [f"{name}@{cut}" for name in plan.common.metrics]
    others = [name for name in plan.variants if name != plan.against]
    rows = []
    first: dict[bytes, str] = {}
    for group in (*USER_GROUPS, *ITEM_GROUPS):
        if group in USER_GROUPS:
            inside = USER_GROUPS[group](one["degree"].to_numpy(), plan.common.near_cold)
            relevant, prefix = np.where(inside, one["num_relevant"].to_numpy(), 0), ""
        else:
            relevant, prefix = one[f"{group}/num_relevant"].to_numpy(), f"{group}/"
            inside = relevant > 0
        count, pairs = int(inside.sum()), int(relevant.sum())
        if count == 0:
            continue
        twin = first.setdefault(relevant.astype(np.int64).tobytes(), group)
        names = [f"{prefix}{metric}" for metric in metrics]
        shared = {"train_fraction": fraction, "group": group, "users": count, "pairs": pairs}
        values = {name: _stack(frames, names, inside) for name, frames in scores.items()}
        apart = {name: values[name] - values[plan.against] for name in others}
        found = intervals(np.concatenate([*values.values(), *apart.values()]))
        p = {name: paired_test(apart[name])[metrics.index(plan.claim)] for name in others}
        for number, name in enumerate(plan.variants):
            for place, metric in enumerate(metrics):
                at = number * len(metrics) + place
                row = shared | {"variant": name, "setting": chosen[fraction, name], "metric": metric}
                row |= {"seeds": len(scores[name]), "mean": found.mean[at]}
                row |= {"low": _known(max(found.low[at], 0.0)), "high": _known(min(found.high[at], 1.0))}
                row |= dict.fromkeys(("difference", "difference_low", "difference_high", "p"))
                row["verdict"] = BASELINE
                if name != plan.against:
                    at = (len(plan.variants) + others.index(name)) * len(metrics) + place
                    row["difference"] = found.mean[at]
                    row["difference_low"] = _known(found.low[at])
                    row["difference_high"] = _known(found.high[at])
                    row["verdict"] = TOO_FEW if count < MIN_USERS else UNTESTED
                    if twin != group:
                        row["verdict"] = f"{AGAIN}{spaced(twin)}"
                    elif metric == plan.claim and count >= MIN_USERS:
                        row["p"] = _known(p[name])
                        row["verdict"] = NO_SPREAD if row["p"] is None else SAME
                rows.append(row)
    return rows


def _stack(frames: Sequence[pl.DataFrame], names: Sequence[str], inside: BoolArray) -> FloatArray:
    """Return ``(C, S, U)`` scores of the users of a group."""

    def table(frame: pl.DataFrame) -> FloatArray:
        return np.stack([frame[name].cast(pl.Float64).to_numpy()[inside] for name in names])

    return np.stack([table(frame) for frame in frames], axis=1)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _deciles(plan: Plan, scores: Mapping[str, list[pl.DataFrame]], fraction: float) -> list[dict[str, Any]]:
    """Return the difference in recall by tenth of item popularity."""
    cut = plan.claim.partition("@")[2]
    rows = []
    for decile in range(1, DECILES + 1):
        relevant = scores[plan.against][0][f"decile_{decile}/num_relevant"].to_numpy()
        inside = relevant > 0
        if inside.sum() < 2:
            continue
        found = {
            name: _stack(frames, [f"decile_{decile}/hits@{cut}"], inside) / relevant[inside]
            for name, frames in scores.items()
        }
        others = [name for name in plan.variants if name != plan.against]
        estimate = intervals(np.concatenate([found[name] - found[plan.against] for name in others]))
        for number, name in enumerate(others):
            row = {"train_fraction": fraction, "variant": name, "decile": decile, "users": int(inside.sum())}
            row |= {"difference": estimate.mean[number]}
            rows.append(row | {"low": estimate.low[number], "high": estimate.high[number]})
    return rows


def _shape(runs: Sequence[RunFolder]) -> dict[str, float]:
    """Return the mean over runs of what ``result.json`` says of the space."""
    shapes = [read_json(run.path / "result.json").get("geometry", {}) for run in runs]
    names = [name for name in shapes[0] if all(name in shape for shape in shapes)]
    return {name: float(np.mean([shape[name] for shape in shapes])) for name in names}
