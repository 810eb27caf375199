"""How positives are made: augmentations take a graph and return a view of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.checks import check_arguments
from gclrec.graph.csr import positions
from gclrec.graph.random_walk import random_walk
from gclrec.graph.sampling import RARE, bernoulli, distinct, hits, places_of_hits

_MOST = 0.7
"""GCA never drops an edge with a higher probability than this (its cut-off probability)."""


class Augmentation(Protocol):
    """A pure function from a graph to a view: the input is untouched, nodes keep their numbers."""

    def __call__(
        self, graph: BipartiteGraph, p: float, *, generator: Generator | None = None
    ) -> BipartiteGraph:
        """Return a view that differs from ``graph`` by strength ``p``; ``p = 0`` is the identity."""


def none(graph: BipartiteGraph, p: float = 0.0, *, generator: Generator | None = None) -> BipartiteGraph:  # noqa: ARG001
    """Return the graph itself: the view of a model without graph augmentation."""
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

    Raises:
        ValueError: ``p`` is outside ``[0, 1)``.

    [1] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    """
    check_arguments(graph, p)
    if p == 0.0:
        return graph
    if p <= RARE:
        return graph.drop_edges(_leaving(graph, p, generator))
    return graph.keep_edges(_stays(graph.num_edges, p, graph, generator))


def node_drop(graph: BipartiteGraph, p: float, *, generator: Generator | None = None) -> BipartiteGraph:
    """Take all interactions from each user and each item with probability ``p`` (SGL-ND, [1]; GraphCL, [2]).

    A dropped node keeps its number and its own embedding; it sends and receives nothing.

    Args:
        graph: ``E`` interactions; never modified.
        p: drop probability of a node, in ``[0, 1)``.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        A view with about ``(1 - p)^2 * E`` interactions, since both ends have to stay.

    Raises:
        ValueError: ``p`` is outside ``[0, 1)``.

    [1] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    [2] You et al., NeurIPS 2020, https://arxiv.org/abs/2010.13902
    """
    check_arguments(graph, p)
    if p == 0.0:
        return graph
    users = _stays(graph.num_users, p, graph, generator)
    return graph.keep_nodes(users, _stays(graph.num_items, p, graph, generator))


def edge_perturb(graph: BipartiteGraph, p: float, *, generator: Generator | None = None) -> BipartiteGraph:
    """Replace a share ``p`` of the interactions by pairs that do not exist (edge perturbation, GraphCL, [1]).

    Each interaction leaves with probability ``p``. As many new pairs come in, drawn uniformly from all
    pairs that are not interactions of ``graph``, without repetition; so the number of interactions stays
    (unless fewer pairs are missing than were dropped, then all of these come in). A user or an item
    without any interaction gets none: a random link would teach what only cold nodes have as noise.

    Args:
        graph: ``E`` interactions; never modified.
        p: share to replace, in ``[0, 1)``.
        generator: all randomness comes from here; the global one if ``None``.

    Returns:
        A view with ``E`` interactions, in the order of user, then item.

    Raises:
        ValueError: ``p`` is outside ``[0, 1)``.

    [1] You et al., NeurIPS 2020, https://arxiv.org/abs/2010.13902
    """
    check_arguments(graph, p)
    if p == 0.0:
        return graph
    leaving = _leaving(graph, p, generator)
    users, items = (positions(degree > 0) for degree in graph.degrees())
    pairs = len(users) * len(items)
    all_linked = pairs == graph.num_users * graph.num_items

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


def feature_mask(graph: BipartiteGraph, p: float, *, generator: Generator | None = None) -> BipartiteGraph:
    """Hide each attribute of each node with probability ``p`` (attribute masking, GraphCL, [1]).

    A column of ``user_x`` or ``item_x`` is one attribute. A hidden one reads as *missing*: ``NaN`` in
    floating attributes, ``-1`` in signed integer codes; 0 would be a value like any other. The edges stay. A
    graph without attributes is returned as it is; there the view of the same name
    (:mod:`gclrec.views.views`) hides dimensions of the embeddings instead.

    Args:
        graph: its attributes are never modified.
        p: probability of each attribute to be hidden, in ``[0, 1)``.
        generator: all randomness comes from here; the global one if ``None``.

    Raises:
        ValueError: ``p`` is outside ``[0, 1)``, or the attributes are of a kind that has no missing value.

    [1] You et al., NeurIPS 2020, https://arxiv.org/abs/2010.13902
    """
    check_arguments(graph, p)
    if p == 0.0 or (graph.user_x is None and graph.item_x is None):
        return graph
    return graph.with_features(*(_masked(x, p, generator) for x in (graph.user_x, graph.item_x)))


