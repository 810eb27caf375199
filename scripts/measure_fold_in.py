"""Measure how well folded-in vectors rank (docs/studies/fold-in.md): ``python scripts/measure_fold_in.py``.

Three runs of each encoder on ml-100k: users of the run folded in from their training items; users and items
that training never saw (splits ``cold_users``, ``cold_items``), given some of their interactions, and
evaluated on the others.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cyclopts import App
from rich.console import Console
from rich.table import Table

from gclrec.cli.train import main as train
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import Interactions
from gclrec.data.splits import Split
from gclrec.evaluation.evaluator import evaluate
from gclrec.recall.fold_in import FoldIn
from gclrec.runs.embeddings import read_embeddings
from gclrec.runs.folder import RunFolder

app = App()
K, SEED = 20, 0


@app.default
def measure(
    *, dataset: str = "ml-100k", epochs: int = 20, encoders: tuple[str, ...] = ("lightgcn", "mf")
) -> None:
    """Print recall@20 by encoder and by the given share of a history."""
    table = Table("encoder", "who", "given", f"recall@{K}")
    with tempfile.TemporaryDirectory() as folder:
        for encoder in encoders:
            for name in ("random", "cold_users", "cold_items"):
                run = Path(folder, f"{encoder}-{name}")
                flags = f"--dataset {dataset} --split {name} --encoder {encoder} --aug none --epochs {epochs}"
                train([*flags.split(), "--run", str(run), "--json"])
                for row in figures(run, name):
                    table.add_row(encoder, *row)
    Console().print(table)


def figures(run: Path, name: str) -> list[tuple[str, str, str]]:
    """Return the rows of one run."""
    split, fold_in = RunFolder.open(run).split(), FoldIn.load(run / "fold_in")
    held = read_embeddings(run / "embeddings")
    users, items = held.user_vectors, held.item_vectors
    num_users, num_items = split.train.num_users, split.train.num_items
    if name == "random":
        lists = Ragged.from_pairs(split.train.user, split.train.item, num_users, distinct=True)
        kinds = {"trained vector": users, "folded in": fold_in.new_users(lists)}
        return [
            ("users of the run", kind, recall(vectors, items, split, split.test, split.valid))
            for kind, vectors in kinds.items()
        ]
    side = name.removeprefix("cold_").removesuffix("s")
    rows = []
    for share in ("half", 5, 2) if side == "user" else ("half",):
        given, rest = parted(split, side, share)
        pairs = [given.user, given.item] if side == "user" else [given.item, given.user]
        lists = Ragged.from_pairs(*pairs, num_users if side == "user" else num_items, distinct=True)
        new = np.flatnonzero(lists.lengths)
        if side == "user":
            users = users.copy()
            users[new] = fold_in.new_users(lists)[new]
        else:
            items = items.copy()
            items[new] = fold_in.new_items(lists).vectors[new]
        rows.append((f"new {side}s", str(share), recall(users, items, split, rest, given)))
    return rows


def parted(split: Split, side: str, share: Any) -> tuple[Interactions, Interactions]:
    """Return the given and the other pairs of those that training has not seen."""
    cold = getattr(split.train, f"{side}_degrees")() == 0
    held = [part.select(cold[getattr(part, side)]) for part in (split.valid, split.test)]
    whole = held[1].select(np.arange(len(held[1])))
    user, item = (np.concatenate([getattr(part, name) for part in held]) for name in ("user", "item"))
    order = np.random.default_rng(SEED).permutation(len(user))
    order = order[np.argsort((user if side == "user" else item)[order], kind="stable")]
    user, item = user[order], item[order]
    owner = user if side == "user" else item
    count = np.bincount(owner)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    given = place < (count[owner] / 2 if share == "half" else share)
    return tuple(  # type: ignore[return-value]
        Interactions(whole.users, whole.items, user[rows], item[rows]) for rows in (given, ~given)
    )


def recall(users: Any, items: Any, split: Split, targets: Interactions, known: Interactions) -> str:
    """Return the mean recall of users with targets over the whole catalogue."""
    found = evaluate(
        users, items, split.train, targets, ks=(K,), metrics=("recall",), groups=("all",), exclude=known
    )
    return f"{found.values[f'all/recall@{K}']:.4f}"


if __name__ == "__main__":
    app()
