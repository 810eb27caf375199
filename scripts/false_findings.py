"""Count false positives of the significance test: two groups of runs of the same model.

python scripts/false_findings.py [DATASET] [FOLDER]

It trains a small LightGCN with 24 seeds on one split (finished runs in the folder are kept), puts the runs
into two groups at random a thousand times, and counts the significant differences.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

from gclrec.data.catalog.loader import prepared_dataset
from gclrec.experiments.comparison import ComparisonFolder, make_plan
from gclrec.experiments.run_cells import run_comparison
from gclrec.experiments.significance import holm, paired_test
from gclrec.settings.config import TrainConfig

GROUPS = ("all", "warm_items", "near_cold_items", "head_items", "mid_items", "tail_items")
RUNS, DRAWS = 24, 1000


class Printer:
    """Callback that prints which run comes next."""

    def on_run_start(self, number: int, runs: int, name: str) -> None:
        """Print number and name of the run."""
        print(f"run {number} of {runs}: {name}", flush=True)


def main(dataset_name: str = "ml-100k", path: str = "comparisons/false-findings") -> None:
    """Train, draw, count and print."""
    config = TrainConfig(
        dataset=dataset_name,
        epochs=6,
        dim=16,
        num_layers=2,
        learning_rate=0.02,
        ks=(20,),
        metrics=("recall",),
    )
    plan = make_plan(config, augs=["none", "noise"], num_seeds=RUNS)
    plan = dataclasses.replace(plan, cells=tuple(cell for cell in plan.cells if cell.variant == "none"))
    folder = ComparisonFolder(Path(path))
    run_comparison(plan, folder, prepared_dataset(config), callbacks=[Printer()])

    frames = [pl.read_parquet(folder.run(cell).path / "per_user.parquet") for cell in plan.cells]
    scores = {}
    for group in GROUPS:
        column = "recall@20" if group == "all" else f"{group}/recall@20"
        scores[group] = np.stack([frame[column].drop_nulls().to_numpy() for frame in frames])
        of_runs = scores[group].mean(axis=1)
        spread = of_runs.std(ddof=1)
        print(f"{group}: {scores[group].shape[1]} users, {of_runs.mean():.4f}, sd of runs {spread:.4f}")
    random = np.random.default_rng(0)
    for num_seeds in (3, 5, 10):
        ours = users_alone = 0
        for _ in range(DRAWS):
            order = random.permutation(RUNS)
            first, second = order[:num_seeds], order[num_seeds : 2 * num_seeds]
            apart = [x[first] - x[second] for x in scores.values()]
            ours += bool((holm([paired_test(d[None])[0] for d in apart]) < 0.05).any())
            plain = [stats.ttest_1samp(d.mean(axis=0), 0).pvalue for d in apart]
            users_alone += bool((holm(plain) < 0.05).any())
        print(
            f"{num_seeds} seeds each: any false finding {ours / DRAWS:.1%}, "
            f"over users alone {users_alone / DRAWS:.1%}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