def degree_edge_drop(
    graph: BipartiteGraph, p: float, *, generator: Generator | None = None
) -> BipartiteGraph:
    r"""Drop a share ``p`` of the interactions, those between popular ends first (after DegreeDrop, [1]).

    An interaction stays with probability

    .. math:: \min\left(1, \frac{c}{\sqrt{|N(u)|\,|N(i)|}}\right)

    independently, where ``c`` makes the mean ``1 - p``. So what little is known of rarely seen users and
    items is kept, which plain :func:`edge_drop` may take away altogether. (The paper draws a fixed
    number of interactions with these weights, once an epoch.)

    Args:
        graph: ``E`` interactions; never modified.
        p: expected share to drop, in ``[0, 1)``.
        generator: all randomness comes from here; the global one if ``None``.

    Raises:
        ValueError: ``p`` is outside ``[0, 1)``.

    [1] Zhou et al., LayerGCN, ICDE 2023, https://arxiv.org/abs/2207.11088
    """
    check_arguments(graph, p)
    if p == 0.0:
        return graph

    def keep_probability() -> Tensor:
        return capped_to_mean((-_log_degree(graph)).exp_(), 1.0 - p, 1.0)

    chances = graph.remember(("degree_edge_drop", p), keep_probability)
    return graph.keep_edges(hits(chances, generator=generator))


def gca_edge_drop(graph: BipartiteGraph, p: float, *, generator: Generator | None = None) -> BipartiteGraph:
    r"""Drop a share ``p`` of the interactions, those between unimportant ends first (GCA, [1]).

    With importance :math:`s_{ui} = \log \sqrt{|N(u)|\,|N(i)|}`, an interaction leaves with probability

    .. math:: \min\left(c\,(s_{\max} - s_{ui}),\; 0.7\right)

    independently, where ``c`` makes the mean ``p`` (the paper leaves it slightly below; the bound is
    raised where ``p`` itself comes near it). The opposite of :func:`degree_edge_drop`: popular items keep
    their interactions and the tail loses them.

    Args:
        graph: ``E`` interactions; never modified.
        p: expected share to drop, in ``[0, 1)``.
        generator: all randomness comes from here; the global one if ``None``.

    Raises:
        ValueError: ``p`` is outside ``[0, 1)``.

    [1] Zhu et al., WWW 2021, https://arxiv.org/abs/2010.14945
    """
    check_arguments(graph, p)
    if p == 0.0:
        return graph

    def drop_probability() -> Tensor:
        importance = _log_degree(graph)
        highest = importance.max() if len(importance) else 0.0
        return capped_to_mean(highest - importance, p, max(_MOST, (1.0 + p) / 2.0))

    chances = graph.remember(("gca_edge_drop", p), drop_probability)
    return graph.keep_edges(hits(chances, generator=generator).logical_not_())


def capped_to_mean(weights: Tensor, mean: float, most: float) -> Tensor:
    """Return ``min(c * weights, most)`` with the ``c`` that gives it the asked mean.

    Where the weights alone cannot reach it (too many are 0), what is lacking is spread evenly over the
    values below ``most``.

    Args:
        weights: ``(E,)`` not negative.
        mean: in ``[0, most]``.
        most: upper bound of each value.
    """
    full = torch.zeros_like(weights, dtype=torch.bool)
    for _ in range(len(weights)):
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


def _leaving(graph: BipartiteGraph, p: float, generator: Generator | None) -> Tensor:
    """Return the places of interactions that leave, each with probability ``p``; ascending."""
    return places_of_hits(graph.num_edges, p, generator=generator, device=graph.device)


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
