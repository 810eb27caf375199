"""Graph augmentations: functions that take a graph and return a view of it.

All have the signature and the contract of :class:`Augmentation`. The exceptions are ``none``, which ignores
its strength, and ``random_walk``, which has further settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.csr import positions
from gclrec.graph.random_walk import RESTART, first_visited, walk
from gclrec.graph.sampling import RARE, bernoulli, distinct, hits, places_of_hits

_CUT_OFF = 0.7
"""GCA's cut-off probability: no edge is dropped with a higher one."""

_STEPS = 32
_NODES_PER_WALK = 32


class Augmentation(Protocol):
    """A pure function from a graph to a view; users and items keep their numbers."""

    def __call__(
        self, graph: BipartiteGraph, p: float, *, generator: Generator | None = None
    ) -> BipartiteGraph:
        """Return a view that differs from the graph by strength ``p``.

        Args:
            graph: ``E`` interactions; never modified.
            p: strength in ``[0, 1)``; 0 is the identity.
            generator: all randomness comes from here; the global one if ``None``.

        Raises:
            TypeError: ``graph`` is no :class:`~gclrec.graph.bipartite.BipartiteGraph`.
            ValueError: ``p`` is outside ``[0, 1)``.
        """


def none(graph: BipartiteGraph, p: float = 0.0, *, generator: Generator | None = None) -> BipartiteGraph:  # noqa: ARG001
    """Return the graph itself, for models without graph augmentation."""
    return graph


def edge_drop(graph: BipartiteGraph, p: float, *, generator: Generator | None = None) -> BipartiteGraph:
    """Drop each interaction independently with probability ``p`` (SGL-ED, [1]).

    Users and items keep their numbers, so the rows of two views line up. An
    interaction is stored once: it leaves in both directions or in neither.

    Args:
        graph: ``E`` interactions; never modified.
        p: drop probability, in ``[0, 1)``.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        A view with about ``(1 - p) * E`` interactions.

    [1] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    """
    _check(graph, p)
    if p == 0.0:
        return graph
    if p <= RARE:
        return graph.drop_edges(places_of_hits(graph.num_edges, p, generator=generator, device=graph.device))
    return graph.keep_edges(_stays(graph.num_edges, p, graph, generator))


def node_drop(graph: BipartiteGraph, p: float, *, generator: Generator | None = None) -> BipartiteGraph:
    """Drop all interactions of each user and each item with probability ``p`` (SGL-ND, [1]; GraphCL, [2]).

    A dropped node keeps its number and its own embedding; it sends and receives nothing. The view has about
    ``(1 - p)^2 * E`` interactions, since both ends have to stay.

    [1] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    [2] You et al., NeurIPS 2020, https://arxiv.org/abs/2010.13902
    """
    _check(graph, p)
    if p == 0.0:
        return graph
    users = _stays(graph.num_users, p, graph, generator)
    return graph.keep_nodes(users, _stays(graph.num_items, p, graph, generator))


def edge_perturb(graph: BipartiteGraph, p: float, *, generator: Generator | None = None) -> BipartiteGraph:
    """Replace a share ``p`` of the interactions by pairs that do not exist (edge perturbation, GraphCL, [1]).

    Each interaction leaves with probability ``p``. As many new pairs are drawn uniformly, without
    repetition, from all pairs that are no interactions, so the view has ``E`` interactions, in the order of
    user, then item (fewer if fewer pairs are missing than were dropped: then all of these come in). Users
    and items without interactions get none, since random links would mark the cold nodes.

    [1] You et al., NeurIPS 2020, https://arxiv.org/abs/2010.13902
    """
    _check(graph, p)
    if p == 0.0:
        return graph
    leaving = places_of_hits(graph.num_edges, p, generator=generator, device=graph.device)
    users, items = (positions(degree > 0) for degree in graph.degrees())
    pairs = len(users) * len(items)
    all_linked = pairs == graph.num_users * graph.num_items

    # A pair is drawn as one number: the place of its user among the linked ones times their items, plus that
    # of its item. Where every node is linked this is the key of the edge, and nothing has to be translated.
    def ends(keys: Tensor) -> tuple[Tensor, Tensor]:
        user = torch.div(keys, max(len(items), 1), rounding_mode="floor")
        item = keys - user * len(items)
        return (user, item) if all_linked else (users[user], items[item])

    def exists(keys: Tensor) -> Tensor:
        if all_linked:
            return graph.edges.holds(keys)
        user, item = ends(keys)
        return graph.edges.holds(user * graph.num_items + item)

    keys = distinct(
        min(len(leaving), pairs - graph.num_edges),
        pairs,
        generator=generator,
        device=graph.device,
        forbidden=exists,
        num_forbidden=graph.num_edges,
    )
    return graph.exchange_edges(leaving, *ends(keys))


