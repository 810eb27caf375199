"""RP3beta: random walks of three steps, with popular items pushed back."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from gclrec.baselines.scorers import NEIGHBOURS, ItemScorer
from gclrec.common.declaration import Setting, Span
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.nearest import largest_of_rows

_EXPONENT = Setting(
    "walk_exponent",
    "Power of rp3beta's transition probabilities; above 1 likely steps count for more.",
    low=0,
    search=Span(0.2, 2.0),
)
_DAMPING = Setting(
    "popularity_damping",
    "Power of an item's degree that rp3beta divides its score by.",
    low=0,
    search=Span(0.0, 1.5),
)
_ROWS = 1024
"""Items whose walks are summed at a time."""


def rp3beta(
    graph: BipartiteGraph,
    *,
    neighbours: Annotated[int, NEIGHBOURS] = 200,
    exponent: Annotated[float, _EXPONENT] = 0.8,
    damping: Annotated[float, _DAMPING] = 0.3,
) -> ItemScorer:
    r"""Fit walks user, item, user, item over the graph, divided by popularity ([1]).

    .. math:: s_{uj} = \sum_{i \in N(u),\, j \in K(i)} w_{ij}, \qquad
        w_{ij} = d_j^{-\beta} \sum_{v \in N(i) \cap N(j)} \Big( \frac{1}{d_i\, d_v} \Big)^{\alpha}

    where ``d`` are degrees and :math:`K(i)` the other items of largest :math:`w_{ij}`; ties go to the smaller
    item number. The first step has the same probability for all items of a user and is left out.

    Args:
        graph: training interactions.
        neighbours: size of :math:`K(i)`, at most.
        exponent: :math:`\alpha`; 0 counts shared users.
        damping: :math:`\beta`; 0 is P3alpha.

    [1] Paudel et al., TiiS 2017, https://doi.org/10.1145/2955101
    """
    import scipy.sparse

    ones = scipy.sparse.csr_array(graph.to_scipy(), dtype=np.float64)
    users, items = (np.maximum(ones.sum(axis), 1.0) for axis in (1, 0))
    by_item: Any = scipy.sparse.diags_array(items**-exponent) @ ones.T.tocsr()
    onward = scipy.sparse.diags_array(users**-exponent) @ ones @ scipy.sparse.diags_array(items**-damping)
    blocks = [
        _largest(by_item[start : start + _ROWS] @ onward, start, neighbours)
        for start in range(0, len(items), _ROWS)
    ]
    row, item, weight = (np.concatenate(column) for column in zip(*blocks, strict=True))
    shape = (graph.num_items, graph.num_items)
    weights = scipy.sparse.csr_array((weight.astype(np.float32), (row, item)), shape=shape)
    return ItemScorer(ones.astype(np.float32), weights)


def _largest(walks: Any, first: int, count: int) -> tuple[Any, Any, Any]:
    """Return rows, columns and values of the largest weights of each row but that to itself."""
    walks.sort_indices()
    row, item = np.repeat(np.arange(walks.shape[0]) + first, np.diff(walks.indptr)), walks.indices
    other = item != row
    row, item, value = row[other], item[other], walks.data[other]
    kept = largest_of_rows(row, value, count)
    return row[kept], item[kept], value[kept]
