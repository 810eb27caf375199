"""Milvus: a server, or a file of Milvus Lite."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.runs.embeddings import FloatArray
from gclrec.stores.base import PREFIX, TABLES, Proposed, StoreContent

if TYPE_CHECKING:
    from pymilvus import MilvusClient


class Milvus:
    """Aliases ``gclrec_items`` and ``gclrec_users`` of collections with the version in their names.

    The primary key is the raw id; a user's items are the JSON field ``seen``.

    Args:
        url: ``milvus://HOST:19530`` (``milvus://USER:PASSWORD@…`` where the server asks for it), or
            ``milvus:///FILE.db`` for Milvus Lite.
    """

    def __init__(self, url: str) -> None:
        from pymilvus import MilvusClient

        parts = urlsplit(url)
        token = f"{parts.username}:{parts.password}" if parts.username else ""
        where = f"http://{parts.hostname}:{parts.port or 19530}" if parts.hostname else parts.path
        self._client: MilvusClient = MilvusClient(where, token=token)
        self._version = ""

    def begin(self, content: StoreContent) -> dict[str, int] | None:
        """Make the collections of a version; see :class:`~gclrec.stores.base.Store`."""
        from pymilvus import DataType

        self._version = content.version
        if all(self._behind(side) == self._collection(side) for side in TABLES):
            return None
        for side in TABLES:
            if self._client.has_collection(self._collection(side)):
                continue
            schema = self._client.create_schema(auto_id=False)
            if content.id_type(side) == pl.Int64:
                schema.add_field("id", DataType.INT64, is_primary=True)
            else:
                schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=65535)
            schema.add_field("row", DataType.INT64)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=content.dim)
            if side == "items":
                schema.add_field("popularity", DataType.INT64)
                schema.add_field("cold", DataType.BOOL)
            else:
                schema.add_field("seen", DataType.JSON)
            index = self._client.prepare_index_params()
            index.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
            self._client.create_collection(self._collection(side), schema=schema, index_params=index)
        return {side: self._count(self._collection(side)) for side in TABLES}

    def put(self, side: str, batch: pl.DataFrame) -> None:
        """Write a batch."""
        self._client.upsert(self._collection(side), batch.to_dicts())

    def finish(self) -> None:
        """Point the aliases at the new collections, items first, and remove the former ones."""
        for side in TABLES:
            alias, change = f"{PREFIX}_{side}", self._client.create_alias
            if self._behind(side) is not None:
                change = self._client.alter_alias
            change(self._collection(side), alias)
        kept = {self._collection(side) for side in TABLES}
        for name in self._client.list_collections():
            if name.startswith(tuple(f"{PREFIX}_{side}_" for side in TABLES)) and name not in kept:
                self._client.drop_collection(name)

    def user(self, raw: object) -> tuple[FloatArray, list[int | str]]:
        """Return vector and items of a user."""
        found = self._client.query(
            f"{PREFIX}_users", filter=f"id == {json.dumps(raw)}", output_fields=["vector", "seen"]
        )
        if not found:
            raise InputError(f"unknown user {raw!r}: not in {PREFIX}_users")
        return np.array(found[0]["vector"], dtype=np.float32), list(found[0]["seen"])

    def propose(self, query: FloatArray, count: int, exclude: list[int | str]) -> Proposed:
        """Search among the items that are not excluded."""
        (found,) = self._client.search(
            f"{PREFIX}_items",
            data=[query.tolist()],
            limit=count,
            filter=f"id not in {json.dumps(exclude)}" if exclude else "",
            output_fields=["id", "row", "vector"],
        )
        held: list[dict[str, Any]] = [hit["entity"] for hit in found]
        vectors = np.array([each["vector"] for each in held], dtype=np.float32)
        return Proposed(
            np.array([each["row"] for each in held], dtype=np.int64),
            pl.Series([each["id"] for each in held]),
            vectors.reshape(len(held), len(query)),
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _collection(self, side: str) -> str:
        return f"{PREFIX}_{side}_{self._version}"

    def _behind(self, side: str) -> str | None:
        """Return the collection that has the lasting name."""
        if f"{PREFIX}_{side}" not in self._client.list_aliases()["aliases"]:
            return None
        return str(self._client.describe_alias(f"{PREFIX}_{side}")["collection_name"])

    def _count(self, collection: str) -> int:
        return int(self._client.query(collection, output_fields=["count(*)"])[0]["count(*)"])
