"""Vector databases that the vectors of a run are exported to."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from gclrec.common.errors import InputError
from gclrec.stores.base import Store


@dataclass(frozen=True)
class StoreKind:
    """One entry of :data:`STORES`.

    Args:
        module: where its class is.
        name: of the class, which is made from a URL.
        url: what the URL looks like.
        about: what it is, in a few words.
        extra: extra of the package that its client comes with, ``None`` where none is needed.
    """

    module: str
    name: str
    url: str
    about: str
    extra: str | None = None


STORES: Mapping[str, StoreKind] = {
    "postgresql": StoreKind(
        "pgvector",
        "PgVector",
        "postgresql://USER@HOST/DATABASE",
        "PostgreSQL with pgvector: inner product, HNSW, seen pairs as a table",
        "pgvector",
    ),
    "qdrant": StoreKind(
        "qdrant",
        "Qdrant",
        "qdrant://HOST:6333 or qdrant:///FOLDER",
        "Qdrant: Dot, seen ids left out",
        "qdrant",
    ),
    "lancedb": StoreKind(
        "lance", "Lance", "lancedb:///FOLDER", "LanceDB: dot, seen ids filtered before the search", "lancedb"
    ),
    "milvus": StoreKind(
        "milvus",
        "Milvus",
        "milvus://HOST:19530 or milvus:///FILE.db",
        "Milvus and Milvus Lite: IP, seen ids filtered",
        "milvus",
    ),
    "bundle": StoreKind(
        "bundle", "Bundle", "bundle:FOLDER", "a folder of Parquet files with a manifest, for all others"
    ),
}
"""The stores by the scheme of their URLs."""


def open_store(url: str) -> Store:
    """Return the store that a URL names.

    Raises:
        InputError: there is no such store, its client is not installed, or it does not answer.
    """
    scheme = {"postgres": "postgresql"}.get(urlsplit(url).scheme, urlsplit(url).scheme).partition("+")[0]
    if scheme not in STORES:
        known = ", ".join(kind.url for kind in STORES.values())
        raise InputError(f"{shown_url(url)}: no such store, expected one of {known}")
    kind = STORES[scheme]
    made = getattr(importlib.import_module(f"gclrec.stores.{kind.module}"), kind.name)
    try:
        return cast("Store", made(url))
    except ImportError as error:
        raise InputError(
            f"{scheme}: needs pip install 'gclrec[{kind.extra}]' ({error.name} is missing)"
        ) from None


def shown_url(url: str) -> str:
    """Return a URL without passwords and keys, for messages."""
    scheme, slashes, rest = url.partition("?")[0].partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"
