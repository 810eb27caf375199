"""Read interactions from files and folders of any format in ``FORMATS``.

All readers share these arguments:

* ``columns``: names of the columns that should not be guessed from their names;
* ``format``: a name in :data:`~gclrec.data.io.formats.FORMATS`; ``"auto"`` detects it
  (:func:`~gclrec.data.io.formats.detect_format`);
* ``keep``: which rows are interactions, and which of repeated pairs stays.

Files may be plain or gzip'd. What cannot be read raises :class:`~gclrec.common.errors.InputError`, one line
that names the file, the line or row, the column, what was found and what was expected.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gclrec.common.errors import InputError, InputWarning, NoRowsError
from gclrec.common.files import decoded, local_path, read_text_bytes
from gclrec.data.filters import Keep
from gclrec.data.interactions import Dataset, Interactions, Vocabulary
from gclrec.data.io.attributes import attributes_of_side
from gclrec.data.io.columns import (
    AnyPath,
    Columns,
    RawInteractions,
    guess_column,
    numeric_times,
)
from gclrec.data.io.folders import PART_STEMS, layout_of
from gclrec.data.io.formats import GUESSED, format_of, header_names, read_file
from gclrec.data.io.ids import exact_ids
from gclrec.data.io.numbering import CODED, joined_ids
from gclrec.data.io.parquet import is_parquet, open_parquet, parquet_names
from gclrec.data.io.tables import open_csv

KEEP = Keep()
"""Rows with weights above 0, and the first of repeated pairs."""


def read_raw(path: AnyPath, *, columns: Columns = GUESSED, format: str = "auto") -> pl.DataFrame:
    """Read the interactions of one file as a table of raw ids.

    Returns:
        Columns ``user``, ``item`` (``Int64`` or ``String``) and, if the file has them, ``time`` (``Int64``
        or ``Float64``) and ``weight`` (``Float64``); all rows, in file order.
    """
    return numeric_times([_with_text(read_file(local_path(path), columns, format).frame)])[0]


def read_interactions(
    path: AnyPath, *, columns: Columns = GUESSED, format: str = "auto", keep: Keep = KEEP
) -> Interactions:
    """Read the interactions of one file and number its users and items.

    The vocabularies are the sorted ids of the file, so ids that are 0, 1, 2, ... are their own rows.
    Users without items are kept, with an :class:`~gclrec.InputWarning`.
    """
    return numbered_interactions(_read(local_path(path), columns, format, keep), keep)


def read_parts(
    parts: Mapping[str, AnyPath | Sequence[AnyPath]],
    *,
    columns: Columns = GUESSED,
    format: str = "auto",
    keep: Keep = KEEP,
    name: str | None = None,
) -> Dataset:
    """Read a published split under one vocabulary of users and one of items.

    Users and items that ``train`` lacks count as cold; an :class:`~gclrec.InputWarning` gives their number.

    Args:
        parts: file (or files) of ``train`` and of ``test``, ``valid`` or both.
        columns: the same in all files.
        format: if detected, no file is read as pairs next to an adjacency list.
        keep: see above.
        name: of the data set; the file of ``train`` if ``None``.

    Returns:
        The parts, and the union of their pairs.
    """
    paths = {
        part: [local_path(path) for path in ([given] if isinstance(given, (str, PathLike)) else given)]
        for part, given in parts.items()
    }
    if set(paths) - set(PART_STEMS) or "train" not in paths:
        raise InputError(f"found the parts {', '.join(paths) or 'none'}; expected train with test or valid")
    formats = dict.fromkeys(paths, format)
    if format == "auto":
        formats = {part: format_of(several[0], columns, format) for part, several in paths.items()}
        if "adjacency" in formats.values():
            formats = {part: "adjacency" if was == "pairs" else was for part, was in formats.items()}
    raws = {part: _read_all(several, columns, formats[part], keep) for part, several in paths.items()}
    firsts = {part: several[0] for part, several in paths.items()}
    _refuse_other_shapes(firsts, raws)
    users = Vocabulary.of(*(_ids(raw, "user") for raw in raws.values()))
    items = Vocabulary.of(*(_ids(raw, "item") for raw in raws.values()))
    _warn_without_items(raws["train"])
    frames = dict(zip(raws, numeric_times([raw.frame for raw in raws.values()]), strict=True))
    numbered = {
        part: Interactions.from_frame(frames[part], users=users, items=items, repeats=True).deduplicated(
            keep.repeats
        )
        for part in PART_STEMS
        if part in raws
    }
    _warn_between_parts(firsts, numbered)
    files = tuple(str(path) for several in paths.values() for path in several)
    whole = _union(list(numbered.values()))
    return Dataset(name or str(firsts["train"]), whole, numbered, default_split="given", files=files)


def read_dataset(
    path: AnyPath,
    *,
    columns: Columns = GUESSED,
    format: str = "auto",
    test: AnyPath | None = None,
    valid: AnyPath | None = None,
    keep: Keep = KEEP,
) -> Dataset:
    """Read a file, a file for each part, or a folder with everything in it.

    Args:
        path: a file, a folder that :func:`~gclrec.data.io.folders.find_layout` understands, or a pattern such
            as ``clicks/part-*.parquet``.
        columns: names of the columns that should not be guessed.
        format: a name in ``FORMATS``, or ``"auto"``.
        test: file of the test part.
        valid: file of the validation part.
        keep: see above.

    Returns:
        The interactions, the parts if there are several, and the attributes that a folder holds.
    """
    path = local_path(path)
    given = {part: local_path(file) for part, file in (("test", test), ("valid", valid)) if file is not None}
    layout = layout_of(path, given)
    parts: dict[str, Any] = {**layout.parts, **given}
    if layout.shards and given:
        raise InputError(
            f"{path}: is a table in several files, which cannot be joined with {', '.join(given)} parts"
        )
    if len(parts) > 1:
        dataset = read_parts(parts, columns=columns, format=format, keep=keep, name=str(path))
    else:
        pairs = numbered_interactions(_read_all(layout.train, columns, format, keep), keep)
        dataset = Dataset(str(path), pairs, files=tuple(map(str, layout.train)))
    tables: dict[str, Any] = {
        f"{side}_attributes": attributes_of_side(file, side, columns)
        for side, file in layout.attributes.items()
    }
    files = (*dataset.files, *map(str, layout.attributes.values()))
    return replace(dataset, **tables, files=files)


def read_exposed(
    path: AnyPath, train: Interactions, *, columns: Columns = GUESSED, format: str = "auto"
) -> Interactions:
    """Read pairs that were shown and not clicked, numbered as the training pairs are.

    Left out, each with an :class:`~gclrec.InputWarning` that gives the number: pairs with an id that
    ``train`` does not know, and training pairs. A repeated pair counts once.

    Args:
        path: a file in any format of interactions; times and weights are not read.
        train: the training pairs.
        columns: names of the columns that should not be guessed.
        format: a name in ``FORMATS``, or ``"auto"``.

    Raises:
        InputError: also if no pair is left.
    """
    frame = read_raw(path, columns=replace(columns, time="", weight=""), format=format)
    user, item = train.users.rows(frame["user"]), train.items.rows(frame["item"])
    unknown = (user < 0) | (item < 0)
    if unknown.any():
        first = frame.row(int(np.argmax(unknown)), named=True)
        message = (
            f"{path}: {np.count_nonzero(unknown):,} of {len(frame):,} pairs left out: their user or item "
            f"is not in the data (such as {first['user']!r}, {first['item']!r})"
        )
        warnings.warn(message, InputWarning, stacklevel=2)
    keys = np.unique(user[~unknown] * train.num_items + item[~unknown])
    pairs = Interactions(train.users, train.items, keys // train.num_items, keys % train.num_items)
    known = pairs.shared_with(train)
    if known.any():
        message = f"{path}: {np.count_nonzero(known):,} pairs left out: they are training pairs"
        warnings.warn(message, InputWarning, stacklevel=2)
    pairs = pairs.select(~known)
    if len(pairs) == 0:
        raise InputError(f"{path}: no pair can be used: all are unknown or training pairs")
    return pairs


def read_ids(
    path: AnyPath, role: str = "item", *, columns: Columns = GUESSED, known: Vocabulary | None = None
) -> pl.Series:
    """Read the distinct ids of a file, in file order.

    Of a Parquet file, or of text whose first line names columns, the column of the role is read: the one
    that is named or guessed, else ``id``, else the only one. Other text is one id a line; empty lines are
    skipped.

    Args:
        path: the file.
        role: ``"item"`` or ``"user"``.
        columns: names of the columns that should not be guessed.
        known: ids that a first line such as ``game`` may be; otherwise such a line is a header, and an
            :class:`~gclrec.InputWarning` says so.

    Raises:
        InputError: also if there is no such column or no id.
    """
    path = local_path(path)
    if is_parquet(path):
        names = parquet_names(path)
        name = names[_id_position(names, role, path, columns)]
        column = open_parquet(path, [name])[name]
        return exact_ids(column, name, lambda row: f"{path}, row {row + 1}").unique(maintain_order=True)
    data = read_text_bytes(path)
    text = decoded(path, data)
    names = header_names(data, columns)
    named = getattr(columns, role)
    is_named = named in names or (named is not None and len(names) > 1) or columns.usual.get(role) in names
    has_header = is_named or guess_column(names, role) is not None or "id" in map(str.lower, names)
    if has_header and len(names) > 1:
        table = open_csv(path, columns.quote_char, header=columns.header)
        at = _id_position(names, role, path, columns)
        return exact_ids(table.rows[:, at], names[at], table.place).unique(maintain_order=True)
    lines = pl.Series("id", re.split(r"\r\n|\r|\n", text))
    lines = lines.filter(lines.str.strip_chars() != "")
    if has_header and not is_named and known is not None:
        has_header = known.rows(lines.head(1)).item() < 0
    if has_header:
        if not is_named:
            message = f"{path}: the first line, {names[0]!r}, is read as a header"
            warnings.warn(message, InputWarning, stacklevel=2)
        lines = lines[1:]
    if not len(lines):
        raise InputError(f"{path}: holds no id")
    return exact_ids(lines, "id", lambda row: f"{path}, id {row + 1}").unique(maintain_order=True)


def _id_position(names: list[str], role: str, path: Path, columns: Columns) -> int:
    name = getattr(columns, role)
    found = ", ".join(names)
    if name is not None and name not in names:
        raise InputError(f"{path}: no column {name!r} to read as {role}; the columns are: {found}")
    name = name or columns.usual.get(role)
    position = names.index(name) if name in names else guess_column(names, role)
    plain = [name.lower() for name in names]
    if position is None and ("id" in plain or len(names) == 1):
        position = plain.index("id") if "id" in plain else 0
    if position is None:
        raise InputError(f"{path}: no column of {role} ids; the columns are: {found}")
    return position


def numbered_interactions(raw: RawInteractions, keep: Keep = KEEP) -> Interactions:
    """Number raw interactions: repeated pairs are dropped and users without items kept, with a warning."""
    _warn_without_items(raw)
    users, items = (None if ids is None else Vocabulary.of(ids) for ids in (raw.users, raw.items))
    (frame,) = numeric_times([raw.frame])
    pairs = Interactions.from_frame(frame, users=users, items=items, repeats=True)
    del raw, frame  # finding repeated pairs needs the memory
    return pairs.deduplicated(keep.repeats)


def _read(path: Path, columns: Columns, format: str, keep: Keep) -> RawInteractions:
    """Read the interactions of one file."""
    return interactions_only(read_file(path, columns, format), keep, path)


def interactions_only(raw: RawInteractions, keep: Keep, source: str | Path) -> RawInteractions:
    """Return the rows that are interactions by their weight, if there is one.

    With a minimum rating, users and items without an interaction leave. Otherwise an
    :class:`~gclrec.InputWarning` gives the number of rows that are left out.

    Raises:
        InputError: no row is left, or there is no weight to go by.
    """
    least = keep.min_rating
    if "weight" not in raw.frame.columns:
        if least is None and keep.repeats not in ("max", "sum"):
            return raw
        setting = "`repeats`" if least is None else "`min_rating`"
        raise InputError(
            f"{source}: {setting} is about ratings, but the interactions carry no rating or weight"
        )
    weight = raw.frame["weight"].cast(pl.Float32)  # the type of weights in Interactions
    stays = weight > 0 if least is None else weight >= np.float32(least)
    count = len(stays) - int(stays.sum())
    if count == len(stays):
        floor = "above 0" if least is None else f"of at least {least:g}"
        raise InputError(
            f"{source}: no interaction has a rating {floor} (the highest is {weight.to_numpy().max():g})"
        )
    if count and least is None:
        message = f"{count:,} rows with a weight of 0 or below are no interactions and are left out"
        advice = "to keep all rows, give `weight_column` an empty name"
        warnings.warn(f"{source}: {message}; {advice}", InputWarning, stacklevel=4)
    frame = raw.frame.filter(stays) if count else raw.frame
    return replace(raw, frame=frame) if least is None else RawInteractions(frame, shape=raw.shape)


def _ids(raw: RawInteractions, role: str) -> pl.Series:
    known = raw.users if role == "user" else raw.items
    return raw.frame[role] if known is None else known


def _with_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table whose coded ids are ``String``."""
    names = [name for name, dtype in frame.schema.items() if isinstance(dtype, CODED)]
    return frame.with_columns(pl.col(names).cast(pl.String))


