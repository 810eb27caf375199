"""Find interactions, published parts and attributes among the files of a folder."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gclrec.common.errors import InputError, InputWarning, reading
from gclrec.common.files import is_folder, name_parts

PART_STEMS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
"""How the file names of a published split begin, by part."""

INTERACTION_SUFFIXES = (
    *(".txt", ".csv", ".tsv", ".tab", ".dat", ".data", ".parquet", ".pq"),
    *(".npz", ".inter", ".base", ".test", ".feather", ".arrow", ".ipc"),
)
"""Suffixes of files that may hold interactions, also packed (``.gz`` and so on)."""

_PROSE = ("readme", "license", "licence", "terms", "citation")

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
        parts: files of each published part; ``train`` alone without a published split.
        shards: files that form one table; empty if ``parts`` is not.
        attributes: file of ``user`` and ``item`` attributes, if there is one.
    """

    parts: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    shards: Sequence[Path] = ()
    attributes: dict[str, Path] = field(default_factory=dict)

    @property
    def train(self) -> Sequence[Path]:
        """The files of the training pairs, or of all pairs."""
        return self.parts.get("train", self.shards)


def layout_of(path: Path, given: Collection[str] = ()) -> Layout:
    """Return the files that a path names: a file, a folder (:func:`find_layout`), or a pattern.

    Args:
        path: of a file or folder, or with wildcards (``*``, ``**``, ``?``, ``[...]``) if nothing of that name
            is there; the files that match form one table.
        given: parts whose files the caller names.

    Raises:
        InputError: as :func:`find_layout`; or only folders match.
    """
    if is_folder(path):
        return find_layout(path, given)
    found = matching(path)
    files = [each for each in found if each.is_file()]
    if found and not files:
        raise InputError(f"{path}: only folders match, such as {found[0]}; expected files")
    return Layout(shards=files) if files else Layout({"train": (path,)})


