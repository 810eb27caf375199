"""Changes of embeddings: noise of a given length, and hidden dimensions."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gclrec.common.devices import on_cpu
from gclrec.encoders.base import Dimensions
from gclrec.graph.sampling import bernoulli

_BLOCK = 2**17
"""Numbers that are changed at a time."""


def noise_directions(
    count: int, dim: int, *, generator: Generator | None = None, like: Tensor | None = None
) -> Tensor:
    r"""Return random directions :math:`\delta / \lVert \delta \rVert`, with :math:`\delta \sim U(0, 1)^D`.

    Args:
        count: how many.
        dim: ``D``.
        generator: source of randomness; the global one if ``None``.
        like: a tensor of their type and device; float32 on the CPU if ``None``.

    Returns:
        ``(count, D)``, each row of length 1, no number negative.
    """
    like = torch.empty(0) if like is None else like
    drawn = torch.rand(count, dim, generator=generator, dtype=torch.float64, device="cpu")
    return torch.nn.functional.normalize(drawn, dim=1).to(like)


def add_noise_(
    x: Tensor,
    eps: float,
    directions: Tensor,
    *,
    generator: Generator | None = None,
    columns: Dimensions | None = None,
) -> Tensor:
    r"""Add a random vector of length ``eps`` to each row, in the row's own orthant (SimGCL, [1]); in place.

    .. math:: x' = x + \varepsilon \, \mathrm{sign}(x) \odot \frac{\delta}{\lVert \delta \rVert}, \qquad
        \delta \sim U(0, 1)^D

    Where ``x`` is zero nothing is added. Drawing :math:`\delta` for every row would cost more than a
    propagation, so it is one of many prepared directions: on a CPU the rows of a block take consecutive
    directions from a random position on, on a GPU each row draws its own.

    Args:
        x: ``(N, D)`` rows; not a tensor that needs a gradient.
        eps: length of the noise.
        directions: ``(P, D)`` from :func:`noise_directions`.
        generator: source of randomness; the global one if ``None``.
        columns: which columns of the rows these are; ``directions`` has the same ones.

    [1] Yu et al., SIGIR 2022, https://arxiv.org/abs/2112.08679
    """
    if not on_cpu(x.device):
        chosen = torch.randint(len(directions), (len(x),), generator=generator, device=x.device)
        return x.addcmul_(directions[chosen], x.sign(), value=eps)
    width = x.shape[1] if columns is None else columns.dim
    rows = min(max(_BLOCK // max(width, 1), 1), len(directions))
    blocks = x.split(rows)
    places = torch.randint(len(directions) - rows + 1, (len(blocks),), generator=generator)
    for block, place in zip(blocks, places.tolist(), strict=True):
        block.addcmul_(directions[place : place + len(block)], block.sign(), value=eps)
    return x


def mask_dimensions(
    x: Tensor, p: float, *, generator: Generator | None = None, columns: Dimensions | None = None
) -> Tensor:
    """Set each number of ``x`` ``(N, D)`` to zero with probability ``p``; the others are not scaled up.

    The attribute masking of GraphCL (https://arxiv.org/abs/2010.13902) for nodes whose only attribute is
    their embedding: each node loses dimensions of its own, independently of the other nodes. Where ``x`` has
    some ``columns`` only, all are drawn for, so that they lose what they would lose together.
    """
    shape = x.shape if columns is None else (len(x), columns.dim)
    hidden = torch.empty(shape, dtype=torch.bool, device=x.device)
    for part in hidden.view(-1).split(_BLOCK):
        part.copy_(bernoulli(len(part), p, generator=generator, device=x.device))
    return x.masked_fill(hidden if columns is None else columns.of(hidden), 0.0)
