"""What a graph asks of the numbers it is given."""

from __future__ import annotations

import torch
from torch import Tensor


def ascend(places: Tensor) -> bool:
    """Return whether places are distinct and in order, none of them counted from the end."""
    return len(places) == 0 or bool((places[0] >= 0) & (places[1:] > places[:-1]).all())


def check_edges(edge_index: Tensor, num_users: int, num_items: int) -> None:
    """Raise ``ValueError`` unless it is ``(2, E)`` int64 of users and items that there are."""
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
        found = f"{edge_index.dtype} {tuple(edge_index.shape)}"
        raise ValueError(f"edge_index must be int64 (2, E), row 0 users and row 1 items; got {found}")
    if edge_index.shape[1] == 0:
        return
    for row, count in enumerate((num_users, num_items)):
        low, high = edge_index[row].aminmax()
        check_range(int(low), int(high), row, count)


def check_features(user_x: Tensor | None, num_users: int, item_x: Tensor | None, num_items: int) -> None:
    """Raise ``ValueError`` unless attributes have a row for each node."""
    for name, x, count in (("user_x", user_x, num_users), ("item_x", item_x, num_items)):
        if x is not None and x.shape[:1] != (count,):
            raise ValueError(f"{name} must have a row for each of {count} nodes, got {tuple(x.shape)}")


def check_range(low: int, high: int, row: int, count: int) -> None:
    """Raise ``ValueError`` unless the lowest and the highest number of a row lie in ``[0, count)``."""
    if low < 0 or high >= count:
        kind, wrong = ("user", "item")[row], low if low < 0 else high
        raise ValueError(f"edge_index row {row} holds {kind} {wrong}; {kind}s are numbered 0 to {count - 1}")
