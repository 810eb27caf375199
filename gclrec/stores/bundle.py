"""A folder of Parquet files, for every database that has no adapter."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.common.files import read_parquet, write_parquet
from gclrec.common.manifest import MANIFEST, read_manifest, writing
from gclrec.runs.embeddings import METRIC, FloatArray
from gclrec.stores.base import TABLES, Proposed, StoreContent

BUNDLE_KIND = "gclrec bundle"


class Bundle:
    """``items.parquet`` and ``users.parquet`` with the columns of :meth:`StoreContent.batch`, and a manifest.

    ``manifest.json`` holds the metric, the dimension, the version and a checksum of each file. The folder is
    replaced in one step, so an interrupted export leaves the former one, and begins anew.

    Args:
        url: ``bundle:FOLDER`` or ``bundle:///FOLDER``.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.folder = Path(parts.netloc + parts.path).expanduser()
        self._values: dict[str, object] = {}
        self._parts: dict[str, list[pl.DataFrame]] = {side: [] for side in TABLES}

    def begin(self, content: StoreContent) -> dict[str, int] | None:
        """Return ``None`` if the folder holds this version whole."""
        self._values = {"metric": METRIC, "dim": content.dim, "version": content.version}
        self._values |= {side: {"count": count} for side, count in content.counts.items()}
        there = (self.folder / MANIFEST).exists()
        if there and read_manifest(self.folder, BUNDLE_KIND).get("version") == content.version:
            return None
        return dict.fromkeys(TABLES, 0)

    def put(self, side: str, batch: pl.DataFrame) -> None:
        """Keep a batch until :meth:`finish`."""
        self._parts[side].append(batch)

    def finish(self) -> None:
        """Write the folder."""
        with writing(self.folder, BUNDLE_KIND, self._values) as fresh:
            for side in TABLES:
                write_parquet(fresh / f"{side}.parquet", pl.concat(self._parts[side]))

    def user(self, raw: object) -> tuple[FloatArray, list[int | str]]:
        """Return vector and items of a user."""
        found = read_parquet(self.folder / "users.parquet").filter(pl.col("id") == pl.lit(raw))
        if not len(found):
            raise InputError(f"unknown user {raw!r}: not in {self.folder / 'users.parquet'}")
        return np.array(found["vector"][0], dtype=np.float32), found["seen"][0].to_list()

    def propose(self, query: FloatArray, count: int, exclude: list[int | str]) -> Proposed:
        """Scan all items."""
        items = read_parquet(self.folder / "items.parquet")
        items = items.filter(~pl.col("id").is_in(pl.Series(exclude, dtype=items["id"].dtype).implode()))
        vectors = np.array(items["vector"].to_list(), dtype=np.float32).reshape(len(items), len(query))
        best = np.argsort(-(vectors @ query), kind="stable")[:count]
        return Proposed(items["row"].to_numpy()[best], items["id"].gather(best), vectors[best])

    def close(self) -> None:
        """Nothing is open."""
