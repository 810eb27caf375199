"""The results of a comparison: means, intervals, differences to a baseline and their tests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.files import read_json, read_parquet
from gclrec.data.splits import Split
from gclrec.evaluation.evaluator import DECILES
from gclrec.evaluation.groups import AMONG_GROUPS, ITEM_GROUPS, USER_GROUPS
from gclrec.experiments.comparison import Cell, ComparisonFolder, Plan, choose
from gclrec.experiments.significance import holm, intervals, paired_test

FINDING_COLUMNS = (
    *("train_fraction", "variant", "setting", "group", "metric", "users", "pairs", "seeds"),
    *("mean", "low", "high", "difference", "difference_low", "difference_high", "p", "p_holm", "verdict"),
)
"""Columns of the table of a comparison."""

MIN_USERS = 10
"""Groups of fewer users are not tested."""
ALPHA = 0.05
"""Nominal probability of any false finding in the whole table."""

BETTER, WORSE, SAME = "better", "worse", "not significant"
BASELINE, TOO_FEW, AGAIN = "baseline", "too few users to test", "same pairs as "
NO_SPREAD, UNTESTED = "nothing varies", "not tested"


@dataclass(frozen=True, eq=False)
class Findings:
    """The results of a comparison.

    Args:
        plan: the runs that were compared.
        chosen: the grid point of each variant that was best on validation, by ``(fraction, variant)``.
        table: one row for each share of the training pairs, variant, group and metric at the cut-off of the
            claim, with the columns :data:`FINDING_COLUMNS`; only the metric of the claim is tested.
        deciles: difference by tenth of item popularity: ``train_fraction, variant, decile, users,
            difference, low, high``.
        geometry: mean over seeds of each geometry figure.
        grid: mean validation figure of each grid point.
        claims: number of tests that Holm's correction covers.
        unfinished: variants whose best epoch was the last one in most runs; more epochs may help them.
    """

    plan: Plan
    chosen: Mapping[tuple[float, str], str]
    table: pl.DataFrame
    deciles: pl.DataFrame
    geometry: pl.DataFrame
    grid: pl.DataFrame
    claims: int
    unfinished: tuple[str, ...]

    def runs(self, fraction: float, variant: str) -> list[Cell]:
        """Return the runs behind a variant's figures, one for each seed."""
        return _runs(self.plan, self.chosen, fraction, variant)


def _runs(plan: Plan, chosen: Mapping[tuple[float, str], str], fraction: float, variant: str) -> list[Cell]:
    point = (fraction, variant, chosen[fraction, variant])
    return [cell for cell in plan.cells if (cell.fraction, cell.variant, cell.setting) == point]


def analyse(plan: Plan, folder: ComparisonFolder) -> Findings:
    """Read the runs of a finished comparison and compare them.

    The grid point of each variant is chosen on validation, and only the test figures of the chosen runs are
    read. Differences are paired by user and seed. The metric of the claim is tested once for each variant,
    group and share of the training pairs; all tests are corrected together.

    Raises:
        InputError: a run is missing or damaged, or the runs were not tested on the same users.
    """
    chosen, points = choose(plan, folder)
    rows: list[dict[str, Any]] = []
    deciles: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    at_the_end: dict[str, list[bool]] = {name: [] for name in plan.variants}
    for fraction in plan.fractions:
        runs = {name: _runs(plan, chosen, fraction, name) for name in plan.variants}
        scores = {name: [_scores(folder, cell) for cell in cells] for name, cells in runs.items()}
        _check_users(scores, fraction)
        against = runs[plan.against][0]
        split = folder.run(against).split()
        pairs = pairs_by_group(split.refit() if against.config.refit else split, plan.common.near_cold)
        rows += _rows(plan, chosen, scores, pairs, fraction)
        deciles += _deciles(plan, scores, fraction)
        for name, cells in runs.items():
            results = [read_json(folder.run(cell).path / "result.json") for cell in cells]
            if shape := _mean_geometry([result.get("geometry", {}) for result in results]):
                shapes.append({"train_fraction": fraction, "variant": name, **shape})
            at_the_end[name] += [
                result.get("epochs") == cell.config.epochs
                for cell, result in zip(cells, results, strict=True)
                if cell.config.baseline is None
            ]
    table = pl.DataFrame(rows, infer_schema_length=None)
    adjusted = holm(table["p"].cast(pl.Float64).fill_null(float("nan")).to_numpy())
    table = table.with_columns(pl.Series("p_holm", adjusted).fill_nan(None))
    significant = pl.col("p_holm") < ALPHA
    verdict = (
        pl.when(significant & (pl.col("difference") > 0))
        .then(pl.lit(BETTER))
        .when(significant)
        .then(pl.lit(WORSE))
        .otherwise("verdict")
    )
    return Findings(
        plan,
        chosen,
        table.with_columns(verdict=verdict).select(FINDING_COLUMNS),
        pl.DataFrame(deciles, infer_schema_length=None),
        pl.DataFrame(shapes, infer_schema_length=None),
        pl.DataFrame(points),
        int(np.isfinite(adjusted).sum()),
        tuple(name for name, last in at_the_end.items() if 2 * sum(last) > len(last)),
    )


