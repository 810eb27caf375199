"""Shared by all tests: seeds, small graphs, and where the real data sets lie."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded; commands that tests start inherit it

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from gclrec.graph.bipartite import BipartiteGraph

torch.set_num_threads(1)


@pytest.fixture
def real_dataset() -> Callable[[str], Path]:
    """Return the folder of a real data set, or skip the test where it is not to be had."""

    def folder(name: str) -> Path:
        root = os.environ.get("GCLREC_DATASETS")
        if not root or not (Path(root) / name).is_dir():
            pytest.skip(f"real data set {name}: set GCLREC_DATASETS to a folder that holds it")
        return Path(root) / name

    return folder


@pytest.fixture
def toy_graph() -> BipartiteGraph:
    """Return 12 users and 10 items with 40 interactions; user 11 and item 9 have none."""
    generator = torch.Generator().manual_seed(7)
    keys = torch.randperm(11 * 9, generator=generator)[:40].sort().values
    return BipartiteGraph(12, 10, torch.stack([keys // 9, keys % 9]))


@pytest.fixture(scope="session")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return attribute tables of the users and items of ``clicks`` that tell their taste, with gaps."""
    folder = tmp_path_factory.mktemp("attributes")
    tables = {
        "users": pl.DataFrame(
            {
                "user_id": [f"user-{u}" for u in range(60)],
                "taste": [("even", "odd")[u % 2] if u % 7 else None for u in range(60)],
                "age": [20.5 + u % 9 for u in range(60)],
            }
        ),
        "items": pl.DataFrame(
            {
                "item_id": range(55),  # five that nobody has seen
                "tags": [f"{('even', 'odd')[i % 2]}|t{i % 5}" if i % 9 else None for i in range(55)],
                "price": [i / 4 for i in range(55)],
            }
        ),
    }
    for name, table in tables.items():
        table.write_csv(folder / f"{name}.csv")
    return {name: folder / f"{name}.csv" for name in tables}


@pytest.fixture(scope="session")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV of 60 users and 50 items in two tastes, with times and ratings."""
    random = np.random.default_rng(3)
    user = np.repeat(np.arange(60), 14)
    item = np.concatenate([random.choice(25, 14, replace=False) * 2 + u % 2 for u in range(60)])
    columns = {
        "user_id": [f"user-{u}" for u in user],
        "item_id": item,
        "rating": random.integers(1, 6, len(user)),
        "timestamp": random.integers(1_600_000_000, 1_700_000_000, len(user)),
    }
    path = tmp_path_factory.mktemp("data") / "clicks.csv"
    pl.DataFrame(columns).write_csv(path)
    return path
