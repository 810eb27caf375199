r"""A textbook training step, as papers and their code write it: the slow reference for the fast one.

One table of all nodes, users before items. The normalised adjacency is a sparse matrix in coordinate form,
:math:`\hat A = D^{-1/2} A D^{-1/2}`, and autograd goes through every product. Every loss is written with the
whole matrix of its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from gclrec.losses.base import whole_weight
from gclrec.settings.config import TrainConfig
from gclrec.training.batches import Batch

Shift = Callable[[int, Tensor], Tensor]
"""Returns the noise of a layer, given its number and its rows ``(U + I, D)``."""


def normalised(edge_index: Tensor, num_users: int, num_items: int) -> Tensor:
    """Return the normalised adjacency of ``edge_index (2, E)``, ``(U + I, U + I)``, from scratch."""
    user, item = edge_index[0], edge_index[1] + num_users
    count = num_users + num_items
    both = torch.stack([torch.cat([user, item]), torch.cat([item, user])])
    degree = torch.bincount(both[0], minlength=count).to(torch.get_default_dtype())
    scale = degree.clamp(min=1).pow(-0.5)
    weight = scale[both[0]] * scale[both[1]]
    return torch.sparse_coo_tensor(both, weight, (count, count), check_invariants=False).coalesce()


def edge_drop(edge_index: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Return the edges that stay when each leaves with probability ``p``."""
    return edge_index[:, torch.rand(edge_index.shape[1], generator=generator) >= p]


def full_noise(eps: float, *, generator: Generator | None = None) -> Shift:
    """Return SimGCL's noise, drawn for every number of every row of every layer."""

    def shift(layer: int, x: Tensor) -> Tensor:  # noqa: ARG001 - every layer alike
        drawn = torch.rand(x.shape, generator=generator, dtype=x.dtype)
        return torch.sign(x) * functional.normalize(drawn, dim=1) * eps

    return shift


