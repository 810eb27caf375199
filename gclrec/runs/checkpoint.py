"""Checkpoints: tensors and JSON values in one safetensors file, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from gclrec.common.atomic import replacing
from gclrec.common.errors import InputError, reading

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save_state(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and JSON values to one file, atomically: if interrupted, the former file is kept.

    The file is written tensor by tensor, since ``safetensors.torch.save`` makes two copies of all of them in
    memory and ``save_file`` passes over a full disk. The format is a length of 8 bytes, a header in JSON, and
    the tensors one after the other, those of larger elements first so that each is aligned
    (https://huggingface.co/docs/safetensors).
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"gclrec": json.dumps(dict(values))}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": _TYPES[tensors[name].dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as fresh, fresh.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            flat = tensors[name].detach().contiguous().cpu().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


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
