"""How the data sets of the catalogue lie in their folders, and how each such layout is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.files import read_bytes
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.io.attributes import read_attributes
from gclrec.data.io.columns import Columns
from gclrec.data.io.readers import read_interactions, read_parts
from gclrec.data.io.text import integer_lists

Files = Mapping[str, Path]


@dataclass(frozen=True)
class FolderLayout:
    """One way in which a data set may lie in a folder.

    Args:
        read: makes the data set of the files that were found, by role.
        needed: file name by role; each plain or with ``.gz``.
        optional: the same for files that may be missing.
    """

    read: Callable[[Files], Dataset]
    needed: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)

    def files_in(self, folder: Path) -> dict[str, Path] | None:
        """Return the files of this layout by role, ``None`` if a needed one is not in the folder."""
        found = {role: _plain_or_packed(folder / name) for role, name in self.needed.items()}
        if not all(found.values()):
            return None
        found.update({role: _plain_or_packed(folder / name) for role, name in self.optional.items()})
        return {role: path for role, path in found.items() if path is not None}

    def __str__(self) -> str:
        return ", ".join(self.needed.values())


def _plain_or_packed(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def adjacency_parts(files: Files) -> Dataset:
    """Read published parts in LightGCN's lists; of two validation files, the plainly named one."""
    parts = _roles(files, "train", "test", "valid")
    if "other_valid" in files:
        parts.setdefault("valid", files["other_valid"])
    return read_parts(parts, format="adjacency")


def counted_pairs_parts(files: Files) -> Dataset:
    """Read published parts in lines ``user item count``."""
    return read_parts(_roles(files, "train", "test"), format="pairs")


def atomic(files: Files) -> Dataset:
    """Read RecBole's atomic files."""
    return _with_attributes(read_interactions(files["pairs"], format="atomic"), files)


def movielens(files: Files) -> Dataset:
    """Read MovieLens's original files."""
    return _with_attributes(read_interactions(files["pairs"], format="movielens"), files)


def movielens_ordered(files: Files) -> Dataset:
    """Read MovieLens ratings with each user's order in place of timestamps."""
    columns = Columns(user="user_id", item="movie_id", weight="rating", time="order")
    pairs = read_interactions(files["pairs"], columns=columns, format="table")
    return replace(_with_attributes(pairs, files), time_is_order=True)


def sequences(files: Files) -> Dataset:
    """Read each user's items in order of time, and attributes in lines ``item attribute ...``."""
    pairs = read_interactions(files["pairs"], format="sequence")
    return replace(_with_attributes(pairs, files), time_is_order=True)


def sequences_with_json(files: Files) -> Dataset:
    """Read each user's items in order of time, and attributes from JSON ``{item: [attribute, ...]}``."""
    pairs = read_interactions(files["pairs"], format="sequence")
    attributes = _read_json_lists(files["items"]) if "items" in files else None
    return Dataset("", pairs, item_attributes=attributes, time_is_order=True)


def dated_table(files: Files) -> Dataset:
    """Read a table with times; item attributes in lines ``item category ...``."""
    dataset = _with_attributes(read_interactions(files["pairs"], format="table"), files)
    return _renamed(dataset, "categories")


def grocery(files: Files) -> Dataset:
    """Read ReChorus's table of events; of the items only their category.

    The lists of complements and substitutes beside it come from what people took together, held-out
    pairs included: as an attribute they would tell the answer.
    """
    pairs = read_interactions(files["pairs"], format="table")
    if "items" not in files:
        return Dataset("", pairs)
    table = read_attributes(files["items"], id_column="item_id")
    return Dataset("", pairs, item_attributes=table.select("id", pl.col("i_category").alias("category")))


def citeulike_parts(files: Files) -> Dataset:
    """Read published parts with the tags of the articles."""
    dataset = adjacency_parts(files)
    if "items" in files:
        dataset = replace(dataset, item_attributes=read_attributes(files["items"]))
    return _renamed(dataset, "tags")


def citeulike_original(files: Files) -> Dataset:
    """Read the original files: line ``k`` holds how many items user ``k`` has, then them; tags likewise."""
    frame = _read_counted_lists(files["pairs"]).rename({"row": "user", "value": "item"})
    attributes = None
    if "items" in files:
        long = _read_counted_lists(files["items"]).rename({"row": "id"})
        attributes = long.group_by("id", maintain_order=True).agg(pl.col("value").alias("tags"))
    return Dataset("", Interactions.from_frame(frame), item_attributes=attributes)


def _roles(files: Files, *roles: str) -> dict[str, Path]:
    return {role: files[role] for role in roles if role in files}


def _with_attributes(pairs: Interactions, files: Files) -> Dataset:
    tables = {role: read_attributes(files[role]) for role in ("users", "items") if role in files}
    return Dataset("", pairs, user_attributes=tables.get("users"), item_attributes=tables.get("items"))


def _renamed(dataset: Dataset, name: str) -> Dataset:
    """Give the nameless list column of ``id attribute ...`` lines a name."""
    table = dataset.item_attributes
    return dataset if table is None else replace(dataset, item_attributes=table.rename({"attributes": name}))


def _read_json_lists(path: Path) -> pl.DataFrame:
    try:
        lists = json.loads(read_bytes(path))
        frame = pl.DataFrame(
            {"id": [int(each) for each in lists], "attributes": list(lists.values())},
            schema={"id": pl.Int64, "attributes": pl.List(pl.Int64)},
        )
    except (ValueError, TypeError, AttributeError, pl.exceptions.PolarsError) as error:
        problem = str(error).partition("\n")[0]
        raise InputError(f'{path}: found {problem}, expected JSON such as {{"1": [5, 7]}}') from error
    return frame.with_columns(pl.col("attributes").list.unique(maintain_order=True)).sort("id")


def _read_counted_lists(path: Path) -> pl.DataFrame:
    lists = integer_lists(path)
    wrong = np.flatnonzero(lists.ids != lists.counts)
    if len(wrong):
        line, said, there = lists.lines[wrong[0]], lists.ids[wrong[0]], lists.counts[wrong[0]]
        raise InputError(f"{path}, line {line}: found {there} numbers after {said}, expected {said}")
    return pl.DataFrame({"row": np.repeat(lists.lines - 1, lists.counts), "value": lists.values})
