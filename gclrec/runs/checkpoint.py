"""Checkpoints: tensors and JSON values in one safetensors file, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save as serialize
from torch import Tensor

from gclrec.common.errors import InputError, reading
from gclrec.common.files import write_atomically


def save_state(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and JSON values to one file, atomically: if interrupted, the former file is kept."""
    flat = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    write_atomically(path, serialize(flat, metadata={"gclrec": json.dumps(dict(values))}))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and values that :func:`save_state` wrote.

    Raises:
        InputError: the file is missing, truncated, or not such a file.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file, so there is nothing to resume or load")
    with (
        reading(path, "not a complete gclrec checkpoint"),
        safetensors.safe_open(path, framework="pt") as file,
    ):
        values = json.loads((file.metadata() or {})["gclrec"])
        return {name: file.get_tensor(name) for name in file.keys()}, dict(values)  # noqa: SIM118 - not a dict
