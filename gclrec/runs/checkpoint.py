"""Checkpoints: tensors and JSON values in one safetensors file, without pickle."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

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


_BLANK = "0" * 64
_MARK = re.compile(rb'"sha256": "(.{64})"')


def save_state(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and JSON values to one file, atomically: if interrupted, the former file is kept.

    The file is written tensor by tensor, since ``safetensors.torch.save`` makes two copies of all of them in
    memory and ``save_file`` passes over a full disk. The format is a length of 8 bytes, a header in JSON, and
    the tensors one after the other, those of larger elements first so that each is aligned
    (https://huggingface.co/docs/safetensors). The header holds the SHA-256 of the file, with zeros in
    place of the checksum.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"sha256": _BLANK, "gclrec": json.dumps(dict(values))}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": _TYPES[tensors[name].dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as fresh, fresh.open("wb") as file:
        first = len(text).to_bytes(8, "little") + text
        file.write(first)
        digest = hashlib.sha256(first)
        for name in names:
            flat = tensors[name].detach().contiguous().cpu().reshape(-1)
            content = flat.view(torch.uint8).numpy().data
            digest.update(content)
            file.write(content)
        file.seek(first.index(_BLANK.encode()))
        file.write(digest.hexdigest().encode())


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and values that :func:`save_state` wrote.

    Raises:
        InputError: the file is missing, truncated, not such a file, or not as it was written.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file, so there is nothing to resume or load")
    _check(path)
    with (
        reading(path, "not a complete gclrec checkpoint"),
        safetensors.safe_open(path, framework="pt") as file,
    ):
        values = json.loads((file.metadata() or {})["gclrec"])
        return {name: file.get_tensor(name) for name in file.keys()}, dict(values)  # noqa: SIM118 - not a dict


def checksum_in(path: Path) -> str | None:
    """Return the checksum that a file names in its header; version 0.1.0 wrote none."""
    with path.open("rb") as file:
        found = _MARK.search(_head(file))
    return None if found is None else found[1].decode()


def _head(file: BinaryIO) -> bytes:
    """Return the length and the header at the beginning of a file."""
    head = file.read(8)
    return head + file.read(min(int.from_bytes(head, "little"), os.fstat(file.fileno()).st_size))


def _check(path: Path) -> None:
    """Check the checksum in the header, if there is one."""
    with path.open("rb") as file:
        head = _head(file)
        found = _MARK.search(head)
        if found is None:
            return
        digest = hashlib.sha256(head[: found.start(1)] + _BLANK.encode() + head[found.end(1) :])
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest().encode() != found[1]:
        raise InputError(
            f"{path}: damaged or altered, its checksum is another; put back a copy of it, or remove "
            f"{path.parent} and resume, which trains from the start"
        )