def random_walk(
    graph: BipartiteGraph,
    p: float,
    *,
    generator: Generator | None = None,
    restart: float = RESTART,
    num_walks: int | None = None,
) -> BipartiteGraph:
    """Keep the nodes that random walks with restart visit, a share ``1 - p`` of them (GraphCL, [1], [2]).

    Of the ``n`` nodes with interactions ``round((1 - p) * n)`` are kept. Walks start at seeds, drawn without
    repetition from the nodes not visited yet, and take 32 steps each: to a uniformly drawn neighbour, or
    with probability ``restart`` back to their seed. New seeds follow until enough nodes are visited; of the
    last walks the first visits count, step by step, so that the number is exact. The view is the induced
    subgraph: the interactions between visited nodes.

    It keeps far more interactions than :func:`node_drop` of the same share, since walks visit popular nodes
    more often and stay within neighbourhoods.

    Args:
        graph: ``E`` interactions; never modified.
        p: share of the nodes with interactions that leave, in ``[0, 1)``.
        generator: all randomness comes from here; the global one if ``None``.
        restart: probability of a restart at each step, in ``[0, 1]``.
        num_walks: walks at a time, in random order; ``None`` for one for each 32 nodes to visit, in the order
            of their seeds. The order matters only where the last walks visit too many nodes.

    Raises:
        ValueError: an argument is outside its range.

    [1] You et al., NeurIPS 2020, https://arxiv.org/abs/2010.13902
    [2] Tong et al., ICDM 2006, https://doi.org/10.1109/ICDM.2006.70
    """
    _check(graph, p)
    if num_walks is not None and num_walks < 1:
        raise ValueError(f"num_walks must be at least 1, got {num_walks}")
    if p == 0.0:
        return graph
    visited = torch.cat([degree == 0 for degree in graph.degrees()])  # isolated nodes need no visit
    connected = len(visited) - int(torch.count_nonzero(visited))
    wanted = round((1.0 - p) * connected)
    together = num_walks or max(wanted // _NODES_PER_WALK, 1)
    while wanted > 0:
        unvisited = positions(visited.logical_not())
        count = min(together, len(unvisited))
        seeds = unvisited[distinct(count, len(unvisited), generator=generator, device=graph.device)]
        if num_walks is not None:  # else what is cut off at the end would be the seeds of high numbers
            seeds = seeds[torch.randperm(count, generator=generator, device=graph.device)]
        path = walk(graph.edges, seeds, _STEPS, restart=restart, generator=generator)
        fresh = torch.zeros_like(visited).index_fill_(0, path.flatten(), True) & ~visited
        found = int(torch.count_nonzero(fresh))
        if found > wanted:
            fresh = first_visited(path, fresh, wanted)
        visited |= fresh
        wanted -= found
    return graph.keep_nodes(visited[: graph.num_users], visited[graph.num_users :])


def feature_mask(graph: BipartiteGraph, p: float, *, generator: Generator | None = None) -> BipartiteGraph:
    """Hide each attribute of each node with probability ``p`` (attribute masking, GraphCL, [1]).

    A column of ``user_x`` or ``item_x`` is one attribute. A hidden value is *missing*: ``NaN`` for floats,
    ``-1`` for signed integer codes, since 0 is a value like any other. The edges stay. A graph without
    attributes is returned as it is; the view of the same name (:mod:`gclrec.views.views`) then hides
    dimensions of the embeddings instead.

    Raises:
        ValueError: ``p`` is outside ``[0, 1)``, or the attributes have a type without a missing value.

    [1] You et al., NeurIPS 2020, https://arxiv.org/abs/2010.13902
    """
    _check(graph, p)
    if p == 0.0 or (graph.user_x is None and graph.item_x is None):
        return graph
    return graph.with_features(*(_masked(x, p, generator) for x in (graph.user_x, graph.item_x)))


def degree_edge_drop(
    graph: BipartiteGraph, p: float, *, generator: Generator | None = None
) -> BipartiteGraph:
    r"""Drop a share ``p`` of the interactions, those between popular ends first (after DegreeDrop, [1]).

    An interaction stays with probability

    .. math:: \min\left(1, \frac{c}{\sqrt{|N(u)|\,|N(i)|}}\right)

    independently, where ``c`` makes the mean ``1 - p``. So rarely seen users and items keep the little that
    is known of them, which :func:`edge_drop` may remove altogether. (The paper draws a fixed number of
    interactions with these weights, once an epoch.)

    [1] Zhou et al., LayerGCN, ICDE 2023, https://arxiv.org/abs/2207.11088
    """
    _check(graph, p)
    if p == 0.0:
        return graph

    def keep_probability() -> Tensor:
        return capped_to_mean((-_log_degree(graph)).exp_(), 1.0 - p, 1.0)

    chances = graph.remember(("degree_edge_drop", p), keep_probability)
    return graph.keep_edges(hits(chances, generator=generator))


def gca_edge_drop(graph: BipartiteGraph, p: float, *, generator: Generator | None = None) -> BipartiteGraph:
    r"""Drop a share ``p`` of the interactions, those between unimportant ends first (GCA, [1]).

    The importance of an interaction is the logarithm of the mean of both ends' degrees,
    :math:`s_{ui} = \log \frac{|N(u)| + |N(i)|}{2}`, and it leaves with probability

    .. math:: \min\left(c\,(s_{\max} - s_{ui}),\; 0.7\right)

    independently, where ``c`` makes the mean ``p`` (the paper leaves it slightly below; the bound is
    raised where ``p`` comes near it). The opposite of :func:`degree_edge_drop`: popular items keep
    their interactions and the tail loses them. (The paper's formula for undirected graphs, with its degree
    centrality; the authors' code takes the logarithm of one plus the degree of one end.)

    [1] Zhu et al., WWW 2021, https://arxiv.org/abs/2010.14945
    """
    _check(graph, p)
    if p == 0.0:
        return graph

    def drop_probability() -> Tensor:
        users, items = (
            degree.float().index_select(0, ends)
            for degree, ends in zip(graph.degrees(), graph.edge_index, strict=True)
        )
        importance = users.add_(items).mul_(0.5).log_()
        highest = importance.max() if len(importance) else 0.0
        return capped_to_mean(highest - importance, p, max(_CUT_OFF, (1.0 + p) / 2.0))

    chances = graph.remember(("gca_edge_drop", p), drop_probability)
    return graph.keep_edges(hits(chances, generator=generator).logical_not_())


def capped_to_mean(weights: Tensor, mean: float, most: float) -> Tensor:
    """Return ``min(c * weights, most)`` with the factor ``c`` that gives it a mean.

    Where the weights alone cannot reach the mean (too many are 0), the rest is spread evenly over the
    values below ``most``.

    Args:
        weights: ``(E,)``, not negative.
        mean: in ``[0, most]``.
        most: upper bound of each value.
    """
    full = torch.zeros_like(weights, dtype=torch.bool)
    for _ in range(len(weights)):
        # What the values below the bound have to sum to; scaling them may push more of them to the bound.
        left = mean * len(weights) - most * float(torch.count_nonzero(full))
        total = float(weights.masked_fill(full, 0.0).sum(dtype=torch.float64))
        scaled = (
            weights * (left / total) if total > 0.0 else torch.full_like(weights, left).div_((~full).sum())
        )
        over = (scaled > most) & ~full
        if not bool(over.any()):
            return scaled.masked_fill_(full, most)
        full |= over
    return torch.full_like(weights, mean)


def _check(graph: BipartiteGraph, p: float) -> None:
    if not isinstance(graph, BipartiteGraph):
        raise TypeError(
            f"an augmentation takes a BipartiteGraph, got {type(graph).__name__}; for an edge_index or a "
            "HeteroData there is gclrec.augment"
        )
    if not 0.0 <= p < 1.0:
        raise ValueError(f"p must lie in [0, 1), got {p}")


def _stays(count: int, p: float, graph: BipartiteGraph, generator: Generator | None) -> Tensor:
    return bernoulli(count, p, generator=generator, device=graph.device).logical_not_()


def _log_degree(graph: BipartiteGraph) -> Tensor:
    """Return the logarithm of the geometric mean of both ends' degrees, ``(E,)``."""
    halves = [
        degree.clamp(min=1).log().mul_(0.5).index_select(0, ends)
        for degree, ends in zip(graph.degrees(), graph.edge_index, strict=True)
    ]
    return halves[0] + halves[1]


def _masked(x: Tensor | None, p: float, generator: Generator | None) -> Tensor | None:
    if x is None:
        return None
    if x.is_complex() or not x.dtype.is_signed:
        raise ValueError(f"attributes of type {x.dtype} cannot be missing; give floating or signed ones")
    hidden = bernoulli(x.numel(), p, generator=generator, device=x.device).view(x.shape)
    return x.masked_fill(hidden, float("nan") if x.is_floating_point() else -1)


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": none,
    "edge_drop": edge_drop,
    "node_drop": node_drop,
    "edge_perturb": edge_perturb,
    "random_walk": random_walk,
    "feature_mask": feature_mask,
    "degree_edge_drop": degree_edge_drop,
    "gca_edge_drop": gca_edge_drop,
}
