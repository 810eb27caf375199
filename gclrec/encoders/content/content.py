"""What an encoder starts from where nodes have attributes: their own vectors and what their fields say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Generator, Tensor, nn

from gclrec.data.schema import Attributes, AttributeTable
from gclrec.encoders.content.fields import FieldBatch, FieldEncoder, FieldTable
from gclrec.encoders.embeddings import Hidden
from gclrec.graph.extension import operator_degrees, without_nodes
from gclrec.graph.propagation import Operator
from gclrec.graph.sampling import bernoulli

SIDES = ("user", "item")


@dataclass(frozen=True, eq=False)
class Start:
    """Layer 0 of one pass.

    Args:
        users: ``(U, D)``.
        items: ``(I, D)``.
        alone: users ``(U,)`` and items ``(I,)`` bool that are encoded in this pass as if they had no
            interaction; ``None`` for none.
        hidden: fields that read as missing in this pass.
    """

    users: Tensor
    items: Tensor
    alone: tuple[Tensor | None, Tensor | None] = (None, None)
    hidden: Hidden = (None, None)


class Ids(nn.Module):
    """Which nodes have a vector of their own.

    A node without any training interaction has none: its vector has never been trained, so it is zero here.
    In training, with probability ``dropout`` a node *with* interactions is treated in the same way, anew in
    each pass: its own vector is hidden and so are its interactions, as in DropoutNet ([1]). What is left is
    what a cold node has, and the encoder learns to do with that.

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
            raise ValueError(f"id_dropout must lie in [0, 1), got {dropout}")
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

    def operator(self, operator: Operator, start: Start, degree_exponent: float = 0.5) -> Operator:
        """Return an operator without the interactions of the nodes that stand alone in this pass."""
        if start.alone == (None, None):
            return operator
        return without_nodes(operator, *start.alone, self.degrees(operator), degree_exponent)[0]

    def forward(self, users: Tensor, items: Tensor, generator: Generator | None) -> Start:
        """Return the vectors of the nodes that have one; zero for the others."""
        (user, no_user), (item, no_item) = (
            self.side(side, x, generator) for side, x in zip(SIDES, (users, items), strict=True)
        )
        return Start(user, item, (no_user, no_item))

    def side(
        self, side: str, x: Tensor, generator: Generator | None, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the vectors of one side, and which of its nodes stand alone in this pass.

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

    with the free vector :math:`z_n` of the node, :math:`k_n = 0` where it has none (see :class:`Ids`), and
    the vectors :math:`e_{nf}` of its fields (:class:`~gclrec.encoders.content.fields.FieldEncoder`).

    Args:
        attributes: of users, items or both.
        dim: ``D``.
        degrees: training interactions of users ``(U,)`` and items ``(I,)``; a node with none is encoded by
            its attributes alone. Every node is taken as known if ``None``.
        id_dropout: see :class:`Ids`.
        init_std: standard deviation of the normal start.
        generator: where the start is drawn from; the global one if ``None``.

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
        >>> edges = data["user", "rates", "item"].edge_index
        >>> optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
        >>> for _ in range(60):
        ...     users, items = encoder(edges)
        ...     loss = torch.nn.functional.cross_entropy(users[edges[0]] @ items[:2].T, edges[1])
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     _ = optimizer.step()
        >>> bool(loss < 0.1)
        True
    """

    def __init__(
        self,
        attributes: Attributes,
        dim: int = 64,
        *,
        degrees: tuple[Tensor, Tensor] | None = None,
        id_dropout: float = 0.0,
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        tables = {side: getattr(attributes, f"{side}s") for side in SIDES}
        if not any(tables.values()):
            raise ValueError("there are no attributes, neither of users nor of items")
        self.ids = Ids(degrees, id_dropout, (attributes.users is not None, attributes.items is not None))
        self.tables = nn.ModuleDict()
        self.encoders = nn.ModuleDict()
        for side, table in tables.items():
            if table is not None:
                self.tables[side] = FieldTable(table)
                self.encoders[side] = FieldEncoder(table.fields, dim, init_std=init_std, generator=generator)

    def start(
        self,
        users: Tensor,
        items: Tensor,
        hidden: Hidden = (None, None),
        generator: Generator | None = None,
    ) -> Start:
        """Return layer 0 of all nodes.

        Args:
            users: free vectors ``(U, D)``.
            items: free vectors ``(I, D)``.
            hidden: fields that read as missing in this pass.
            generator: draws what is hidden in training; the global one if ``None``.
        """
        start = self.ids(users, items, generator)
        vectors = [
            x + self._total(side, self.tables[side], mask) if side in self.encoders else x
            for side, x, mask in zip(SIDES, (start.users, start.items), hidden, strict=True)
        ]
        return Start(vectors[0], vectors[1], start.alone, hidden)

    def operator(self, operator: Operator, start: Start, degree_exponent: float = 0.5) -> Operator:
        """Return the operator that a pass which starts so propagates by, its edges weighted as given."""
        return self.ids.operator(operator, start, degree_exponent)

    def field_table(self, side: str) -> FieldTable | None:
        """Return the attributes of ``"user"`` or ``"item"``, ``None`` if that side has none."""
        return cast("FieldTable", self.tables[side]) if side in self.tables else None

    def encode(self, side: str, table: FieldTable | AttributeTable | FieldBatch) -> Tensor:
        """Return the layer-0 vectors of nodes that have attributes and no id, ``(N, D)``.

        Args:
            side: ``"user"`` or ``"item"``.
            table: encoded by the schema that the encoder was made with.

        Raises:
            ValueError: that side has no attributes.
        """
        if side not in self.encoders:
            raise ValueError(f"the encoder has no attributes of {side}s")
        return self._total(side, table)

    def _total(
        self, side: str, table: nn.Module | AttributeTable | FieldBatch, hidden: Tensor | None = None
    ) -> Tensor:
        encoder = cast("FieldEncoder", self.encoders[side])
        return encoder.total(cast("FieldTable | AttributeTable | FieldBatch", table), hidden)
