"""Popularity within groups of users with the same attributes."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from gclrec.baselines.scorers import VectorScorer
from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import InputError, SettingError
from gclrec.data.schema import AttributeTable, Column
from gclrec.encoders.base import Embeddings
from gclrec.graph.bipartite import BipartiteGraph

_LEAST_USERS = 30  # users of a group on average, at least, where the fields are not named
_MOST_GROUPS = 1024

_FIELDS = Setting(
    "group_fields",
    "Categories of users that together make the groups of group_popularity, with commas between them. "
    "Default: each of the table in turn that leaves groups of 30 users on average.",
)
_SMOOTHING = Setting(
    "group_smoothing",
    "Interactions of users of all groups that count in each group of group_popularity.",
    low=0,
    search=Span(10.0, 100_000.0, log=True),
)


def group_popularity(
    graph: BipartiteGraph,
    users: AttributeTable,
    *,
    fields: Annotated[str, _FIELDS] = "",
    smoothing: Annotated[float, _SMOOTHING] = 1000.0,
) -> VectorScorer:
    r"""Rank items by their share of the interactions of users with the same attributes.

    .. math:: s_{ui} = \frac{n_{g(u)\,i} + \kappa\, p_i}{n_{g(u)} + \kappa}, \qquad p_i = \frac{d_i}{E}

    with :math:`n_{gi}` interactions of group ``g`` with item ``i``, :math:`n_g` of the group in all, the
    interactions :math:`d_i` of the item and their number ``E``. The smoothing :math:`\kappa` leads from the
    group alone (0) to :func:`~gclrec.baselines.popularity.popularity`. Missing is a value of its own. Users
    without interactions are ranked for like all others: what a model has to beat for cold users.

    The vectors have one dimension for each group.

    Args:
        graph: training interactions.
        users: attributes of the ``U`` users.
        fields: names of categories; see the setting.
        smoothing: :math:`\kappa`.

    Raises:
        InputError: no field makes groups.
        SettingError: a name is not that of a category, or there are too many groups.
    """
    groups = _groups(users, fields)
    member = functional.one_hot(groups.to(graph.device)).to(torch.float32)
    user, item = graph.edge_index
    counts = torch.zeros(member.shape[1], graph.num_items, device=graph.device)
    counts.index_put_((groups.to(graph.device)[user], item), counts.new_ones(len(user)), accumulate=True)
    share = graph.degrees()[1].to(counts.dtype) / max(graph.num_edges, 1)
    total = counts.sum(1, keepdim=True) + smoothing
    return VectorScorer(
        Embeddings(member, ((counts + smoothing * share) / total.clamp_min(1e-12)).T.contiguous())
    )


def _groups(users: AttributeTable, fields: str) -> Tensor:
    """Return the number of the group of each user, ``(U,)``."""
    able = {column.field.name: column for column in users.columns if column.field.kind == "category"}
    found = np.zeros(users.num_rows, dtype=np.int64)
    if fields:
        for name in (part.strip() for part in fields.split(",")):
            if name not in able:
                raise SettingError(
                    "fields", f"{name!r} is not one of the categories: {', '.join(able) or 'none'}"
                )
            found = _divided(found, able[name])
        if found.max(initial=0) >= _MOST_GROUPS:
            count = f"{found.max() + 1:,} groups of users; at most {_MOST_GROUPS:,} can be"
            raise SettingError("fields", f"{fields!r} makes {count}")
        return torch.from_numpy(found)
    most = min(users.num_rows // _LEAST_USERS, _MOST_GROUPS)
    for column in able.values():
        finer = _divided(found, column)
        if finer.max(initial=0) < most:
            found = finer
    if not found.any():
        raise InputError(f"group_popularity: no category of the users leaves groups of {_LEAST_USERS} users")
    return torch.from_numpy(found)


def _divided(groups: npt.NDArray[np.int64], column: Column) -> npt.NDArray[np.int64]:
    """Return finer groups, of users with the same value of a category too."""
    assert column.ptr is not None
    assert column.codes is not None
    value = np.full(len(groups), column.field.width)
    known = np.flatnonzero(np.diff(column.ptr))
    value[known] = column.codes[column.ptr[:-1][known]]
    both = groups * (column.field.width + 1) + value
    finer: npt.NDArray[np.int64] = np.unique(both, return_inverse=True)[1].astype(np.int64)
    return finer
