"""What all samplers of negatives share."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Protocol, TypeAlias

import torch
from torch import Generator, Tensor

from gclrec.common.declaration import Around, Setting
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.csr import positions

COUNT = Setting(
    "num_negatives",
    "Negatives of a pair (uniform, popularity, exposed; default 1) or drawn for a whole batch "
    "(shared; default 1024; mixed: uniform ones, default as many as the batch has pairs).",
    low=1,
    search=Around(4.0),
)
"""How many items are drawn."""

LogQ: TypeAlias = Annotated[
    bool,
    Setting(
        "logq",
        "Correct softmax and bsl for how often a negative is drawn, so that they aim at the whole catalogue.",
    ),
]
"""Whether the logarithm of how often an item is expected to be drawn is subtracted from its score."""

LogQPositive: TypeAlias = Annotated[
    bool,
    Setting(
        "logq_positive",
        "With logq, correct the positive's score of softmax like those of the negatives (Yi et al., 2019).",
    ),
]
"""Whether the same is done to the score of the positive; only with ``log_q``."""


class Negatives(NamedTuple):
    """Items to compare a batch's positives with.

    Args:
        items: item numbers, ``(B, N)`` with each row's own, or ``(N,)`` distinct ones shared by all rows.
        log_weight: logarithm of how much each counts; broadcasts to ``(B, N)``. Minus infinity is an item
            that does not count for that row; ``None``: each counts once.
        seen: ``(H,)`` int64 places ``row * N + column`` that do not count either, in order of rows: items
            that a row's user has interacted with. ``None``: there are none.
    """

    items: Tensor
    log_weight: Tensor | None = None
    seen: Tensor | None = None


class Sampler(Protocol):
    """Draws the negatives of a batch. A user's training items never count as its negatives.

    Most samplers are pure functions. One with a state that outlives a batch is an ``nn.Module`` with the
    state in its buffers, so that a checkpoint is complete.
    """

    def __call__(
        self, graph: BipartiteGraph, users: Tensor, positives: Tensor, *, generator: Generator | None = None
    ) -> Negatives:
        """Return the negatives of the training pairs ``users (B,)``, ``positives (B,)``."""


def expected_times(graph: BipartiteGraph, items: Tensor, pairs: int) -> Tensor:
    """Return how often each item is expected among so many training pairs, ``(N,)``."""
    degree = graph.remember("item_degrees", lambda: graph.degrees()[1])[items]
    return degree * (pairs / max(graph.num_edges, 1))


def with_positives(log_weight: Tensor, log_expected: Tensor) -> Tensor:
    r"""Return weights with which a softmax corrects the positive's score like the others, ``(B, N)``.

    .. math:: -\log \frac{e^{s_p} / q_p}{e^{s_p} / q_p + \sum_j w_j e^{s_j}}
        = -\log \frac{e^{s_p}}{e^{s_p} + \sum_j q_p w_j e^{s_j}}

    Args:
        log_weight: ``(N,)`` logarithms of :math:`w`.
        log_expected: ``(B,)`` logarithms of how often each row's positive is expected, :math:`q_p`.
    """
    return log_weight + log_expected.unsqueeze(1)


def seen_places(graph: BipartiteGraph, users: Tensor, items: Tensor) -> Tensor:
    """Return the places of items that users have interacted with, as ``seen`` of :class:`Negatives`.

    A list of places costs less than a mask ``(B, N)``: it is made from the users' own edges, few of which
    lead to one of the items.

    Args:
        graph: the training interactions.
        users: ``(B,)`` user numbers.
        items: ``(N,)`` distinct item numbers.
    """
    edges = graph.edges
    column = torch.full((graph.num_items,), -1, dtype=edges.user_to.dtype, device=items.device)
    column[items] = torch.arange(len(items), dtype=column.dtype, device=items.device)
    start, degree = edges.user_ptr[users].long(), graph.user_degrees[users]
    ends = degree.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    rows = torch.arange(len(users), device=users.device)

    def of_edges(values: Tensor) -> Tensor:
        return values.repeat_interleave(degree, output_size=total)

    edge = of_edges(start - ends + degree) + torch.arange(total, device=users.device)
    found = column.index_select(0, edges.user_to.index_select(0, edge))
    held = positions(found >= 0)
    first = of_edges(rows * len(items)).index_select(0, held)
    return first + found.index_select(0, held)
