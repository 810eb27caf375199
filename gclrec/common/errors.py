"""What gclrec says about bad input: one clear line, an error or a notice."""

from __future__ import annotations

from collections.abc import Collection


class InputError(ValueError):
    """Something the caller gave cannot be used.

    The message is one line that names the file (and the line in it), what was found and what was
    expected. Commands print it and end with exit code 2; nothing else in gclrec is shown that way.
    """


class SettingError(InputError):
    """An argument of a component has a value that it cannot have, alone or beside the others.

    Commands name the flag of the argument in its place.

    Args:
        argument: keyword argument of the component.
        message: what was found and what was expected.
    """

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(f"{argument}: {message}")
        self.argument = argument
        self.message = message


class InputWarning(UserWarning):
    """Something in the input is unusual but has a defined meaning, such as a user without interactions.

    Libraries raise it with ``warnings.warn``; commands print it as one line that begins with ``note:``.
    """


class CollapseWarning(UserWarning):
    """The vectors of users or items have collapsed into one direction, so that all users get one list.

    Training raises it once a run with ``warnings.warn``; commands print it as one line that begins with
    ``warning:``.
    """


def check_choice(argument: str, value: str, choices: Collection[str]) -> None:
    """Raise a :class:`SettingError` unless the value of an argument is one of its choices."""
    if value not in choices:
        raise SettingError(argument, f"must be one of {', '.join(choices)}, got {value!r}")


def flag(name: str) -> str:
    """Return the command-line spelling of a setting."""
    return "--" + name.replace("_", "-")
