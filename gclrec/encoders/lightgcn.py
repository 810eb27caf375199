"""LightGCN: linear propagation over the user-item graph."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from gclrec.data.schema import AttributeTable
from gclrec.encoders.content.content import Content
from gclrec.encoders.content.fields import FieldBatch, FieldTable
from gclrec.encoders.content.value_nodes import ValueNodes
from gclrec.encoders.embeddings import Embeddings, GraphLike, Hidden, Perturbation
from gclrec.encoders.free_vectors import FreeVectors
from gclrec.encoders.layers import USER_VECTORS, check_layers, fixed_weights
from gclrec.encoders.operators import Operators
from gclrec.graph.propagation import Change, Operator, layered, of_items


class LightGCN(FreeVectors):
    r"""Average of linear propagation steps over a user-item graph (LightGCN, [1]).

    .. math:: x_u^{(l+1)} = \sum_{i \in N(u)} (|N(u)|\,|N(i)|)^{-a}\, x_i^{(l)}, \qquad
        x_u = \sum_{l=0}^{L} w_l\, x_u^{(l)}

    and the same for items; the paper has :math:`a = 1/2`. With a lower exponent, nodes of many neighbours
    send and receive more, and later layers weigh more than earlier ones. (Other exponents than the paper's
    are an idea of LightGCN++, [2], which gives either end of an edge its own.) Degrees come from the
    ``edge_index`` at hand, so an augmented view is weighted by its own degrees. A node with no edge keeps
    only its layer-0 share.

    With ``user_vectors="items"`` users have no vectors of their own: layer 0 of a user is one step of
    propagation from its items, as in EGCF ([3], of which this is the linear form),

    .. math:: x_u^{(0)} = \sum_{i \in N(u)} (|N(u)|\,|N(i)|)^{-a}\, x_i^{(0)}

    so there is less to learn and less to keep, and each layer costs one half of a step.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        dim: ``D``.
        num_layers: ``L >= 0``.
        layer_weights: one of :data:`~gclrec.encoders.layers.LAYER_WEIGHTS`; ``mean`` is
            ``w_l = 1 / (L + 1)``.
        degree_exponent: ``a``, in ``[0, 1]``.
        user_vectors: one of :data:`~gclrec.encoders.layers.USER_VECTORS`.
        init_std: standard deviation of the normal start of layer 0.
        generator: where the start is drawn from; the global one if ``None``.
        content: what attributes add to layer 0 (:class:`Content`), or their values as further nodes
            (:class:`ValueNodes`); ids alone if ``None``.

    ``draws`` is the generator from which ids are hidden in training; the global one if ``None``. The weights
    of the edges are in PyTorch's default type: unless that is float64, an encoder that is made ``.double()``
    is exact to single precision only.

    Shapes:
        - **edge_index:** ``(2, E)`` int64; row 0 in ``[0, U)``, row 1 in ``[0, I)``
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Raises:
        ValueError: ``layer_weights`` or ``user_vectors`` is not a known name, ``num_layers`` does not suit
            the weights, or the exponent is out of range.

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

    def __init__(
        self,
        num_users: int,
        num_items: int,
        dim: int = 64,
        num_layers: int = 3,
        *,
        layer_weights: str = "mean",
        degree_exponent: float = 0.5,
        user_vectors: str = "free",
        init_std: float = 0.1,
        generator: Generator | None = None,
        content: Content | ValueNodes | None = None,
    ) -> None:
        if user_vectors not in USER_VECTORS:
            raise ValueError(f"user_vectors must be one of {', '.join(USER_VECTORS)}, got {user_vectors!r}")
        super().__init__(
            num_users,
            num_items,
            dim,
            init_std=init_std,
            generator=generator,
            user_vectors=user_vectors == "free",
        )
        check_layers(layer_weights, num_layers)
        if not 0.0 <= degree_exponent <= 1.0:
            raise ValueError(f"degree_exponent must lie in [0, 1], got {degree_exponent}")
        self.num_layers = num_layers
        self.layer_weights = layer_weights
        self.degree_exponent = degree_exponent
        self.user_vectors = user_vectors
        if layer_weights == "learned":
            self.layer_logits = nn.Parameter(torch.zeros(num_layers + 1))
        self.content = content
        self.draws: Generator | None = None
        self._operators = Operators(num_users, num_items, num_layers, degree_exponent)

    def extra_repr(self) -> str:
        """Return sizes and layers, for ``repr``."""
        layers = f"num_layers={self.num_layers}, layer_weights={self.layer_weights!r}"
        layers = f"{layers}, degree_exponent={self.degree_exponent:g}, user_vectors={self.user_vectors!r}"
        return f"{super().extra_repr()}, {layers}"

    def fixed_weights(self) -> list[float] | None:
        """Return ``w_0 .. w_L``, or ``None`` when they are learned."""
        return fixed_weights(self.layer_weights, self.num_layers)

    def layer_shares(self) -> list[float]:
        """Return ``w_0 .. w_L`` as numbers, learned ones as they stand."""
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
        """Return final embeddings of all users and items.

        Args:
            graph: a :class:`~gclrec.graph.bipartite.BipartiteGraph`, a plain ``edge_index (2, E)``, an
                operator, or one operator for each layer. The same ``edge_index`` tensor given again
                is not prepared again.
            layers: also return each layer's output.
            perturb: applied to layer 0, and to the output of each layer ``1..L`` before it goes on.
            hidden: attributes that read as missing, bool ``(U, F)`` and ``(I, F)``; without ``content``
                there are none, and it is not looked at.
        """
        weights, operators = self.fixed_weights(), self._operators(graph)
        alike = len(set(map(id, operators[: max(self.num_layers, 1)]))) == 1
        plain = weights is not None and not layers and perturb is None and alike
        if plain and self._of_items_alone:
            return Embeddings(*of_items(operators[0], self.items, _powers(self.layer_shares())))
        start, operators = self._begin(operators, hidden)
        counts = len(self.users), len(self.items)
        operators = operators[: max(self.num_layers, 1)]
        users, items = _perturbed(counts, perturb, start)
        change = None if perturb is None or perturb.shift is None else _within(counts, perturb.shift)
        if weights is not None and not layers and change is None and alike:
            return Embeddings(*_cut(counts, *operators[0].polynomial(users, items, weights)))
        fixed = weights or [0.0] * (self.num_layers + 1)
        *final, every = layered(operators[: self.num_layers], users, items, fixed, change=change)
        if weights is None:
            shares = self.layer_logits.softmax(0)
            final = [
                torch.stack([share * rows[side] for share, rows in zip(shares, every, strict=True)]).sum(0)
                for side in (0, 1)
            ]
        cut = tuple(_cut(counts, *rows) for rows in every) if layers else ()
        return Embeddings(*_cut(counts, *final), cut)

    def as_polynomial(self, graph: GraphLike) -> tuple[Tensor, Tensor, list[float]]:
        """Return users ``(U, D)``, items ``(I, D)`` and the weights of the operator's powers on them.

        Their sum is what the encoder returns, and attributes are part of them. With ``user_vectors="items"``
        and no attributes, the users are zeros and there is one power more than there are layers.
        """
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
        """Return layer 0, further nodes behind users and items included, and the operator of each layer."""
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
        """Return the attributes that layer 0 of ``"user"`` or ``"item"`` is made of, ``None`` without any."""
        return self.content.field_table(side) if isinstance(self.content, Content) else None

    def encode_content(self, side: str, table: FieldTable | AttributeTable | FieldBatch) -> Tensor:
        """Return the layer-0 vectors of nodes that have attributes and no id, ``(N, D)``.

        With :class:`ValueNodes` layer 0 of such a node is zero, and this is
        what it gets in the first step.

        Args:
            side: ``"user"`` or ``"item"``.
            table: encoded by the schema of the attributes that the encoder was made with.

        Raises:
            ValueError: the encoder has no attributes of that side, or has them as nodes and gets a batch.
        """
        content = self._content()
        if isinstance(content, Content):
            return content.encode(side, table)
        if isinstance(table, FieldBatch):
            raise ValueError("values as nodes take whole tables, no batches")
        return content.encode(side, table, self.degree_exponent)

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
        weights = self.layer_shares()
        if isinstance(content, Content):
            return content.encode(side, table) * weights[0]
        begun, operators = self._begin(self._operators(graph))
        *_, outputs = layered(operators[: self.num_layers], *begun, weights)
        further = len(self.users) if side == "item" else len(self.items)
        states = [output[side == "user"][further:] for output in outputs[: self.num_layers]]
        steps = content.received(side, table, states, self.degree_exponent)
        started = side == "user" and self.user_vectors == "items"  # then layer 0 is a step already
        start = content.encode(side, table, self.degree_exponent) * (weights[0] if started else 0.0)
        return sum((w * x for w, x in zip(weights[1:], steps, strict=True)), start)

    def _content(self) -> Content | ValueNodes:
        if self.content is None:
            raise ValueError("the encoder was made without attributes")
        return self.content


