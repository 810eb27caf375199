"""Qdrant: a server, or a folder that the client itself keeps."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.runs.embeddings import FloatArray
from gclrec.stores.base import PREFIX, TABLES, Proposed, StoreContent

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


def point_id(raw: object) -> str:
    """Return the id of a point: Qdrant takes UUIDs, so the UUIDv5 of the raw id, which is in the payload."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PREFIX}:{raw}"))


class Qdrant:
    """Aliases ``gclrec_items`` and ``gclrec_users`` of collections with the version in their names.

    Points have the payload ``id, row`` and ``popularity, cold`` or ``seen``.

    Args:
        url: ``qdrant://HOST:PORT`` (with ``?api_key=…`` and ``&https=true`` where the server asks for it), or
            ``qdrant:///FOLDER`` for the client's local mode.
    """

    def __init__(self, url: str) -> None:
        from qdrant_client import QdrantClient

        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        made: dict[str, Any] = {"path": parts.path}
        if parts.hostname:
            secure = options.get("https") == "true"
            made = {"host": parts.hostname, "port": parts.port or 6333, "https": secure}
            made["api_key"] = options.get("api_key")
        self._client: QdrantClient = QdrantClient(**made)
        self._version = ""

    def begin(self, content: StoreContent) -> dict[str, int] | None:
        """Make the collections of a version; see :class:`~gclrec.stores.base.Store`."""
        from qdrant_client import models

        self._version = content.version
        if set(self._aliases().values()) >= {self._collection(side) for side in TABLES}:
            return None
        how = models.VectorParams(size=content.dim, distance=models.Distance.DOT)
        for side in TABLES:
            if not self._client.collection_exists(self._collection(side)):
                self._client.create_collection(self._collection(side), vectors_config=how)
        return {side: self._client.count(self._collection(side)).count for side in TABLES}

    def put(self, side: str, batch: pl.DataFrame) -> None:
        """Write a batch and wait for it."""
        from qdrant_client import models

        points = models.Batch(
            ids=[point_id(raw) for raw in batch["id"]],
            vectors=batch["vector"].to_list(),
            payloads=batch.drop("vector").to_dicts(),
        )
        self._client.upsert(self._collection(side), points=points, wait=True)

    def finish(self) -> None:
        """Point both aliases at the new collections in one step and remove the former ones."""
        from qdrant_client import models

        former = self._aliases()
        changes: list[Any] = []
        for side in TABLES:
            alias = f"{PREFIX}_{side}"
            if alias in former:
                gone = models.DeleteAlias(alias_name=alias)
                changes.append(models.DeleteAliasOperation(delete_alias=gone))
            fresh = models.CreateAlias(collection_name=self._collection(side), alias_name=alias)
            changes.append(models.CreateAliasOperation(create_alias=fresh))
        self._client.update_collection_aliases(changes)
        kept = {self._collection(side) for side in TABLES}
        for held in self._client.get_collections().collections:
            if held.name.startswith(tuple(f"{PREFIX}_{side}_" for side in TABLES)) and held.name not in kept:
                self._client.delete_collection(held.name)

    def user(self, raw: object) -> tuple[FloatArray, list[int | str]]:
        """Return vector and items of a user."""
        found = self._client.retrieve(f"{PREFIX}_users", [point_id(raw)], with_vectors=True)
        if not found:
            raise InputError(f"unknown user {raw!r}: not in {PREFIX}_users")
        return np.array(found[0].vector, dtype=np.float32), (found[0].payload or {})["seen"]

    def propose(self, query: FloatArray, count: int, exclude: list[int | str]) -> Proposed:
        """Search, without the points of the excluded items."""
        from qdrant_client import models

        without: list[Any] = [models.HasIdCondition(has_id=[point_id(raw) for raw in exclude])]
        found = self._client.query_points(
            f"{PREFIX}_items",
            query=query.tolist(),
            limit=count,
            query_filter=models.Filter(must_not=without),
            with_vectors=True,
        ).points
        payloads = [point.payload or {} for point in found]
        vectors = np.array([point.vector for point in found], dtype=np.float32)
        return Proposed(
            np.array([payload["row"] for payload in payloads], dtype=np.int64),
            pl.Series([payload["id"] for payload in payloads]),
            vectors.reshape(len(found), len(query)),
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _collection(self, side: str) -> str:
        return f"{PREFIX}_{side}_{self._version}"

    def _aliases(self) -> dict[str, str]:
        """Return the collections by their aliases."""
        return {each.alias_name: each.collection_name for each in self._client.get_aliases().aliases}
