"""Read interactions from text without a header and from SciPy's sparse matrices.

All readers raise :class:`~gclrec.common.errors.InputError` for other content, and name its line.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError, reading
from gclrec.common.files import read_bytes, read_text_bytes, too_large, unpacked_limit
from gclrec.data.io.columns import Columns, RawInteractions, typed_interactions
from gclrec.data.io.tables import first_line, interactions_of, read_text_table

LARGEST_ID = 2**31 - 1
"""Largest id of an adjacency list."""


_ROWS = 2_000_000  # rows and columns that a matrix may have in any case


class IntegerLists(NamedTuple):
    """Lines of whole numbers, ``id value value ...``.

    Args:
        ids: ``(L,)`` first number of each line that is not empty.
        counts: ``(L,)`` number of values of each line.
        values: the values of all lines.
        lines: ``(L,)`` line number in the file, from 1.
    """

    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]


def integer_lists(path: Path) -> IntegerLists:
    """Read lines of whole numbers from 0 to 2147483647, separated by blanks or tabs."""
    data = read_text_bytes(path)
    if data.translate(None, b"0123456789 \t\r\n"):
        raise _bad_number(path, data)
    # read_csv needs one number of fields in all lines; fromstring takes any whitespace, line ends included.
    numbers = np.fromstring(data, dtype=np.int64, sep=" ")
    if (numbers > LARGEST_ID).any():
        raise _bad_number(path, data)
    lines = pl.read_csv(data, has_header=False, separator="\0", quote_char=None, infer_schema=False)
    lengths = lines.to_series().str.count_matches(r"\d+").fill_null(0).to_numpy()
    filled = np.flatnonzero(lengths)
    counts = lengths[filled].astype(np.int64)
    is_head = np.zeros(len(numbers), dtype=np.bool_)
    is_head[np.cumsum(counts) - counts] = True
    return IntegerLists(numbers[is_head], counts - 1, numbers[~is_head], filled + 1)


def _bad_number(path: Path, data: bytes) -> InputError:
    """Return the error for the first word that is no whole number, or one that is too large."""
    for line, content in enumerate(data.split(b"\n"), start=1):
        for word in re.findall(rb"[^ \t\r]+", content):  # other white space separates nothing
            if not word.isdigit() or int(word[-4300:]) > LARGEST_ID:
                return InputError(
                    f"{path}, line {line}: found {word.decode(errors='replace')!r}, expected whole numbers "
                    f"from 0 to {LARGEST_ID} separated by blanks (user item item ...)"
                )
    raise AssertionError("all numbers are as expected")


def read_adjacency(path: Path, columns: Columns) -> RawInteractions:
    """Read LightGCN's lists, one line for each user: ``user item item ...``.

    Ids are whole numbers from 0 to 2147483647. A user may have no item, or several lines.
    """
    return _read_lists(path, columns, ordered=False)


def read_sequence(path: Path, columns: Columns) -> RawInteractions:
    """Read lists as :func:`read_adjacency` does; the place within the line (0, 1, ...) becomes the time."""
    return _read_lists(path, columns, ordered=True)


def _read_lists(path: Path, columns: Columns, *, ordered: bool) -> RawInteractions:
    _refuse_names(path, columns)
    lists = integer_lists(path)
    if len(lists.values) == 0:
        raise InputError(f"{path}: no line holds an item, expected lines such as 'user item item ...'")
    frame = {"user": np.repeat(lists.ids, lists.counts), "item": lists.values}
    if ordered:
        starts = np.repeat(np.cumsum(lists.counts) - lists.counts, lists.counts)
        frame["time"] = (np.arange(len(lists.values)) - starts).astype(np.float64)
    bare = lists.counts == 0
    without = np.setdiff1d(lists.ids[bare], lists.ids[~bare])
    first = (
        f"{path}, line {lists.lines[np.argmax(bare & np.isin(lists.ids, without))]}" if len(without) else ""
    )
    return RawInteractions(
        pl.DataFrame(frame),
        users=pl.Series("user", np.unique(lists.ids)),
        without_items=len(without),
        first_without_items=first,
    )


def read_pair_lines(path: Path, columns: Columns) -> RawInteractions:
    """Read lines ``user item`` or ``user item weight`` without a header; ids may be text.

    Fields are separated by tabs if the first line has one, else by blanks.
    """
    return _read_plain(
        path, columns, read_text_bytes(path), {2: ("user", "item"), 3: ("user", "item", "weight")}
    )


def read_movielens(path: Path, columns: Columns) -> RawInteractions:
    """Read MovieLens ratings, ``user item rating timestamp``, between tabs or ``::``."""
    data = read_text_bytes(path).replace(b"::", b"\t")
    return _read_plain(path, columns, data, {4: ("user", "item", "weight", "time")})


def _read_plain(
    path: Path, columns: Columns, data: bytes, roles: dict[int, tuple[str, ...]]
) -> RawInteractions:
    _refuse_names(path, columns)
    data = single_tabs(data)
    width = first_line(data).count(b"\t") + 1
    if width not in roles:
        line = len(data) - len(data.lstrip(b"\n")) + 1
        expected = " or ".join(repr(" ".join(names)) for names in roles.values())
        raise InputError(f"{path}, line {line}: found {width} columns, expected {expected}")
    table = read_text_table(path, data, separator="\t", quote=None, names=roles[width])
    return RawInteractions(interactions_of(table, {role: at for at, role in enumerate(roles[width])}))


def single_tabs(data: bytes) -> bytes:
    """Return lines whose fields are separated by single tabs, which is what ``read_csv`` takes.

    Runs of tabs separate fields if the first line has one, else runs of blanks.
    """
    data = data.replace(b"\r\n", b"\n")
    if b"\t" not in first_line(data.lstrip()):
        data = data.replace(b" ", b"\t")
    while b"\t\t" in data:
        data = data.replace(b"\t\t", b"\t")
    return data.replace(b"\t\n", b"\n").replace(b"\n\t", b"\n").strip(b"\t")


def _refuse_names(path: Path, columns: Columns) -> None:
    if columns.user or columns.item or columns.time or columns.weight:
        raise InputError(f"{path}: has no header, so its columns cannot be named; leave the column names out")


def read_npz(path: Path, columns: Columns) -> RawInteractions:
    """Read a SciPy sparse matrix saved by ``scipy.sparse.save_npz``: rows are users, columns are items.

    Ids are the row and column numbers, including those without entries. Values other than 1 become weights.
    Nothing is unpickled.
    """
    from scipy import sparse

    _refuse_names(path, columns)
    data = read_bytes(path)
    with reading(path, "is damaged or is no SciPy sparse matrix"):
        unpacked = sum(member.file_size for member in zipfile.ZipFile(io.BytesIO(data)).infolist())
        if unpacked > unpacked_limit(path):
            raise too_large(path, unpacked_limit(path))
        matrix: Any = sparse.load_npz(io.BytesIO(data))
        if sum(matrix.shape) > max(_ROWS, unpacked):
            found = f"a matrix of shape {matrix.shape} in a file of {unpacked:,} bytes"
            raise InputError(f"{path}: found {found}, expected at least a byte for each row and column")
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)
        matrix = matrix.tocoo()
    if matrix.ndim != 2 or not (matrix.data != 0).any():
        raise InputError(f"{path}: the matrix of shape {matrix.shape} has no entries, expected users x items")
    order = np.lexsort((matrix.col, matrix.row))
    users, items = matrix.row[order].astype(np.int64), matrix.col[order].astype(np.int64)
    frame = pl.DataFrame({"user": users, "item": items})
    weights = matrix.data[order]
    if (weights != 1).any():
        weight = pl.Series("weight", weights).to_frame()
        frame = frame.hstack(
            typed_interactions(
                weight,
                {"weight": "value"},
                lambda row: f"{path}, entry of user {users[row]} and item {items[row]}",
            )
        )
    without = np.setdiff1d(np.arange(matrix.shape[0]), users[weights > 0])
    return RawInteractions(
        frame,
        users=pl.Series("user", np.arange(matrix.shape[0])),
        items=pl.Series("item", np.arange(matrix.shape[1])),
        shape=(int(matrix.shape[0]), int(matrix.shape[1])),
        without_items=len(without),
        first_without_items=f"{path}, row {without[0]}" if len(without) else "",
    )
