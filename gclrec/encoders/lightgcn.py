"""LightGCN: linear propagation over the user-item graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from gclrec.encoders.embeddings import Embeddings, GraphLike, Perturbation
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.propagation import Operator, layered

LAYER_WEIGHTS = ("mean", "mean_without_0", "last", "learned")
"""How layers 0..L are combined: LightGCN's mean, SimGCL's mean of 1..L, the last alone, or a learned mix."""


class LightGCN(nn.Module):
    r"""Average of linear propagation steps over a user-item graph (LightGCN, [1]).

    .. math:: x_u^{(l+1)} = \sum_{i \in N(u)} x_i^{(l)} / \sqrt{|N(u)|\,|N(i)|}, \qquad
        x_u = \sum_{l=0}^{L} w_l\, x_u^{(l)}

    and the same for items. Degrees come from the ``edge_index`` at hand, so an augmented
    view is normalised by its own degrees. A node with no edge keeps only its layer-0 share.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        dim: ``D``.
        num_layers: ``L >= 0``.
        layer_weights: one of :data:`LAYER_WEIGHTS`; ``mean`` is ``w_l = 1 / (L + 1)``.
        init_std: standard deviation of the normal start of layer 0.
        generator: where the start is drawn from; the global one if ``None``.

    Shapes:
        - **edge_index:** ``(2, E)`` int64; row 0 in ``[0, U)``, row 1 in ``[0, I)``
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Raises:
        ValueError: ``layer_weights`` is not a known name, or ``num_layers`` does not suit it.

    Example, with a plain PyG ``HeteroData``:
        >>> from torch_geometric.data import HeteroData
        >>> data = HeteroData()
        >>> data["user", "rates", "item"].edge_index = torch.tensor([[0, 1, 2], [0, 0, 1]])
        >>> encoder = LightGCN(num_users=3, num_items=2, dim=8)
        >>> users, items = encoder(data["user", "rates", "item"].edge_index)
        >>> scores = users @ items.T
        >>> scores.shape
        torch.Size([3, 2])

    [1] He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        dim: int = 64,
        num_layers: int = 3,
        *,
        layer_weights: str = "mean",
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if layer_weights not in LAYER_WEIGHTS:
            raise ValueError(
                f"layer_weights must be one of {', '.join(LAYER_WEIGHTS)}, got {layer_weights!r}"
            )
        if num_layers < 0 or (num_layers == 0 and layer_weights == "mean_without_0"):
            raise ValueError(
                f"num_layers must be at least {int(layer_weights == 'mean_without_0')}, got {num_layers}"
            )
        self.num_layers = num_layers
        self.layer_weights = layer_weights
        self.users = nn.Parameter(torch.empty(num_users, dim).normal_(0.0, init_std, generator=generator))
        self.items = nn.Parameter(torch.empty(num_items, dim).normal_(0.0, init_std, generator=generator))
        if layer_weights == "learned":
            self.layer_logits = nn.Parameter(torch.zeros(num_layers + 1))
        self._last: tuple[Tensor, int, Operator] | None = None

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, users ``(U, D)`` and items ``(I, D)``: what L2 acts on."""
        return self.users, self.items

    def fixed_weights(self) -> list[float] | None:
        """Return ``w_0 .. w_L``, or ``None`` when they are learned."""
        count = self.num_layers
        return {
            "mean": [1.0 / (count + 1)] * (count + 1),
            "mean_without_0": [0.0] + [1.0 / max(count, 1)] * count,
            "last": [0.0] * count + [1.0],
        }.get(self.layer_weights)

    def layer_shares(self) -> list[float]:
        """Return ``w_0 .. w_L`` as numbers, learned ones as they stand."""
        fixed = self.fixed_weights()
        if fixed is not None:
            return fixed
        return [float(share) for share in self.layer_logits.detach().softmax(0)]

    def forward(
        self, graph: GraphLike, *, layers: bool = False, perturb: Perturbation | None = None
    ) -> Embeddings:
        """Return final embeddings of all users and items.

        Args:
            graph: a :class:`~gclrec.graph.bipartite.BipartiteGraph`, a plain ``edge_index (2, E)``, an
                operator, or one operator for each layer. The same ``edge_index`` tensor given again
                is not prepared again.
            layers: also return each layer's output.
            perturb: applied to layer 0, and to the output of each layer ``1..L`` before it goes on.
        """
        operators = self._operators(graph)
        weights = self.fixed_weights()
        users, items = self.layer_zero
        perturb = perturb or Perturbation()
        if perturb.on_input is not None:
            users, items = perturb.on_input(users, items)
        alike = len(set(map(id, operators))) == 1
        if weights is not None and not layers and perturb.shift is None and alike:
            return Embeddings(*operators[0].polynomial(users, items, weights))
        fixed = weights or [0.0] * (self.num_layers + 1)
        operators = operators[: self.num_layers]
        *final, every = layered(operators, users, items, fixed, change=perturb.shift)
        if weights is None:
            shares = self.layer_logits.softmax(0)
            final = [
                torch.stack([share * rows[side] for share, rows in zip(shares, every, strict=True)]).sum(0)
                for side in (0, 1)
            ]
        return Embeddings(final[0], final[1], every if layers else ())

    def _operators(self, graph: GraphLike) -> list[Operator]:
        """Return the operator of each layer (at least one, so that the graph is always checked)."""
        if isinstance(graph, BipartiteGraph):
            return [graph.adjacency] * max(self.num_layers, 1)
        if isinstance(graph, Tensor):
            if self._last is None or self._last[0] is not graph or self._last[1] != graph._version:
                adjacency = BipartiteGraph(len(self.users), len(self.items), graph).adjacency
                self._last = (graph, graph._version, adjacency)
            return [self._last[2]] * max(self.num_layers, 1)
        if isinstance(graph, Sequence):
            if len(graph) != self.num_layers:
                raise ValueError(f"one operator for each of {self.num_layers} layers, got {len(graph)}")
            return list(graph)
        return [graph] * max(self.num_layers, 1)
