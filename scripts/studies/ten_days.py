"""How to keep a recommender up to date (docs/how-to/daily.md): ``python scripts/studies/ten_days.py EVENTS``.

Every day four recommenders answer for tomorrow, each from the interactions up to today: ``full`` is trained
anew; ``warm`` starts from its own vectors of yesterday, with a tenth of the steps; ``fold-in`` has the model
of the first day and folds in the users and items of since then; ``nothing`` is the model of the first day as
it is. All are asked for the users with interactions tomorrow that are known by today. ``--span 7`` makes a
day of every week. A day whose figures the file holds is not made again, so that an interrupted study goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
import warnings
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import gclrec
from gclrec.common.files import write_atomically

K = 20
WAYS = ("full", "warm", "fold-in", "nothing")


def read_events(path: Path, core: int) -> pl.DataFrame:
    """Return ``user, item, day`` of a table ``user, item, timestamp`` (seconds), reduced to its ``core``."""
    table = pl.read_csv(path, separator="\t").sort("timestamp").unique(["user", "item"], keep="first")
    table = table.select("user", "item", pl.from_epoch("timestamp").dt.date().alias("day"))
    left = -1
    while left != len(table):
        left = len(table)
        table = table.filter((pl.len().over("user") >= core) & (pl.len().over("item") >= core))
    return table


def recall(lists: pl.DataFrame, asked: pl.DataFrame) -> np.ndarray:
    """Return recall@K of each user of tomorrow; a user without a list has none."""
    hits = asked.join(lists.select("user", "item", hit=pl.lit(1)), on=["user", "item"], how="left")
    share = hits.group_by("user", maintain_order=True).agg(pl.col("hit").sum() / pl.len().clip(upper_bound=K))
    return share["hit"].to_numpy()


def answers(recommender: gclrec.Recommender, users: pl.Series) -> pl.DataFrame:
    """Return the lists of those users that a recommender knows."""
    known = users.filter(pl.Series(recommender.users.rows(users) >= 0))
    return recommender.recommend_many(known, K)


def folded(recommender: gclrec.Recommender, since: pl.DataFrame, users: pl.Series) -> pl.DataFrame:
    """Return lists after folding in the items and users of the interactions since the model was trained."""
    new = since.filter(pl.Series(recommender.items.rows(since["item"]) < 0))
    if len(new):
        recommender = recommender.add_items(new.select("user", "item"), skip_unknown=True)
    table = since.filter(pl.col("user").is_in(users.implode())).select("user", "item")
    found = recommender.recommend_for(table, K, skip_unknown=True) if len(table) else None
    others = users.filter(~users.is_in(table["user"].implode()))
    lists = [answers(recommender, others), *([] if found is None else [found])]
    return pl.concat(lists)


def study(
    events: pl.DataFrame, first: date, days: int, span: int, folder: Path, settings: dict[str, Any]
) -> list[dict]:
    """Return a row for each day and way: recall@K of tomorrow, CPU seconds of training or folding in."""
    file = folder / "ten_days.json"
    rows: list[dict] = json.loads(file.read_text()) if file.exists() else []
    for number in range(len(rows) // len(WAYS), days + 1):
        today = first + timedelta(days=number * span)
        known = events.filter(pl.col("day") <= today)
        asked = events.filter(pl.col("day").is_between(today, today + timedelta(days=span), closed="right"))
        asked = asked.filter(pl.col("user").is_in(known["user"].unique().implode()))
        users = asked["user"].unique(maintain_order=True)
        data = known.select("user", "item")
        figures: dict[str, np.ndarray] = {}
        seconds = dict.fromkeys(WAYS, 0.0)
        for way in ("full", "warm"):
            run = folder / f"{way}-{number}"
            shutil.rmtree(run, ignore_errors=True)
            began = time.process_time()
            if way == "warm" and number:
                gclrec.fit(data, folder=run, start_from=str(folder / f"warm-{number - 1}"))
            elif way == "full":
                gclrec.fit(data, folder=run, **settings)
            else:
                shutil.copytree(folder / "full-0", run)  # both begin with the same model
            seconds[way] = time.process_time() - began
            figures[way] = recall(answers(gclrec.load_recommender(run), users), asked)
        old = gclrec.load_recommender(folder / "full-0")
        figures["nothing"] = recall(answers(old, users), asked)
        began = time.process_time()
        figures["fold-in"] = recall(folded(old, known.filter(pl.col("day") > first), users), asked)
        seconds["fold-in"] = time.process_time() - began
        for way in WAYS:
            value = {"day": number, "way": way, "recall": figures[way].mean(), "seconds": seconds[way]}
            against = (figures[way] - figures["full"]).std(ddof=1) / np.sqrt(len(users))
            rows.append({**value, "users": len(users), "pairs": len(known), "error_to_full": against})
        write_atomically(file, json.dumps(rows, indent=1))
        print(pl.DataFrame(rows[-len(WAYS) :]))
        if number > 1:
            for way in ("full", "warm"):
                shutil.rmtree(folder / f"{way}-{number - 1}", ignore_errors=True)
    return rows


def table_of(rows: Sequence[dict]) -> str:
    """Return the table of the docs, a row a day from the second on and one of means, in Markdown."""
    lines = [f"| day | users | {' | '.join(WAYS)} |", "|---|---|" + "---|" * len(WAYS)]
    days = sorted({row["day"] for row in rows} - {0})
    of = {(row["day"], row["way"]): row for row in rows}
    for day in days:
        cells = [f"{of[day, way]['recall']:.4f}" for way in WAYS]
        lines.append(f"| {day} | {of[day, 'full']['users']} | {' | '.join(cells)} |")
    weights = np.array([of[day, "full"]["users"] for day in days])
    for name, digits in (("recall", 4), ("seconds", 1)):
        mean = [
            np.average([of[day, way][name] for day in days], weights=weights if digits == 4 else None)
            for way in WAYS
        ]
        label = "mean over users" if digits == 4 else "CPU seconds a day"
        lines.append(f"| {label} | {weights.sum()} | {' | '.join(f'{x:.{digits}f}' for x in mean)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", type=Path)
    parser.add_argument("--first", type=date.fromisoformat, default=date(2019, 6, 30))
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--span", type=int, default=1)
    parser.add_argument("--method", default="gcl_sparse")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--core", type=int, default=5)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/ten-days"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", gclrec.InputWarning)
    settings = {"method": given.method, "steps": given.steps, "dim": given.dim, "seed": given.seed}
    settings |= {"test_share": 0.0, "valid_share": 0.05, "metrics": ("recall",)}
    rows = study(
        read_events(given.events, given.core), given.first, given.days, given.span, given.out, settings
    )
    print(table_of(rows))


if __name__ == "__main__":
    main()
