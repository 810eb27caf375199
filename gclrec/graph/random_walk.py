"""Random walks with restart, thousands at once, and the subgraph of what they visit."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.checks import check_arguments
from gclrec.graph.csr import SortedEdges, positions
from gclrec.graph.sampling import distinct

RESTART = 0.15
"""Usual probability of going back to the seed at a step."""

_STEPS = 32
_NODES_PER_WALK = 32


def random_walk(
    graph: BipartiteGraph,
    p: float,
    *,
    generator: Generator | None = None,
    restart: float = RESTART,
    num_walks: int | None = None,
) -> BipartiteGraph:
    """Keep what random walks with restart visit until only a share ``p`` of the nodes is left out.

    Of the ``n`` nodes that have interactions, ``round((1 - p) * n)`` are to be visited. Walks start at
    seeds, drawn without repetition from the nodes not yet visited, and take 32 steps each: to a uniformly
    drawn neighbour, or with probability ``restart`` back to their seed. New seeds follow until enough
    nodes are visited; of the last walks those visits count that come first, step by step, so that the
    number is exact. The view holds the interactions between visited nodes (the induced subgraph; GraphCL's
    subgraph, [1], with walks that restart, [2]).

    Beside :func:`~gclrec.graph.augmentations.node_drop` of the same share this keeps far more
    interactions, since walks come by popular nodes more often and stay within neighbourhoods.

    Args:
        graph: never modified.
        p: share of the nodes that leave, in ``[0, 1)``; nodes without interactions do not count.
        generator: all randomness comes from here; the global one if ``None``.
        restart: probability of a restart at each step, in ``[0, 1]``.
        num_walks: how many walks run at once, in random order; one for each 32 nodes to visit if ``None``, in
            the order of their seeds, which matters in the last step alone.

    Raises:
        ValueError: ``p`` is outside ``[0, 1)``, or another argument is outside its range.

    [1] You et al., NeurIPS 2020, https://arxiv.org/abs/2010.13902
    [2] Tong et al., ICDM 2006, https://doi.org/10.1109/ICDM.2006.70
    """
    check_arguments(graph, p)
    if num_walks is not None and num_walks < 1:
        raise ValueError(f"num_walks must be at least 1, got {num_walks}")
    if p == 0.0:
        return graph
    visited = torch.cat([degree == 0 for degree in graph.degrees()])  # these need no visit
    connected = len(visited) - int(torch.count_nonzero(visited))
    wanted = round((1.0 - p) * connected)
    together = num_walks or max(wanted // _NODES_PER_WALK, 1)
    while wanted > 0:
        open_nodes = positions(visited.logical_not())
        count = min(together, len(open_nodes))
        seeds = open_nodes[distinct(count, len(open_nodes), generator=generator, device=graph.device)]
        if num_walks is not None:  # of more than are needed any may be cut off, not those of high numbers
            seeds = seeds[torch.randperm(count, generator=generator, device=graph.device)]
        path = walk(graph.edges, seeds, _STEPS, restart=restart, generator=generator)
        fresh = torch.zeros_like(visited).index_fill_(0, path.flatten(), True) & ~visited
        found = int(torch.count_nonzero(fresh))
        if found > wanted:
            fresh = _first_visited(path, fresh, wanted)
        visited |= fresh
        wanted -= found
    return graph.keep_nodes(visited[: graph.num_users], visited[graph.num_users :])


def walk(
    edges: SortedEdges,
    seeds: Tensor,
    steps: int,
    *,
    restart: float = RESTART,
    generator: Generator | None = None,
) -> Tensor:
    r"""Return where random walks with restart are after each step.

    From node ``v`` a walk goes back to its seed ``s`` with probability ``c`` and else to a uniformly drawn
    neighbour, so in the long run it is at each node with the probability ``pi`` that solves

    .. math:: \pi = c\,e_s + (1 - c)\,P^\top \pi, \qquad P_{vw} = 1 / |N(v)| \text{ for } w \in N(v).

    Args:
        edges: of the graph to walk on (``graph.edges``).
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
    # What lies above the restart probability is again uniform, so one number serves both choices.
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


def _first_visited(path: Tensor, fresh: Tensor, count: int) -> Tensor:
    """Return which ``count`` of the fresh nodes are visited first, step by step and walk by walk."""
    nodes = path.flatten()
    later = len(nodes)
    order = torch.arange(later, device=nodes.device)
    first = torch.full(fresh.shape, later, device=nodes.device).scatter_reduce_(0, nodes, order, "amin")
    first = first.masked_fill_(~fresh, later)
    return first < first.kthvalue(count + 1).values
