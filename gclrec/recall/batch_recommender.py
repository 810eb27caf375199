"""Lists for batches of users, as the workers of Ray Data, Spark or Dask ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from gclrec.common.errors import InputError
from gclrec.data.io.frames import table_from
from gclrec.recall.recommender import Recommender

_COLUMNS = ("user", "id")


class BatchRecommender:
    """Answers batches of users from a run folder, which each process loads once, with its first batch.

    Pickled, it is the name of the folder and the arguments alone. Vectors are mapped from the disk, so the
    processes of a machine share them.

    Args:
        run: the run folder, at the same path on every machine.
        k: length of the lists.
        exclude_seen: leave out the items that a user has already.
        skip_unknown: leave out unknown users with an :class:`~gclrec.InputWarning` instead of an error.

    Example:
        >>> import ray  # doctest: +SKIP
        >>> users = ray.data.read_parquet("runs/first/embeddings/users.parquet")  # doctest: +SKIP
        >>> lists = users.map_batches(  # doctest: +SKIP
        ...     BatchRecommender, fn_constructor_args=("runs/first",), concurrency=4
        ... )
    """

    def __init__(
        self, run: str | Path, k: int = 10, *, exclude_seen: bool = True, skip_unknown: bool = False
    ) -> None:
        self.run, self.k = str(run), k
        self._how = {"exclude_seen": exclude_seen, "skip_unknown": skip_unknown}

    def __call__(self, batch: Any) -> Any:
        """Return the table of :meth:`Recommender.recommend_many` for a batch, as the same kind of table.

        Args:
            batch: a polars, pandas or Arrow table or a dict of arrays, with the column ``user`` or ``id``.

        Raises:
            InputError: there is no such column, or a user is unknown.
        """
        table = table_from(batch, "a batch of users")
        column = next((name for name in _COLUMNS if name in table.columns), None)
        if column is None:
            found = ", ".join(table.columns) or "none"
            raise InputError(f"a batch of users: found the columns {found}, expected user or id")
        return _like(batch, self._recommender.recommend_many(table[column], self.k, **self._how))

    @cached_property
    def _recommender(self) -> Recommender:
        return Recommender.load(self.run)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_recommender"}


def _like(batch: Any, lists: pl.DataFrame) -> Any:
    """Return a table of the kind that a batch is."""
    if isinstance(batch, (pl.DataFrame, pl.LazyFrame)):
        return lists
    if isinstance(batch, Mapping):
        return {name: lists[name].to_numpy() for name in lists.columns}
    return lists.to_pandas() if hasattr(batch, "iloc") else lists.to_arrow()
