"""Attribute values as nodes of the graph: an item is linked to its genres as to its users."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Annotated, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from gclrec.common.errors import InputWarning
from gclrec.data.schema import Attributes, AttributeTable
from gclrec.encoders.base import INIT_STD, Hidden
from gclrec.encoders.content.content import ID_DROPOUT, SIDES, LayerZero, NodeIds
from gclrec.encoders.content.fields import FieldTable
from gclrec.graph.csr import degree_scale
from gclrec.graph.extension import Links, with_nodes, without_nodes
from gclrec.graph.propagation import CSRMatrix, Operator


class _Values(nn.Module):
    """The values of all fields of one side, numbered consecutively, and the nodes that have them."""

    def __init__(self, table: AttributeTable, dim: int, init_std: float, generator: Generator | None) -> None:
        super().__init__()
        columns = [(n, column) for n, column in enumerate(table.columns) if column.codes is not None]
        left_out = [column.field.name for column in table.columns if column.codes is None]
        if left_out:
            note = "numbers and vectors have no values to make nodes of and are left out"
            warnings.warn(f"attributes {', '.join(left_out)}: {note}", InputWarning, stacklevel=5)
        rows, values, fields, self.starts = [], [], [], [0]
        for n, column in columns:
            assert column.ptr is not None
            assert column.codes is not None
            rows.append(torch.repeat_interleave(torch.from_numpy(column.ptr).diff()))
            values.append(torch.from_numpy(column.codes) + self.starts[-1])
            fields.append(torch.full_like(values[-1], n))
            self.starts.append(self.starts[-1] + column.field.width)
        self.fields, self.used = table.fields, [n for n, _ in columns]
        self.num_rows, count = table.num_rows, self.starts[-1]
        row, value, field = (torch.cat(parts) for parts in (rows, values, fields))
        by_row = torch.argsort(row, stable=True)
        row, value, field = row[by_row], value[by_row], field[by_row]
        order = torch.argsort(value, stable=True)
        held = {"row": row, "value": value, "field": field, "order": order, "row_of": row[order]}
        held["ptr"] = _pointers(row, self.num_rows)
        held["value_ptr"] = _pointers(value, count)
        for name, tensor in held.items():
            self.register_buffer(f"edge_{name}", tensor, persistent=False)
        self.edge_value_ptr: Tensor
        self.vectors = nn.Parameter(torch.empty(count, dim).normal_(0.0, init_std, generator=generator))

    def held(self, name: str) -> Tensor:
        """Return one of the arrays that describe the edges."""
        return cast("Tensor", getattr(self, f"edge_{name}"))

    def links(self, hidden: Tensor | None) -> Links:
        """Return the edges between nodes and values, without those of hidden fields."""
        weight = torch.ones(len(self.held("row")), device=self.vectors.device)
        if hidden is not None:
            weight = weight.masked_fill(hidden[self.held("row"), self.held("field")], 0.0)
        back = weight.index_select(0, self.held("order"))
        return Links(
            CSRMatrix(self.held("ptr"), self.held("value"), weight, len(self.vectors)),
            CSRMatrix(self.held("value_ptr"), self.held("row_of"), back, self.num_rows),
        )


class ValueNodes(nn.Module):
    r"""The values of categories, lists and words as further nodes of the graph.

    Every known value is a node with a vector of its own, linked to the users or items that have it. One graph
    holds interactions and these links; each edge weighs :math:`(d_a d_b)^{-a}` by the degrees in that graph,
    with the degree exponent of the encoder. A node without interactions starts at zero and gets its embedding
    from its values. Augmentations of the graph change interactions; of the links, only those of fields that
    ``feature_mask`` hides are left out. Numbers and vectors have no such values and are left out, with an
    :class:`~gclrec.InputWarning`.

    Attributes in one graph with interactions are the idea of KGAT ([1]), here without relations or attention.

    Arguments are those of :class:`~gclrec.encoders.content.content.Content`.

    Raises:
        ValueError: no field has values, or a number is out of range.

    Example, an item without any interaction in a PyG ``HeteroData``:
        >>> import polars as pl
        >>> import torch
        >>> from torch_geometric.data import HeteroData
        >>> from gclrec.data.schema import Schema
        >>> from gclrec.encoders import LightGCN
        >>> data = HeteroData()
        >>> data["item"].genre = ["war", "love", "war"]
        >>> data["user", "rates", "item"].edge_index = torch.tensor([[0, 1, 2], [0, 0, 1]])
        >>> frame = pl.DataFrame({"id": range(3), "genre": data["item"].genre})
        >>> content = ValueNodes(Attributes(items=Schema.fit(frame, min_count=1).encode(frame)), dim=8)
        >>> encoder = LightGCN(num_users=3, num_items=3, dim=8, content=content)
        >>> edges = data["user", "rates", "item"].edge_index
        >>> users, items = encoder(edges)
        >>> bool(items[2].any())
        True

    [1] Wang et al., KDD 2019, https://arxiv.org/abs/1905.07854
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
        self.ids = NodeIds(degrees, id_dropout, (attributes.users is not None, attributes.items is not None))
        self.values = nn.ModuleDict()
        for side in SIDES:
            table: AttributeTable | None = getattr(attributes, f"{side}s")
            if table is not None and any(column.codes is not None for column in table.columns):
                self.values[side] = _Values(table, dim, init_std, generator)
        if not self.values:
            raise ValueError("no attribute has values to make nodes of: there are only numbers or vectors")
        self._last: tuple[Operator, Operator] | None = None

    def start(
        self, users: Tensor, items: Tensor, hidden: Hidden = (None, None), generator: Generator | None = None
    ) -> LayerZero:
        """Return layer 0: users with the items' values behind them, items with the users' values.

        Arguments are those of :meth:`~gclrec.encoders.content.content.Content.start`; the links of hidden
        fields are left out.
        """
        start = self.ids(users, items, generator)
        left, right = start.users, start.items
        if "item" in self.values:
            left = torch.cat([left, self._side("item").vectors])
        if "user" in self.values:
            right = torch.cat([right, self._side("user").vectors])
        return LayerZero(left, right, start.alone, hidden)

    def operator(self, operator: Operator, start: LayerZero, degree_exponent: float = 0.5) -> Operator:
        """Return the operator over the larger graph for a pass with this layer 0.

        The last one is kept, and returned for the same operator as long as nothing is hidden.
        """
        whole = start.alone == (None, None) and start.hidden == (None, None)
        if whole and self._last is not None and self._last[0] is operator:
            return self._last[1]
        larger = self._larger(operator, start, degree_exponent)
        if whole:
            self._last = operator, larger
        return larger

    def _larger(self, operator: Operator, start: LayerZero, exponent: float) -> Operator:
        degrees = self.ids.degrees(operator)
        links = [
            self._side(side).links(mask) if side in self.values else None
            for side, mask in zip(SIDES, start.hidden, strict=True)
        ]
        if start.alone != (None, None):
            operator, degrees = without_nodes(operator, *start.alone, degrees, exponent)
        return with_nodes(operator, links[0], links[1], degrees, exponent)

    def encode(self, side: str, table: FieldTable | AttributeTable, degree_exponent: float = 0.5) -> Tensor:
        r"""Return what nodes receive from their values in one step, ``(N, D)``.

        .. math:: |V_n|^{-a} \sum_{v \in V_n} d_v^{-a} z_v

        A node without id starts at zero, so this is its first layer that is not zero.

        Args:
            side: ``"user"`` or ``"item"``.
            table: encoded by the schema that the encoder was made with.
            degree_exponent: ``a``.

        Raises:
            ValueError: that side has no attributes, or another schema.
        """
        return self.received(side, table, [self._side(side).vectors], degree_exponent)[0]

    def received(
        self,
        side: str,
        table: FieldTable | AttributeTable,
        values: Sequence[Tensor],
        degree_exponent: float = 0.5,
    ) -> list[Tensor]:
        """Return what new nodes receive in one step, for several states of the values' vectors ``(V, D)``."""
        held = self._side(side)
        table = table if isinstance(table, FieldTable) else FieldTable(table).to(held.vectors.device)
        if table.fields != held.fields:
            raise ValueError("the table has other fields than the encoder: encode it with the same schema")
        scale = degree_scale(held.edge_value_ptr.diff().to(held.vectors.dtype), degree_exponent)[:, None]
        sums = [x.new_zeros(table.num_rows, x.shape[1]) for x in values]
        number = held.vectors.new_zeros(table.num_rows)
        for place, field in enumerate(held.used):
            ptr, codes, _ = table.bags(field, torch.arange(table.num_rows, device=table.missing.device))
            number = number + ptr.diff()
            for at, x in enumerate(values):
                part = (x * scale)[held.starts[place] : held.starts[place + 1]]
                bags = functional.embedding_bag(codes, part, ptr, mode="sum", include_last_offset=True)
                sums[at] = sums[at] + bags
        return [x * degree_scale(number, degree_exponent)[:, None] for x in sums]

    def _side(self, side: str) -> _Values:
        if side not in self.values:
            raise ValueError(f"the encoder has no attributes of {side}s")
        return cast("_Values", self.values[side])


def _pointers(numbers: Tensor, count: int) -> Tensor:
    """Return the start of each of ``count`` groups in the sorted numbers, ``(count + 1,)``."""
    begins = torch.zeros(count + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(numbers, minlength=count), 0, out=begins[1:])
    return begins
