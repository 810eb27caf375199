"""What gclrec says about bad input: one clear line, an error or a notice."""

from __future__ import annotations


class InputError(ValueError):
    """Something the caller gave cannot be used.

    The message is one line that names the file (and the line in it), what was found and what was
    expected. Commands print it and end with exit code 2; nothing else in gclrec is shown that way.
    """


class InputWarning(UserWarning):
    """Something in the input is unusual but has a defined meaning, such as a user without interactions.

    Libraries raise it with ``warnings.warn``; commands print it as one line that begins with ``note:``.
    """


class CollapseWarning(UserWarning):
    """The vectors of users or items have collapsed into one direction, so that all users get one list.

    Training raises it once a run with ``warnings.warn``; commands print it as one line that begins with
    ``warning:``.
    """
