"""Layer 0 of nodes with attributes: their own vectors and the vectors of their fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from torch import Generator, Tensor, nn

from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import SettingError
from gclrec.data.schema import Attributes, AttributeTable
from gclrec.encoders.base import INIT_STD, Hidden
from gclrec.encoders.content.fields import FieldBatch, FieldEncoder, FieldTable
from gclrec.graph.extension import operator_degrees, without_nodes
from gclrec.graph.propagation import Operator
from gclrec.graph.sampling import bernoulli

SIDES = ("user", "item")

ID_DROPOUT = Setting(
    "id_dropout",
    "Probability that a node with attributes is trained as a cold one: without its id and interactions.",
    low=0,
    high=0.99,
    search=Span(0.0, 0.6),
)


@dataclass(frozen=True, eq=False)
class LayerZero:
    """Layer 0 of one pass.

    Args:
        users: ``(U, D)``, or more rows where attribute values are nodes.
        items: ``(I, D)``, likewise.
        alone: users ``(U,)`` and items ``(I,)`` bool that are encoded in this pass as if they had no
            interaction; ``None`` for none.
        hidden: fields that read as missing in this pass.
    """

    users: Tensor
    items: Tensor
    alone: tuple[Tensor | None, Tensor | None] = (None, None)
    hidden: Hidden = (None, None)


class NodeIds(nn.Module):
    """Decides which nodes use a vector of their own.

    A node without training interactions does not: its vector has never been trained, so it is zero here.
    In training, with probability ``dropout`` a node *with* interactions is treated in the same way, anew in
    each pass: its own vector and its interactions are hidden (DropoutNet, [1]). What is left is what a cold
    node has, so the encoder learns to use it.

    Args:
        degrees: training interactions of users ``(U,)`` and items ``(I,)``; all nodes are known if ``None``.
        dropout: probability, in ``[0, 1)``.
        sides: whether users and items have anything besides an id; only then is the id dropped.

    [1] Volkovs et al., NIPS 2017,
    https://papers.nips.cc/paper/2017/hash/dbd22ba3bd0df8f385bdac3e9f8be207-Abstract.html
    """

    def __init__(
        self, degrees: tuple[Tensor, Tensor] | None, dropout: float, sides: tuple[bool, bool]
    ) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise SettingError("id_dropout", f"must lie in [0, 1), got {dropout}")
        self.dropout = dropout
        self.sides = sides
        for side, degree in zip(SIDES, degrees or (None, None), strict=True):
            cold = None if degree is None or bool((degree > 0).all()) else degree == 0
            self.register_buffer(f"cold_{side}", cold, persistent=False)
            self.register_buffer(f"degree_{side}", degree, persistent=False)

    def degrees(self, operator: Operator) -> tuple[Tensor, Tensor]:
        """Return the interactions of users and items in an operator, or in training where it has no edges.

        Raises:
            ValueError: it has none, and the encoder was made without the degrees in training.
        """
        found = operator_degrees(operator)
        if found is None and self.degree_user is not None:
            found = cast("Tensor", self.degree_user), cast("Tensor", self.degree_item)
        if found is None:
            raise ValueError("this operator has no edges to count: give degrees when making the content")
        return found

    def operator(self, operator: Operator, start: LayerZero, degree_exponent: float = 0.5) -> Operator:
        """Return an operator without the interactions of the nodes that are encoded alone."""
        if start.alone == (None, None):
            return operator
        return without_nodes(operator, *start.alone, self.degrees(operator), degree_exponent)[0]

    def forward(self, users: Tensor, items: Tensor, generator: Generator | None) -> LayerZero:
        """Return the vectors of the nodes that use one, zero for the others."""
        (user, no_user), (item, no_item) = (
            self.side(side, x, generator) for side, x in zip(SIDES, (users, items), strict=True)
        )
        return LayerZero(user, item, (no_user, no_item))

    def side(
        self, side: str, x: Tensor, generator: Generator | None, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the vectors of one side, and which of its nodes are encoded alone in this pass.

        Args:
            side: ``"user"`` or ``"item"``.
            x: free vectors ``(N, D)``.
            generator: draws what is hidden in training.
            rows: ``(B,)`` the nodes wanted, which may repeat; all if ``None``.
        """
        cold = cast("Tensor | None", getattr(self, f"cold_{side}"))
        if rows is not None:
            x, cold = x.index_select(0, rows), None if cold is None else cold[rows]
        hidden: Tensor | None = None
        if self.training and self.dropout > 0.0 and self.sides[SIDES.index(side)]:
            hidden = bernoulli(len(x), self.dropout, generator=generator, device=x.device)
        none = cold if hidden is None else hidden if cold is None else hidden | cold
        return x if none is None else x.masked_fill(none[:, None], 0.0), hidden


