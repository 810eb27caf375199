"""Attributes as vectors: one for each field of each node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from gclrec.data.schema import AttributeTable, Field
from gclrec.graph.propagation import CSRMatrix
from gclrec.graph.sampling import bernoulli

Bag: TypeAlias = "tuple[Tensor, Tensor, Tensor]"
"""Values of some rows: pointers ``(B + 1,)``, codes ``(M,)`` and the weight of each in its row's mean."""


@dataclass(frozen=True, eq=False)
class FieldBatch:
    """Attributes of some rows, whose fields and values can be hidden.

    Args:
        fields: what the columns are.
        missing: ``(B, F)`` bool, where no value is known or left.
        columns: for each field its values, or its numbers ``(B, width)``.
    """

    fields: tuple[Field, ...]
    missing: Tensor
    columns: tuple[Bag | Tensor, ...]

    def hide(self, hidden: Tensor) -> FieldBatch:
        """Return the batch with some fields missing.

        Args:
            hidden: bool that broadcasts to ``(B, F)``.
        """
        return replace(self, missing=self.missing | hidden)

    def drop_values(self, p: float, *, generator: Generator | None = None) -> FieldBatch:
        """Drop each value of fields that can have several, with probability ``p``.

        The mean is taken over those that are left; a field without any is missing.

        Args:
            p: in ``[0, 1)``.
            generator: source of randomness; the global one if ``None``.
        """
        columns, missing = list(self.columns), list(self.missing.unbind(1))
        for number, (known, column) in enumerate(zip(self.fields, columns, strict=True)):
            if known.kind not in SEVERAL or isinstance(column, Tensor) or p == 0.0:
                continue
            ptr, codes, _ = column
            left = ~bernoulli(len(codes), p, generator=generator, device=codes.device)
            ends = functional.pad(left.long().cumsum(0), (1, 0)).index_select(0, ptr)
            counts = ends.diff()
            share = counts.clamp(min=1).to(torch.get_default_dtype()).reciprocal()
            columns[number] = ends, codes[left], share.repeat_interleave(counts)
            missing[number] = missing[number] | (counts == 0)
        return replace(self, missing=torch.stack(missing, dim=1), columns=tuple(columns))


def bags_of_rows(bags: Bag, rows: Tensor) -> Bag:
    """Return the values of some rows, in this order; they may repeat."""
    ptr, codes, weight = bags
    begin, counts = ptr.index_select(0, rows), ptr.diff().index_select(0, rows)
    ends = counts.cumsum(0)
    place = torch.repeat_interleave(begin - (ends - counts), counts)
    place = place + torch.arange(len(place), device=place.device)
    return functional.pad(ends, (1, 0)), codes.index_select(0, place), weight.index_select(0, place)


SEVERAL = ("categories", "words")
"""Kinds of fields that can have several values."""


