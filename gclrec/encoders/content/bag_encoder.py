"""Vectors made of attributes as weighted bags of values, by a perceptron that is trained."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from gclrec.data.schema import AttributeTable
from gclrec.data.tf_idf import TfIdf
from gclrec.encoders.content.attribute_map import MAP_L2
from gclrec.encoders.content.fields import Bag, bags_of_rows

_SLOPE = 0.01


class BagEncoder(nn.Module):
    r"""A perceptron of the attributes of nodes.

    .. math:: f_n = W_2\, \sigma(W_1 c_n + b_1) + b_2, \qquad \sigma(x) = \max(x, 0.01 x)

    with the attributes :math:`c_n` of unit length, in which rare values weigh more
    (:class:`~gclrec.data.tf_idf.TfIdf`). Without hidden units it is linear, :math:`f_n = W c_n + b`.

    Args:
        table: attributes of ``N`` nodes, which are kept.
        dim: ``D``.
        hidden: ``H``, hidden units; 0 for none.
        init_std: standard deviation of the normal start of the first weights; the last ones start uniform in
            :math:`\pm H^{-1/2}`, and biases at 0.
        generator: draws the start; the global one if ``None``.

    Shapes:
        - **rows:** ``(B,)`` int64
        - **output:** ``(B, D)``

    Raises:
        InputError: no attribute can be used.

    Example:
        >>> import polars as pl
        >>> from gclrec.data.schema import Schema
        >>> films = pl.DataFrame({"id": range(4), "genre": ["war", "war", "love", "love"]})
        >>> encoder = BagEncoder(Schema.fit(films).encode(films), dim=8, hidden=16)
        >>> vectors = encoder(torch.arange(4))
        >>> torch.equal(vectors[0], vectors[1]), torch.equal(vectors[0], vectors[2])
        (True, False)
    """

    bag_known: Tensor

    def __init__(
        self,
        table: AttributeTable,
        dim: int = 64,
        *,
        hidden: int = 0,
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.tf_idf = TfIdf.fit(table, "ssl content")
        bag = self._bag(table)
        for name, part in zip(("ptr", "codes", "weight", "known"), (*bag, bag[0].diff() > 0), strict=True):
            self.register_buffer(f"bag_{name}", part, persistent=False)
        width = hidden or dim
        self.weight = nn.Parameter(
            torch.empty(self.tf_idf.width, width).normal_(0.0, init_std, generator=generator)
        )
        self.bias = nn.Parameter(torch.zeros(width))
        self.last: nn.Linear | None = None
        if hidden:
            self.last = nn.utils.skip_init(nn.Linear, hidden, dim)
            bound = 1.0 / math.sqrt(hidden)
            with torch.no_grad():
                self.last.weight.uniform_(-bound, bound, generator=generator)
                self.last.bias.zero_()

    @property
    def known(self) -> Tensor:
        """Which nodes have an attribute that is known, ``(N,)`` bool."""
        return self.bag_known

    def forward(self, rows: Tensor) -> Tensor:
        """Return the vectors of some of the nodes, which may repeat."""
        bag = tuple(cast("Tensor", getattr(self, f"bag_{name}")) for name in ("ptr", "codes", "weight"))
        return self._encoded(bags_of_rows(cast("Bag", bag), rows))

    def encode(self, table: AttributeTable) -> Tensor:
        """Return the vectors of further nodes, ``(N, D)``.

        Raises:
            ValueError: the table has another schema.
        """
        ptr, codes, weight = (part.to(self.weight.device) for part in self._bag(table))
        return self._encoded((ptr, codes, weight))

    def _encoded(self, bag: Bag) -> Tensor:
        ptr, codes, weight = bag
        x = functional.embedding_bag(
            codes,
            self.weight,
            ptr,
            mode="sum",
            per_sample_weights=weight.to(self.weight.dtype),
            include_last_offset=True,
        )
        x = x + self.bias
        return x if self.last is None else cast("Tensor", self.last(functional.leaky_relu(x, _SLOPE)))

    def _bag(self, table: AttributeTable) -> Bag:
        rows = self.tf_idf(table)
        rows.eliminate_zeros()
        ptr, codes = (torch.from_numpy(part).long() for part in (rows.indptr, rows.indices))
        return ptr, codes, torch.from_numpy(rows.data)


class TrainedMap:
    """Gives nodes without interactions the vectors that a trained encoder makes of their attributes.

    Args:
        encoder: of the attributes of ``N`` nodes.
        degrees: ``(N,)`` their training interactions.

    The vectors of other nodes, and a penalty, have no part in it; they are taken as
    :class:`~gclrec.encoders.content.attribute_map.AttributeMap` takes them.
    """

    def __init__(self, encoder: BagEncoder, degrees: Tensor) -> None:
        self.encoder = encoder
        self.cold = (degrees == 0).nonzero()[:, 0]

    def __call__(self, vectors: Tensor, l2: float = MAP_L2) -> Tensor:
        """Return the vectors ``(N, D)`` with those of nodes without interactions filled in."""
        del l2
        cold = self.cold.to(vectors.device)
        return vectors.index_copy(0, cold, self.encoder(cold).to(vectors.dtype))

    def encode(self, table: AttributeTable, vectors: Tensor, l2: float = MAP_L2) -> Tensor:
        """Return the vectors of further nodes.

        Raises:
            ValueError: the table has another schema.
        """
        del l2
        return self.encoder.encode(table).to(vectors)
