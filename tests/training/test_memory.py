"""Freed memory is used again, where the C library can be asked to."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from gclrec.training.memory import keep_freed_memory

PROGRAM = """
import ctypes, sys, torch
from gclrec.training.memory import keep_freed_memory

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd",
        "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Heap
if sys.argv[1] == "keep":
    assert keep_freed_memory()
made = [torch.ones(2_000_000) for _ in range(12)]
del made
print(library.mallinfo2().fordblks)
"""


@pytest.mark.skipif(
    not keep_freed_memory() or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33 or later"
)
def test_what_is_freed_stays_with_the_process() -> None:
    """Free bytes in the heap after 96 MB were made and freed, in processes of their own."""
    held = {}
    for how in ("keep", "leave"):
        command = [sys.executable, "-c", PROGRAM, how]
        held[how] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert held["leave"] < 96e6 <= held["keep"]
