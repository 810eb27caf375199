"""The catalogue of named data sets, read from ``catalog.toml``, and how each is read from its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gclrec.common.errors import InputError, reading
from gclrec.common.files import read_bytes, read_toml
from gclrec.data.filters import Keep
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.io.attributes import read_attributes
from gclrec.data.io.columns import Columns, RawInteractions
from gclrec.data.io.readers import (
    KEEP,
    interactions_only,
    numbered_interactions,
    read_interactions,
    read_parts,
)
from gclrec.data.io.text import integer_lists


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file with a public address.

    Args:
        url: the address; its last part is the file's name.
        checksum: ``"md5:..."`` as published by its makers; ``None`` if they publish none.
    """

    url: str
    checksum: str | None = None

    @property
    def filename(self) -> str:
        """Name of the file; a ``.zip`` is unpacked into the data set's folder."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class FolderLayout:
    """One way in which a data set may lie in a folder; each file plain or with ``.gz``.

    Args:
        format: of the interactions: a name in :data:`~gclrec.data.io.formats.FORMATS`, or ``counted_lists``.
        needed: file name by role: ``train``, ``test``, ``valid`` or ``pairs``; ``users``, ``items``.
        optional: names by role of files that may be missing; the first that is found is read.
        columns: of a table, by role, if they should not be guessed.
        item_format: ``json_lists`` or ``counted_lists``, if the item attributes are in one of these.
        item_columns: item attributes that are kept, the name in the file by new name; all if empty.
        in_order: whether times are places in each user's sequence.
    """

    format: str
    needed: Mapping[str, str]
    optional: Mapping[str, list[str]] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    item_format: str = "auto"
    item_columns: Mapping[str, str] = field(default_factory=dict)
    in_order: bool = False

    def files_in(self, folder: Path) -> dict[str, Path] | None:
        """Return the files of this layout by role, ``None`` if a needed one is not in the folder."""
        wanted = {**{role: [name] for role, name in self.needed.items()}, **self.optional}
        found = {}
        for role, names in wanted.items():
            there = [
                path for name in names for path in (folder / name, folder / f"{name}.gz") if path.is_file()
            ]
            if there:
                found[role] = there[0]
        return found if self.needed.keys() <= found.keys() else None

    def read(self, files: Mapping[str, Path], keep: Keep = KEEP) -> Dataset:
        """Read the data set from its files by role."""
        parts: Mapping[str, Interactions] = {}
        if "train" in files:
            paths = {role: files[role] for role in ("train", "test", "valid") if role in files}
            dataset = read_parts(paths, format=self.format, keep=keep)
            pairs, parts = dataset.interactions, dataset.parts
        elif self.format == "counted_lists":
            raw = RawInteractions(_counted_lists(files["pairs"]).rename({"id": "user", "value": "item"}))
            pairs = numbered_interactions(interactions_only(raw, keep, files["pairs"]), keep)
        else:
            columns = Columns(**self.columns)
            pairs = read_interactions(files["pairs"], columns=columns, format=self.format, keep=keep)
        users = read_attributes(files["users"], side="user") if "users" in files else None
        items = _ATTRIBUTE_READERS[self.item_format](files["items"]) if "items" in files else None
        if items is not None and self.item_columns:
            items = items.select("id", **self.item_columns)
        return Dataset("", pairs, parts, users, items, time_is_order=self.in_order)

    def __str__(self) -> str:
        return ", ".join(self.needed.values())


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a data set.

    Args:
        title: a few words.
        about: what an interaction is, and what comes with it.
        origin: page of its makers.
        terms: who may use it for what, in short; the terms of the source hold.
        cite: what its makers ask to cite.
        default_split: the name in ``SPLITS`` that is used when none is asked for.
        users: number of users with at least one interaction.
        items: number of items with at least one interaction.
        interactions: number of distinct pairs.
        layouts: ways in which its files may lie in a folder; the first complete one is read.
        downloads: files with a public address; empty where none is known.
        folder: name of its folder, if that is not the name in the catalogue.
    """

    title: str
    about: str
    origin: str
    terms: str
    cite: str
    default_split: str
    users: int
    items: int
    interactions: int
    layouts: tuple[FolderLayout, ...] = ()
    downloads: tuple[Download, ...] = ()
    folder: str | None = None

    @property
    def synthetic(self) -> bool:
        """Whether it is made in code, so that no file has to be found."""
        return not self.layouts

    @property
    def format(self) -> str:
        """Formats of its files."""
        return " or ".join(dict.fromkeys(layout.format for layout in self.layouts)) or "made in code"


def read_catalog(path: Path) -> dict[str, Entry]:
    """Return the data sets of a catalogue file, whose keys are explained at its beginning."""
    catalog = {}
    for name, table in read_toml(path).items():
        known: dict[str, Any] = {
            **table,
            "layouts": tuple(FolderLayout(**layout) for layout in table.get("layouts", ())),
            "downloads": tuple(Download(**download) for download in table.get("downloads", ())),
        }
        catalog[name] = Entry(default_split=known.pop("split"), **known)
    return catalog


def _json_lists(path: Path) -> pl.DataFrame:
    """Read ``{id: [attribute, ...]}``."""
    with reading(path, 'expected JSON such as {"1": [5, 7]}'):
        lists = json.loads(read_bytes(path))
        frame = pl.DataFrame(
            {"id": [int(each) for each in lists], "attributes": list(lists.values())},
            schema={"id": pl.Int64, "attributes": pl.List(pl.Int64)},
        )
    return frame.with_columns(pl.col("attributes").list.unique(maintain_order=True)).sort("id")


def _counted_lists(path: Path) -> pl.DataFrame:
    """Read lines ``count value value ...``; the id is the number of the line, from 0."""
    lists = integer_lists(path)
    wrong = np.flatnonzero(lists.ids != lists.counts)
    if len(wrong):
        line, said, there = lists.lines[wrong[0]], lists.ids[wrong[0]], lists.counts[wrong[0]]
        raise InputError(f"{path}, line {line}: found {there} numbers after {said}, expected {said}")
    return pl.DataFrame({"id": np.repeat(lists.lines - 1, lists.counts), "value": lists.values})


def _counted_attributes(path: Path) -> pl.DataFrame:
    return _counted_lists(path).group_by("id", maintain_order=True).agg(attributes="value")


_ATTRIBUTE_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    "auto": read_attributes,
    "json_lists": _json_lists,
    "counted_lists": _counted_attributes,
}

CATALOG = read_catalog(Path(__file__).with_name("catalog.toml"))
"""The named data sets."""
