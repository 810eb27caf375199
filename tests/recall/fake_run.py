"""A run folder without training: random vectors and pairs, written with the package's own writers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import polars as pl

from gclrec.data.interactions import Vocabulary
from gclrec.runs.embeddings import write_embeddings


@dataclass
class FakeRun:
    path: Path
    users: Vocabulary
    items: Vocabulary
    user_vectors: np.ndarray
    item_vectors: np.ndarray
    parts: dict[str, tuple[np.ndarray, np.ndarray]]

    def known(self, *parts: str) -> np.ndarray:
        """Return ``(U, I)`` whether a user has an item in one of the parts."""
        mask = np.zeros((len(self.users), len(self.items)), dtype=bool)
        for part in parts:
            mask[self.parts[part]] = True
        return mask

    def ranked(self, user: int, *parts: str) -> list[int]:
        """Rank by the textbook: all scores, known ones out, equal scores by row."""
        scores = self.item_vectors @ self.user_vectors[user]
        known = self.known(*parts)[user]
        order = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
        return [item for item in order if not known[item]]


def vocabulary(count: int, kind: str, prefix: str) -> Vocabulary:
    """Return ids in an order that is neither sorted nor that of the row numbers."""
    order = np.random.default_rng(count).permutation(count)
    if kind == "big":
        return Vocabulary(pl.Series("id", order + 2**62))
    if kind == "uuid":
        return Vocabulary(pl.Series("id", [str(UUID(int=2**127 + int(n) * 2**64)) for n in order]))
    return Vocabulary(pl.Series("id", [f"{prefix}{n}" for n in order] if kind == "string" else order * 3 - 7))


def write_run(
    path: Path,
    *,
    num_users: int = 30,
    num_items: int = 60,
    dim: int = 8,
    ids: str = "int",
    skew: float = 0.0,
    seed: int = 0,
) -> FakeRun:
    """Write a run folder; user 0 has every item, user 1 none.

    Args:
        skew: standard deviation of the logarithm of the item vectors' lengths.
    """
    random = np.random.default_rng(seed)
    users, items = vocabulary(num_users, ids, "u"), vocabulary(num_items, ids, "i")
    user_vectors = random.normal(size=(num_users, dim)).astype(np.float32)
    item_vectors = random.normal(size=(num_items, dim)) * random.lognormal(0, skew, (num_items, 1))
    item_vectors = item_vectors.astype(np.float32)
    draw = random.random((num_users, num_items))
    draw[0], draw[1] = np.linspace(0, 0.2999, num_items), 1.0
    shares = {"train": (0.0, 0.2), "valid": (0.2, 0.25), "test": (0.25, 0.3)}
    parts = {name: np.nonzero((draw >= low) & (draw < high)) for name, (low, high) in shares.items()}
    user, item = parts["train"]
    write_embeddings(
        path / "embeddings",
        user_ids=users,
        user_vectors=user_vectors,
        user_degrees=np.bincount(user, minlength=num_users),
        item_ids=items,
        item_vectors=item_vectors,
        item_degrees=np.bincount(item, minlength=num_items),
    )
    (path / "split").mkdir()
    for name, (user, item) in parts.items():
        pl.DataFrame({"user": user, "item": item}).write_parquet(path / "split" / f"{name}.parquet")
    return FakeRun(path, users, items, user_vectors, item_vectors, parts)
