"""Counts what makes a program wait for a GPU: values read by the host, and shapes that depend on values.

The modes see the calls on any device, so a training step can be counted without a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_READS = {"aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero"}
_SHAPES = {
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::unique_dim_consecutive",
    "aten::bincount",
}
_METHODS = {"tolist", "numpy", "cpu"}


class HostWaits(TorchDispatchMode):
    """Counts the calls in its block for which the host would wait for a GPU.

    Attributes:
        counts: calls by name: ``item``-like reads, shapes that depend on values, copies to the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._methods = _Methods(self.counts)

    def __enter__(self) -> HostWaits:
        self._methods.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._methods.__exit__(*error)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count one operation and do it."""
        name = func._schema.name
        by_mask = name.startswith(("aten::index", "aten::_index")) and any(map(_is_mask, _indices(args)))
        repeats = name == "aten::repeat_interleave" and not (kwargs or {}).get("output_size")
        if name in _READS or name in _SHAPES or by_mask or repeats:
            self.counts[name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    """Counts the methods that copy a tensor to the host, which on a CPU call no operation."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count one call and make it."""
        name = getattr(func, "__name__", "")
        if name in _METHODS and args and isinstance(args[0], Tensor):
            self._counts[name] += 1
        return func(*args, **(kwargs or {}))


def _indices(args: tuple[Any, ...]) -> Iterable[Any]:
    return args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
