"""A data set from a PyG graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.data.filters import Keep
from gclrec.data.interactions import Dataset
from gclrec.data.io.columns import RawInteractions, typed_interactions
from gclrec.data.io.readers import KEEP, interactions_only, numbered_interactions


def is_hetero(data: object) -> bool:
    """Return whether an object is a PyG ``HeteroData``, without importing PyG."""
    return hasattr(data, "edge_types") and hasattr(data, "node_types")


def dataset_of_hetero(data: Any, *, name: str = "HeteroData", keep: Keep = KEEP) -> Dataset:
    """Return the interactions of a ``HeteroData``; node numbers are the raw ids.

    Node features ``x`` become one attribute, a vector (a number where ``x`` has one column). Attributes of
    edges named ``time`` or ``edge_time`` become times, ``weight`` or ``rating`` weights.

    Args:
        data: with one edge type from users to items, not counting reverse edges (``rev_...``).
        name: of the data set.
        keep: which edges are interactions, and which of repeated ones stays.

    Raises:
        InputError: there is not exactly one such edge type, or an edge leaves the nodes.
    """
    kinds = [kind for kind in data.edge_types if not kind[1].startswith("rev_")]
    if len(kinds) != 1:
        found = ", ".join(map(str, kinds)) or "none"
        raise InputError(f"{name}: expected one edge type from users to items, found {found}")
    (kind,) = kinds
    sides = kind[0], kind[2]
    if sides[0] == sides[1]:
        raise InputError(f"{name}: edge type {kind} joins nodes of one type, expected users and items")
    edges = data[kind].edge_index.cpu().numpy().astype(np.int64)
    counts = [int(data[side].num_nodes) for side in sides]
    for side, rows, count in zip(sides, edges, counts, strict=True):
        if len(rows) and not 0 <= rows.min() <= rows.max() < count:
            raise InputError(f"{name}: edges name {side} {rows.min()} to {rows.max()} of {count} nodes")
    columns = {"time": ("time", "edge_time"), "weight": ("weight", "rating")}
    given: dict[str, Any] = {
        role: data[kind][key].cpu().numpy().reshape(-1)
        for role, keys in columns.items()
        for key in keys[::-1]
        if key in data[kind]
    }
    users, items = (
        pl.Series(role, np.arange(count)) for role, count in zip(("user", "item"), counts, strict=True)
    )
    table = pl.DataFrame({"user": edges[0], "item": edges[1], **given})
    frame = typed_interactions(
        table, {role: role for role in table.columns}, lambda row: f"{name}, edge {row + 1}"
    )
    pairs = numbered_interactions(interactions_only(RawInteractions(frame, users, items), keep, name), keep)
    tables = [_features(data[side]) for side in sides]
    return Dataset(name, pairs, user_attributes=tables[0], item_attributes=tables[1])


def _features(store: Any) -> pl.DataFrame | None:
    x = getattr(store, "x", None) if "x" in store else None
    if x is None:
        return None
    rows = x.detach().cpu().double().numpy().reshape(len(x), -1)
    values = rows[:, 0] if rows.shape[1] == 1 else pl.Series(rows.tolist())
    return pl.DataFrame({"id": np.arange(len(rows)), "x": values})
