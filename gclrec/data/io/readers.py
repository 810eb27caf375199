"""Interactions from files and folders, in any of the formats of ``FORMATS``."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from gclrec.common.errors import InputError, InputWarning
from gclrec.common.files import is_folder, name_parts, read_sample
from gclrec.data.interactions import Dataset, Interactions, Vocabulary
from gclrec.data.io.attributes import read_attributes
from gclrec.data.io.columns import Columns, RawInteractions, guess_column
from gclrec.data.io.folders import PARTS, Layout, find_layout
from gclrec.data.io.numbering import CODED
from gclrec.data.io.tables import (
    first_line,
    has_typed_header,
    header_fields,
    read_atomic,
    read_table,
    sniff_separator,
)
from gclrec.data.io.text import read_adjacency, read_movielens, read_npz, read_pairs, read_sequence

AnyPath = str | os.PathLike[str]

GUESSED = Columns()
"""All columns are guessed from their names."""


def read_frame(path: AnyPath, *, columns: Columns = GUESSED, format: str = "auto") -> pl.DataFrame:
    """Read the interactions of one file as a table of raw ids.

    Args:
        path: plain or gzip'd file.
        columns: names of the columns, where they should not be guessed.
        format: a name in ``FORMATS``; ``"auto"`` tells it as :func:`detect_format` does.

    Returns:
        Columns ``user``, ``item`` (``Int64`` or ``String``) and, where the file has them, ``time``
        and ``weight`` (``Float64``); one row an interaction, in file order.

    Raises:
        InputError: the file cannot be read or holds something else; names the line.
    """
    return _with_text(_read(Path(path), columns, format).frame)


def read_interactions(path: AnyPath, *, columns: Columns = GUESSED, format: str = "auto") -> Interactions:
    """Read the interactions of one file and number its users and items.

    The vocabularies are the sorted ids of the file, so ids that are 0, 1, 2, ... are their own rows.
    Users without items are kept, with an :class:`~gclrec.InputWarning`.

    Args:
        path: plain or gzip'd file.
        columns: names of the columns, where they should not be guessed.
        format: a name in ``FORMATS``, or ``"auto"``.

    Raises:
        InputError: as :func:`read_frame`.
    """
    return numbered_interactions(_read(Path(path), columns, format))


def read_parts(
    parts: Mapping[str, AnyPath], *, columns: Columns = GUESSED, format: str = "auto", name: str | None = None
) -> Dataset:
    """Read a published split, one file a part, under one vocabulary of users and one of items.

    Users or items that ``train`` lacks are legal: they count as cold, and an
    :class:`~gclrec.InputWarning` tells how many there are.

    Args:
        parts: file of ``train`` and of ``test``, ``valid`` or both.
        columns: names of the columns, where they should not be guessed; the same in all files.
        format: a name in ``FORMATS``; ``"auto"`` tells it for each file, but reads no file as pairs
            next to one that is an adjacency list.
        name: of the data set; the file of ``train`` if ``None``.

    Returns:
        The parts, and the union of their pairs.

    Raises:
        InputError: as :func:`read_frame`; or ``train`` is not among the parts, or matrices disagree in shape.
    """
    paths = {part: Path(path) for part, path in parts.items()}
    unknown = sorted(set(paths) - set(PARTS))
    if unknown or "train" not in paths:
        raise InputError(f"found the parts {', '.join(paths) or 'none'}; expected train with test or valid")
    formats = dict.fromkeys(paths, format)
    if format == "auto":
        detected = {part: detect_format(path) for part, path in paths.items()}
        if "adjacency" in detected.values():
            formats = {part: "adjacency" if was == "pairs" else was for part, was in detected.items()}
    raws = {part: _read(path, columns, formats[part]) for part, path in paths.items()}
    _refuse_other_shapes(paths, raws)
    users = Vocabulary.of(*(_ids(raw, "user") for raw in raws.values()))
    items = Vocabulary.of(*(_ids(raw, "item") for raw in raws.values()))
    _warn_without_items(raws["train"])
    numbered = {
        part: Interactions.from_frame(raws[part].frame, users=users, items=items)
        for part in PARTS
        if part in raws
    }
    _warn_between_parts(paths, numbered)
    split = "given" if "test" in numbered else "random"
    title = name or str(paths["train"])
    return Dataset(title, _union(list(numbered.values())), numbered, default_split=split)


def read_dataset(
    path: AnyPath,
    *,
    columns: Columns = GUESSED,
    format: str = "auto",
    test: AnyPath | None = None,
    valid: AnyPath | None = None,
) -> Dataset:
    """Read a file, a file for each part, or a folder with everything in it.

    Args:
        path: a file, or a folder that :func:`~gclrec.data.io.folders.find_layout` understands.
        columns: names of the columns, where they should not be guessed.
        format: a name in ``FORMATS``, or ``"auto"``.
        test: file of the test part.
        valid: file of the validation part.

    Returns:
        The interactions, the parts if there are several, and the attributes that a folder holds.

    Raises:
        InputError: something cannot be read, or a folder holds nothing that can.
    """
    path = Path(path)
    given = {part: Path(file) for part, file in (("test", test), ("valid", valid)) if file is not None}
    layout = find_layout(path, given) if is_folder(path) else Layout({"train": path})
    parts = {**layout.parts, **given}
    if layout.shards and given:
        raise InputError(
            f"{path}: is a table in several files, which cannot be joined with {', '.join(given)} parts"
        )
    if len(parts) > 1:
        dataset = read_parts(parts, columns=columns, format=format, name=str(path))
    elif parts:
        dataset = Dataset(str(path), read_interactions(parts["train"], columns=columns, format=format))
    else:
        dataset = Dataset(str(path), Interactions.from_frame(_shards(layout.shards, columns, format)))
    tables = {kind: read_attributes(file) for kind, file in layout.attributes.items()}
    return Dataset(
        dataset.name,
        dataset.interactions,
        dataset.parts,
        tables.get("user"),
        tables.get("item"),
        default_split=dataset.default_split,
    )


def detect_format(path: AnyPath) -> str:
    """Tell the format of a file by its suffix and its beginning, a name in ``FORMATS``.

    In this order:

    1. ``.parquet``, ``.npz``, ``.inter`` by suffix, or by their first bytes or typed header;
       ``sequence.*`` and ``sequences.*`` are ``sequence``.
    2. Lines with ``::``, or with four numbers between tabs on every line: ``movielens``.
    3. ``.csv``, ``.tsv``, ``.tab``, or a first line that names a user and an item column: ``table``.
    4. Two or three columns on every line: ``pairs`` (so ``1 2 3`` is user 1, item 2, weight 3).
    5. Whole numbers, with more columns or not the same number on every line: ``adjacency``.
    6. A first line with commas, semicolons, tabs or ``|``: ``table``.

    Only the first 256 kB are looked at. A list of exactly two items a user on every line cannot be
    told from pairs with a weight: say ``format="adjacency"``.

    Raises:
        InputError: the file cannot be read, or is none of these.
    """
    stem, suffix = name_parts(path)
    sample = read_sample(path)
    if suffix in (".jsonl", ".ndjson", ".json") or sample.startswith(b"{"):
        raise InputError(f"{path}: JSON (or JSON Lines) is not supported; convert it to CSV or Parquet")
    if suffix in (".parquet", ".pq") or sample.startswith(b"PAR1"):
        return "table"
    if suffix == ".npz" or sample.startswith(b"PK\x03\x04"):
        return "npz"
    if suffix == ".inter" or has_typed_header(sample):
        return "atomic"
    if stem in ("sequence", "sequences") and suffix == ".txt":
        return "sequence"
    lines = [line for line in sample.decode(errors="replace").splitlines() if line.strip()]
    if "::" in lines[0] or all(re.fullmatch(_FOUR_NUMBERS, line) for line in lines):
        return "movielens"
    if suffix in (".csv", ".tsv", ".tab") or _is_known_header(sample):
        return "table"
    gaps = r"\t+" if "\t" in lines[0] else r"\s+"
    widths = {len(re.split(gaps, line.strip())) for line in lines}
    if widths in ({2}, {3}) and not re.search("[,;|]", lines[0]):
        return "pairs"
    if all(re.fullmatch(r"[\d\s-]+", line) for line in lines):
        return "adjacency"
    if re.search("[,;|\t]", lines[0]):
        return "table"
    known = ", ".join(FORMATS)
    raise InputError(f"{path}: cannot tell the format; say which with --format (one of {known})")


_FOUR_NUMBERS = r"\d+\t\d+\t[\d.]+\t\d+\s*"


def format_of(path: Path, columns: Columns, format: str) -> str:
    """Return the format that a file is read in: the one asked for, or the one that it seems to have.

    Raises:
        InputError: there is no such format, or it cannot be told.
    """
    if format == "auto":
        format = detect_format(path)
        if format in ("pairs", "adjacency") and _names_any(read_sample(path), columns):
            format = "table"
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}; expected auto or one of {', '.join(FORMATS)}")
    return format


def _names_any(sample: bytes, columns: Columns) -> bool:
    """Return whether the caller names columns, or the first line has names that are usual."""
    line = first_line(sample)
    usual = {*columns.usual.values()} & {*header_fields(line, sniff_separator(line), '"')}
    return bool(columns.user or columns.item or usual)


def _is_known_header(sample: bytes) -> bool:
    line = first_line(sample)
    names = header_fields(line, sniff_separator(line), '"')
    return all(guess_column(names, role) is not None for role in ("user", "item"))


def _read(path: Path, columns: Columns, format: str) -> RawInteractions:
    raw = FORMATS[format_of(path, columns, format)](path, columns)
    unwanted = [role for role in ("time", "weight") if getattr(columns, role) == ""]
    return replace(raw, frame=raw.frame.drop(unwanted, strict=False))


def _ids(raw: RawInteractions, role: str) -> pl.Series:
    known = raw.users if role == "user" else raw.items
    return raw.frame[role] if known is None else known


def _with_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table whose text ids are ``String``, whatever the reader left them as."""
    names = [name for name, dtype in frame.schema.items() if isinstance(dtype, CODED)]
    return frame.with_columns(pl.col(names).cast(pl.String))


