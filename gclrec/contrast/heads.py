"""Projection heads: what stands between embeddings and a contrastive loss, and nowhere else."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Generator, Tensor, nn

from gclrec.encoders import Embeddings


class ProjectionHead(nn.Module):
    r"""A small perceptron whose output is contrasted in place of the embeddings (SimCLR, [1]).

    .. math:: z = W_L\, \sigma(\dots \sigma(W_1 x + b_1) \dots) + b_L, \qquad \sigma = \max(0, \cdot)

    One layer is linear. There is no batch normalisation. The start is that of ``nn.Linear``: uniform in
    :math:`\pm 1 / \sqrt{D_{in}}`.

    Args:
        dim: length of an embedding.
        num_layers: linear layers, at least 1; SimCLR and GraphCL have 2.
        out_dim: length of what comes out and of the layers between; that of an embedding if ``None``.
        generator: where the start is drawn from; the global one if ``None``.

    Shapes:
        - **input:** ``(N, D)``
        - **output:** ``(N, out_dim)``

    Raises:
        ValueError: there is no layer.

    [1] Chen et al., ICML 2020, https://arxiv.org/abs/2002.05709
    """

    def __init__(
        self,
        dim: int,
        num_layers: int = 2,
        *,
        out_dim: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        out_dim = out_dim or dim
        layers: list[nn.Module] = []
        for number in range(num_layers):
            if number:
                layers.append(nn.ReLU())
            layers.append(_linear(out_dim if number else dim, out_dim, generator))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the projections of the rows of ``x``."""
        return cast("Tensor", self.layers(x))


class Heads(nn.Module):
    """A projection head for users and one for items; without layers the embeddings pass as they are.

    Args:
        dim: length of an embedding.
        num_layers: of each head; 0 for none.
        out_dim: as in :class:`ProjectionHead`.
        generator: where the start is drawn from; the global one if ``None``.
    """

    def __init__(
        self,
        dim: int,
        num_layers: int = 0,
        *,
        out_dim: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.users, self.items = (
            ProjectionHead(dim, num_layers, out_dim=out_dim, generator=generator)
            if num_layers
            else nn.Identity()
            for _ in range(2)
        )

    def forward(self, embeddings: Embeddings) -> Embeddings:
        """Return what the loss compares in place of the embeddings."""
        return Embeddings(self.users(embeddings.users), self.items(embeddings.items))


def _linear(inputs: int, outputs: int, generator: Generator | None) -> nn.Linear:
    """Return a linear layer whose start leaves the global generator alone."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = 1.0 / math.sqrt(inputs)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return cast("nn.Linear", layer)