def pairs_by_group(split: Split, near_cold: int) -> dict[str, bytes]:
    """Return which test pairs each group of users or items has, as a bit for each pair.

    Args:
        split: with the training pairs that the groups are defined by.
        near_cold: highest degree of near-cold users and items.
    """
    train, test = split.train, split.test
    sides = ((USER_GROUPS, train.user_degrees(), test.user), (ITEM_GROUPS, train.item_degrees(), test.item))
    return {
        group: np.packbits(members(degrees, near_cold)[rows]).tobytes()
        for groups, degrees, rows in sides
        for group, members in groups.items()
    }


def spaced(group: str) -> str:
    """Return the name of a group as it is written in text."""
    return group.replace("_", " ").replace("near cold", "near-cold")


def _scores(folder: ComparisonFolder, cell: Cell) -> pl.DataFrame:
    path = folder.run(cell).path / "per_user.parquet"
    frame = read_parquet(path)
    if "decile_1/num_relevant" not in frame.columns:
        raise InputError(f"{path}: has no scores by group; it was written by an older gclrec")
    return frame


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
    pairs: Mapping[str, bytes],
    fraction: float,
) -> list[dict[str, Any]]:
    """Return the rows of one share of the training pairs, without corrected p values."""
    frame = scores[plan.against][0]
    cut = plan.claim.partition("@")[2]
    metrics = [f"{name}@{cut}" for name in plan.common.metrics]
    baseline, claim = plan.variants.index(plan.against), metrics.index(plan.claim)
    rows: list[dict[str, Any]] = []
    first: dict[bytes, str] = {}  # the first group with the same test pairs
    for group in (*USER_GROUPS, *ITEM_GROUPS, *AMONG_GROUPS):
        if group in USER_GROUPS:
            inside = USER_GROUPS[group](frame["degree"].to_numpy(), plan.common.near_cold)
            relevant, prefix = np.where(inside, frame["num_relevant"].to_numpy(), 0), ""
        elif not all(f"{group}/num_relevant" in each.columns for each in itertools.chain(*scores.values())):
            continue  # a run of an older version has not measured it
        else:
            relevant, prefix = frame[f"{group}/num_relevant"].to_numpy(), f"{group}/"
            inside = relevant > 0
        users = int(inside.sum())
        if users == 0:
            continue
        twin = group if group in AMONG_GROUPS else first.setdefault(pairs[group], group)
        own = _stack(scores, [f"{prefix}{metric}" for metric in metrics], inside)
        apart = own - own[baseline]
        found = intervals(np.concatenate([own, apart]).reshape(-1, *own.shape[2:]))
        mean, low, high = (x.reshape(2, *own.shape[:2]) for x in (found.mean, found.low, found.high))
        p = paired_test(apart[:, claim])
        for (v, name), (m, metric) in itertools.product(enumerate(plan.variants), enumerate(metrics)):
            row = {"train_fraction": fraction, "variant": name, "setting": chosen[fraction, name]}
            row |= {"group": group, "metric": metric, "users": users, "pairs": int(relevant.sum())}
            row |= {"seeds": own.shape[2], "mean": mean[0, v, m]}
            row |= {"low": _finite(max(low[0, v, m], 0.0)), "high": _finite(min(high[0, v, m], 1.0))}
            row |= {"difference": mean[1, v, m], "p": None}
            row |= {"difference_low": _finite(low[1, v, m]), "difference_high": _finite(high[1, v, m])}
            if v == baseline:
                row |= dict.fromkeys(("difference", "difference_low", "difference_high"))
                row["verdict"] = BASELINE
            elif twin != group:
                row["verdict"] = f"{AGAIN}{spaced(twin)}"
            elif users < MIN_USERS or m != claim:
                row["verdict"] = TOO_FEW if users < MIN_USERS else UNTESTED
            else:
                row["p"] = _finite(p[v])
                row["verdict"] = NO_SPREAD if row["p"] is None else SAME
            rows.append(row)
    return rows


def _stack(
    scores: Mapping[str, list[pl.DataFrame]], columns: Sequence[str], inside: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return ``(V, C, S, U)`` scores of the users of a group: variants, columns, seeds, users."""
    values = [[frame.select(columns).to_numpy()[inside] for frame in frames] for frames in scores.values()]
    return np.asarray(values, dtype=np.float64).transpose(0, 3, 1, 2)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _deciles(plan: Plan, scores: Mapping[str, list[pl.DataFrame]], fraction: float) -> list[dict[str, Any]]:
    """Return the difference in recall by tenth of item popularity."""
    cut = plan.claim.partition("@")[2]
    rows = []
    for decile in range(1, DECILES + 1):
        relevant = scores[plan.against][0][f"decile_{decile}/num_relevant"].to_numpy()
        inside = relevant > 0
        users = int(inside.sum())
        if users < 2:
            continue
        recall = _stack(scores, [f"decile_{decile}/hits@{cut}"], inside)[:, 0] / relevant[inside]
        found = intervals(recall - recall[plan.variants.index(plan.against)])
        for v, name in enumerate(plan.variants):
            if name != plan.against:
                row = {"train_fraction": fraction, "variant": name, "decile": decile, "users": users}
                row |= {"difference": found.mean[v], "low": found.low[v], "high": found.high[v]}
                rows.append(row)
    return rows


def _mean_geometry(shapes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over runs of each figure that all of them have."""
    names = [name for name in shapes[0] if all(name in shape for shape in shapes)]
    return {name: float(np.mean([shape[name] for shape in shapes])) for name in names}
