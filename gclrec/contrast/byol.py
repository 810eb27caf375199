"""Bootstrapping without negatives: each end of an interaction predicts a target of the other (BUIR, BYOL)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from torch import Generator, Tensor, nn

from gclrec.common.declaration import Setting
from gclrec.common.errors import check_choice
from gclrec.contrast.base import HEAD_LAYERS, MOMENTUM, Contrasted, TrainingStep, evaluating
from gclrec.contrast.heads import Heads
from gclrec.contrast.moco import Twin, follow
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import unit


class MomentumTarget(nn.Module):
    """The momentum twin's embeddings of the second view (BUIR).

    Args:
        encoder: the original.
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

    def forward(self, step: TrainingStep, users: Tensor, items: Tensor) -> Embeddings:  # noqa: ARG002
        """Return the targets of the batch's users and items, ``(B, D)`` each."""
        return step.encode(step.views[1], encoder=self.twin.encoder).rows(step.users, step.items)


class HistoryTarget(nn.Module):
    r"""The last output of a node mixed with the current one (SelfCF-he, [1]).

    .. math:: \bar x = m\,x^\text{last} + (1 - m)\,x

    There is no second pass. The last output starts as the encoder's first output, with no id hidden (the
    paper's code starts from random vectors).

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
        with torch.no_grad(), evaluating(encoder):
            first = encoder(graph)
        self.register_buffer("users", first.users.detach().clone())
        self.register_buffer("items", first.items.detach().clone())
        self._fresh: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, step: TrainingStep, users: Tensor, items: Tensor) -> Embeddings:
        """Return the targets of the batch's users and items, ``(B, D)`` each."""
        return Embeddings(
            self._mixed(self.users, step.users, users), self._mixed(self.items, step.items, items)
        )

    def _mixed(self, last: Tensor, nodes: Tensor, now: Tensor) -> Tensor:
        self._fresh.append((last, nodes, now))
        return torch.lerp(now, last.index_select(0, nodes), self.momentum)

    def after_step(self, encoder: Encoder) -> None:  # noqa: ARG002
        """Keep the outputs of the step."""
        for last, nodes, now in self._fresh:
            last[nodes] = now  # a node that is twice in a batch has the same row both times
        self._fresh = []


TARGETS: Mapping[str, Callable[[Encoder, BipartiteGraph, float], nn.Module]] = {
    "momentum": MomentumTarget,
    "history": HistoryTarget,
}
"""Where the targets of :class:`Byol` come from; called with the step and the batch's online rows."""

_SSL_TARGET = Setting(
    "ssl_target",
    "Targets of byol: momentum (a slow twin of the encoder, BUIR) or history (what was last seen of a node, "
    "SelfCF).",
    choices=TARGETS,
)


class Byol(nn.Module):
    r"""Pull a user's prediction to its item's target and an item's to its user's (BUIR, [1]; BYOL, [2]).

    .. math:: \frac{1}{B} \sum_{(u, i)} \big(2 - 2 \cos(p(x_u), \bar x_i)\big)
        + \big(2 - 2 \cos(p(x_i), \bar x_u)\big)

    ``p`` is one linear layer for both sides. The targets :math:`\bar x` get no gradient; that and the
    predictor keep all nodes from collapsing to one point. The score of a pair is
    :math:`p(x_u)^\top x_i + x_u^\top p(x_i)`. The first view is encoded for the predictions, the second one
    for the targets; a ranking loss, if there is one, acts on the first. With a projection head :math:`x` is
    its output everywhere but in the ranking loss, and targets are projected by a momentum twin of it ([2]).

    Args:
        encoder: gives the length of an embedding, and may be copied.
        target: where targets come from, a name in :data:`TARGETS`.
        momentum: share of the former target that is kept.
        head_layers: layers of a projection head, one for users and one for items; 0 for none.
        generator: draws the start of the predictor and of the heads.

    Raises:
        SettingError: ``target`` is not a known name.

    [1] Lee et al., SIGIR 2021, https://arxiv.org/abs/2105.06323
    [2] Grill et al., NeurIPS 2020, https://arxiv.org/abs/2006.07733
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,
        *,
        target: Annotated[str, _SSL_TARGET] = "momentum",
        momentum: Annotated[float, MOMENTUM] = 0.99,
        head_layers: Annotated[int, HEAD_LAYERS] = 0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("target", target, TARGETS)
        dim = encoder.layer_zero[0].shape[1]
        self.predictor = nn.utils.skip_init(nn.Linear, dim, dim)
        nn.init.xavier_uniform_(self.predictor.weight, generator=generator)
        nn.init.zeros_(self.predictor.bias)
        self.target = TARGETS[target](encoder, graph, momentum)
        self.momentum = momentum
        self.heads = Heads(dim, head_layers, generator=generator)
        self.twin_heads = copy.deepcopy(self.heads).requires_grad_(False)

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the first view and the loss over the batch's pairs."""
        online = step.encode(step.views[0])
        users, items = online.rows(step.users, step.items)
        with torch.no_grad():
            user_targets, item_targets = self.twin_heads(self.target(step, users.detach(), items.detach()))
        users, items = self.heads(Embeddings(users, items))
        loss = distance(self.predictor(users), item_targets) + distance(self.predictor(items), user_targets)
        return Contrasted(online, loss)

    def ranked(self, embeddings: Embeddings) -> Embeddings:
        """Return vectors of twice the length whose inner product is the score of a pair."""
        users, items = self.heads(embeddings)
        return Embeddings(
            torch.cat([self.predictor(users), users], dim=1), torch.cat([items, self.predictor(items)], dim=1)
        )

    def after_step(self, encoder: Encoder) -> None:  # noqa: ARG002
        """Let the heads of the targets follow."""
        follow(self.twin_heads, self.heads, self.momentum)


def distance(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Return the mean squared distance of unit rows, :math:`2 - 2 \cos`; targets get no gradient.

    Shapes:
        - **prediction**, **target:** ``(B, D)``
        - **output:** scalar in ``[0, 4]``
    """
    cosine = (unit(prediction) * unit(target.detach())).sum(1)
    return (2.0 - 2.0 * cosine).mean()
