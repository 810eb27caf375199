"""Processes that were forked, as by gunicorn's preload or multiprocessing's ``fork``.

A fork copies the memory of a process but none of its threads, so a library waits for ever for those that it
had started. Answering needs no thread of Polars; what does says so in one line. OpenMP is kept to one thread.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import cache

from gclrec.common.errors import InputError

_LOADED_IN = os.getpid()
_SECONDS = 5.0  # in which Polars sorts two numbers if it can


def need_polars(what: object) -> None:
    """Check that Polars has its threads, at the door of what would otherwise wait for ever.

    Args:
        what: named in the message.

    Raises:
        InputError: this process was forked from one that had used Polars.
    """
    if os.getpid() == _LOADED_IN or _answers(os.getpid()):
        return
    raise InputError(
        f"{what}: needs the threads of Polars, which a forked process does not have; start processes with "
        "multiprocessing's spawn, or do this before the fork"
    )


@cache
def _answers(process: int) -> bool:  # noqa: ARG001 - the key of the cache
    import polars as pl

    thread = threading.Thread(target=lambda: pl.Series([2, 1]).sort(), daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return not thread.is_alive()


def _keep_to_one_thread() -> None:
    """Keep torch and faiss, where they are loaded, to the only thread of a forked process."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_to_one_thread)