def _read_all(paths: Sequence[Path], columns: Columns, format: str, keep: Keep) -> RawInteractions:
    """Return one table of one or several files, in the order of their names; empty files are passed over."""
    if len(paths) == 1:
        return _read(paths[0], columns, format, keep)
    raws: dict[Path, RawInteractions] = {}
    for path in paths:
        try:
            raws[path] = _read(path, columns, format, keep)
        except NoRowsError as error:
            empty = error
    if not raws:
        raise empty
    frames = {path: raw.frame for path, raw in raws.items()}
    first = next(iter(frames))
    for path, frame in frames.items():
        if raws[path].shape:
            raise InputError(f"{path}: is a matrix, which cannot be one of several files of a table")
        if frame.columns != frames[first].columns:
            expected = f"{', '.join(frames[first].columns)} as in {first}"
            raise InputError(f"{path}: found {', '.join(frame.columns)}, expected {expected}")
    parts = numeric_times(list(frames.values()))
    whole = {
        role: joined_ids([part[role] for part in parts])
        if role in ("user", "item")
        else pl.concat([part.select(role) for part in parts], how="vertical_relaxed")[role]
        for role in parts[0].columns
    }
    return RawInteractions(pl.DataFrame(whole))


def _refuse_other_shapes(paths: Mapping[str, Path], raws: Mapping[str, RawInteractions]) -> None:
    """Raise if matrices differ in shape, or another file has ids outside the matrix."""
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
        found = f"a user without items ({raw.without_items:,} in all); kept, as cold"
        warnings.warn(f"{raw.first_without_items}: {found}", InputWarning, stacklevel=4)


