"""Errors and warnings about input, each with a message of one line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Input that cannot be used.

    The message is one line that names the file (and the line in it), what was found and what was expected.
    An argument to give stands between backticks, such as ```quote=none```, where commands print its flag.
    Commands print the line and exit with code 2.
    """


class NoRowsError(InputError):
    """A file that holds no row."""


class SettingError(InputError):
    """An argument of a component is invalid, alone or together with other arguments.

    Commands print the argument as its flag.

    Args:
        argument: keyword argument of the component.
        message: what was found and what was expected.
    """

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(f"{argument}: {message}")
        self.argument = argument
        self.message = message


class DivergenceError(InputError):
    """The training loss is not finite any more: the settings do not suit the data."""


class TooLargeError(InputError):
    """The data does not fit into the memory of this machine with the method asked for."""


class NothingToTuneError(InputError):
    """No setting of a method is worth a search, or all of them are held."""


class NoNegativesError(ValueError):
    """Every user of the training pairs has every item, so that no negative can be drawn."""


class UnfinishedError(InputError):
    """What is wrong with a run folder goes away if its training is resumed; commands add how.

    Args:
        run: the run folder.
        message: what is wrong; ends with "resume its training".
    """

    def __init__(self, run: Path, message: str) -> None:
        super().__init__(message)
        self.run = run


class InputWarning(UserWarning):
    """Input that is unusual but has a defined meaning, such as a user without interactions.

    Commands print it as one line that begins with ``note:``.
    """


class CollapseWarning(UserWarning):
    """The vectors of users or items have collapsed into one direction, so that all users get the same list.

    Training warns once a run; commands print one line that begins with ``warning:``.
    """


@contextlib.contextmanager
def reading(source: Any, what: str = "cannot be read") -> Iterator[None]:
    """Turn whatever a library raises on the content of a file or table into one line.

    Libraries that parse raise errors of any type for damaged content, among them ``RecursionError`` for deep
    nesting, ``MemoryError`` for a size that is claimed, and Polars' panic, which is a ``BaseException``.

    Args:
        source: the file or table, named in the message.
        what: what is said of it, before the reason in brackets.

    Raises:
        InputError: in place of the error; an :class:`InputError` passes as it is.
    """
    try:
        yield
    except (InputError, Warning, NameError, ImportError, AssertionError):  # the last three are bugs
        raise
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except MemoryError as error:
        raise InputError(f"{source}: {what} (it asks for more memory than there is)") from error
    except RecursionError as error:
        raise InputError(f"{source}: {what} (it is nested too deeply)") from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = error.strerror if isinstance(error, OSError) else None
        first, *more = (str(error).strip() or type(error).__name__).splitlines()
        first = " ".join([first, *more[:1]] if first.endswith(":") else [first])
        reason = reason or " ".join(first.split())
        raise InputError(f"{source}: {what} ({reason})") from error


_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can(no|')t allocate|unable to allocate|bad_alloc|failed to map segment"
    r"|can(no|')t (start|create) (a )?(new )?thread",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error of any library, or one behind it, says that memory could not be allocated."""
    while error is not None:
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_choice(argument: str, value: str, choices: Collection[str]) -> None:
    """Raise a :class:`SettingError` unless the value of an argument is one of its choices."""
    if value not in choices:
        raise SettingError(argument, f"must be one of {', '.join(choices)}, got {value!r}")
