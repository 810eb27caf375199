"""Which columns of a table of interactions are read, and which are not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from gclrec.common.errors import InputWarning
from gclrec.common.files import is_folder, read_sample
from gclrec.data.io.columns import Columns, pick_columns
from gclrec.data.io.folders import find_layout
from gclrec.data.io.readers import GUESSED, AnyPath, format_of
from gclrec.data.io.tables import first_line, header_fields, is_parquet, parquet_names, sniff_separator


def columns_read(path: AnyPath, *, columns: Columns = GUESSED, format: str = "auto") -> dict[str, Any] | None:
    """Return which columns of a file (of a folder, its first file of interactions) are read.

    Args:
        path: as :func:`~gclrec.data.io.readers.read_dataset` takes it.
        columns: names of the columns, where they should not be guessed.
        format: a name in ``FORMATS``, or ``"auto"``.

    Returns:
        ``read``, the column of each role, and ``ignored``, the names of the others; ``None`` for a file
        whose columns have no names.

    Raises:
        InputError: the file cannot be read, or its columns cannot be told.
    """
    path = Path(path).expanduser()
    if is_folder(path):
        layout = find_layout(path)
        path = [*layout.parts.values(), *layout.shards][0]
    format = format_of(path, columns, format)
    if format == "table" and is_parquet(path):
        names = parquet_names(path)
    elif format in ("table", "atomic"):
        line = first_line(read_sample(path))
        names = header_fields(line, sniff_separator(line), '"')
        names = [name.rpartition(":")[0] if format == "atomic" else name for name in names]
    else:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # told when the data was read
        picked = pick_columns(names, columns, path)
    read = {role: names[position] for role, position in picked.items()}
    return {"read": read, "ignored": [name for name in names if name not in read.values()]}
