"""Two towers: users and items each encoded by what is known of them, without a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Generator, Tensor, nn

from gclrec.data.fields import Attributes, AttributeTable, Field
from gclrec.encoders.content import SIDES, Ids
from gclrec.encoders.embeddings import Embeddings, GraphLike, Hidden, Perturbation
from gclrec.encoders.fields import FieldBatch, FieldEncoder, FieldTable
from gclrec.encoders.refiners import REFINERS, linear


class Tower(nn.Module):
    r"""One vector for each node from its id and its fields.

    .. math:: x_n = \mathrm{MLP}\big(R([k_n z_n, e_{n1}, \dots, e_{nF}])\big)

    with the free vector :math:`z_n` of the node as one more field, zero where it has none, a refiner ``R``
    and a perceptron with ReLU between its layers, the inner ones of ``2 D`` units. Without layers the
    refined fields are added up.

    Args:
        fields: what the columns of the tables to come are.
        dim: ``D``.
        refiner: a name in :data:`~gclrec.encoders.refiners.REFINERS`.
        num_layers: linear layers of the perceptron.
        init_std: standard deviation of the normal start of the fields.
        generator: where the start is drawn from; the global one if ``None``.

    Shapes:
        - **table:** ``N`` rows of ``F`` fields
        - **ids:** ``(N, D)``, optional
        - **hidden:** ``(N, F)`` bool, optional
        - **output:** ``(N, D)``

    Raises:
        ValueError: ``refiner`` is not a known name, or ``num_layers`` is negative.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dim: int = 64,
        *,
        refiner: str = "none",
        num_layers: int = 2,
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if refiner not in REFINERS:
            raise ValueError(f"refiner must be one of {', '.join(REFINERS)}, got {refiner!r}")
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, got {num_layers}")
        count = len(fields) + 1
        self.fields = FieldEncoder(fields, dim, init_std=init_std, generator=generator)
        self.refiner = REFINERS[refiner](count, dim, init_std=init_std, generator=generator)
        widths = [count * dim, *[2 * dim] * (num_layers - 1), dim]
        layers: list[nn.Module] = []
        for number in range(num_layers):
            if number:
                layers.append(nn.ReLU())
            layers.append(linear(widths[number], widths[number + 1], generator=generator))
        self.layers = nn.Sequential(*layers)

    def forward(
        self,
        table: FieldTable | AttributeTable | FieldBatch,
        ids: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Return the vectors of the rows of a table.

        Args:
            table: encoded by the schema that the tower was made with.
            ids: free vectors of the nodes; none has one if ``None``.
            hidden: fields that read as missing.

        Raises:
            ValueError: the table was made by another schema.
        """
        vectors = self.fields(table, hidden=hidden)
        if ids is None:
            ids = vectors.new_zeros(len(vectors), vectors.shape[2])
        refined = self.refiner(torch.cat([ids[:, None], vectors], dim=1))
        return cast("Tensor", self.layers(refined.flatten(1)) if len(self.layers) else refined.sum(1))


class TwoTower(nn.Module):
    r"""A tower of users and one of items, which meet in the inner product alone ([1]).

    .. math:: s(u, i) = x_u^\top x_i

    Each side with attributes has a :class:`Tower`; a node of a side without any is its free vector, as in
    :class:`~gclrec.encoders.mf.MF`: a perceptron has nothing to add to that. No graph is looked at, so a new
    node with attributes has its final vector at once, and views of the graph change nothing; ``feature_mask``
    does.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        attributes: of users, items, both or neither.
        dim: ``D``.
        refiner: a name in :data:`~gclrec.encoders.refiners.REFINERS`.
        num_layers: linear layers of each tower's perceptron.
        degrees: training interactions of users ``(U,)`` and items ``(I,)``; a node with none has no free
            vector. All nodes are known if ``None``.
        id_dropout: probability that a node with attributes is encoded without its free vector in training.
        init_std: standard deviation of the normal start.
        generator: where the start is drawn from; the global one if ``None``.

    ``draws`` is the generator from which ids are hidden in training; the global one if ``None``.

    Shapes:
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Example, with items that have nothing but attributes to go by:
        >>> import polars as pl
        >>> from gclrec.data.fields import Schema
        >>> frame = pl.DataFrame({"id": range(3), "kind": ["war", "love", "war"]})
        >>> table = Schema.fit(frame, min_count=1).encode(frame)
        >>> encoder = TwoTower(2, 3, Attributes(items=table), dim=8)
        >>> optimizer = torch.optim.Adam(encoder.parameters(), lr=0.05)
        >>> for _ in range(60):
        ...     users, items = encoder()
        ...     target = torch.tensor([0, 1])  # user 0 took item 0, user 1 item 1
        ...     loss = torch.nn.functional.cross_entropy(users @ items[:2].T, target)
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     _ = optimizer.step()
        >>> new = encoder.encode_content("item", table)[2]  # a war film without a vector of its own
        >>> bool(users[0] @ new > users[1] @ new)
        True

    [1] Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        attributes: Attributes | None = None,
        dim: int = 64,
        *,
        refiner: str = "none",
        num_layers: int = 2,
        degrees: tuple[Tensor, Tensor] | None = None,
        id_dropout: float = 0.0,
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        attributes = attributes or Attributes()
        self.users = nn.Parameter(torch.empty(num_users, dim).normal_(0.0, init_std, generator=generator))
        self.items = nn.Parameter(torch.empty(num_items, dim).normal_(0.0, init_std, generator=generator))
        self.ids = Ids(degrees, id_dropout, (attributes.users is not None, attributes.items is not None))
        self.tables, self.towers = nn.ModuleDict(), nn.ModuleDict()
        for side in SIDES:
            table: AttributeTable | None = getattr(attributes, f"{side}s")
            if table is not None:
                self.tables[side] = FieldTable(table)
                self.towers[side] = Tower(
                    table.fields,
                    dim,
                    refiner=refiner,
                    num_layers=num_layers,
                    init_std=init_std,
                    generator=generator,
                )
        self.draws: Generator | None = None

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, users ``(U, D)`` and items ``(I, D)``: what L2 acts on."""
        return self.users, self.items

    def forward(
        self,
        graph: GraphLike | None = None,  # noqa: ARG002 - the encoders' common signature
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),
    ) -> Embeddings:
        """Return the vectors of all users and items; ``graph`` has no influence.

        Args:
            graph: ignored.
            layers: also return layer 0, the only one there is: what comes out of the towers.
            perturb: applied to what comes out as input (layer 0) and again as output (layer 1).
            hidden: attributes that read as missing, bool ``(U, F)`` and ``(I, F)``.
        """
        start = self.ids(self.users, self.items, self.draws)
        users, items = (
            self.towers[side](self.tables[side], ids, mask) if side in self.towers else ids
            for side, ids, mask in zip(SIDES, (start.users, start.items), hidden, strict=True)
        )
        if perturb is not None:
            if perturb.on_input is not None:
                users, items = perturb.on_input(users, items)
            users, items = perturb.shifted(1, users, items)
        return Embeddings(users, items, ((users, items),) if layers else ())

    def field_table(self, side: str) -> FieldTable | None:
        """Return the attributes of ``"user"`` or ``"item"``, ``None`` if that side has none."""
        return cast("FieldTable", self.tables[side]) if side in self.tables else None

    def encode_content(self, side: str, table: FieldTable | AttributeTable | FieldBatch) -> Tensor:
        """Return the final vectors of nodes that have attributes and no id, ``(N, D)``.

        Args:
            side: ``"user"`` or ``"item"``.
            table: encoded by the schema of the attributes that the encoder was made with.

        Raises:
            ValueError: the encoder has no attributes of that side.
        """
        if side not in self.towers:
            raise ValueError(f"the encoder has no attributes of {side}s")
        return cast("Tensor", self.towers[side](table))
