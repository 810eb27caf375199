"""Text for a terminal: flags, commands that run as they are printed, and no control characters."""

from __future__ import annotations

import re
import shlex

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return text with an escape such as ``\x1b`` for each control character but tabs and line breaks."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def flag(name: str) -> str:
    """Return the command-line spelling of a setting."""
    return "--" + name.replace("_", "-")


def command_line(*words: object, **options: object) -> str:
    """Return a command with each word quoted for the shell where it must be.

    Args:
        words: of the command.
        options: values by name; one that begins with a hyphen is joined to its option with ``=``.

    Example:
        >>> print(command_line("gclrec", "recommend", "my runs/1", k=10))
        gclrec recommend 'my runs/1' -k 10
    """
    parts = [_quoted(str(word)) for word in words]
    for name, value in options.items():
        dashes = "-" if len(name) == 1 else "--"
        parts.append(f"{dashes}{name}{'=' if str(value).startswith('-') else ' '}{_quoted(str(value))}")
    return " ".join(parts)


def _quoted(word: str) -> str:
    escaped = printable(word)
    if escaped == word and "\n" not in word:
        return shlex.quote(word)
    plain = word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{printable(plain)}'"
