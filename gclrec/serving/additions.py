"""New items of a request, as tables for ``Recommender.add_items``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError
from gclrec.data.io.ids import id_series
from gclrec.recall.recommender import Recommender
from gclrec.runs.folder import RunFolder
from gclrec.serving.messages import NewItem


def new_item_tables(items: Sequence[NewItem], recommender: Recommender) -> dict[str, Any]:
    """Return the arguments ``interactions``, ``attributes`` and ``encode`` for new items.

    The vector of an item is the given one; without it, that of its attributes where the run was trained with
    attributes of items, which needs the run's encoder and so torch.

    Args:
        items: new items.
        recommender: loaded from a run folder.

    Raises:
        InputError: an id occurs twice, or a vector has another length than the run's.
    """
    pairs = [(user, item.id) for item in items for user in item.users]
    interactions = None
    if pairs:
        users, owners = (id_series(list(side)) for side in zip(*pairs, strict=True))
        interactions = pl.DataFrame({"user": users, "item": owners})
    dim = recommender.index.dim
    for item in items:
        if item.vector is not None and len(item.vector) != dim:
            found = f"found a vector of {len(item.vector)} numbers"
            raise InputError(f"item {item.id!r}: {found}, expected {dim}, as the run's")
    encoder = _encoder(items, recommender)
    told = [item for item in items if item.vector is not None or (encoder and item.attributes)]
    if not told:
        if interactions is None:
            raise InputError("found neither users nor vectors nor attributes that the run was trained with")
        return {"interactions": interactions}
    attributes = pl.DataFrame({"id": id_series([item.id for item in told])})
    if encoder:
        rows = [item.attributes for item in told]
        names = list(dict.fromkeys(name for row in rows for name in row if name != "id"))
        columns = [pl.Series(name, [row.get(name) for row in rows], strict=False) for name in names]
        attributes = attributes.with_columns(columns)

    def encode(table: pl.DataFrame) -> npt.NDArray[np.float32]:
        vectors = np.full((len(told), dim), np.nan, dtype=np.float32)
        if encoder:
            vectors = np.array(encoder(table), dtype=np.float32)
        for place, item in enumerate(told):
            if item.vector is not None:
                vectors[place] = item.vector
        return vectors

    return {"interactions": interactions, "attributes": attributes, "encode": encode}


def _encoder(items: Sequence[NewItem], recommender: Recommender) -> Any:
    """Return what makes vectors of attributes, ``None`` where no item needs it or the run has none."""
    wanted = any(item.attributes and item.vector is None for item in items)
    if not wanted or recommender.run is None or "items" not in RunFolder.open(recommender.run).schemas():
        return None
    from gclrec.training.trained import item_encoder

    return item_encoder(RunFolder.open(recommender.run))
