"""Checkpoints hold every type of tensor, bit for bit, as other readers of safetensors see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from gclrec.common.errors import InputError
from gclrec.runs.checkpoint import _TYPES, load_state, save_state

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([3])}


@pytest.mark.parametrize("dtype", _TYPES, ids=str)
def test_every_type_comes_back(tmp_path: Path, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    tensors = {
        "a table": (torch.rand(3, 5, generator=random) * 9).to(dtype),
        "transposed": (torch.rand(4, 2, generator=random) * 9).to(dtype).T,
        "one": torch.ones((), dtype=dtype),
        "none": torch.ones(0, 7, dtype=dtype),
        "bytes": torch.arange(3, dtype=torch.uint8),
    }
    save_state(tmp_path / "x.safetensors", tensors, {"epoch": 3, "phase": "é"})
    found, values = load_state(tmp_path / "x.safetensors")
    assert values == {"epoch": 3, "phase": "é"}
    for read in (found, load_file(tmp_path / "x.safetensors")):
        assert read.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert read[name].dtype == tensor.dtype
            assert torch.equal(read[name], tensor)


def test_a_full_disk_keeps_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_state(path, {"a": torch.ones(2)}, {"epoch": 1})

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda self, mode: Full())
    with pytest.raises(OSError, match="No space"):
        save_state(path, {"a": torch.zeros(2)}, {"epoch": 2})
    monkeypatch.undo()
    assert load_state(path)[1] == {"epoch": 1}


def test_any_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last"
    save_state(path, TENSORS, {"epoch": 3})
    content = path.read_bytes()
    said = []
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            tensors, values = load_state(path)
        except InputError as error:
            said.append(str(error))
        else:
            assert values == {"epoch": 3}
            assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in tensors.items())
    assert len(said) >= len(content) - len('"sha256": ""')
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in said)


def test_damage_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "last"
    save_state(path, TENSORS, {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{path}: damaged or altered.*remove {tmp_path} and resume"):
        load_state(path)


def test_a_checkpoint_without_checksum_loads(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(save(TENSORS, metadata={"gclrec": json.dumps({"epoch": 1})}))
    assert load_state(tmp_path / "old")[1] == {"epoch": 1}
