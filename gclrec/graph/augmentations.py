"""How positives are made: augmentations take a graph and return a view of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Generator, Tensor

from gclrec.graph.bipartite import BipartiteGraph


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
    check_probability(p)
    return graph.keep_edges(~bernoulli(graph.num_edges, p, generator=generator, device=graph.device))


def bernoulli(
    count: int, p: float, *, generator: Generator | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Return ``(count,)`` bool, each true with probability ``p`` independently.

    On a CPU the distances between successive hits are drawn (they are geometric), so about
    ``p * count`` random numbers are needed instead of ``count``.
    """
    if p > 0.5:
        return ~bernoulli(count, 1.0 - p, generator=generator, device=device)
    hits = torch.zeros(count, dtype=torch.bool, device=device)
    if p <= 0.0 or count == 0:
        return hits
    if hits.is_cuda:
        return torch.rand(count, generator=generator, device=device) < p
    expected = p * count
    draws = math.ceil(expected + 6.0 * math.sqrt(expected) + 16.0)
    place = -1
    while place < count - 1:
        uniform = torch.rand(draws, generator=generator, dtype=torch.float64)
        # 1 - uniform lies in (0, 1], so the logarithm is finite; a huge gap is cut at the end.
        gaps = ((1.0 - uniform).log_().div_(math.log1p(-p)).floor_().clamp_(max=float(count))).long() + 1
        places = place + gaps.cumsum(0)
        hits[places[places < count]] = True
        place = int(places[-1])
    return hits


def check_probability(p: float) -> None:
    """Raise ``ValueError`` unless ``p`` lies in ``[0, 1)``."""
    if not 0.0 <= p < 1.0:
        raise ValueError(f"p must lie in [0, 1), got {p}")


AUGMENTATIONS: Mapping[str, Augmentation] = {"none": none, "edge_drop": edge_drop}
