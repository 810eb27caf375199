"""What is freed is used again, where the C library can be asked to; what is free is known."""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
from pathlib import Path

import pytest

from gclrec.common import memory
from gclrec.common.memory import keep_freed_memory

PROGRAM = """
import ctypes, sys, torch
from gclrec.common.memory import keep_freed_memory

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


def group(folder: Path, **numbers: object) -> None:
    folder.mkdir(parents=True)
    for name, value in numbers.items():
        (folder / name.replace("_in_", "\n").replace("_", ".").replace("\n", "_in_")).write_text(f"{value}\n")


def test_limits_of_control_groups(tmp_path: Path) -> None:
    """The least of all groups above this process; files in the cache count as free; max is no limit."""
    own = tmp_path / "own"
    own.write_text("0::/a/b\n")
    group(tmp_path / "two" / "a", memory_max=1000, memory_current=700, memory_stat="inactive_file 50")
    group(tmp_path / "two" / "a" / "b", memory_max="max", memory_current=600)
    assert list(memory._control_groups(tmp_path / "two", own)) == [350]
    (tmp_path / "two" / "a" / "b" / "memory.max").write_text("620")
    assert sorted(memory._control_groups(tmp_path / "two", own)) == [20, 350]
    own.write_text("5:cpu:/a\n4:memory:/x\n")
    (tmp_path / "one" / "memory" / "x").mkdir(parents=True)
    (tmp_path / "one" / "memory" / "x" / "memory.limit_in_bytes").write_text("500")
    (tmp_path / "one" / "memory" / "x" / "memory.usage_in_bytes").write_text("600")
    assert list(memory._control_groups(tmp_path / "one", own)) == [0]
    assert list(memory._control_groups(tmp_path, tmp_path / "missing")) == []
    assert 0 < memory.resident_bytes() < memory.available_bytes() < math.inf


def test_the_memory_that_is_free_is_known() -> None:
    assert 2**26 < memory.free_bytes() < 2**60


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not heed the limit")
def test_a_limit_of_the_address_space_counts() -> None:
    code = """
import resource
from gclrec.common.memory import address_space, free_bytes
resource.setrlimit(resource.RLIMIT_AS, (300 << 20, resource.RLIM_INFINITY))
print(address_space() >> 20, 0 < free_bytes() < 300 << 20)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "300 True\n"
