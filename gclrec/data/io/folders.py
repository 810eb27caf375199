"""Find interactions, published parts and attributes among the files of a folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gclrec.common.errors import InputError, flag
from gclrec.common.files import name_parts, unreadable

PART_STEMS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
"""How the file names of a published split begin, by part."""

INTERACTION_SUFFIXES = (
    *(".txt", ".csv", ".tsv", ".tab", ".dat", ".data", ".parquet", ".pq"),
    *(".npz", ".inter", ".base", ".test"),
)
"""Suffixes of files that may hold interactions, also with ``.gz``."""

_WHOLE = ("ratings", "interactions", "events", "sequences", "sequence")
_DETAILS = ("", "s", "_attributes", "_features", "_meta", "_metadata", "_tags", "_categories")
_ATTRIBUTES = {
    "user": ("u.user", *(f"user{detail}" for detail in _DETAILS)),
    "item": ("u.item", "movies", *(f"item{detail}" for detail in _DETAILS)),
}


@dataclass(frozen=True)
class Layout:
    """Files of a folder.

    Args:
        parts: file of each published part; ``train`` alone without a published split.
        shards: files that form one table; empty if ``parts`` is not.
        attributes: file of ``user`` and ``item`` attributes, if there is one.
    """

    parts: dict[str, Path] = field(default_factory=dict)
    shards: Sequence[Path] = ()
    attributes: dict[str, Path] = field(default_factory=dict)


def find_layout(folder: Path, given: Collection[str] = ()) -> Layout:
    """Find the files of a folder by their names.

    In this order: RecBole's ``NAME.inter`` (or ``NAME.train.inter`` and so on);
    ``train*`` with ``test*`` and ``valid*``; ``ratings.*``, ``interactions.*``, ``events.*``,
    ``sequences.*`` or ``u.data``; several Parquet files that form one table; the only file that
    may hold interactions. Attributes are ``NAME.user`` and ``NAME.item``, MovieLens's files, and
    ``users.*``, ``item_attributes.*`` and the like.

    Args:
        folder: subfolders are not searched.
        given: parts whose files the caller names.

    Raises:
        InputError: no file can be read, or several files could be the same part.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error
    attributes = _attributes(files)
    readable = [
        path
        for path in files
        if name_parts(path)[1] in INTERACTION_SUFFIXES and path not in attributes.values()
    ]
    atomic = [path for path in readable if name_parts(path)[1] == ".inter"]
    if len(atomic) == 1:
        return Layout({"train": atomic[0]}, attributes=attributes)
    parts = {part: found for part in PART_STEMS if (found := _part(folder, atomic or readable, part, given))}
    if "train" in parts:
        return Layout(parts, attributes=attributes)
    whole = [path for path in readable if name_parts(path)[0] in _WHOLE or name_parts(path) == ("u", ".data")]
    if len(whole) == 1 or len(readable) == 1:
        return Layout({"train": (whole or readable)[0]}, attributes=attributes)
    shards = [path for path in readable if name_parts(path)[1] in (".parquet", ".pq")]
    if shards and len(shards) == len(readable):
        return Layout(shards=shards, attributes=attributes)
    names = ", ".join(path.name for path in (readable or files)[:12]) or "nothing"
    raise InputError(
        f"{folder}: cannot tell which file holds the interactions, found {names}; expected "
        "train.* and test.*, NAME.inter, ratings.*, interactions.* or one file; or give the file itself"
    )


def _part(folder: Path, files: Sequence[Path], part: str, given: Collection[str]) -> Path | None:
    """Return the file of a part: by its exact name, else the only one whose name begins with it."""
    if part in given:
        return None
    # RecBole writes the part behind the name: ml-100k.train.inter
    named = [(name_parts(path)[0].rpartition(".")[2], path) for path in files]
    exact = [
        path for name, path in named if name in (*PART_STEMS[part], "validation" if part == "valid" else part)
    ]
    found = exact or [path for name, path in named if name.startswith(PART_STEMS[part])]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        how = f"say which with {flag(f'{part}_file')}" if part != "train" else "give the file itself"
        raise InputError(f"{folder}: several files could be the {part} part ({names}); {how}")
    return found[0] if found else None


def _attributes(files: Sequence[Path]) -> dict[str, Path]:
    """Return the attribute file of users and of items; none if several could be it."""
    attributes = {}
    for kind, stems in _ATTRIBUTES.items():
        found = [
            path
            for path in files
            if name_parts(path)[1] == f".{kind}"
            or (name_parts(path)[0] in stems and name_parts(path)[1] in INTERACTION_SUFFIXES)
        ]
        if len(found) == 1:
            attributes[kind] = found[0]
    return attributes
