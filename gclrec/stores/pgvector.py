"""PostgreSQL with the extension pgvector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.runs.embeddings import FloatArray
from gclrec.stores.base import PREFIX, TABLES, Proposed, StoreContent

if TYPE_CHECKING:
    import psycopg

_VIEWS = (*TABLES, "seen")
_INDEXED = 2000
"""Dimensions up to which pgvector builds an index; beyond, it scans."""

QUERY = """
SELECT row, id, vector::real[] FROM gclrec_items WHERE id <> ALL(%(seen)s)
ORDER BY vector <#> %(query)s::vector LIMIT %(count)s
"""
"""``<#>`` is the negative inner product, so the best come first."""


class PgVector:
    """Views ``gclrec_items (row, id, vector, popularity, cold)``, ``gclrec_users (row, id, vector)`` and
    ``gclrec_seen (user_id, item_id)`` over tables with the version in their names.

    Args:
        url: ``postgresql://USER@HOST/DATABASE``, as libpq takes it.
    """  # noqa: D205

    def __init__(self, url: str) -> None:
        import psycopg

        self._connection: psycopg.Connection[Any] = psycopg.connect(url)
        self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self._connection.commit()
        self._version, self._dim = "", 0

    def begin(self, content: StoreContent) -> dict[str, int] | None:
        """Make the tables of a version; see :class:`~gclrec.stores.base.Store`."""
        self._version, self._dim = content.version, content.dim
        if self._current() == self._version:
            return None
        user, item = (_KINDS[str(content.id_type(side))] for side in ("users", "items"))
        vector = f"row integer UNIQUE, vector vector({content.dim})"
        columns = {
            "items": f"id {item} PRIMARY KEY, {vector}, popularity bigint, cold boolean",
            "users": f"id {user} PRIMARY KEY, {vector}",
            "seen": f"user_id {user}, item_id {item}, PRIMARY KEY (user_id, item_id)",
        }
        with self._connection.transaction():
            for name, held in columns.items():
                self._connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table(name)} ({held})")
        return {side: self._count(self._table(side)) for side in TABLES}

    def put(self, side: str, batch: pl.DataFrame) -> None:
        """Copy a batch, in one transaction."""
        vectors = [str(vector) for vector in batch["vector"].to_list()]
        rows = batch.with_columns(vector=pl.Series(vectors))
        seen = None
        if side == "users":
            seen = rows.select(user_id="id", item_id="seen").explode("item_id").drop_nulls()
            rows = rows.drop("seen")
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {self._table(side)} WHERE row >= %s", [batch["row"][0]])
            for name, table in ((side, rows), ("seen", seen)):
                if table is None:
                    continue
                if name == "seen":
                    ids = batch["id"].to_list()
                    cursor.execute(f"DELETE FROM {self._table(name)} WHERE user_id = ANY(%s)", [ids])
                target = f"{self._table(name)} ({', '.join(table.columns)})"
                with cursor.copy(f"COPY {target} FROM STDIN") as copy:
                    for row in table.iter_rows():
                        copy.write_row(row)

    def finish(self) -> None:
        """Build an HNSW index of the items and replace the views, in one transaction."""
        with self._connection.transaction():
            items = self._table("items")
            if self._dim <= _INDEXED:
                self._connection.execute(f"CREATE INDEX ON {items} USING hnsw (vector vector_ip_ops)")
            for name in _VIEWS:
                self._connection.execute(f"DROP VIEW IF EXISTS {PREFIX}_{name}")
                self._connection.execute(f"CREATE VIEW {PREFIX}_{name} AS SELECT * FROM {self._table(name)}")
            for (other,) in self._connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename ~ %s",
                [f"^{PREFIX}_({'|'.join(_VIEWS)})_[0-9a-f]{{12}}$"],
            ).fetchall():
                if not other.endswith(self._version):
                    self._connection.execute(f"DROP TABLE {other}")
            comment = f"COMMENT ON VIEW {PREFIX}_items IS '{self._version}'"
            self._connection.execute(comment)
        self._connection.execute(f"ANALYZE {items}")
        self._connection.commit()

    def user(self, raw: object) -> tuple[FloatArray, list[int | str]]:
        """Return vector and items of a user."""
        with self._connection.transaction():
            found = self._connection.execute(
                "SELECT vector::real[] FROM gclrec_users WHERE id = %s", [raw]
            ).fetchone()
            seen = self._connection.execute(
                "SELECT item_id FROM gclrec_seen WHERE user_id = %s", [raw]
            ).fetchall()
        if found is None:
            raise InputError(f"unknown user {raw!r}: not in gclrec_users")
        return np.array(found[0], dtype=np.float32), [item for (item,) in seen]

    def propose(self, query: FloatArray, count: int, exclude: list[int | str]) -> Proposed:
        """Search with a scan that goes on until enough items are left beside the excluded ones."""
        values = {"query": str(query.tolist()), "count": count, "seen": exclude}
        with self._connection.transaction():
            self._connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            self._connection.execute(f"SET LOCAL hnsw.ef_search = {min(1000, max(100, 2 * count))}")
            found = self._connection.execute(QUERY, values).fetchall()
        rows, ids, vectors = zip(*found, strict=True) if found else ((), (), ())
        return Proposed(
            np.array(rows, dtype=np.int64),
            pl.Series(ids),
            np.array(vectors, dtype=np.float32).reshape(len(rows), len(query)),
        )

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _table(self, name: str) -> str:
        return f"{PREFIX}_{name}_{self._version}"

    def _count(self, table: str) -> int:
        found = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        self._connection.commit()
        assert found is not None
        return int(found[0])

    def _current(self) -> str | None:
        """Return the version that has the lasting names."""
        found = self._connection.execute(
            "SELECT obj_description(to_regclass(%s)::oid, 'pg_class')", [f"{PREFIX}_items"]
        ).fetchone()
        self._connection.commit()
        return None if found is None else found[0]


_KINDS: Mapping[str, str] = {"Int64": "bigint", "String": "text"}
