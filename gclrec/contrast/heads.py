"""Projection heads between embeddings and a contrastive loss."""

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
    :math:`\pm D^{-1/2}`.

    Args:
        dim: ``D``, length of an embedding and of the output.
        num_layers: linear layers, at least 1; SimCLR and GraphCL have 2.
        generator: draws the start; the global one if ``None``.

    Shapes:
        - **input:** ``(N, D)``
        - **output:** ``(N, D)``

    Raises:
        ValueError: there is no layer.

    [1] Chen et al., ICML 2020, https://arxiv.org/abs/2002.05709
    """

    def __init__(self, dim: int, num_layers: int = 2, *, generator: Generator | None = None) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        layers: list[nn.Module] = []
        for number in range(num_layers):
            if number:
                layers.append(nn.ReLU())
            layers.append(_uniform_linear(dim, generator))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the projections of the rows of ``x``."""
        return cast("Tensor", self.layers(x))


class Heads(nn.Module):
    """A projection head for users and one for items; without layers the embeddings pass unchanged.

    Args:
        dim: length of an embedding.
        num_layers: of each head; 0 for none.
        generator: draws the start; the global one if ``None``.
    """

    def __init__(self, dim: int, num_layers: int = 0, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.users, self.items = (
            ProjectionHead(dim, num_layers, generator=generator) if num_layers else nn.Identity()
            for _ in range(2)
        )

    def forward(self, embeddings: Embeddings) -> Embeddings:
        """Return the vectors that the loss compares."""
        return Embeddings(self.users(embeddings.users), self.items(embeddings.items))


def _uniform_linear(dim: int, generator: Generator | None) -> nn.Linear:
    """Return a linear layer whose start is drawn from ``generator`` alone."""
    layer = nn.utils.skip_init(nn.Linear, dim, dim)
    bound = 1.0 / math.sqrt(dim)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return cast("nn.Linear", layer)
