"""The passes of one training step through the encoder, shared by the parts of a large batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

import torch
from torch import Tensor

from gclrec.encoders.base import Embeddings, Encoder, GraphLike
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.views import View


class Passes:
    r"""Encodes views for a training step, each once, however many parts of the batch ask for it.

    The final embeddings that several parts get are leaves: each part's loss is differentiated down to them,
    and :meth:`backward` sends the sum of the gradients through the encoder in one pass. By the chain rule

    .. math:: \frac{\partial \sum_p L_p}{\partial \theta}
        = \Big(\sum_p \frac{\partial L_p}{\partial x}\Big) \frac{\partial x}{\partial \theta}

    so the gradient is that of one large batch, and memory is bounded by one part.

    Args:
        shared: whether several parts use the passes; with one part the embeddings are those of the encoder.
        operator: what is propagated over in place of a view's graph.
        gather: see :class:`~gclrec.encoders.base.Embeddings`.
        users: ``(n,)`` the only users that are looked at, distinct and ascending; all may be if ``None``.
    """

    def __init__(
        self,
        *,
        shared: bool = False,
        operator: Callable[[GraphLike], GraphLike] | None = None,
        gather: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        users: Tensor | None = None,
    ) -> None:
        self.shared = shared
        self._users = users
        self._operator = operator
        self._gather = gather
        self._whole: View | None = None
        self._kept: dict[Hashable, tuple[View, Embeddings]] | None = None
        self._made: dict[Hashable, tuple[View, Embeddings, Embeddings]] = {}
        self._sums: dict[Tensor, Tensor] = {}

    def whole(self, graph: BipartiteGraph) -> View:
        """Return the view of a graph that changes nothing, the same one each time."""
        if self._whole is None or self._whole.graph is not graph:
            self._whole = View(graph)
        return self._whole

    def keep(self) -> None:
        """Keep what is encoded from now on for whoever asks for it again, as several contrasts may."""
        if self._kept is None:
            self._kept = {}

    def encode(self, encoder: Encoder, view: View, *, layers: bool = False) -> Embeddings:
        """Return an encoder's embeddings of all users and items in a view."""
        key = (id(encoder), id(view), layers)
        kept = (*key, torch.is_grad_enabled())
        if self._kept is not None and kept in self._kept:
            return self._kept[kept][1]
        if key not in self._made:
            seen = view
            if self._operator is not None:
                seen = View(self._operator(view.graph), view.perturb, view.hidden)
            made = seen.encode(encoder, layers=layers, users=self._users)
            if self._gather is not None:
                made = replace(made, gather=self._gather)
            if not self.shared:
                if self._kept is not None:
                    self._kept[kept] = view, made  # the view too, so that its id stays its own
                return made
            leaves = Embeddings(
                _leaf(made.users),
                _leaf(made.items),
                tuple((_leaf(users), _leaf(items)) for users, items in made.layers),
                sparse=True,
                gather=self._gather,
                numbers=made.numbers,
            )
            self._made[key] = view, made, leaves  # the view is kept, so that its id stays its own
        return self._made[key][2]

    def collect(self) -> None:
        """Add the gradients that a part has left at the embeddings to those of the parts before.

        Left where they are, sparse ones would be joined, and copied anew with each part.
        """
        for _, _, leaves in self._made.values():
            for leaf in _tensors(leaves):
                if leaf.grad is None:
                    continue
                total, grad, leaf.grad = self._sums.get(leaf), leaf.grad, None
                if not grad.is_sparse:
                    self._sums[leaf] = grad if total is None else total.add_(grad)
                    continue
                total = torch.zeros_like(leaf) if total is None else total
                self._sums[leaf] = total.index_add_(0, grad._indices()[0], grad._values())

    def backward(self) -> None:
        """Send the gradients that the parts have left at the embeddings through the encoder."""
        self.collect()
        found = [
            (output, self._sums[leaf])
            for _, made, leaves in self._made.values()
            for output, leaf in zip(_tensors(made), _tensors(leaves), strict=True)
            if leaf in self._sums
        ]
        if found:
            outputs, gradients = zip(*found, strict=True)
            torch.autograd.backward(outputs, gradients)
        self._made.clear()
        self._sums.clear()


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_(x.requires_grad)


def _tensors(embeddings: Embeddings) -> list[Tensor]:
    return [embeddings.users, embeddings.items, *(x for pair in embeddings.layers for x in pair)]
