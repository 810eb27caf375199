"""A run folder of an untrained encoder, with all that new users and items need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from gclrec.common.ragged import Ragged
from gclrec.encoders import MF, LightGCN
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.fold_in import FoldIn
from gclrec.runs.embeddings import write_embeddings

from .fake_run import FakeRun, write_run


@dataclass
class FoldedRun(FakeRun):
    encoder: LightGCN | MF
    graph: BipartiteGraph
    fold_in: FoldIn

    @property
    def histories(self) -> Ragged:
        """The training items of each user."""
        return Ragged.from_pairs(*self.parts["train"], len(self.users), distinct=True)


def folded_run(
    path: Path,
    layer_weights: str | None = "mean",
    *,
    ids: str = "int",
    num_items: int = 60,
    exponents: tuple[float, float] = (1.0, 1.0),
    degree_exponent: float = 0.5,
) -> FoldedRun:
    """Write a run of a LightGCN with such layer weights, or of MF for ``None``; items 50 to 52 are cold."""
    run = write_run(path, num_items=num_items, ids=ids)
    user, item = run.parts["train"]
    kept = ~np.isin(item, [50, 51, 52])
    user, item = run.parts["train"] = (user[kept], item[kept])
    pl.DataFrame({"user": user, "item": item}).write_parquet(path / "split" / "train.parquet")
    graph = BipartiteGraph(30, num_items, torch.from_numpy(np.stack([user, item])))
    start = {"dim": 8, "init_std": 1.0, "generator": torch.Generator().manual_seed(5)}
    if layer_weights is None:
        encoder: LightGCN | MF = MF(30, num_items, **start)
        fold_in = FoldIn.of_vectors(graph, *encoder.layer_zero, exponents=exponents)
    else:
        weighted = {"degree_exponent": degree_exponent}
        encoder = LightGCN(30, num_items, num_layers=3, layer_weights=layer_weights, **start, **weighted)
        weights = encoder.layer_shares()
        fold_in = FoldIn.of_layers(graph, *encoder.layer_zero, weights, exponents=exponents, **weighted)
    vectors = [
        (rows * rows.norm(dim=1, keepdim=True).clamp(min=1e-9) ** (power - 1)).detach().numpy()
        for rows, power in zip(encoder(graph), exponents, strict=True)
    ]
    write_embeddings(
        path / "embeddings",
        user_ids=run.users,
        user_vectors=vectors[0],
        user_degrees=np.bincount(user, minlength=30),
        item_ids=run.items,
        item_vectors=vectors[1],
        item_degrees=np.bincount(item, minlength=num_items),
    )
    fold_in.save(path / "fold_in")
    return FoldedRun(path, run.users, run.items, vectors[0], vectors[1], run.parts, encoder, graph, fold_in)


def ranked(run: FoldedRun, vector: np.ndarray, without: list[int]) -> list[int]:
    scores = run.item_vectors @ vector
    return [i for i in sorted(range(60), key=lambda i: (-scores[i], i)) if i not in without]
