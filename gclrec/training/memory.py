"""How the process keeps its memory while it trains."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of two settings in glibc's ``malloc.h``."""

_MOST = 2**30
"""Bytes: larger pieces are given back at once; so is what lies free at the end beyond as much."""

_ALWAYS_ALLOWED = 2**25
"""Bytes: the highest bound of :data:`_MMAP_THRESHOLD` that every glibc of 64 bits takes."""


@cache
def keep_freed_memory() -> bool:
    """Ask the C library to use freed memory again instead of giving it back; return whether it will.

    A step makes and frees tables of millions of numbers. By default glibc hands such pieces back to the
    system, which has to clear every page anew when the next step asks for it: a tenth to a fifth of a step.
    It holds for the whole process and is done once; elsewhere than on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - the mark of glibc: AttributeError with another
        kept = library.mallopt(_MMAP_THRESHOLD, _MOST) or library.mallopt(_MMAP_THRESHOLD, _ALWAYS_ALLOWED)
        return bool(kept and library.mallopt(_TRIM_THRESHOLD, _MOST))
    return False
