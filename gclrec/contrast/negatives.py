"""Where the items come from that a user is *not* drawn to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph


class Sampler(Protocol):
    """Draws one negative item for each user of a batch."""

    def __call__(self, graph: BipartiteGraph, users: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Return ``(B,)`` item numbers."""


def uniform(graph: BipartiteGraph, users: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Draw for each user one item uniformly from those that the user has no interaction with.

    The draw is exact and needs no second try: a rank among the user's missing items is drawn and
    looked up. So it takes the same time for a user who has seen nearly everything.

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers; each has at least one item left.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        ``(B,)`` item numbers, none of which is an interaction of its user.

    Raises:
        ValueError: a user has interacted with every item.
    """
    missing = graph.num_items - graph.user_degrees[users]
    if len(missing) and int(missing.min()) <= 0:
        raise ValueError("a user has interacted with every item, so there is no negative to draw")
    place = torch.rand(len(users), generator=generator, device=users.device, dtype=torch.float64)
    return graph.nth_missing_item(users, (place * missing).long())


NEGATIVES: Mapping[str, Sampler] = {"uniform": uniform}
