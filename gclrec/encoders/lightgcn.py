"""LightGCN: linear propagation over the user-item graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Generator, Tensor, nn

from gclrec.data.fields import AttributeTable
from gclrec.encoders.content import Content
from gclrec.encoders.embeddings import Embeddings, GraphLike, Hidden, Perturbation
from gclrec.encoders.fields import FieldTable
from gclrec.encoders.layers import check_layers, fixed_weights
from gclrec.encoders.value_nodes import ValueNodes
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.propagation import Operator


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
        layer_weights: one of :data:`~gclrec.encoders.layers.LAYER_WEIGHTS`; ``mean`` is
            ``w_l = 1 / (L + 1)``.
        init_std: standard deviation of the normal start of layer 0.
        generator: where the start is drawn from; the global one if ``None``.
        content: what attributes add to layer 0 (:class:`~gclrec.encoders.content.Content`), or their values
            as further nodes (:class:`~gclrec.encoders.value_nodes.ValueNodes`); ids alone if ``None``.

    ``draws`` is the generator from which ids are hidden in training; the global one if ``None``.

    Shapes:
        - **edge_index:** ``(2, E)`` int64; row 0 in ``[0, U)``, row 1 in ``[0, I)``
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Raises:
        ValueError: ``layer_weights`` is not a known name, or ``num_layers`` does not suit it.

    Example, trained on a plain PyG ``HeteroData``:
        >>> from torch_geometric.data import HeteroData
        >>> data = HeteroData()
        >>> data["user", "rates", "item"].edge_index = torch.tensor([[0, 1, 2], [0, 0, 1]])
        >>> edges = data["user", "rates", "item"].edge_index
        >>> encoder = LightGCN(num_users=3, num_items=2, dim=8)
        >>> optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
        >>> for _ in range(60):
        ...     users, items = encoder(edges)
        ...     loss = torch.nn.functional.cross_entropy(users[edges[0]] @ items.T, edges[1])
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     _ = optimizer.step()
        >>> bool(loss < 0.1)
        True

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
        content: Content | ValueNodes | None = None,
    ) -> None:
        super().__init__()
        check_layers(layer_weights, num_layers)
        self.num_layers = num_layers
        self.layer_weights = layer_weights
        self.users = nn.Parameter(torch.empty(num_users, dim).normal_(0.0, init_std, generator=generator))
        self.items = nn.Parameter(torch.empty(num_items, dim).normal_(0.0, init_std, generator=generator))
        if layer_weights == "learned":
            self.layer_logits = nn.Parameter(torch.zeros(num_layers + 1))
        self.content = content
        self.draws: Generator | None = None
        self._last: tuple[Tensor, int, Operator] | None = None

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, users ``(U, D)`` and items ``(I, D)``: what L2 acts on."""
        return self.users, self.items

    def fixed_weights(self) -> list[float] | None:
        """Return ``w_0 .. w_L``, or ``None`` when they are learned."""
        return fixed_weights(self.layer_weights, self.num_layers)

    def forward(
        self,
        graph: GraphLike,
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),
    ) -> Embeddings:
        """Return final embeddings of all users and items.

        Args:
            graph: a :class:`~gclrec.graph.bipartite.BipartiteGraph`, a plain ``edge_index (2, E)``, an
                operator, or one operator for each layer. The same ``edge_index`` tensor given again
                is not prepared again.
            layers: also return each layer's output.
            perturb: applied to layer 0 and to the output of each layer ``1..L`` before it goes on.
            hidden: attributes that read as missing, bool ``(U, F)`` and ``(I, F)``; without ``content``
                there are none, and it is not looked at.
        """
        start, operators = self._begin(graph, hidden)
        counts = len(self.users), len(self.items)
        weights = self.fixed_weights()
        if weights is not None and not layers and perturb is None and len(set(map(id, operators))) == 1:
            return Embeddings(*_cut(counts, *operators[0].polynomial(*start, weights)))
        outputs = [_cut(counts, *output) for output in self._outputs(start, operators, perturb)]
        shares = self._shares()
        users, items = (
            cast("Tensor", sum(share * output[side] for share, output in zip(shares, outputs, strict=True)))
            for side in (0, 1)
        )
        return Embeddings(users, items, tuple(outputs) if layers else ())

    def _begin(
        self, graph: GraphLike, hidden: Hidden = (None, None)
    ) -> tuple[tuple[Tensor, Tensor], list[Operator]]:
        """Return layer 0, further nodes behind users and items included, and the operator of each layer."""
        operators = self._operators(graph)
        if self.content is None:
            return self.layer_zero, operators
        start = self.content.start(*self.layer_zero, hidden, self.draws)
        made = {id(operator): self.content.operator(operator, start) for operator in operators}
        return (start.users, start.items), [made[id(operator)] for operator in operators]

    def _outputs(
        self,
        start: tuple[Tensor, Tensor],
        operators: Sequence[Operator],
        perturb: Perturbation | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the output of each layer, further nodes included."""
        counts = len(self.users), len(self.items)
        outputs = [start if perturb is None else _perturbed(counts, perturb, 0, *start)]
        for layer, operator in enumerate(operators[: self.num_layers], start=1):
            output = operator.propagate(*outputs[-1])
            outputs.append(output if perturb is None else _perturbed(counts, perturb, layer, *output))
        return outputs

    def encode_content(self, side: str, table: FieldTable | AttributeTable) -> Tensor:
        """Return the layer-0 vectors of nodes that have attributes and no id, ``(N, D)``.

        With :class:`~gclrec.encoders.value_nodes.ValueNodes` layer 0 of such a node is zero, and this is
        what it gets in the first step.

        Args:
            side: ``"user"`` or ``"item"``.
            table: encoded by the schema of the attributes that the encoder was made with.

        Raises:
            ValueError: the encoder has no attributes of that side.
        """
        return self._content().encode(side, table)

    def encode_cold(self, side: str, table: FieldTable | AttributeTable, graph: GraphLike) -> Tensor:
        """Return the final embeddings of new nodes that have attributes and no interaction, ``(N, D)``.

        The same as they would get as further nodes of the graph (where values are nodes: but for what comes
        back to them of themselves, from the third layer on).

        Args:
            side: ``"user"`` or ``"item"``.
            table: encoded by the schema of the attributes that the encoder was made with.
            graph: what the others are encoded on.

        Raises:
            ValueError: the encoder has no attributes of that side.
        """
        content = self._content()
        weights = self._shares()
        if isinstance(content, Content):
            return content.encode(side, table) * weights[0]
        outputs = self._outputs(*self._begin(graph))
        further = len(self.users) if side == "item" else len(self.items)
        states = [output[side == "user"][further:] for output in outputs[: self.num_layers]]
        steps = content.received(side, table, states)
        if not steps:
            return content.encode(side, table) * 0.0
        return cast("Tensor", sum(w * x for w, x in zip(weights[1:], steps, strict=True)))

    def _content(self) -> Content | ValueNodes:
        if self.content is None:
            raise ValueError("the encoder was made without attributes")
        return self.content

    def _shares(self) -> Sequence[float | Tensor]:
        """Return the weight of each layer."""
        weights = self.fixed_weights()
        return weights if weights is not None else list(self.layer_logits.softmax(0))

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


def _cut(counts: tuple[int, int], users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Return users and items without the further nodes that stand behind them."""
    if (len(users), len(items)) == counts:
        return users, items
    return users[: counts[0]], items[: counts[1]]


def _perturbed(
    counts: tuple[int, int], perturb: Perturbation, layer: int, users: Tensor, items: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a layer whose users and items are perturbed; further nodes behind them stay as they are."""
    changed = perturb(layer, *_cut(counts, users, items))
    if (len(users), len(items)) == counts:
        return changed
    user, item = (
        torch.cat([new, x[count:]]) for new, x, count in zip(changed, (users, items), counts, strict=True)
    )
    return user, item