def _warn_between_parts(paths: Mapping[str, Path], parts: Mapping[str, Interactions]) -> None:
    """Warn of cold users and items of a published split, of pairs in two parts, and of missing columns."""
    train = parts["train"]
    known_user, known_item = train.user_degrees() > 0, train.item_degrees() > 0
    messages = []
    for part, pairs in parts.items():
        if part == "train":
            continue
        users = np.count_nonzero((pairs.user_degrees() > 0) & ~known_user)
        items = np.count_nonzero((pairs.item_degrees() > 0) & ~known_item)
        if users or items:
            found = f"{users:,} users and {items:,} items are not in train (they count as cold)"
            messages.append(f"{paths[part]}: {found}")
        for role in ("time", "weight"):
            here, there = (getattr(each, role) is not None for each in (pairs, train))
            if here != there:
                found = f"has {'a' if here else 'no'} {role}, unlike train; all parts together have none"
                messages.append(f"{paths[part]}: {found}")
    for part in set(parts) - {"test"} if "test" in parts else ():
        shared = np.count_nonzero(parts["test"].shared_with(parts[part]))
        if shared:
            messages.append(f"{paths['test']}: {shared:,} of its pairs are also in {part}")
    for message in messages:
        warnings.warn(message, InputWarning, stacklevel=3)


def _union(parts: Sequence[Interactions]) -> Interactions:
    """Return the pairs of all parts, each once."""
    both = parts[0].joined(*parts[1:])
    _, places = np.unique(both.pair_keys, return_index=True)
    return both if len(places) == len(both) else both.select(np.sort(places))