def encode(
    matrices: Sequence[Tensor], start: Tensor, *, with_0: bool = True, shift: Shift | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Return the mean of the layers (of 1 to ``L`` without layer 0) and each layer."""
    layers = [start]
    for layer, matrix in enumerate(matrices, start=1):
        x = matrix @ layers[-1]
        layers.append(x if shift is None else x + shift(layer, x.detach()))
    counted = layers if with_0 or len(layers) == 1 else layers[1:]
    return torch.stack(counted, dim=1).mean(dim=1), layers


def info_nce(anchor: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE with the whole ``(B, B)`` matrix of cosines."""
    logits = functional.normalize(anchor, dim=1) @ functional.normalize(positive, dim=1).T / temperature
    return (torch.logsumexp(logits, dim=1) - logits.diagonal()).mean()


def main_loss(config: TrainConfig, user: Tensor, positive: Tensor, negatives: Tensor, batch: Batch) -> Tensor:
    """Return BPR, softmax, BSL, CCL or DirectAU with the whole ``(B, N)`` matrix of scores."""
    if config.loss == "ccl" or config.arguments("loss").get("score") == "cosine":
        user, positive, negatives = (functional.normalize(x, dim=-1) for x in (user, positive, negatives))
    above = (user * positive).sum(-1)
    if config.loss == "directau":
        unit = [functional.normalize(x, dim=-1) for x in (user, positive)]
        uniform = [(-2 * torch.pdist(x).square()).exp().mean().log() for x in unit]
        return (unit[0] - unit[1]).square().sum(1).mean() + config.uniformity_weight * sum(uniform) / 2
    below = user @ negatives.T if negatives.dim() == 2 else (negatives @ user.unsqueeze(2)).squeeze(2)
    weight = whole_weight(batch.log_weight, batch.seen, below)
    weight = torch.zeros_like(below) if weight is None else weight.expand_as(below)
    share = weight.exp() / weight.exp().sum(1, keepdim=True)
    if config.loss == "bpr":
        return -(share * functional.logsigmoid(above.unsqueeze(1) - below)).sum(1).mean()
    if config.loss == "ccl":
        pushed = (share * functional.relu(below - config.loss_margin)).sum(1)
        return (1 - above + config.negative_weight * pushed).mean()
    temperature = float(config.loss_temperature)
    above, below = above / temperature, below / temperature + weight
    if config.loss == "bsl":
        return (config.loss_power * torch.logsumexp(below, dim=1) - above).mean()
    return (torch.logsumexp(torch.cat([above.unsqueeze(1), below], dim=1), dim=1) - above).mean()


def step_loss(
    config: TrainConfig,
    start: Tensor,
    batch: Batch,
    graph: Sequence[Tensor],
    views: Sequence[Sequence[Tensor]],
    shifts: Sequence[Shift | None],
    num_users: int,
) -> Tensor:
    """Return the whole loss of a batch: ranking, L2 and, with views, InfoNCE of users and of items.

    Args:
        config: the settings, such as a method's.
        start: ``(U + I, D)`` layer 0.
        batch: users, positives, negatives.
        graph: the normalised adjacency, once per layer; empty for matrix factorisation.
        views: the same for each view.
        shifts: the noise of each view.
        num_users: ``U``.
    """
    with_0 = config.layer_weights == "mean"
    seen = [
        encode(matrices, start, with_0=with_0, shift=shift)
        for matrices, shift in zip(views, shifts, strict=True)
    ]
    final = seen[0][0] if config.ssl == "cross_layer" and seen else encode(graph, start, with_0=with_0)[0]
    users, positives = batch.users, batch.positives + num_users
    negatives = batch.negatives + num_users
    loss = main_loss(config, final[users], final[positives], final[negatives], batch)
    squares = start[users].square().sum() + start[positives].square().sum()
    loss = loss + config.l2_weight * squares / (2 * len(users))
    rows = start[negatives].flatten(0, -2)  # one negative a pair on average, however many there are
    loss = loss + config.l2_weight * rows.square().sum() / (2 * max(len(rows), 1))
    if seen:
        other = seen[0][1][config.ssl_layer or 1] if config.ssl == "cross_layer" else seen[1][0]
        for nodes in (users.unique(), positives.unique()):
            term = info_nce(seen[0][0][nodes], other[nodes], float(config.temperature))
            loss = loss + config.ssl_weight * term
    return loss


class TextbookStep:
    """A textbook step: views from scratch, autograd, PyTorch's Adam.

    Args:
        config: settings for which :func:`covers` is true.
        edge_index: ``(2, E)`` training pairs.
        start: ``(U + I, D)`` layer 0.
        num_users: ``U``.
        seed: of the views and the noise.
    """

    def __init__(
        self, config: TrainConfig, edge_index: Tensor, start: Tensor, num_users: int, seed: int = 0
    ) -> None:
        self.config = config
        self.edge_index = edge_index
        self.num_users, self.num_items = num_users, len(start) - num_users
        self.table = nn.Parameter(start.clone())
        self.optimizer = torch.optim.Adam([self.table], lr=config.learning_rate)
        self.generator = Generator().manual_seed(seed)
        self.adjacency = normalised(edge_index, self.num_users, self.num_items)
        self.name, _, strength = config.aug.partition(":")
        self.strength = float(strength or config.aug_p)
        self.views: list[Tensor] = []

    def new_views(self) -> None:
        """Draw the views of an epoch or of a batch."""
        count = 0 if not self.config.contrasts else 1 if self.config.ssl == "cross_layer" else 2
        self.views = [self._view() for _ in range(count)]

    def _view(self) -> Tensor:
        if self.name != "edge_drop":
            return self.adjacency
        edges = edge_drop(self.edge_index, self.strength, generator=self.generator)
        return normalised(edges, self.num_users, self.num_items)

    def __call__(self, batch: Batch) -> None:
        """Take one step."""
        if self.config.views_every == "batch" or not self.views:
            self.new_views()
        noise = full_noise(self.strength, generator=self.generator) if self.name == "noise" else None
        count = self.config.num_layers
        loss = step_loss(
            self.config,
            self.table,
            batch,
            [self.adjacency] * count,
            [[view] * count for view in self.views],
            [noise] * len(self.views),
            self.num_users,
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def covers(config: TrainConfig) -> bool:
    """Return whether :class:`TextbookStep` implements the settings."""
    plain = config.encoder == "lightgcn" and config.user_vectors == "free"
    plain = plain and config.layer_weights in ("mean", "mean_without_0")
    known = config.ssl == "cross_layer" or (config.ssl == "infonce" and config.head_layers == 0)
    one = config.aug.partition(":")[0] in ("none", "edge_drop", "noise")
    return plain and one and (known or not config.contrasts) and config.loss in COVERED_LOSSES


COVERED_LOSSES = ("bpr", "softmax", "bsl", "ccl", "directau")
"""The main losses that :func:`main_loss` writes out."""
