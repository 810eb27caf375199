"""Item-based nearest neighbours by shared users."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from gclrec.baselines.scorers import NEIGHBOURS, ItemScorer
from gclrec.common.declaration import Setting, Span
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.nearest import nearest_rows

_SHRINK = Setting(
    "shrink",
    "Added to the denominator of item_knn's cosine, against items with few shared users.",
    low=0,
    search=Span(1.0, 1000.0, log=True),
)


def item_knn(
    graph: BipartiteGraph,
    *,
    neighbours: Annotated[int, NEIGHBOURS] = 200,
    shrink: Annotated[float, _SHRINK] = 100.0,
) -> ItemScorer:
    r"""Fit item-based nearest neighbours ([1]) by the cosine between columns of the interaction matrix.

    .. math:: s_{uj} = \sum_{i \in N(u) \cap K(j)} \cos(i, j), \qquad
        \cos(i, j) = \frac{|U_i \cap U_j|}{\sqrt{|U_i|\,|U_j|} + \beta}

    where :math:`U_i` are the users of item ``i`` and :math:`K(j)` the other items of largest positive cosine
    with ``j``; ties go to the smaller item number.

    Args:
        graph: training interactions.
        neighbours: size of :math:`K(j)`, at most.
        shrink: :math:`\beta`; larger values trust few shared users less; 0 is the plain cosine.

    [1] Sarwar et al., WWW 2001, https://doi.org/10.1145/371920.372071
    """
    import scipy.sparse

    ones = scipy.sparse.csr_array(graph.to_scipy(), dtype=np.float32)
    near, target, cosine = nearest_rows(scipy.sparse.csr_array(ones.T), neighbours, shrink=shrink)
    shape = (graph.num_items, graph.num_items)
    return ItemScorer(ones, scipy.sparse.csr_array((cosine.astype(np.float32), (near, target)), shape=shape))
