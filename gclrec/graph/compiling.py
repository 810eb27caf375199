"""What ``torch.compile`` leaves alone, such as the preparation of graphs by NumPy and threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])


def uncompiled(function: F) -> F:
    """Return a function that runs as it is written within what is compiled.

    ``torch.compiler.disable`` alone would load the compiler, which takes a second, also where nothing is
    compiled.
    """

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return called  # type: ignore[return-value]
