"""Shared by all tests: seeds, small graphs, and where the real data sets lie."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded; commands that tests start inherit it

from collections.abc import Callable
from pathlib import Path

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
