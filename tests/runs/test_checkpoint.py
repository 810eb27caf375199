"""Checkpoints hold every type of tensor, bit for bit, as other readers of safetensors see them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gclrec.runs.checkpoint import _TYPES, load_state, save_state


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
