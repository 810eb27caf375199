"""What decides which recipe is best: ``python scripts/studies/recipe_grid.py --sets ml-100k lastfm``.

For each data set, ``gcl`` and ``gcl_sparse`` at several temperatures, numbers of optimiser steps and kinds
of user vectors, and the baselines with their default settings. Every trained model is ranked with the item's
length to several powers. A row of ``recipe_grid.json`` holds the figures of one run by that power, beside the
shape of the data, so that rules can be fitted that leave one data set out. Rows that the
file holds are not made again; cheap and telling runs come first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gclrec.common.files import write_atomically
from gclrec.data.splits import Split
from gclrec.data.statistics import gini_index
from gclrec.evaluation.evaluator import evaluate
from gclrec.evaluation.scoring import calibrated
from gclrec.settings.config import TrainConfig
from gclrec.settings.sources import layered_config
from gclrec.training.fit import fit
from gclrec.training.prepare import prepare, prepared_dataset

SETS = ("ml-100k", "lastfm", "citeulike-a", "amazon-beauty", "sparse-yelp", "ml-1m")
EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
BASELINES = ("popularity", "item_knn", "pure_svd", "gf_cf", "rp3beta", "ease", "ials")
METRICS = ("recall", "ndcg")
BATCH = 2048
STEPS = 800
"""Optimiser steps of most runs."""
MOST_ITEMS = 15_000
"""Above this ``ease`` is left out: its time grows with the cube."""
FILE = Path(__file__).with_suffix(".json")


def rounds() -> Iterator[list[dict[str, Any]]]:
    """Yield runs that are made on every data set before those that follow, the most telling first."""
    sparse, dense = {"method": "gcl_sparse", "steps": STEPS}, {"method": "gcl", "steps": STEPS}
    yield [{"method": name} for name in BASELINES]
    yield [{**sparse, "temperature": 0.15}, {**dense, "temperature": 0.15}]
    yield [{**sparse, "temperature": 0.25}, {**dense, "temperature": 0.25}]
    yield [{**sparse, "temperature": 0.15, "user_vectors": "free"}, {**sparse, "temperature": 0.08}]
    yield [{**sparse, "temperature": 0.15, "steps": 2 * STEPS}, {**dense, "temperature": 0.1}]
    yield [
        {**sparse, "temperature": 0.25, "user_vectors": "free"},
        {**dense, "temperature": 0.15, "user_vectors": "items"},
    ]
    yield [
        {**dense, "temperature": 0.15, "steps": STEPS // 2},
        {**dense, "temperature": 0.15, "steps": 2 * STEPS},
    ]
    yield [{**sparse, "temperature": 0.15, "steps": 4 * STEPS}]


def settings_of(run: dict[str, Any], name: str, pairs: int) -> TrainConfig:
    """Return the settings of a run; ``temperature`` is that of the loss which ranks."""
    values: dict[str, Any] = {"dataset": name, "metrics": METRICS, "ks": (20,)}
    if "steps" in run:
        per_epoch = -(-pairs // BATCH)
        values |= {"batch_size": BATCH, "epochs": max(1, round(run["steps"] / per_epoch))}
        values |= {"eval_every": values["epochs"], "score": "calibrated"}
        ranks = "loss_temperature" if run["method"] == "gcl" else "temperature"
        values[ranks] = run["temperature"]
    values |= {name: value for name, value in run.items() if name not in ("method", "steps", "temperature")}
    return layered_config(values, method=run["method"])


def shape(split: Split) -> dict[str, float]:
    """Return the figures of the training pairs that rules may use."""
    train = split.train
    users, items = (degrees[degrees > 0] for degrees in (train.user_degrees(), train.item_degrees()))
    return {
        "users": len(users),
        "items": len(items),
        "pairs": len(train),
        "density": len(train) / (len(users) * len(items)),
        "median_user_degree": float(np.median(users)),
        "median_item_degree": float(np.median(items)),
        "user_gini": gini_index(users),
        "item_gini": gini_index(items),
    }


@cache
def split_of(name: str) -> Split:
    """Return the split of a data set that it has by default."""
    config = TrainConfig(dataset=name, aug="none")
    return prepare(config, prepared_dataset(config)).split


def measured(config: TrainConfig, split: Split) -> dict[str, Any]:
    """Train with some settings; return recall@20 and ndcg@20 on both parts and what the run cost."""
    began = time.process_time()
    result = fit(config, split)
    row: dict[str, Any] = {"cpu_seconds": round(time.process_time() - began, 1)}
    if result.model is None:
        record = result.history[0]
        row["valid"] = {name: round(record[f"valid/all/{name}@20"], 5) for name in METRICS}
        row["test"] = {name: round(result.evaluation.values[f"all/{name}@20"], 5) for name in METRICS}
        return row
    vectors = result.model.raw_embeddings()
    row["chosen_exponent"] = result.exponent
    for part in ("valid", "test"):
        exclude, pairs = split.no_candidates(part), getattr(split, part)
        row[part] = {}
        for exponent in EXPONENTS:
            scored = calibrated(vectors, exponent)
            found = evaluate(
                *scored,
                split.train,
                pairs,
                exclude=exclude,
                ks=(20,),
                metrics=METRICS,
                groups=("all",),
                per_user=False,
            ).values
            row[part][f"{exponent:g}"] = {name: round(found[f"all/{name}@20"], 5) for name in METRICS}
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs that the file does not hold, data set by data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument(
        "--rounds", type=int, default=len(list(rounds())), help="only the first of the rounds"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rows = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else []
    for number, made_on_each in enumerate(rounds()):
        for name, run in itertools.product(options.sets, made_on_each):
            if number >= options.rounds or any((row["data"], row["run"]) == (name, run) for row in rows):
                continue
            split = split_of(name)
            if run["method"] == "ease" and split.train.num_items > MOST_ITEMS:
                continue
            config = settings_of(run, name, len(split.train))
            rows.append({"data": name, **shape(split), "run": run, **measured(config, split)})
            lines = ",\n".join(map(json.dumps, rows))
            write_atomically(options.out, f"[\n{lines}\n]\n")
            print(name, run, rows[-1]["valid"], f"{rows[-1]['cpu_seconds']} s", flush=True)


if __name__ == "__main__":
    main()
