"""Memory of this process: how it keeps what is freed, what it has, and what it may use."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

if sys.platform != "win32":
    import resource

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of two settings in glibc's ``malloc.h``."""

_MOST = 2**30
"""Bytes: larger pieces still return to the system at once, and so does free memory beyond this much."""

_VERSION_2 = ("memory.max", "memory.current")

_ALWAYS_ALLOWED = 2**25
"""Bytes: the largest ``M_MMAP_THRESHOLD`` that every 64-bit glibc accepts."""


@cache
def keep_freed_memory() -> bool:
    """Make the C library reuse freed memory instead of returning it; return whether it does.

    A step allocates and frees tables of millions of numbers. By default glibc returns such pieces to the
    system, which clears every page again when the next step asks for it. On gowalla with one thread a
    ``lightgcn`` step takes 94 ms of processor time with this setting and 138 ms without.

    The setting holds for the whole process. Without glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - only glibc has it: AttributeError with another library
        kept = library.mallopt(_MMAP_THRESHOLD, _MOST) or library.mallopt(_MMAP_THRESHOLD, _ALWAYS_ALLOWED)
        return bool(kept and library.mallopt(_TRIM_THRESHOLD, _MOST))
    return False


def resident_bytes() -> int:
    """Return the memory of this process that is in RAM; 0 where that is not known."""
    return _field("/proc/self/status", "VmRSS")


def available_bytes() -> float:
    """Return how much memory this process may use in all: what it has and what is free."""
    return resident_bytes() + free_bytes()


def free_bytes() -> float:
    """Return how much more memory this process may take.

    The limits of control groups, as containers have, and of the address space (``ulimit -v``) count too.
    Where the system does not tell what is free, it is all of its memory; infinite where that is not known
    either.
    """
    free: float = _field("/proc/meminfo", "MemAvailable")
    if not free:
        known = "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {})
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else math.inf
    mapped = address_space() - _field("/proc/self/status", "VmSize")
    return max(min([free, mapped, *_control_groups(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))]), 0)


def address_space() -> int:
    """Return the bytes of address space that this process may map; the largest integer without a limit."""
    if sys.platform == "win32":
        return sys.maxsize
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _control_groups(root: Path, own: Path) -> Iterator[float]:
    """Yield what is free below the limit of each control group of this process (version 2, then 1)."""
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            number, kinds, name = line.split(":", 2)
            version_1 = "memory" in kinds.split(",")
            if number != "0" and not version_1:
                continue
            top = root / "memory" if version_1 else root
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version_1 else _VERSION_2
            place = top / name.strip("/")
            for folder in (place, *place.parents):
                if folder != top and top not in folder.parents:
                    break
                with contextlib.suppress(OSError, ValueError):
                    limit, used = (int((folder / each).read_text()) for each in names)
                    files = _field(str(folder / "memory.stat"), "inactive_file", 1)  # given back when needed
                    yield max(limit - used + files, 0)


def _field(path: str, name: str, unit: int = 1024) -> int:
    """Return a number of a file of lines ``name: number`` in bytes, 0 where it cannot be read."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path(path).read_text().splitlines()
        return unit * int(next(line for line in lines if line.startswith(name)).split()[1])
    return 0
