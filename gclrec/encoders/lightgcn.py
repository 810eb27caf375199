"""LightGCN: linear propagation over the user-item graph."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Generator, Tensor, nn

from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import SettingError, check_choice
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
from gclrec.encoders.content.value_nodes import ValueNodes
from gclrec.encoders.layers import LAYER_WEIGHTING, LayerOperators, check_layers, fixed_weights
from gclrec.graph.items_alone import of_items
from gclrec.graph.propagation import Operator, layered

USER_VECTORS = ("free", "items")
"""What a user is before propagation: a vector of its own, or one step of propagation from its items."""

_DEGREE_EXPONENT = Setting(
    "degree_exponent",
    "Exponent a of lightgcn's edge weights (d_u d_i)^-a; below the paper's 0.5 popular nodes spread more.",
    low=0,
    high=1,
    search=Span(0.2, 0.6),
)
_USER_VECTORS = Setting(
    "user_vectors",
    "What a user of lightgcn is before the first layer: free, a vector of its own; items, what its items "
    "make of it (fewer parameters, cheaper steps).",
    choices=USER_VECTORS,
)


class LightGCN(nn.Module):
    r"""Average of linear propagation steps over a user-item graph (LightGCN, [1]).

    .. math:: x_u^{(l+1)} = \sum_{i \in N(u)} (|N(u)|\,|N(i)|)^{-a}\, x_i^{(l)}, \qquad
        x_u = \sum_{l=0}^{L} w_l\, x_u^{(l)}

    and the same for items; the paper has :math:`a = 1/2`. With a lower exponent, nodes of many neighbours
    send and receive more, and later layers weigh more than earlier ones (LightGCN++, [2], gives either end
    of an edge an exponent of its own). Degrees come from the ``edge_index`` at hand, so an augmented view is
    weighted by its own degrees. A node with no edge keeps only its layer-0 share.

    With ``user_vectors="items"`` users have no vectors of their own: layer 0 of a user is one step of
    propagation from its items, the linear form of EGCF ([3]),

    .. math:: x_u^{(0)} = \sum_{i \in N(u)} (|N(u)|\,|N(i)|)^{-a}\, x_i^{(0)}

    so there are fewer parameters, and each layer costs one half of a step.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        dim: ``D``.
        num_layers: ``L >= 0``.
        layer_weights: one of :data:`~gclrec.encoders.layers.LAYER_WEIGHTS`; ``mean`` is
            ``w_l = 1 / (L + 1)``.
        degree_exponent: ``a``, in ``[0, 1]``.
        user_vectors: one of :data:`USER_VECTORS`.
        init_std: standard deviation of the normal start of layer 0.
        generator: draws the start; the global one if ``None``.
        content: what attributes add to layer 0 (:class:`Content`), or their values as further nodes
            (:class:`ValueNodes`); ids alone if ``None``.

    The edge weights have PyTorch's default type: unless that is float64, an encoder that is made
    ``.double()`` is exact to single precision only.

    Shapes:
        - **edge_index:** ``(2, E)`` int64; row 0 in ``[0, U)``, row 1 in ``[0, I)``
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Raises:
        SettingError: a name is not known, ``num_layers`` does not suit the weights, or the exponent is out
            of range.

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
    [2] Lee et al., RecSys 2024, https://github.com/geon0325/LightGCNpp
    [3] Zhang et al., ACM TOIS 2025, https://doi.org/10.1145/3701230
    """

    users: Tensor
    items: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        dim: Annotated[int, DIM] = 64,
        num_layers: Annotated[int, NUM_LAYERS] = 3,
        *,
        layer_weights: Annotated[str, LAYER_WEIGHTING] = "mean",
        degree_exponent: Annotated[float, _DEGREE_EXPONENT] = 0.5,
        user_vectors: Annotated[str, _USER_VECTORS] = "free",
        init_std: Annotated[float, INIT_STD] = 0.1,
        generator: Generator | None = None,
        content: Content | ValueNodes | None = None,
    ) -> None:
        check_choice("user_vectors", user_vectors, USER_VECTORS)
        check_layers(layer_weights, num_layers)
        if not 0.0 <= degree_exponent <= 1.0:
            raise SettingError("degree_exponent", f"must lie in [0, 1], got {degree_exponent}")
        super().__init__()
        start: dict[str, Any] = {"init_std": init_std, "generator": generator}
        add_free_vectors(self, num_users, num_items, dim, **start, user_vectors=user_vectors == "free")
        self.num_layers = num_layers
        self.layer_weights = layer_weights
        self.degree_exponent = degree_exponent
        self.user_vectors = user_vectors
        if layer_weights == "learned":
            self.layer_logits = nn.Parameter(torch.zeros(num_layers + 1))
        self.content = content
        self.draws: Generator | None = None
        self._operators = LayerOperators(num_users, num_items, num_layers, degree_exponent)

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, on which L2 acts."""
        return self.users, self.items

    def extra_repr(self) -> str:
        """Return sizes and layers, for ``repr``."""
        layers = f"num_layers={self.num_layers}, layer_weights={self.layer_weights!r}"
        layers = f"{layers}, degree_exponent={self.degree_exponent:g}, user_vectors={self.user_vectors!r}"
        return f"{sizes(self)}, {layers}"

    def fixed_weights(self) -> list[float] | None:
        """Return ``w_0 .. w_L``, or ``None`` when they are learned."""
        return fixed_weights(self.layer_weights, self.num_layers)

    def layer_shares(self) -> list[float]:
        """Return the current ``w_0 .. w_L`` as numbers."""
        fixed = self.fixed_weights()
        if fixed is not None:
            return fixed
        return [float(share) for share in self.layer_logits.detach().softmax(0)]

    def forward(
        self,
        graph: GraphLike,
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),
    ) -> Embeddings:
        """Return the final embeddings; see :class:`~gclrec.encoders.base.Encoder`."""
        weights, operators = self.fixed_weights(), self._operators(graph)
        alike = self._alike(operators)
        plain = weights is not None and not layers and perturb is None and alike
        if plain and self._of_items_alone:
            return Embeddings(*of_items(operators[0], self.items, _powers(self.layer_shares())))
        start, operators = self._begin(operators, hidden)
        counts = len(self.users), len(self.items)
        operators = operators[: max(self.num_layers, 1)]
        perturb = _leading(counts, perturb or Perturbation())
        users, items = perturb.changed(*start)
        if weights is not None and not layers and perturb.shift is None and alike:
            return Embeddings(*_cut(counts, *operators[0].polynomial(users, items, weights)))
        fixed = weights or [0.0] * (self.num_layers + 1)
        *final, every = layered(operators[: self.num_layers], users, items, fixed, change=perturb.shift)
        if weights is None:
            shares = self.layer_logits.softmax(0)
            final = [
                torch.stack([share * rows[side] for share, rows in zip(shares, every, strict=True)]).sum(0)
                for side in (0, 1)
            ]
        cut = tuple(_cut(counts, *rows) for rows in every) if layers else ()
        return Embeddings(*_cut(counts, *final), cut)

    def encode_some(self, graph: GraphLike, users: Tensor) -> Embeddings:
        """Return some users and all items; see :class:`~gclrec.encoders.base.EncodesSome`.

        Other users are left out where nothing but the items' vectors is propagated.
        """
        operators = self._operators(graph)
        if not self._of_items_alone or self.fixed_weights() is None or not self._alike(operators):
            return self.forward(graph)
        found = of_items(operators[0], self.items, _powers(self.layer_shares()), users=users)
        return Embeddings(*found, numbers=users)

    def _alike(self, operators: list[Operator]) -> bool:
        """Whether all layers have one operator."""
        return len(set(map(id, operators[: max(self.num_layers, 1)]))) == 1

    def as_polynomial(self, graph: GraphLike) -> tuple[Tensor, Tensor, list[float]] | None:
        """Return users, items and weights; see :class:`~gclrec.encoders.base.PropagatesLinearly`.

        Attributes are included; where their values are nodes, there is no such form. With
        ``user_vectors="items"`` and no attributes, the users are zeros and there is one power more than there
        are layers.
        """
        if isinstance(self.content, ValueNodes):
            return None
        if self._of_items_alone:
            return *self.layer_zero, _powers(self.layer_shares())
        start, _ = self._begin(self._operators(graph))
        return *_cut((len(self.users), len(self.items)), *start), self.layer_shares()

    @property
    def _of_items_alone(self) -> bool:
        """Whether nothing but the items' vectors is propagated."""
        return self.user_vectors == "items" and self.content is None

    def _begin(
        self, operators: list[Operator], hidden: Hidden = (None, None)
    ) -> tuple[tuple[Tensor, Tensor], list[Operator]]:
        """Return layer 0, attribute values as further nodes included, and the operator of each layer."""
        users, items = self.layer_zero
        if self.content is not None:
            start = self.content.start(users, items, hidden, self.draws)
            made = {
                id(operator): self.content.operator(operator, start, self.degree_exponent)
                for operator in operators
            }
            users, items, operators = start.users, start.items, [made[id(each)] for each in operators]
        if self.user_vectors == "items":
            users = users + of_items(operators[0], items, (0.0, 1.0))[0]
        return (users, items), operators

    def field_table(self, side: str) -> FieldTable | None:
        """Return the attributes that layer 0 of a side is made of, ``None`` if there are none."""
        return self.content.field_table(side) if isinstance(self.content, Content) else None

    def encode_content(self, side: str, table: FieldTable | AttributeTable | FieldBatch) -> Tensor:
        """Return layer 0 of nodes without an id, ``(N, D)``; a batch is refused where values are nodes."""
        content = self._content()
        if isinstance(content, Content):
            return content.encode(side, table)
        if isinstance(table, FieldBatch):
            raise ValueError("values as nodes take whole tables, no batches")
        return content.encode(side, table, self.degree_exponent)

    def encode_cold(self, side: str, table: FieldTable | AttributeTable, graph: GraphLike) -> Tensor:
        """Return the final embeddings of new nodes without interactions, ``(N, D)``.

        They equal those of further nodes of the graph. Where values are nodes, what comes back to a new node
        of itself, from the third layer on, is missing.
        """
        content = self._content()
        weights = self.layer_shares()
        if isinstance(content, Content):
            return content.encode(side, table) * weights[0]
        begun, operators = self._begin(self._operators(graph))
        *_, outputs = layered(operators[: self.num_layers], *begun, weights)
        further = len(self.users) if side == "item" else len(self.items)
        states = [output[side == "user"][further:] for output in outputs[: self.num_layers]]
        steps = content.received(side, table, states, self.degree_exponent)
        started = side == "user" and self.user_vectors == "items"  # layer 0 of such users is one step already
        start = content.encode(side, table, self.degree_exponent) * (weights[0] if started else 0.0)
        return sum((w * x for w, x in zip(weights[1:], steps, strict=True)), start)

    def _content(self) -> Content | ValueNodes:
        if self.content is None:
            raise ValueError("the encoder was made without attributes")
        return self.content


def _powers(weights: list[float]) -> list[float]:
    """Return a weight for each power of the operator on the items, given those of the layers.

    A user of layer ``l`` is at power ``l`` or ``l + 1``, whichever is odd, an item at whichever is even.
    """
    return [a + b for a, b in zip([*weights, 0.0], [0.0, *weights], strict=True)]


def _cut(counts: tuple[int, int], users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Return users and items without the further nodes behind them."""
    if (len(users), len(items)) == counts:
        return users, items
    return users[: counts[0]], items[: counts[1]]


def _leading(counts: tuple[int, int], perturb: Perturbation) -> Perturbation:
    """Return a perturbation of users and items that leaves the further nodes behind them unchanged."""

    def on_input(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        changed = perturb.changed(*_cut(counts, users, items))
        if (len(users), len(items)) == counts:
            return changed
        further = users[counts[0] :], items[counts[1] :]
        return torch.cat([changed[0], further[0]]), torch.cat([changed[1], further[1]])

    def shift(layer: int, users: Tensor, items: Tensor) -> None:
        assert perturb.shift is not None
        perturb.shift(layer, *_cut(counts, users, items))

    return Perturbation(on_input if perturb.on_input else None, shift if perturb.shift else None)
