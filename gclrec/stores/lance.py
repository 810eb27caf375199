"""LanceDB: tables in a folder or an object store."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.runs.embeddings import FloatArray
from gclrec.stores.base import PREFIX, TABLES, Proposed, StoreContent

_MARK = b"gclrec_version"


class Lance:
    """Tables ``gclrec_items`` and ``gclrec_users`` with the columns of :meth:`StoreContent.batch`.

    Rows are gathered in tables with the version in their names, since a table cannot be renamed. No index is
    built: LanceDB then scans all items, exactly.

    Args:
        url: ``lancedb:///FOLDER``, or ``lancedb+s3://…`` and the like for what the client reaches.
    """

    def __init__(self, url: str) -> None:
        import lancedb

        scheme, _, place = url.partition(":")
        within = scheme.partition("+")[2]
        self._database: Any = lancedb.connect(f"{within}:{place}" if within else urlsplit(url).path)
        self._version, self._dim = "", 0

    def begin(self, content: StoreContent) -> dict[str, int] | None:
        """Count what an interrupted export has gathered; see :class:`~gclrec.stores.base.Store`."""
        self._version, self._dim = content.version, content.dim
        names = self._names()
        lasting = [f"{PREFIX}_{side}" for side in TABLES]
        if set(lasting) <= names and all(self._marked(name) == self._version for name in lasting):
            return None
        return {
            side: self._database.open_table(name).count_rows()
            if (name := self._gathered(side)) in names
            else 0
            for side in TABLES
        }

    def put(self, side: str, batch: pl.DataFrame) -> None:
        """Append a batch, in place of rows from its first one on."""
        name = self._gathered(side)
        table = batch.with_columns(pl.col("vector").list.to_array(self._dim)).to_arrow()
        if name not in self._names():
            self._database.create_table(name, data=table)
            return
        held = self._database.open_table(name)
        held.delete(f"row >= {batch['row'][0]}")
        held.add(table)

    def finish(self) -> None:
        """Replace each lasting table, in one step a table, and remove what was gathered."""
        for side in TABLES:
            whole = self._database.open_table(self._gathered(side)).to_arrow()
            marked = whole.replace_schema_metadata({_MARK: self._version.encode()})
            self._database.create_table(f"{PREFIX}_{side}", data=marked, mode="overwrite")
        for name in self._names():
            if name.startswith(tuple(f"{PREFIX}_{side}_" for side in TABLES)):
                self._database.drop_table(name)

    def user(self, raw: object) -> tuple[FloatArray, list[int | str]]:
        """Return vector and items of a user."""
        users = self._database.open_table(f"{PREFIX}_users")
        found: Any = pl.from_arrow(users.search().where(f"id = {_literal(raw)}").limit(1).to_arrow())
        if not len(found):
            raise InputError(f"unknown user {raw!r}: not in {PREFIX}_users")
        return np.array(found["vector"][0].to_list(), dtype=np.float32), found["seen"][0].to_list()

    def propose(self, query: FloatArray, count: int, exclude: list[int | str]) -> Proposed:
        """Search among the items that are not excluded."""
        search = self._database.open_table(f"{PREFIX}_items").search(query).metric("dot")
        if exclude:
            without = ", ".join(map(_literal, exclude))
            search = search.where(f"id NOT IN ({without})", prefilter=True)
        found: Any = pl.from_arrow(search.limit(count).to_arrow())
        vectors = found["vector"].to_numpy().reshape(len(found), len(query))
        return Proposed(found["row"].to_numpy(), found["id"], vectors)

    def close(self) -> None:
        """Nothing is open."""

    def _gathered(self, side: str) -> str:
        return f"{PREFIX}_{side}_{self._version}"

    def _names(self) -> set[str]:
        return set(self._database.list_tables(limit=10**6).tables)

    def _marked(self, name: str) -> str | None:
        """Return the version of a lasting table."""
        metadata = self._database.open_table(name).schema.metadata or {}
        return metadata.get(_MARK, b"").decode() or None


def _literal(raw: object) -> str:
    """Return an id as SQL writes it."""
    return f"'{raw.replace(chr(39), chr(39) * 2)}'" if isinstance(raw, str) else str(raw)