def _powers(weights: list[float]) -> list[float]:
    """Return the weights of the powers of what items send, given those of the layers.

    A user of layer ``l`` is at power ``l`` or ``l + 1``, whichever is odd, an item at whichever is even.
    """
    return [a + b for a, b in zip([*weights, 0.0], [0.0, *weights], strict=True)]


def _cut(counts: tuple[int, int], users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Return users and items without the further nodes that stand behind them."""
    if (len(users), len(items)) == counts:
        return users, items
    return users[: counts[0]], items[: counts[1]]


def _perturbed(
    counts: tuple[int, int], perturb: Perturbation | None, start: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return layer 0 with users and items perturbed; further nodes behind them stay as they are."""
    if perturb is None or perturb.on_input is None:
        return start
    changed = perturb.on_input(*_cut(counts, *start))
    if (len(start[0]), len(start[1])) == counts:
        return changed
    user, item = (
        torch.cat([new, rows[count:]]) for new, rows, count in zip(changed, start, counts, strict=True)
    )
    return user, item


def _within(counts: tuple[int, int], shift: Change) -> Change:
    """Return a change of users and items that leaves alone the further nodes behind them."""

    def change(layer: int, users: Tensor, items: Tensor) -> None:
        shift(layer, *_cut(counts, users, items))

    return change
