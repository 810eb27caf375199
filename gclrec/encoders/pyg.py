"""Any convolution of PyTorch Geometric as an encoder of users and items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeAlias, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from gclrec.data.schema import AttributeTable
from gclrec.encoders.base import (
    DIM,
    INIT_STD,
    NUM_LAYERS,
    Embeddings,
    GraphLike,
    Hidden,
    Perturbation,
    add_free_vectors,
    sizes,
)
from gclrec.encoders.content.content import Content
from gclrec.encoders.content.fields import FieldBatch, FieldTable
from gclrec.encoders.layers import LAYER_WEIGHTING, check_layers, fixed_weights
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import uncompiled
from gclrec.graph.propagation import Adjacency

Conv: TypeAlias = Callable[[int], nn.Module]
"""From the length of an embedding to a convolution that is called as ``conv(x, edge_index)``."""


def sage_conv(dim: int) -> nn.Module:
    """Return GraphSAGE's mean convolution (Hamilton et al., 2017, https://arxiv.org/abs/1706.02216)."""
    from torch_geometric.nn import SAGEConv

    conv: nn.Module = SAGEConv(dim, dim)
    return conv


def gat_conv(dim: int) -> nn.Module:
    """Return a graph attention convolution with one head (GATv2, https://arxiv.org/abs/2105.14491)."""
    from torch_geometric.nn import GATv2Conv

    conv: nn.Module = GATv2Conv(dim, dim)
    return conv


CONVOLUTIONS: Mapping[str, Conv] = {"sage": sage_conv, "gat": gat_conv}
"""Convolutions of PyG that have a name."""


