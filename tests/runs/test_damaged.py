"""Files of a run folder that are no longer what they were."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from gclrec.common.errors import InputError
from gclrec.runs.checkpoint import save_state
from gclrec.runs.folder import RunFolder
from gclrec.runs.reading import read_vocabulary
from gclrec.training.recorder import RunRecorder


@pytest.mark.parametrize("line", [b"\xce\n", b"[1]\n", b"7\n"])
def test_figures_that_are_none(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": 1}\n' + line)
    with pytest.raises(InputError, match=r"metrics\.jsonl: damaged"):
        RunFolder(tmp_path).metrics()


@pytest.mark.parametrize(
    "values", [{"settle_seconds": None}, {"epoch": "1"}, {"phase": 3}, {"best_value": []}, {"unknown": 1}]
)
def test_a_checkpoint_that_counts_in_no_numbers(tmp_path: Path, values: dict[str, object]) -> None:
    folder = RunFolder(tmp_path)
    save_state(folder.last_checkpoint, {"a": torch.zeros(2)}, values)
    with pytest.raises(InputError, match=r"last\.safetensors: not a complete gclrec checkpoint"):
        RunRecorder(folder).checkpoint()


@pytest.mark.parametrize(
    "table", [{"x": [1]}, {"id": [1, 1]}, {"id": [1, None]}, {"id": [[1], [2]]}, {"id": [0.5]}], ids=str
)
def test_ids_that_are_none(tmp_path: Path, table: dict[str, list[object]]) -> None:
    pl.DataFrame(table).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(InputError, match=r"items\.parquet: (expected a column 'id'|an id is missing)"):
        read_vocabulary(tmp_path / "items.parquet")
