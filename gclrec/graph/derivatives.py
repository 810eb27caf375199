"""What autograd functions of one derivative say when they are asked for a second."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

R = TypeVar("R")


def differentiable_once(backward: Callable[..., R]) -> Callable[..., R]:
    """Return a backward pass that refuses ``create_graph=True``, under which it would be taken for constant.

    PyTorch's own decorator of this kind notices only gradients that are asked for through the incoming one.

    Raises:
        RuntimeError: the gradient is to be differentiated again (by the backward pass returned).
    """

    @wraps(backward)
    def once(ctx: Any, *grads: Any) -> R:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "no second derivative: what gclrec computes with a backward pass of its own cannot be "
                "differentiated under create_graph=True"
            )
        return backward(ctx, *grads)

    return once