class PyGEncoder(nn.Module):
    r"""Layers of a PyG convolution over the user-item graph, combined as LightGCN combines its own.

    .. math:: x^{(l+1)} = \sigma\big(\mathrm{conv}_l(x^{(l)}, E)\big), \qquad x = \sum_l w_l\, x^{(l)}

    ``E`` holds each interaction in both directions, items numbered behind the users, and :math:`\sigma` is
    the leaky ReLU, left out behind the last layer. Any convolution that is called as
    ``conv(x, edge_index)`` works. PyG gathers and sums messages edge by edge, so it is slower than LightGCN,
    which is one sparse product (docs/studies/attributes.md has the times).

    Args:
        conv: makes the convolution of each layer, such as ``lambda dim: SAGEConv(dim, dim)``.
        num_layers: ``L >= 0``.
        layer_weights: one of :data:`~gclrec.encoders.layers.LAYER_WEIGHTS`.
        content: what attributes add to layer 0; ids alone if ``None``.

    Shapes:
        - **edge_index:** ``(2, E)`` int64; row 0 in ``[0, U)``, row 1 in ``[0, I)``
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Raises:
        SettingError: ``layer_weights`` is not a known name, or ``num_layers`` does not suit it.

    Example:
        >>> from torch_geometric.nn import GraphConv
        >>> encoder = PyGEncoder(3, 2, lambda dim: GraphConv(dim, dim), dim=8)
        >>> users, items = encoder(torch.tensor([[0, 1, 2], [0, 0, 1]]))
        >>> users.shape, items.shape
        (torch.Size([3, 8]), torch.Size([2, 8]))
    """

    users: Tensor
    items: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        conv: Conv = sage_conv,
        dim: Annotated[int, DIM] = 64,
        num_layers: Annotated[int, NUM_LAYERS] = 3,
        *,
        layer_weights: Annotated[str, LAYER_WEIGHTING] = "mean",
        init_std: Annotated[float, INIT_STD] = 0.1,
        generator: Generator | None = None,
        content: Content | None = None,
    ) -> None:
        check_layers(layer_weights, num_layers)
        super().__init__()
        add_free_vectors(self, num_users, num_items, dim, init_std=init_std, generator=generator)
        self.num_layers = num_layers
        self.layer_weights = layer_weights
        with torch.random.fork_rng(devices=[], enabled=generator is not None):
            if generator is not None:  # convolutions draw their start from the global generator
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            self.convs = nn.ModuleList(conv(dim) for _ in range(num_layers))
        if layer_weights == "learned":
            self.layer_logits = nn.Parameter(torch.zeros(num_layers + 1))
        self.content = content
        self.draws: Generator | None = None

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, on which L2 acts."""
        return self.users, self.items

    def extra_repr(self) -> str:
        """Return sizes and layers, for ``repr``."""
        layers = f"num_layers={self.num_layers}, layer_weights={self.layer_weights!r}"
        return f"{sizes(self)}, {layers}"

    def forward(
        self,
        graph: GraphLike,
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),
    ) -> Embeddings:
        """Return the final embeddings; see :class:`~gclrec.encoders.base.Encoder`.

        Raises:
            TypeError: an operator has no edges (such as that of ``svd``).
        """
        edges = self._edges(graph)
        users, items = self.layer_zero
        if self.content is not None:
            start = self.content.start(users, items, hidden, self.draws)
            users, items = start.users, start.items
            if start.alone != (None, None):
                made = {id(edge): _without(edge, len(users), start.alone) for edge in edges}
                edges = [made[id(edge)] for edge in edges]
        perturb = perturb or Perturbation()
        outputs = [perturb.changed(users, items)]
        for layer, (conv, edge_index) in enumerate(zip(self.convs, edges, strict=True), start=1):
            x = conv(torch.cat(outputs[-1]), edge_index)
            if layer < self.num_layers:
                x = functional.leaky_relu(x)
            users, items = x[: len(self.users)], x[len(self.users) :]
            users, items = perturb.shifted(layer, users, items)
            outputs.append((users, items))
        shares = self._shares()
        users, items = (
            cast("Tensor", sum(share * output[side] for share, output in zip(shares, outputs, strict=True)))
            for side in (0, 1)
        )
        return Embeddings(users, items, tuple(outputs) if layers else ())

    def field_table(self, side: str) -> FieldTable | None:
        """Return the attributes that layer 0 of a side is made of, ``None`` if there are none."""
        return None if self.content is None else self.content.field_table(side)

    def encode_content(self, side: str, table: FieldTable | AttributeTable | FieldBatch) -> Tensor:
        """Return the layer-0 vectors of nodes that have attributes and no id, ``(N, D)``."""
        if self.content is None:
            raise ValueError("the encoder was made without attributes")
        return self.content.encode(side, table)

    def encode_cold(
        self,
        side: str,
        table: FieldTable | AttributeTable,
        graph: GraphLike,  # noqa: ARG002 - the encoders' common signature
    ) -> Tensor:
        """Return the final embeddings of new nodes: they pass the convolutions as nodes without edges."""
        x = self.encode_content(side, table)
        edges = torch.empty(2, 0, dtype=torch.int64, device=x.device)
        outputs = [x]
        for layer, conv in enumerate(self.convs, start=1):
            x = conv(x, edges)
            x = functional.leaky_relu(x) if layer < self.num_layers else x
            outputs.append(x)
        return cast("Tensor", sum(share * x for share, x in zip(self._shares(), outputs, strict=True)))

    def _shares(self) -> Sequence[float | Tensor]:
        weights = fixed_weights(self.layer_weights, self.num_layers)
        return weights if weights is not None else list(self.layer_logits.softmax(0))

    @uncompiled
    def _edges(self, graph: GraphLike) -> list[Tensor]:
        """Return the edges of each layer, both directions, items behind users."""
        if isinstance(graph, Tensor):
            graph = BipartiteGraph(len(self.users), len(self.items), graph)
        if isinstance(graph, BipartiteGraph):
            given = graph.edge_index
            edges = graph.remember("both directions", lambda: _both(given[0], given[1], graph.num_users))
            return [edges] * self.num_layers
        if isinstance(graph, Sequence):
            if len(graph) != self.num_layers:
                raise ValueError(f"one operator for each of {self.num_layers} layers, got {len(graph)}")
            return [_edges_of(operator) for operator in graph]
        return [_edges_of(graph)] * self.num_layers


def _both(user: Tensor, item: Tensor, num_users: int) -> Tensor:
    item = item + num_users
    return torch.stack([torch.cat([user, item]), torch.cat([item, user])])


def _edges_of(operator: object) -> Tensor:
    if not isinstance(operator, Adjacency):
        kind = type(operator).__name__
        raise TypeError(f"a convolution needs edges, and an operator of type {kind} has none")
    half = operator.by_user
    rows = torch.arange(len(half.ptr) - 1, device=half.ptr.device)
    user, held = torch.repeat_interleave(rows, half.ptr.diff().long()), half.weight > 0
    return _both(user[held], half.to[held].long(), operator.num_users)


def _without(edges: Tensor, num_users: int, alone: tuple[Tensor | None, Tensor | None]) -> Tensor:
    """Return the edges of which neither end is to be encoded alone."""
    users, items = alone
    stays = torch.ones(edges.shape[1], dtype=torch.bool, device=edges.device)
    half = edges.shape[1] // 2
    user, item = edges[0, :half], edges[1, :half] - num_users
    for out, ends in ((users, user), (items, item)):
        if out is not None:
            kept = ~out[ends]
            stays &= torch.cat([kept, kept])
    return edges[:, stays]