def numbered_interactions(raw: RawInteractions) -> Interactions:
    """Number raw interactions: repeated pairs are dropped and users without items kept, with a warning."""
    _warn_without_items(raw)
    users, items = (None if ids is None else Vocabulary.of(ids) for ids in (raw.users, raw.items))
    pairs = Interactions.from_frame(raw.frame, users=users, items=items, repeats=True)
    del raw  # it would lie beside what is sorted to find repeated pairs
    return pairs.deduplicated()


def _shards(paths: Sequence[Path], columns: Columns, format: str) -> pl.DataFrame:
    """Return several files that are one table, in the order of their names."""
    frames = [_with_text(_read(path, columns, format).frame) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.columns != frames[0].columns:
            expected = ", ".join(frames[0].columns)
            raise InputError(
                f"{path}: found {', '.join(frame.columns)}, expected {expected} as in {paths[0]}"
            )
    ids = [
        pl.col(role).cast(pl.String) for role in ("user", "item") if len({f[role].dtype for f in frames}) > 1
    ]
    return pl.concat([frame.with_columns(ids) for frame in frames])


def _refuse_other_shapes(paths: Mapping[str, Path], raws: Mapping[str, RawInteractions]) -> None:
    """Raise if a matrix has another shape than its sister, or lacks the rows or columns of another file."""
    first = next((part for part, raw in raws.items() if raw.shape), None)
    if first is None:
        return
    rows, columns = raws[first].shape or (0, 0)
    for part, raw in raws.items():
        users, items = _ids(raw, "user"), _ids(raw, "item")
        if users.dtype != pl.Int64 or items.dtype != pl.Int64:
            found = "ids that are text"
        elif raw.shape and raw.shape != (rows, columns):
            found = f"a matrix of {raw.shape[0]:,} x {raw.shape[1]:,}"
        elif not (users.is_between(0, rows - 1).all() and items.is_between(0, columns - 1).all()):
            found = f"ids outside, such as user {users.max()!r} or item {items.max()!r}"
        else:
            continue
        expected = f"the shape of {paths[first]}, {rows:,} x {columns:,}"
        raise InputError(
            f"{paths[part]}: found {found}, expected {expected} (rows are users, columns are items)"
        )


def _warn_without_items(raw: RawInteractions) -> None:
    if raw.without_items:
        message = (
            f"{raw.first_without_items}: a user without items ({raw.without_items:,} in all); kept, as cold"
        )
        warnings.warn(message, InputWarning, stacklevel=4)


def _warn_between_parts(paths: Mapping[str, Path], parts: Mapping[str, Interactions]) -> None:
    """Tell what a published split has of cold users and items, pairs in two parts, and missing columns."""
    train = parts["train"]
    known_user, known_item = train.user_degrees() > 0, train.item_degrees() > 0
    for part, pairs in parts.items():
        if part == "train":
            continue
        users = np.count_nonzero((pairs.user_degrees() > 0) & ~known_user)
        items = np.count_nonzero((pairs.item_degrees() > 0) & ~known_item)
        if users or items:
            message = (
                f"{paths[part]}: {users:,} users and {items:,} items are not in train (they count as cold)"
            )
            warnings.warn(message, InputWarning, stacklevel=3)
        for role in ("time", "weight"):
            if (getattr(pairs, role) is None) != (getattr(train, role) is None):
                message = (
                    f"{paths[part]}: has {'no' if getattr(pairs, role) is None else 'a'} {role}, unlike train"
                )
                warnings.warn(f"{message}; all parts together have none", InputWarning, stacklevel=3)
    for part in set(parts) - {"test"} if "test" in parts else ():
        shared = np.count_nonzero(parts["test"].shared_with(parts[part]))
        if shared:
            message = f"{paths['test']}: {shared:,} of its pairs are also in {part}"
            warnings.warn(message, InputWarning, stacklevel=3)


def _union(parts: Sequence[Interactions]) -> Interactions:
    """Return the pairs of all parts, each once."""
    first = parts[0]
    columns = {}
    for role in ("time", "weight"):
        values = [getattr(part, role) for part in parts]
        columns[role] = None if any(value is None for value in values) else np.concatenate(values)
    user = np.concatenate([part.user for part in parts])
    item = np.concatenate([part.item for part in parts])
    both = Interactions(first.users, first.items, user, item, **columns)
    _, places = np.unique(both.pair_keys, return_index=True)
    return both if len(places) == len(both) else both.select(np.sort(places))


FORMATS: dict[str, Callable[[Path, Columns], RawInteractions]] = {
    "table": read_table,
    "atomic": read_atomic,
    "adjacency": read_adjacency,
    "sequence": read_sequence,
    "pairs": read_pairs,
    "movielens": read_movielens,
    "npz": read_npz,
}
"""Formats of interaction files by name; each reader takes a path and the columns the caller names."""
