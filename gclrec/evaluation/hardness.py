"""On how many negatives the gradient of a softmax loss falls, at each temperature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.base import SCORES
from gclrec.negatives.sampler import seen_places

HARDEST = (0.01, 0.1)
"""The shares of the negatives, hardest first, that are looked at unless others are asked for."""


def hardness_curve(
    anchor: Tensor,
    negatives: Tensor,
    temperatures: Sequence[float],
    *,
    hardest: Sequence[float] = HARDEST,
    counts: Tensor | None = None,
    score: str = "cosine",
) -> Tensor:
    r"""Return how much of the gradient falls on the hardest negatives at each temperature ([1]).

    In a softmax loss (InfoNCE, ``softmax``, ``bsl``) the gradients for the scores of a row's negatives are
    proportional to their softmax among themselves, whatever the positive scores:

    .. math:: \frac{\partial L_k}{\partial s_{kj}} \propto
        r_{kj} = \frac{e^{s_{kj} / \tau}}{\sum_l e^{s_{kl} / \tau}}, \quad
        h_q(\tau) = \frac{1}{B} \sum_k \; \sum_{j \in \text{the } \lceil q N_k \rceil \text{ highest}} r_{kj}

    So :math:`h_q` is ``q`` for large temperatures, where all negatives weigh alike, and goes to 1 for small
    ones, where only the highest score matters.

    Args:
        anchor: ``(B, D)``.
        negatives: ``(N, D)``, shared by all rows, or ``(B, N, D)``, each row's own.
        temperatures: ``T`` numbers above 0.
        hardest: ``S`` shares ``q`` in ``(0, 1]``.
        counts: ``(B, N)`` bool, which negatives count for a row; all if ``None``. A row without any is left
            out.
        score: by what they are compared, a name in :data:`~gclrec.losses.ranking_losses.SCORES`.

    Returns:
        ``(T, S)`` on the CPU, float64; NaN if no row has a negative.

    Raises:
        ValueError: a temperature or share is out of range.

    Example, the users of a batch as each other's negatives:
        >>> users = torch.nn.functional.normalize(torch.eye(50) + 0.1)
        >>> others = ~torch.eye(50, dtype=torch.bool)
        >>> hardness_curve(users, users, [0.1], hardest=[0.5], counts=others).round(decimals=2).tolist()
        [[0.51]]

    [1] Wang and Liu, CVPR 2021, https://arxiv.org/abs/2012.09740
    """
    if not all(0.0 < tau < float("inf") for tau in temperatures):
        raise ValueError(f"temperatures must be above 0, got {list(temperatures)}")
    if not all(0.0 < share <= 1.0 for share in hardest):
        raise ValueError(f"shares of the negatives must be in (0, 1], got {list(hardest)}")
    totals, rows = _sums(anchor, negatives, temperatures, hardest, counts, score)
    return (totals / (rows if rows else float("nan"))).cpu()


def _sums(
    anchor: Tensor,
    negatives: Tensor,
    temperatures: Sequence[float],
    hardest: Sequence[float],
    counts: Tensor | None,
    score: str,
) -> tuple[Tensor, int]:
    """Return the curve summed over the rows that have a negative, and how many these are."""
    prepare = SCORES[score]
    anchor, negatives = prepare(anchor), prepare(negatives)
    totals = torch.zeros(len(temperatures), len(hardest), dtype=torch.float64, device=anchor.device)
    present = 0
    for part in torch.arange(len(anchor), device=anchor.device).split(
        max(_BLOCK // max(negatives.shape[-2], 1), 1)
    ):
        others = negatives if negatives.dim() == 2 else negatives[part]
        scores = (anchor[part].unsqueeze(1) @ others.transpose(-1, -2)).squeeze(1)
        if counts is not None:
            scores = scores.masked_fill(~counts[part], -torch.inf)
        scores = scores[scores.isfinite().any(1)]
        number = scores.isfinite().sum(1, keepdim=True)
        present += len(scores)
        if len(scores) == 0:
            continue
        scores = scores.sort(1, descending=True).values
        share = torch.tensor(hardest, dtype=torch.float64, device=anchor.device)
        last = (number * share - 1e-9).ceil().long().clamp_(min=1) - 1
        for place, tau in enumerate(temperatures):
            within = torch.softmax(scores / tau, 1).cumsum(1)
            totals[place] += within.gather(1, last).sum(0, dtype=torch.float64)
    return totals, present


def embedding_hardness(
    users: Tensor,
    items: Tensor,
    graph: BipartiteGraph,
    temperatures: Sequence[float],
    *,
    hardest: Sequence[float] = HARDEST,
    score: str = "cosine",
    rows: int = 2048,
    generator: Generator | None = None,
) -> dict[str, Tensor]:
    """Return the hardness curves of trained embeddings, each ``(T, S)`` as :func:`hardness_curve` has it.

    Args:
        users: ``(U, D)``.
        items: ``(I, D)``.
        graph: the training interactions.
        temperatures: ``T`` numbers above 0.
        hardest: ``S`` shares.
        score: by what users and items are compared; nodes of one side always by cosine.
        rows: at most so many nodes of a side, drawn among those with interactions.
        generator: what is drawn comes from here; the global one if ``None``.

    Returns:
        ``"user-item"``: users against all items that they have not, as in the ranking loss;
        ``"users"`` and ``"items"``: drawn nodes against each other, as in the contrast of a batch of them.
    """
    picked = []
    for degree in graph.degrees():
        nodes = degree.nonzero().view(-1)
        order = torch.randperm(len(nodes), generator=generator, device=nodes.device)
        picked.append(nodes[order[:rows]])
    curves = {}
    totals, present = torch.zeros(len(temperatures), len(hardest), dtype=torch.float64), 0
    every = torch.arange(graph.num_items, device=items.device)
    for some in picked[0].split(max(_BLOCK // max(graph.num_items, 1), 1)):
        missing = torch.ones(len(some), len(every), dtype=torch.bool, device=items.device)
        missing.view(-1)[seen_places(graph, some, every)] = False
        part, count = _sums(users[some], items, temperatures, hardest, missing, score)
        totals, present = totals + part.cpu(), present + count
    curves["user-item"] = totals / (present if present else float("nan"))
    for name, vectors, nodes in (("users", users, picked[0]), ("items", items, picked[1])):
        others = ~torch.eye(len(nodes), dtype=torch.bool, device=nodes.device)
        curves[name] = hardness_curve(
            vectors[nodes], vectors[nodes], temperatures, hardest=hardest, counts=others
        )
    return curves


_BLOCK = 2**22
"""Scores that exist at a time."""
