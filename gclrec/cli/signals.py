"""Starting, and ending at SIGINT and SIGTERM; imports nothing heavy, to be ready before anything else."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from gclrec.common.errors import is_out_of_memory
from gclrec.common.memory import address_space, cores

_START, _START_A_CORE = 2048 << 20, 64 << 20
"""Bytes of address space that the libraries take when they are imported, and for the threads of each core."""

_SOON = 2.0  # seconds after a signal in which others are ignored; one that was lost can be sent again


class Terminated(KeyboardInterrupt):
    """Raised at SIGTERM, so that commands close as after an interrupt."""


def leave(number: int, _: FrameType | None) -> NoReturn:
    """End at once with the usual line and exit code: nothing was begun that must be closed."""
    os.write(2, b"terminated\n" if number == signal.SIGTERM else b"interrupted\n")
    os._exit(128 + number)


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """End in one line while the modules of a command are imported: at SIGINT, at SIGTERM, without memory.

    Libraries in C++ and Rust end the process themselves, without a word, where they cannot allocate. So a
    limit below what they take when they are imported is refused before.
    """
    with _handled(leave):
        limit, needed = address_space(), _START + _START_A_CORE * cores()
        if limit < needed:
            _refuse(
                f"memory is limited to {limit >> 20:,} MB (ulimit -v), expected {needed >> 20:,} MB or more"
            )
        try:
            yield
        except (ImportError, MemoryError, OSError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            _refuse("there is not enough memory to start")


def _refuse(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def signals_raise(*, to_the_end: bool = False) -> Iterator[None]:
    """Let SIGTERM raise :class:`Terminated` and SIGINT ``KeyboardInterrupt``; those soon after are ignored.

    So a second one cannot disturb what closes files and prints how to go on. Whatever else is raised after a
    signal, such as by a module whose import it has cut short, is raised as the interrupt that it comes from.
    In the main thread only; other handlers that are set already stay, and what is ignored stays ignored.

    Args:
        to_the_end: after the block, while the interpreter ends, signals are ignored: all is done.
    """
    last: type[KeyboardInterrupt] | None = None
    when = -math.inf

    def stop(number: int, _: object) -> None:
        nonlocal last, when
        if time.monotonic() - when < _SOON:
            return
        when, last = time.monotonic(), Terminated if number == signal.SIGTERM else KeyboardInterrupt
        raise last

    # Ignored is what Python leaves alone when it ends; it takes back handlers of its own.
    with _handled(stop, signal.SIG_IGN if to_the_end else None):
        try:
            yield
        except Exception:
            if last is None:
                raise
            raise last from None


def forget_interrupt() -> None:
    """Let the process end with the exit code that it is given.

    Python ends by SIGINT itself if an interrupt has left code that a library in C ran with ``PyRun_String``,
    until other code is run so.
    """
    ctypes.pythonapi.PyRun_SimpleString(b"")


@contextlib.contextmanager
def _handled(during: Any, after: signal.Handlers | None = None) -> Iterator[None]:
    """Handle the signals that have their usual handlers while the block runs, and after it if asked."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    if threading.current_thread() is not threading.main_thread():
        usual = {}
    mine = {number: former for number, former in usual.items() if signal.getsignal(number) is former}
    for number in mine:
        signal.signal(number, during)
    try:
        yield
    finally:
        for number, former in mine.items():
            signal.signal(number, former if after is None else after)
