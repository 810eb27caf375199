"""Popularity: the same list for every user."""

from __future__ import annotations

import torch

from gclrec.baselines.scorers import VectorScorer
from gclrec.encoders.base import Embeddings
from gclrec.graph.bipartite import BipartiteGraph


def popularity(graph: BipartiteGraph) -> VectorScorer:
    """Rank items by their number of training interactions, the same for every user.

    The vectors have one dimension: 1 for a user, the number of interactions for an item.

    Args:
        graph: training interactions.
    """
    _, degrees = graph.degrees()
    ones = torch.ones(graph.num_users, 1, device=graph.device)
    return VectorScorer(Embeddings(ones, degrees.to(torch.float32)[:, None]))
