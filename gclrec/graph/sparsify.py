"""A random part of an adjacency in place of the whole, right on average: cheaper products in training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Generator, Tensor

from gclrec.common.devices import on_cpu
from gclrec.graph.augmentations import capped_to_mean
from gclrec.graph.csr import positions
from gclrec.graph.propagation import Adjacency, Composed, CSRMatrix


@dataclass(frozen=True, eq=False)
class Sparsifier:
    r"""Draws sparse operators whose expectation is an adjacency, entry by entry.

    An edge of weight :math:`w` is drawn :math:`n` times with :math:`E[n] = p`, and then weighs
    :math:`n\,w / p`, so that

    .. math:: E[\hat A_\text{sample}] = \hat A, \qquad p = \min(1, c\,w)

    where ``c`` makes the mean of ``p`` the share. Weights fall with the degrees of both ends, so edges
    between popular nodes are drawn rarely, and rarely seen nodes keep the little that is known of them. Among
    all probabilities of one mean these give the least variance summed over the entries ([1] draws with the
    same weights). Edges with ``p = 1`` are always there. For the others the line of all probabilities is cut
    into pieces of length 1 and one edge is drawn in each, which spreads the draws evenly over the users and
    takes a number of random draws that depends on the sample alone.

    Two samples are drawn, one for the way to the users and one for the way to the items: with one sample for
    both, what comes back to a node over its own edges would be too large in the second power.

    Args:
        adjacency: of the whole graph.
        share: mean probability of an edge, in ``(0, 1]``.

    [1] Zou et al., NeurIPS 2019 (LADIES), https://arxiv.org/abs/1911.07323
    """

    adjacency: Adjacency
    share: float

    @cached_property
    def probability(self) -> Tensor:
        """``(E,)`` expected number of draws of each edge, in the order of the adjacency's rows by user."""
        return capped_to_mean(self.adjacency.by_user.weight, self.share, 1.0)

    @cached_property
    def _certain(self) -> Tensor:
        """Places of the edges that are always there."""
        return positions(self.probability >= 1.0)

    @cached_property
    def _line(self) -> Tensor:
        """``(E,)`` float64 sums of the probabilities up to each edge, certain ones left out."""
        return self.probability.double().index_fill_(0, self._certain, 0.0).cumsum_(0)

    def draw(self, *, generator: Generator | None = None) -> Composed:
        """Return a new operator.

        Args:
            generator: all randomness comes from here; the global one if ``None``.
        """
        (by_user, to_items), (to_users, by_item) = self._sample(generator), self._sample(generator)
        return Composed(by_user, by_item, (to_users, to_items))

    def _sample(self, generator: Generator | None) -> tuple[CSRMatrix, CSRMatrix]:
        """Return a sample as a matrix by user, and its transpose by item."""
        whole = self.adjacency.by_user
        places, weight = self._drawn(generator)
        ptr = _search(places, whole.ptr.long(), right=False).to(whole.ptr.dtype)
        by_user = CSRMatrix(ptr, whole.to.index_select(0, places), weight, whole.num_columns)
        return by_user, by_user.transposed

    def _drawn(self, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Return the places of the drawn edges, ascending and with repetitions, and their weights."""
        weight, device = self.adjacency.by_user.weight, self.probability.device
        length = float(self._line[-1]) if len(self._line) else 0.0
        pieces = round(length)
        if pieces == 0:
            return self._certain, weight.index_select(0, self._certain)
        points = torch.rand(pieces, generator=generator, dtype=torch.float64, device=device)
        points += torch.arange(pieces, device=device)
        points.mul_(length / pieces).clamp_(max=math.nextafter(length, 0.0))
        places = _search(self._line, points, right=True)
        if len(self._certain):
            places = _merged(places, self._certain)
        p = self.probability.index_select(0, places)
        expected = torch.where(p < 1.0, p * (pieces / length), 1.0)
        return places, weight.index_select(0, places).div_(expected)


# NumPy searches and sorts a million numbers several times faster than PyTorch on one core.


def _search(line: Tensor, points: Tensor, *, right: bool) -> Tensor:
    """Return the place of each point in an ascending line, as ``torch.searchsorted`` does."""
    if not on_cpu(line.device):
        return torch.searchsorted(line, points, right=right)
    return torch.from_numpy(np.searchsorted(line.numpy(), points.numpy(), side="right" if right else "left"))


def _merged(a: Tensor, b: Tensor) -> Tensor:
    """Return the numbers of two ascending tensors in ascending order."""
    both = torch.cat([a, b])
    if not on_cpu(both.device):
        return both.sort().values
    return torch.from_numpy(np.sort(both.numpy(), kind="stable"))  # which merges runs