class FieldTable(nn.Module):
    """An :class:`~gclrec.data.schema.AttributeTable` as tensors that move with the module that holds them.

    They are data, not learned, and so not part of ``state_dict``.

    Args:
        table: attributes of ``N`` nodes.
    """

    missing: Tensor

    def __init__(self, table: AttributeTable) -> None:
        super().__init__()
        self.num_rows = table.num_rows
        self.fields = table.fields
        self.register_buffer("missing", torch.from_numpy(table.missing), persistent=False)
        for number, column in enumerate(table.columns):
            if column.numbers is not None:
                self._keep(number, numbers=torch.from_numpy(column.numbers))
                continue
            assert column.ptr is not None
            assert column.codes is not None
            ptr, codes = torch.from_numpy(column.ptr), torch.from_numpy(column.codes)
            counts = ptr.diff()
            row = torch.repeat_interleave(torch.arange(self.num_rows), counts)
            weight = (1.0 / counts.clamp(min=1).to(torch.get_default_dtype())).index_select(0, row)
            order = torch.argsort(codes, stable=True)
            begins = torch.zeros(column.field.width + 1, dtype=torch.int64)
            torch.cumsum(torch.bincount(codes, minlength=column.field.width), 0, out=begins[1:])
            self._keep(number, ptr=ptr, codes=codes, weight=weight)
            self._keep(number, rows_ptr=begins, rows=row[order], rows_weight=weight[order])

    def numbers(self, field: int) -> Tensor:
        """Return the numbers of a field, ``(N, width)``."""
        return self._held(field, "numbers")

    def halves(self, field: int) -> tuple[CSRMatrix, CSRMatrix]:
        """Return the mean over a row's values as a sparse product, ``(N, V)``, and its transpose."""
        there, back = (
            CSRMatrix(self._held(field, ptr), self._held(field, to), self._held(field, weight), count)
            for ptr, to, weight, count in (
                ("ptr", "codes", "weight", self.fields[field].width),
                ("rows_ptr", "rows", "rows_weight", self.num_rows),
            )
        )
        return there, back

    def batch(self, rows: Tensor) -> FieldBatch:
        """Return the attributes of some rows, in this order; they may repeat."""
        columns = tuple(
            self.bags(number, rows)
            if hasattr(self, f"ptr_{number}")
            else self.numbers(number).index_select(0, rows)
            for number in range(len(self.fields))
        )
        return FieldBatch(self.fields, self.missing.index_select(0, rows), columns)

    def bags(self, field: int, rows: Tensor) -> Bag:
        """Return the values of a field for some rows, which may repeat."""
        ptr, codes, weight = (self._held(field, name) for name in ("ptr", "codes", "weight"))
        return bags_of_rows((ptr, codes, weight), rows)

    def _keep(self, field: int, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            self.register_buffer(f"{name}_{field}", tensor, persistent=False)

    def _held(self, field: int, name: str) -> Tensor:
        return cast("Tensor", getattr(self, f"{name}_{field}"))


class FieldEncoder(nn.Module):
    r"""One vector for each field of each node.

    .. math:: e_{nf} = \begin{cases}
        \frac{1}{|C_{nf}|} \sum_{c \in C_{nf}} W_f[c] & \text{category, categories, words} \\
        W_f^\top x_{nf} + b_f & \text{number, vector} \\
        m_f & \text{missing or hidden} \end{cases}

    A missing field has a vector of its own, :math:`m_f`, which is learned and starts at zero: that a value
    is missing can be informative. A value that the schema does not know reads as missing.

    Args:
        fields: what the columns are, as in ``table.fields`` of the tables to come.
        dim: ``D``.
        init_std: standard deviation of the normal start of :math:`W_f` (of :math:`W_f^\top x` for vectors).
        generator: draws the start; the global one if ``None``.

    Shapes:
        - **table:** ``N`` rows of ``F`` fields
        - **rows:** ``(B,)`` int64, optional
        - **hidden:** ``(N, F)`` bool, or ``(B, F)`` beside ``rows``, optional
        - **output:** ``(N, F, D)``, or ``(B, F, D)``

    Example:
        >>> import polars as pl
        >>> from gclrec.data.schema import Schema
        >>> columns = {"id": [1, 2, 3], "genre": ["war", "war", None], "length": [90.0, None, 110]}
        >>> frame = pl.DataFrame(columns)
        >>> table = Schema.fit(frame).encode(frame)
        >>> encoder = FieldEncoder(table.fields, dim=4)
        >>> encoder(table).shape, encoder(table)[2, 0].tolist()
        (torch.Size([3, 2, 4]), [0.0, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dim: int = 64,
        *,
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self._fields = tuple(fields)
        self._measured = [n for n, known in enumerate(self._fields) if known.kind in ("number", "vector")]
        weights = []
        for known in self._fields:
            std = init_std / known.width**0.5 if known.kind == "vector" else init_std
            weights.append(torch.empty(known.width, dim).normal_(0.0, std, generator=generator))
        self.weights = nn.ParameterList(weights)
        self.bias = nn.Parameter(torch.zeros(len(weights), dim))
        self.missing = nn.Parameter(torch.zeros(len(weights), dim))

    @property
    def num_fields(self) -> int:
        """Number of fields ``F``."""
        return len(self._fields)

    def forward(
        self,
        table: FieldTable | AttributeTable | FieldBatch,
        rows: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Return the vectors of the fields, ``(N, F, D)``.

        Args:
            table: attributes of ``N`` nodes; an ``AttributeTable`` is made into a ``FieldTable`` first.
            rows: encode these rows only, in this order; not possible for a batch.
            hidden: fields that read as missing.

        Raises:
            ValueError: the table was made by another schema, or ``rows`` are given with a batch.
        """
        table = self._ready(table)
        if rows is not None:
            if isinstance(table, FieldBatch):
                raise ValueError("a batch holds some rows already; choose them before making it")
            table = table.batch(rows)
        missing = table.missing if hidden is None else table.missing | hidden
        vectors = [self._field(table, number) for number in range(self.num_fields)]
        for number in self._measured:
            vectors[number] = vectors[number] + self.bias[number]
        return torch.where(missing[:, :, None], self.missing, torch.stack(vectors, dim=1))

    def total(self, table: FieldTable | AttributeTable | FieldBatch, hidden: Tensor | None = None) -> Tensor:
        """Return the sum over the fields, ``(N, D)``: ``forward().sum(1)`` without materialising it.

        Arguments and errors are those of :meth:`forward`.
        """
        table = self._ready(table)
        missing = table.missing if hidden is None else table.missing | hidden
        whole = (missing.to(self.missing.dtype) @ self.missing).to(self.missing.dtype)  # autocast narrows it
        if self._measured:
            known = ~missing[:, self._measured]
            whole = whole.addmm_(known.to(whole.dtype), self.bias[self._measured])
        # A missing value of a whole table is an empty row or zeros; a hidden one must be masked.
        shown = None if hidden is None and isinstance(table, FieldTable) else (~missing).to(whole.dtype)
        for number in range(self.num_fields):
            vectors = self._field(table, number)
            whole += vectors if shown is None else vectors * shown[:, number, None]
        return whole

    def _ready(self, table: FieldTable | AttributeTable | FieldBatch) -> FieldTable | FieldBatch:
        if isinstance(table, AttributeTable):
            table = FieldTable(table).to(self.missing.device)
        if table.fields != self._fields:
            raise ValueError("the table has other fields than the encoder: encode it with the same schema")
        return table

    def _field(self, table: FieldTable | FieldBatch, number: int) -> Tensor:
        """Return the vectors of one field, without its bias."""
        weight = self.weights[number]
        if number in self._measured:
            numbers = table.numbers(number) if isinstance(table, FieldTable) else table.columns[number]
            return torch.mm(cast("Tensor", numbers).to(weight.dtype), weight)
        if isinstance(table, FieldTable):
            return cast("Tensor", _Mean.apply(table.halves(number), weight))  # type: ignore[no-untyped-call]
        ptr, codes, share = cast("Bag", table.columns[number])
        return functional.embedding_bag(
            codes,
            weight,
            ptr,
            mode="sum",
            per_sample_weights=share.to(weight.dtype),
            include_last_offset=True,
        )


class _Mean(torch.autograd.Function):
    """A sparse product with its transpose at hand, so that the backward pass is as fast as the forward."""

    @staticmethod
    def forward(ctx: Any, halves: tuple[CSRMatrix, CSRMatrix], weight: Tensor) -> Tensor:
        ctx.halves = halves
        return halves[0].matmul(weight.contiguous())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        there, back = ctx.halves
        # By the same function, so that second derivatives exist too.
        return None, cast("Tensor", _Mean.apply((back, there), grads[0]))  # type: ignore[no-untyped-call]