def matching(pattern: Path) -> list[Path]:
    """Return what matches a pattern, in order of name; nothing for the path of something that is there."""
    if not glob.has_magic(str(pattern)) or pattern.exists():
        return []
    return [Path(each) for each in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207 - any root


def find_layout(folder: Path, given: Collection[str] = ()) -> Layout:
    """Find the files of a folder by their names.

    In this order: RecBole's ``NAME.inter`` (or ``NAME.train.inter`` and so on);
    ``train*`` with ``test*`` and ``valid*``; ``ratings.*``, ``interactions.*``, ``events.*``,
    ``sequences.*`` or ``u.data``; several Parquet files, or files called ``part-*``, that form one table; the
    only file that may hold interactions. Numbered files such as ``train_1.csv`` and ``train_2.csv`` form one
    part. Attributes are ``NAME.user`` and ``NAME.item``, MovieLens's files, and ``users.*``,
    ``item_attributes.*`` and the like.

    An :class:`~gclrec.InputWarning` names files and subfolders that may hold interactions and are not read.
    Subfolders are read only if all are called ``NAME=VALUE`` and hold the Parquet files of one table.

    Args:
        folder: the folder.
        given: parts whose files the caller names.

    Raises:
        InputError: no file can be read, or several files could be the same part.
    """
    with reading(folder):
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        files = [path for path in inside if path.is_file()]
        folders = [path for path in inside if path.is_dir()]
        below = {each: sorted(filter(_may_hold_pairs, each.rglob("*"))) for each in folders}
    attributes = _attributes(files)
    readable = [path for path in files if _may_hold_pairs(path) and path not in attributes.values()]
    partitioned = [path for paths in below.values() for path in paths]
    if partitioned and not readable and all("=" in each.name for each in folders):
        return Layout(shards=_of_one_kind(folder, partitioned), attributes=attributes)
    layout = _layout(folder, files, readable, attributes, given)
    used = {path for paths in (*layout.parts.values(), layout.shards) for path in paths}
    left = [path.name for path in readable if path not in used and not _is_part(path, given)]
    left += [f"{each.name}{os.sep}" for each, paths in below.items() if paths]
    if left:
        more = f" and {len(left) - 6} more" if len(left) > 6 else ""
        message = (
            f"{folder}: read {', '.join(sorted(path.name for path in used))}, not {', '.join(left[:6])}{more}"
        )
        warnings.warn(message, InputWarning, stacklevel=3)
    return layout


def _layout(
    folder: Path,
    files: Sequence[Path],
    readable: Sequence[Path],
    attributes: dict[str, Path],
    given: Collection[str],
) -> Layout:
    atomic = [path for path in readable if name_parts(path)[1] == ".inter"]
    if len(atomic) == 1:
        return Layout({"train": (atomic[0],)}, attributes=attributes)
    parts = {part: found for part in PART_STEMS if (found := _part(folder, atomic or readable, part, given))}
    if "train" in parts:
        return Layout(parts, attributes=attributes)
    whole = [path for path in readable if name_parts(path) == ("u", ".data")]
    whole += _numbered(readable, _WHOLE)
    others = [path for path in readable if name_parts(path)[0].startswith(_WHOLE) and path not in whole]
    if len({path.suffixes[-1] for path in whole}) == 1 and not others and _share_stem(whole):
        return Layout({"train": tuple(whole)}, attributes=attributes)
    if len(readable) == 1:
        return Layout({"train": (readable[0],)}, attributes=attributes)
    kinds = {name_parts(path)[1] for path in readable}
    named_parts = all(name_parts(path)[0].startswith("part-") for path in readable)
    if readable and (kinds <= {".parquet", ".pq"} or (named_parts and len(kinds) == 1)):
        return Layout(shards=readable, attributes=attributes)
    names = ", ".join(path.name for path in (readable or files)[:12]) or "nothing"
    raise InputError(
        f"{folder}: cannot tell which file holds the interactions, found {names}; expected "
        "train.* and test.*, NAME.inter, ratings.*, interactions.* or one file; or give the file itself"
    )


def _may_hold_pairs(path: Path) -> bool:
    stem, suffix = name_parts(path)
    prose = suffix == ".txt" and stem.endswith(_PROSE)
    return suffix in INTERACTION_SUFFIXES and not prose and path.is_file()


def _of_one_kind(folder: Path, paths: Sequence[Path]) -> Sequence[Path]:
    other = next((path for path in paths if name_parts(path)[1] not in (".parquet", ".pq")), None)
    if other is not None:
        found = f"found {other.relative_to(folder)} in a partitioned folder"
        raise InputError(f"{folder}: {found}, expected Parquet files alone")
    return paths


def _numbered(paths: Sequence[Path], stems: Collection[str]) -> list[Path]:
    """Return the paths with one of these names, maybe followed by a number: ``train_2``, ``train-1-of-4``."""
    names = "|".join(stems)
    form = re.compile(rf"({names})([-_]?\d+([-_]?of[-_]?\d+)?)?")
    return [path for path in paths if form.fullmatch(_part_name(path))]


def _share_stem(paths: Sequence[Path]) -> bool:
    return len({re.sub(r"[-_]?\d.*", "", name_parts(path)[0]) for path in paths}) == 1


def _part_name(path: Path) -> str:
    # RecBole writes the part behind the name: ml-100k.train.inter
    return name_parts(path)[0].rpartition(".")[2]


def _is_part(path: Path, parts: Collection[str]) -> bool:
    return any(_part_name(path).startswith(PART_STEMS[part]) for part in parts)


def _part(folder: Path, files: Sequence[Path], part: str, given: Collection[str]) -> tuple[Path, ...]:
    """Return the files of a part: by exact or numbered names, else the only one whose name begins with it."""
    if part in given:
        return ()
    stems = (*PART_STEMS[part], "validation") if part == "valid" else PART_STEMS[part]
    begun = [path for path in files if _part_name(path).startswith(PART_STEMS[part])]
    exact = [path for path in begun if _part_name(path) in stems]
    found = _numbered(begun, stems)
    one_table = len(exact) < 2 and len({name_parts(path)[1] for path in found}) == 1
    if part == "train" and len(found) < len(begun):
        one_table = False  # training pairs must not be left out
    found = found if one_table else exact if exact and part != "train" else begun
    if len(found) > 1 and not one_table:
        names = ", ".join(path.name for path in found)
        how = f"say which with `{part}_file`" if part != "train" else "give the file itself"
        raise InputError(f"{folder}: several files could be the {part} part ({names}); {how}")
    return tuple(found)


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
        elif found:
            names = ", ".join(path.name for path in found)
            message = (
                f"{found[0].parent}: several files could hold {kind} attributes ({names}), so none is read"
            )
            advice = f"name one with `{kind}_attributes`"
            warnings.warn(f"{message}; {advice}", InputWarning, stacklevel=4)
    return attributes
