"""Where an algorithm for CPUs and one for GPUs part."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def on_cpu(device: torch.device) -> bool:
    """Return whether a device is the CPU.

    Code with an algorithm for each kind of device asks this function, so that tests can take the branches of
    GPUs on any machine.
    """
    return device.type == "cpu"
