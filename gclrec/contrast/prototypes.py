"""Prototypes of users and items and balanced codes over them, for contrasts of clusters."""

from __future__ import annotations

from typing import cast

import torch
from torch import Generator, Tensor, nn

from gclrec.contrast.moco import KeyQueue
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import unit
from gclrec.losses.log_sum_exp import mean_log_sum_exp


@torch.no_grad()
def sinkhorn(scores: Tensor, eps: float = 0.05, iterations: int = 3) -> Tensor:
    r"""Assign rows to columns by score, the same total to every column (Sinkhorn-Knopp, [1], [2]).

    .. math:: \max_{Q}\; \sum_{kj} Q_{kj} S_{kj} + \varepsilon H(Q), \qquad
        \sum_j Q_{kj} = 1, \quad \sum_k Q_{kj} = N / K

    Columns and rows are scaled in turn, rows last: rows sum to 1 exactly, and the sums of columns approach
    ``N / K`` with the iterations. The first iteration works on logarithms. After it every sum is at least
    ``1 / (N K)``, so nothing underflows in the others, whatever the scores.

    Args:
        scores: ``(N, K)``.
        eps: :math:`\varepsilon > 0`; smaller values are closer to one column for each row.
        iterations: at least 1.

    Returns:
        ``(N, K)``, without gradient.

    Raises:
        ValueError: ``eps`` or ``iterations`` is out of range.

    Example:
        >>> both_prefer_the_first = torch.tensor([[0.8, 0.7], [0.8, 0.1]])
        >>> sinkhorn(both_prefer_the_first).round(decimals=2)
        tensor([[0.1400, 0.8600],
                [1.0000, 0.0000]])

    [1] Cuturi, NeurIPS 2013, https://arxiv.org/abs/1306.0895
    [2] Caron et al., NeurIPS 2020, https://arxiv.org/abs/2006.09882
    """
    if eps <= 0.0 or iterations < 1:
        raise ValueError(f"eps must be above 0 and iterations at least 1, got {eps} and {iterations}")
    rows, columns = scores.shape
    logits = scores / eps
    codes = torch.softmax(logits - logits.logsumexp(0), 1)
    for _ in range(iterations - 1):
        codes = codes * (rows / columns / codes.sum(0))
        codes = codes / codes.sum(1, keepdim=True)
    return codes


def code_cross_entropy(x: Tensor, prototypes: Tensor, codes: Tensor, temperature: float = 0.1) -> Tensor:
    r"""Return the cross-entropy between the codes of rows and their softmax over prototypes (SwAV, [1]).

    .. math:: -\frac{1}{B} \sum_k \sum_j q_{kj} \log \frac{e^{\hat x_k \cdot c_j / \tau}}
        {\sum_l e^{\hat x_k \cdot c_l / \tau}}

    Args:
        x: ``(B, D)``, of any length.
        prototypes: ``(K, D)`` of unit length.
        codes: ``(B, K)``, each row summing to 1; no gradient.
        temperature: ``tau > 0``.

    Raises:
        ValueError: ``temperature`` is not positive.

    [1] Caron et al., NeurIPS 2020, https://arxiv.org/abs/2006.09882
    """
    if temperature <= 0.0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    scaled = unit(x) / temperature
    return mean_log_sum_exp(scaled, prototypes) - (scaled * (codes @ prototypes)).sum(1).mean()


class Prototypes(nn.Module):
    """Trained cluster centres of unit length.

    Args:
        count: ``K``.
        dim: ``D``.
        generator: draws the start; the global one if ``None``.
    """

    def __init__(self, count: int, dim: int, *, generator: Generator | None = None) -> None:
        super().__init__()
        start = torch.empty(count, dim).normal_(generator=generator)
        self.vectors = nn.Parameter(unit(start))

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Return the balanced codes ``(N, K)`` of the rows ``(N, D)``, compared by cosine."""
        return sinkhorn(unit(x) @ self.vectors.T)


class SidePrototypes(nn.Module):
    """Prototypes of users and prototypes of items, which are frozen in the first epoch (SwAV, section 3).

    Each side has its own: codes are balanced, so common prototypes would force the same share of users and
    of items into every cluster. A batch with fewer nodes than there are prototypes cannot be balanced over
    them, so with a queue the codes are those of the batch among rows of the batches before (section 4.3).

    Args:
        count: prototypes of each side.
        queue_size: rows of former batches that codes are balanced with; 0 for none.
        kinds: how many kinds of rows, such as views, have a queue of their own.
        generator: draws the start; the global one if ``None``.
    """

    def __init__(
        self,
        encoder: Encoder,
        count: int,
        *,
        queue_size: int = 0,
        kinds: int = 1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.frozen = False
        self.queues = nn.ModuleList(
            KeyQueue(queue_size, side.shape[1])
            for _ in range(kinds if queue_size else 0)
            for side in encoder.layer_zero
            if queue_size
        )
        self._fresh: list[tuple[KeyQueue, Tensor]] = []  # of all parts of a step
        self.users, self.items = (
            Prototypes(count, side.shape[1], generator=generator) for side in encoder.layer_zero
        )

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return the prototypes of users and of items, ``(K, D)`` each, without gradient while frozen."""
        users, items = self.users.vectors, self.items.vectors
        return (users.detach(), items.detach()) if self.frozen else (users, items)

    def codes(self, users: Tensor, items: Tensor, kind: int = 0) -> tuple[Tensor, Tensor]:
        """Return the codes of users and of items over their prototypes.

        Args:
            users: ``(B, D)`` rows.
            items: ``(B', D)`` rows.
            kind: which kind of rows they are, from 0.
        """
        if not self.queues:
            return self.users.codes(users), self.items.codes(items)
        found = []
        for place, (side, rows) in enumerate(((self.users, users), (self.items, items))):
            queue = cast("KeyQueue", self.queues[2 * kind + place])
            fresh = unit(rows.detach())
            found.append(side.codes(torch.cat([fresh, queue.keys]))[: len(fresh)])
            self._fresh.append((queue, fresh))
        return found[0], found[1]

    def begin_epoch(self, epoch: int, encoder: Encoder, graph: BipartiteGraph) -> None:  # noqa: ARG002
        """Freeze the prototypes in the first epoch."""
        self.frozen = epoch == 1

    @torch.no_grad()
    def after_step(self, encoder: Encoder) -> None:  # noqa: ARG002
        """Normalise every prototype, and put the rows of the step into the queues."""
        for queue, rows in self._fresh:
            queue.push(rows, torch.zeros(len(rows), dtype=torch.int64, device=rows.device))
        self._fresh = []
        for side in (self.users, self.items):
            side.vectors.copy_(unit(side.vectors))
