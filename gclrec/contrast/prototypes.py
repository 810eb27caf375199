"""Contrast of clusters: prototypes, balanced codes, and who has to predict whose (SwAV, ConCat)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from gclrec.contrast.base import Contrasted, Moment
from gclrec.contrast.two_views import rows_of
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import unit
from gclrec.losses.log_sum_exp import mean_log_sum_exp


@torch.no_grad()
def sinkhorn(scores: Tensor, eps: float = 0.05, iterations: int = 3) -> Tensor:
    r"""Share out rows over columns by score, every column getting the same (Sinkhorn-Knopp, [1], [2]).

    .. math:: \max_{Q}\; \sum_{kj} Q_{kj} S_{kj} + \varepsilon H(Q), \qquad
        \sum_j Q_{kj} = 1, \quad \sum_k Q_{kj} = N / K

    Columns and rows are scaled in turn, rows last; so rows sum to 1 exactly, and columns the better the more
    iterations. The first turn is taken on logarithms. After it every sum is at least ``1 / (N K)``, so that
    nothing can vanish in the others, whatever the scores.

    Args:
        scores: ``(N, K)``.
        eps: :math:`\varepsilon > 0`; smaller is closer to one column a row.
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
    r"""Ask that each row predicts its code over the prototypes (SwAV, [1] equation 2).

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
        generator: where the start is drawn from; the global one if ``None``.
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
    """Prototypes of users and prototypes of items, which stand still in the first epoch (SwAV, section 3).

    Each side has its own: codes are balanced, so prototypes in common would force the same share of users
    and of items into every cluster.

    Args:
        encoder: its embeddings' length is taken.
        count: prototypes of each side.
        generator: where the start is drawn from; the global one if ``None``.
    """

    def __init__(self, encoder: Encoder, count: int, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.frozen = False
        self.users, self.items = (
            Prototypes(count, side.shape[1], generator=generator) for side in encoder.layer_zero
        )

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return the prototypes of users and of items, ``(K, D)`` each, with gradient if they are to move."""
        users, items = self.users.vectors, self.items.vectors
        return (users.detach(), items.detach()) if self.frozen else (users, items)

    def codes(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes of users and of items over their prototypes."""
        return self.users.codes(users), self.items.codes(items)

    @torch.no_grad()
    def to_unit_length(self) -> None:
        """Give every prototype length 1 again, after a step has moved it."""
        for side in (self.users, self.items):
            side.vectors.copy_(unit(side.vectors))


class SwappedPrediction(nn.Module):
    """Predict the cluster of a node's other view, for both views in turn (SwAV, [1]).

    Three passes. Compared are the distinct users and positive items of the batch. Of a view's embeddings the
    codes are taken, without gradient, and the other view has to predict them.

    Args:
        encoder: its embeddings' length is taken.
        graph: not kept.
        temperature: of the prediction; the codes have one of their own.
        num_prototypes: of each side.
        generator: where the prototypes' start is drawn from.

    [1] Caron et al., NeurIPS 2020, https://arxiv.org/abs/2006.09882
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: float = 0.1,
        num_prototypes: int = 100,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.prototypes = SidePrototypes(encoder, num_prototypes, generator=generator)

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the graph itself and the mean of both directions, users plus items."""
        nodes = moment.users.unique(), moment.items.unique()
        first, second = (rows_of(view.encode(moment.encoder), *nodes) for view in moment.views)
        losses = [
            code_cross_entropy(x, vectors, codes, self.temperature)
            for view, other in ((first, second), (second, first))
            for x, vectors, codes in zip(
                view, self.prototypes.vectors(), self.prototypes.codes(*other), strict=True
            )
        ]
        return Contrasted(moment.encoder(moment.graph), torch.stack(losses).sum() / 2)

    def begin_epoch(self, epoch: int, encoder: Encoder, graph: BipartiteGraph) -> None:  # noqa: ARG002
        """Hold the prototypes still in the first epoch."""
        self.prototypes.frozen = epoch == 1

    def after_step(self, encoder: Encoder) -> None:  # noqa: ARG002
        """Give the prototypes unit length again."""
        self.prototypes.to_unit_length()


class ClusterContrast(nn.Module):
    """Draw a user to the cluster of its item and an item to that of its user, away from the others (ConCat).

    SwAV's swapped prediction with the two ends of an interaction in place of the two views of a node. One
    pass, no views: a pair's user has to predict the code of its item over the items' prototypes, and its item
    the code of its user over the users'. Codes are balanced over the distinct nodes of the batch.

    Args:
        encoder: its embeddings' length is taken.
        graph: not kept.
        temperature: of the prediction; the codes have one of their own.
        num_prototypes: of each side.
        generator: where the prototypes' start is drawn from.
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: float = 0.1,
        num_prototypes: int = 100,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.prototypes = SidePrototypes(encoder, num_prototypes, generator=generator)

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the graph and the mean over pairs of users' loss plus that of items'."""
        main = moment.encoder(moment.graph)
        (users, user), (items, item) = (
            side.unique(return_inverse=True) for side in (moment.users, moment.items)
        )
        chosen = rows_of(main, users, items)
        vectors, codes = self.prototypes.vectors(), self.prototypes.codes(*chosen)
        pairs = Embeddings(chosen.users.index_select(0, user), chosen.items.index_select(0, item))
        codes = codes[0].index_select(0, user), codes[1].index_select(0, item)
        losses = [
            code_cross_entropy(pairs.users, vectors[1], codes[1], self.temperature),
            code_cross_entropy(pairs.items, vectors[0], codes[0], self.temperature),
        ]
        return Contrasted(main, torch.stack(losses).sum())

    def begin_epoch(self, epoch: int, encoder: Encoder, graph: BipartiteGraph) -> None:  # noqa: ARG002
        """Hold the prototypes still in the first epoch."""
        self.prototypes.frozen = epoch == 1

    def after_step(self, encoder: Encoder) -> None:  # noqa: ARG002
        """Give the prototypes unit length again."""
        self.prototypes.to_unit_length()
