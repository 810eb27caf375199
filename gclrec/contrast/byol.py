"""Bootstrapping: a user predicts where its item was, an item where its user was; there are no negatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Generator, Tensor, nn

from gclrec.contrast.base import Contrasted, Moment
from gclrec.contrast.twin import Twin
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import unit


class Byol(nn.Module):
    r"""Draw each user's prediction to its item's target and each item's to its user's (BUIR, [1]; BYOL, [2]).

    .. math:: \frac{1}{B} \sum_{(u, i)} \big(2 - 2 \cos(p(x_u), \bar x_i)\big)
        + \big(2 - 2 \cos(p(x_i), \bar x_u)\big)

    ``p`` is one linear layer for both sides. No gradient goes into the targets :math:`\bar x`; that and the
    predictor keep all nodes from falling onto one point. The score of a pair is
    :math:`p(x_u)^\top x_i + x_u^\top p(x_i)`. The first view is encoded for the predictions, the second one
    for the targets; a ranking loss, if there is one, acts on the first.

    Args:
        encoder: its size is taken, and its twin may be kept.
        graph: the training graph.
        target: where targets come from, a name in :data:`TARGETS`.
        momentum: how much of the former target stays.
        generator: where the predictor's start is drawn from; the global one if ``None``.

    Raises:
        ValueError: ``target`` is not a known name.

    [1] Lee et al., SIGIR 2021, https://arxiv.org/abs/2105.06323
    [2] Grill et al., NeurIPS 2020, https://arxiv.org/abs/2006.07733
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,
        *,
        target: str = "momentum",
        momentum: float = 0.995,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
        dim = encoder.layer_zero[0].shape[1]
        self.predictor = nn.utils.skip_init(nn.Linear, dim, dim)
        nn.init.xavier_uniform_(self.predictor.weight, generator=generator)
        nn.init.zeros_(self.predictor.bias)
        self.target = TARGETS[target](encoder, graph, momentum)

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the first view and the loss over the batch's pairs."""
        online = moment.views[0].encode(moment.encoder)
        users = online.users.index_select(0, moment.users)
        items = online.items.index_select(0, moment.items)
        with torch.no_grad():
            user_targets, item_targets = self.target(moment, users.detach(), items.detach())
        loss = distance(self.predictor(users), item_targets) + distance(self.predictor(items), user_targets)
        return Contrasted(online, loss)

    def after_step(self, encoder: Encoder) -> None:
        """Let the targets follow the encoder."""
        cast("_Target", self.target).follow(encoder)

    def ranked(self, embeddings: Embeddings) -> Embeddings:
        """Return vectors of twice the length whose inner product is the score of a pair."""
        users, items = embeddings
        return Embeddings(
            torch.cat([self.predictor(users), users], dim=1), torch.cat([items, self.predictor(items)], dim=1)
        )


def distance(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Return the mean squared distance of rows at unit length, :math:`2 - 2 \cos`; no gradient to targets.

    Shapes:
        - **prediction**, **target:** ``(B, D)``
        - **output:** scalar in ``[0, 4]``
    """
    cosine = (unit(prediction) * unit(target.detach())).sum(1)
    return (2.0 - 2.0 * cosine).mean()


class _Target(nn.Module):
    """Where targets come from: called with the batch's online rows, told of every step."""

    def follow(self, encoder: Encoder) -> None:
        """Follow the encoder after a step."""


class MomentumTarget(_Target):
    """The momentum twin's embeddings of the second view (BUIR).

    Args:
        encoder: the original.
        graph: not kept.
        momentum: of the twin.
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        momentum: float,
    ) -> None:
        super().__init__()
        self.twin = Twin(encoder, momentum)

    def forward(self, moment: Moment, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return the targets of the batch's users and items, ``(B, D)`` each."""
        slow = moment.views[1].encode(self.twin.encoder)
        return slow.users.index_select(0, moment.users), slow.items.index_select(0, moment.items)

    def follow(self, encoder: Encoder) -> None:
        """Move the twin."""
        self.twin.follow(encoder)


class HistoryTarget(_Target):
    r"""What was last seen of a node, mixed with what is seen now (SelfCF-he, [1]).

    .. math:: \bar x = m\,x^\text{last} + (1 - m)\,x

    There is no second pass. What was last seen starts as the encoder's first output (the paper's code
    starts from random vectors).

    Args:
        encoder: gives the first output.
        graph: the training graph.
        momentum: ``m``.

    [1] Zhou et al., ACM TORS 2023, https://arxiv.org/abs/2107.03019
    """

    users: Tensor
    items: Tensor

    def __init__(self, encoder: Encoder, graph: BipartiteGraph, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        with torch.no_grad():
            first = encoder(graph)
        self.register_buffer("users", first.users.detach().clone())
        self.register_buffer("items", first.items.detach().clone())

    def forward(self, moment: Moment, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets of the batch's users and items, ``(B, D)`` each; remember what is seen."""
        return self._mixed(self.users, moment.users, users), self._mixed(self.items, moment.items, items)

    def _mixed(self, last: Tensor, nodes: Tensor, now: Tensor) -> Tensor:
        mixed = torch.lerp(now, last.index_select(0, nodes), self.momentum)
        last[nodes] = now  # a node that stands twice in a batch has the same row both times
        return mixed


TARGETS: Mapping[str, Callable[[Encoder, BipartiteGraph, float], nn.Module]] = {
    "momentum": MomentumTarget,
    "history": HistoryTarget,
}
"""Where the targets of :class:`Byol` come from."""
