"""Random walks with restart, thousands at a time."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gclrec.graph.csr import SortedEdges

RESTART = 0.15
"""Usual probability of going back to the seed at a step."""


def walk(
    edges: SortedEdges,
    seeds: Tensor,
    steps: int,
    *,
    restart: float = RESTART,
    generator: Generator | None = None,
) -> Tensor:
    r"""Return the node at which each random walk with restart is after each step.

    From node ``v`` a walk goes back to its seed ``s`` with probability ``c`` and else to a uniformly drawn
    neighbour, so in the long run it is at each node with the probability ``pi`` that solves

    .. math:: \pi = c\,e_s + (1 - c)\,P^\top \pi, \qquad P_{vw} = 1 / |N(v)| \text{ for } w \in N(v).

    Args:
        edges: of the graph to walk on.
        seeds: ``(W,)`` int64 nodes in ``[0, U + I)``, items after users; each has a neighbour.
        steps: ``T``.
        restart: ``c`` in ``[0, 1]``.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        ``(T + 1, W)`` int64 nodes; row 0 holds the seeds.

    Raises:
        ValueError: ``restart`` is outside ``[0, 1]``, or a seed has no neighbour.
    """
    if not 0.0 <= restart <= 1.0:
        raise ValueError(f"restart must lie in [0, 1], got {restart}")
    ptr, to = edges.neighbours
    degrees = ptr.diff()
    if bool((degrees.index_select(0, seeds) == 0).any()):
        raise ValueError("a walk needs somewhere to go, but a seed has no neighbour")
    draw = torch.rand((steps, len(seeds)), generator=generator, device=seeds.device, dtype=torch.float64)
    back = draw < restart
    # What lies above the restart probability is uniform again, so one number decides both.
    draw = draw.sub_(restart).div_(max(1.0 - restart, 1e-300)).clamp_(min=0.0)
    path = seeds.new_empty((steps + 1, len(seeds)))
    path[0] = here = seeds
    for step in range(steps):
        degree = degrees.index_select(0, here)
        offset = (draw[step] * degree).to(ptr.dtype)
        place = ptr.index_select(0, here).add_(torch.minimum(offset, degree - 1))
        here = torch.where(back[step], seeds, to.index_select(0, place))
        path[step + 1] = here
    return path


def first_visited(path: Tensor, nodes: Tensor, count: int) -> Tensor:
    """Return which ``count`` of some nodes walks visit first, step by step and walk by walk.

    Args:
        path: ``(T + 1, W)`` from :func:`walk`.
        nodes: ``(U + I,)`` bool, more than ``count`` of them true, all of them visited.
        count: how many.

    Returns:
        ``(U + I,)`` bool.
    """
    visits = path.flatten()
    never = len(visits)
    order = torch.arange(never, device=visits.device)
    first = torch.full(nodes.shape, never, device=visits.device).scatter_reduce_(0, visits, order, "amin")
    first = first.masked_fill_(~nodes, never)
    return first < first.kthvalue(count + 1).values
