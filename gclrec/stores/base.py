"""What is written to a vector database, and what an adapter of one does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from gclrec.data.interactions import IntArray
from gclrec.recall.recommender import Recommender
from gclrec.runs.embeddings import FloatArray

TABLES = ("items", "users")
PREFIX = "gclrec"
"""The names in a database: ``gclrec_items``, ``gclrec_users``, and where there are tables ``gclrec_seen``."""


@dataclass(frozen=True, eq=False)
class StoreContent:
    """Vectors of a run as a database takes them: items, added ones included, and users with what they have.

    Args:
        recommender: of the run, with an exact index.
        version: a checksum of all that is written, of 12 letters; two exports of the same run agree.
    """

    recommender: Recommender
    version: str

    @classmethod
    def of_run(cls, run: str | Path) -> StoreContent:
        """Read a run folder.

        Raises:
            InputError: it has no vectors, or a file is damaged.
        """
        recommender = Recommender.load(run, use_index=False)
        digest = hashlib.sha256()
        known = recommender.known
        for array in (recommender.index.vectors, recommender.user_vectors, known.indptr, known.values):
            digest.update(np.ascontiguousarray(array).data)
        for vocabulary in (recommender.items, recommender.users):
            digest.update("\n".join(map(str, vocabulary.ids.to_list())).encode())
        return cls(recommender, digest.hexdigest()[:12])

    @property
    def dim(self) -> int:
        """``D``."""
        return self.recommender.index.dim

    @property
    def counts(self) -> dict[str, int]:
        """Number of items and of users."""
        return {"items": len(self.recommender.items), "users": len(self.recommender.users)}

    def id_type(self, side: str) -> pl.DataType:
        """Return the type of the raw ids, ``Int64`` or ``String``."""
        found: pl.DataType = getattr(self.recommender, side).ids.dtype
        return found

    def batch(self, side: str, start: int, stop: int) -> pl.DataFrame:
        """Return some rows of one side.

        Returns:
            ``row``, ``id``, ``vector`` (a list of ``D`` float32), and ``popularity`` and ``cold`` of an item
            (training interactions, and whether there are none) or ``seen`` of a user, a list of item ids.
        """
        made, rows = self.recommender, np.arange(start, min(stop, self.counts[side]))
        ids = getattr(made, side).raw(rows)
        vectors = (made.index.vectors if side == "items" else made.user_vectors)[rows]
        columns = {
            "row": pl.Series(rows, dtype=pl.Int64),
            "id": ids,
            "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, self.dim)).arr.to_list(),
        }
        if side == "items":
            assert made.item_degrees is not None
            degrees = made.item_degrees[rows]
            return pl.DataFrame({**columns, "popularity": degrees, "cold": degrees == 0})
        lists = made.known.take(rows)
        flat = pl.DataFrame({"owner": lists.owners(), "item": made.items.raw(lists.values)})
        seen = flat.group_by("owner").agg(pl.col("item").alias("seen"))
        places = pl.DataFrame({"owner": np.arange(len(rows))}).join(seen, on="owner", how="left")
        empty = pl.lit([], dtype=pl.List(made.items.ids.dtype))
        return pl.DataFrame(
            {**columns, "seen": places.sort("owner").select(pl.col("seen").fill_null(empty))["seen"]}
        )


class Proposed(NamedTuple):
    """Items that a database proposes.

    Args:
        rows: ``(n,)`` their rows in the run.
        ids: ``(n,)`` their raw ids.
        vectors: ``(n, D)`` float32, as they are stored.
    """

    rows: IntArray
    ids: pl.Series
    vectors: FloatArray


class Store(Protocol):
    """A database that holds the vectors of one run at a time, under names that do not change.

    What is written first goes under names with the version of the content, so that vectors of two runs
    never stand beside each other; :meth:`finish` gives it the lasting names and removes what had them.
    """

    def begin(self, content: StoreContent) -> dict[str, int] | None:
        """Make room for a content.

        Returns:
            How many rows of ``items`` and of ``users`` an interrupted export has left there, or ``None``
            where this version has the lasting names already.
        """

    def put(self, side: str, batch: pl.DataFrame) -> None:
        """Write rows of :meth:`StoreContent.batch`; a row that is there already is replaced."""

    def finish(self) -> None:
        """Build the index, give the lasting names to what was written, and remove what had them."""

    def user(self, raw: object) -> tuple[FloatArray, list[int | str]]:
        """Return the vector of a user and the ids of the items that the user has.

        Raises:
            InputError: the user is not there.
        """

    def propose(self, query: FloatArray, count: int, exclude: list[int | str]) -> Proposed:
        """Return about the ``count`` best items by inner product that are not excluded, in any order."""

    def close(self) -> None:
        """End the connection."""