class Content(nn.Module):
    r"""Layer 0 from ids and attributes.

    .. math:: x_n^{(0)} = k_n\, z_n + \sum_f e_{nf}

    with the free vector :math:`z_n` of the node, :math:`k_n = 0` where it uses none (:class:`NodeIds`), and
    the vectors :math:`e_{nf}` of its fields (:class:`~gclrec.encoders.content.fields.FieldEncoder`).

    Args:
        attributes: of users, items or both.
        dim: ``D``.
        degrees: training interactions of users ``(U,)`` and items ``(I,)``; a node with none is encoded by
            its attributes alone. All nodes are known if ``None``.
        id_dropout: see :class:`NodeIds`.
        init_std: standard deviation of the normal start.
        generator: draws the start; the global one if ``None``.

    Raises:
        ValueError: there are no attributes on either side, or a number is out of range.

    Example, an item without any interaction in a PyG ``HeteroData``:
        >>> import polars as pl
        >>> import torch
        >>> from torch_geometric.data import HeteroData
        >>> from gclrec.data.schema import Schema
        >>> from gclrec.encoders import LightGCN
        >>> data = HeteroData()
        >>> data["item"].x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
        >>> data["user", "rates", "item"].edge_index = torch.tensor([[0, 1, 2], [0, 0, 1]])
        >>> frame = pl.DataFrame({"id": range(3), "x": data["item"].x.tolist()})
        >>> content = Content(Attributes(items=Schema.fit(frame).encode(frame)), dim=8)
        >>> encoder = LightGCN(num_users=3, num_items=3, dim=8, content=content)
        >>> users, items = encoder(data["user", "rates", "item"].edge_index)
        >>> bool(items[2].any())
        True
    """

    def __init__(
        self,
        attributes: Attributes,
        dim: int = 64,
        *,
        degrees: tuple[Tensor, Tensor] | None = None,
        id_dropout: Annotated[float, ID_DROPOUT] = 0.0,
        init_std: Annotated[float, INIT_STD] = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        tables = {side: getattr(attributes, f"{side}s") for side in SIDES}
        if not any(tables.values()):
            raise ValueError("there are no attributes, neither of users nor of items")
        self.ids = NodeIds(degrees, id_dropout, (attributes.users is not None, attributes.items is not None))
        self.tables = nn.ModuleDict()
        self.encoders = nn.ModuleDict()
        for side, table in tables.items():
            if table is not None:
                self.tables[side] = FieldTable(table)
                self.encoders[side] = FieldEncoder(table.fields, dim, init_std=init_std, generator=generator)

    def start(
        self, users: Tensor, items: Tensor, hidden: Hidden = (None, None), generator: Generator | None = None
    ) -> LayerZero:
        """Return layer 0 of all nodes.

        Args:
            users: free vectors ``(U, D)``.
            items: free vectors ``(I, D)``.
            hidden: fields that read as missing in this pass.
            generator: draws what is hidden in training; the global one if ``None``.
        """
        start = self.ids(users, items, generator)
        vectors = [
            x + self._encoder(side).total(self._table(side), mask) if side in self.encoders else x
            for side, x, mask in zip(SIDES, (start.users, start.items), hidden, strict=True)
        ]
        return LayerZero(vectors[0], vectors[1], start.alone, hidden)

    def operator(self, operator: Operator, start: LayerZero, degree_exponent: float = 0.5) -> Operator:
        """Return the operator of a pass with this layer 0."""
        return self.ids.operator(operator, start, degree_exponent)

    def field_table(self, side: str) -> FieldTable | None:
        """Return the attributes of ``"user"`` or ``"item"``, ``None`` if that side has none."""
        return self._table(side) if side in self.tables else None

    def encode(self, side: str, table: FieldTable | AttributeTable | FieldBatch) -> Tensor:
        """Return the layer-0 vectors of nodes that have attributes and no id, ``(N, D)``.

        Args:
            side: ``"user"`` or ``"item"``.
            table: encoded by the schema that the encoder was made with.

        Raises:
            ValueError: that side has no attributes, or the table has another schema.
        """
        if side not in self.encoders:
            raise ValueError(f"the encoder has no attributes of {side}s")
        return self._encoder(side).total(table)

    def _table(self, side: str) -> FieldTable:
        return cast("FieldTable", self.tables[side])

    def _encoder(self, side: str) -> FieldEncoder:
        return cast("FieldEncoder", self.encoders[side])
