"""Files of a run folder that are no longer what they were."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import gclrec
from gclrec.common.checksums import CHECKSUMS
from gclrec.common.errors import InputError
from gclrec.common.files import read_json, read_parquet
from gclrec.runs.checkpoint import save_state
from gclrec.runs.folder import RunFolder
from gclrec.runs.reading import read_part_lists, read_vocabulary, settings_of
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


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    """Make a run folder with every file that has a checksum."""
    random = np.random.default_rng(0)
    pairs = pl.DataFrame({"user": random.integers(0, 30, 400), "item": random.integers(0, 20, 400)}).unique()
    items = pl.DataFrame({"id": range(20), "tag": [f"t{n % 3}" for n in range(20)]})
    flags = {"attributes": "input", "train_fraction": 0.7, "dim": 4, "num_layers": 1, "epochs": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = pairs.sort("user", "item")
        gclrec.fit(pairs, item_attributes=items, **flags, folder=tmp_path / "run", progress=False)
    folder = RunFolder(tmp_path / "run")
    split = folder.split()
    folder._write_pairs("joined", split.valid, checksum=True)
    folder._write_pairs("exposed", split.valid, checksum=True)
    return folder


def test_a_flipped_bit_in_any_file_is_refused(finished: RunFolder) -> None:
    run, split = finished.path, finished.split()
    users, items = split.train.users, split.train.items
    names = ("train", "valid", "test", "removed", "joined")
    readers: dict[str, Callable[[], object]] = {
        "config.toml": lambda: (finished.settings(), settings_of(run)),
        "metrics.jsonl": finished.metrics,
        "pilot.json": finished.pilot,
        "result.json": lambda: read_json(run / "result.json"),
        "per_user.parquet": lambda: read_parquet(run / "per_user.parquet"),
        "split/exposed.parquet": finished.exposed,
        "split/users.parquet": finished.split,
        "split/items.parquet": finished.split,
        "split/split.json": finished.split,
        **{f"split/{n}.parquet": lambda n=n: read_part_lists(run, [n], users, items) for n in names},
        "attributes/schema.json": finished.attribute_tables,
        "attributes/items.parquet": finished.attribute_tables,
    }
    lists = [run / part / CHECKSUMS for part in ("", "split", "attributes")]
    listed = {str((path.parent / name).relative_to(run)) for path in lists for name in read_json(path)}
    assert listed == set(readers)
    for number, (name, read) in enumerate(readers.items()):
        content = (run / name).read_bytes()
        read()
        at = number * 37 % len(content)
        (run / name).write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(InputError, match=f"{re.escape(name)}: damaged or altered") as refused:
            read()
        assert "\n" not in str(refused.value)
        (run / name).write_bytes(content)
        read()


def test_pairs_that_were_removed_are_missed(finished: RunFolder) -> None:
    """Without the file, known pairs would be recommended without a word."""
    (finished.path / "split" / "removed.parquet").unlink()
    with pytest.raises(InputError, match=r"removed\.parquet: missing, checksums\.json lists it"):
        finished.split()


def test_a_run_without_checksums_loads(finished: RunFolder) -> None:
    before = finished.split()
    for path in finished.path.rglob(CHECKSUMS):
        path.unlink()
    assert finished.settings()["dim"] == 4
    assert len(finished.metrics()) == 1
    assert np.array_equal(finished.split().train.item, before.train.item)
