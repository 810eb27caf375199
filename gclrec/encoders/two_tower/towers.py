"""Two towers: users and items encoded by their attributes and histories, without a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

import torch
from torch import Generator, Tensor, nn

from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import SettingError, check_choice
from gclrec.data.schema import Attributes, AttributeTable, Field
from gclrec.encoders.base import (
    DIM,
    INIT_STD,
    Embeddings,
    GraphLike,
    Hidden,
    Perturbation,
    add_free_vectors,
    sizes,
)
from gclrec.encoders.content.content import ID_DROPOUT, SIDES, NodeIds
from gclrec.encoders.content.fields import FieldBatch, FieldEncoder, FieldTable
from gclrec.encoders.two_tower.histories import HISTORIES, Sequences
from gclrec.encoders.two_tower.refiners import REFINERS, linear_layer
from gclrec.graph.sampling import bernoulli

_REFINER = Setting(
    "refiner", f"How two_tower sees fields in context: {', '.join(REFINERS)}.", choices=REFINERS
)
_TOWER_LAYERS = Setting(
    "tower_layers",
    "Layers of two_tower's perceptron; 0 adds the fields up.",
    low=0,
    high=10,
    search=Span(0, 3),
)
_HISTORY = Setting(
    "history",
    f"What two_tower makes of the items a user took last: none leaves them aside; {', '.join(HISTORIES)}.",
    choices=("none", *HISTORIES),
)


class Tower(nn.Module):
    r"""One vector for each node from its id and its fields.

    .. math:: x_n = \mathrm{MLP}\big(R([k_n z_n, h_n, e_{n1}, \dots, e_{nF}])\big)

    The free vector :math:`z_n` of the node counts as one more field, zero where it has none, and so does the
    vector of its history :math:`h_n`, if there is one. ``R`` is a refiner; the perceptron has ReLU between
    its layers, the inner ones of ``2 D`` units. Without layers the refined fields are added up.

    Args:
        fields: what the columns of the tables are; there may be none.
        dim: ``D``.
        refiner: a name in :data:`~gclrec.encoders.two_tower.refiners.REFINERS`.
        num_layers: linear layers of the perceptron.
        history: whether nodes have one.
        init_std: standard deviation of the normal start of the fields.
        generator: draws the start; the global one if ``None``.

    Shapes:
        - **table:** ``N`` rows of ``F`` fields
        - **ids:** ``(N, D)``, optional
        - **history:** ``(N, D)``, optional
        - **hidden:** ``(N, F)`` bool, optional
        - **output:** ``(N, D)``

    Raises:
        SettingError: ``refiner`` is not a known name, or ``num_layers`` is negative.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dim: int = 64,
        *,
        refiner: str = "none",
        num_layers: int = 2,
        history: bool = False,
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("refiner", refiner, REFINERS)
        if num_layers < 0:
            raise SettingError("num_layers", f"must be at least 0, got {num_layers}")
        count = len(fields) + 1 + history
        self.history = history
        self.fields = FieldEncoder(fields, dim, init_std=init_std, generator=generator) if fields else None
        self.refiner = REFINERS[refiner](count, dim, init_std=init_std, generator=generator)
        widths = [count * dim, *[2 * dim] * (num_layers - 1), dim]
        layers: list[nn.Module] = []
        for number in range(num_layers):
            if number:
                layers.append(nn.ReLU())
            layers.append(linear_layer(widths[number], widths[number + 1], generator=generator))
        self.layers = nn.Sequential(*layers)

    def forward(
        self,
        table: FieldTable | AttributeTable | FieldBatch | None,
        ids: Tensor | None = None,
        hidden: Tensor | None = None,
        history: Tensor | None = None,
    ) -> Tensor:
        """Return the vectors of the rows of a table.

        Args:
            table: encoded by the schema that the tower was made with; ``None`` where it has no fields.
            ids: free vectors of the nodes; zero if ``None``.
            hidden: fields that read as missing.
            history: vectors of the nodes' histories; zero if ``None``.

        Raises:
            ValueError: the table was made by another schema, or there is nothing to encode.
        """
        parts = [ids, history] if self.history else [ids]
        given = [part for part in parts if part is not None]
        vectors = None if self.fields is None or table is None else self.fields(table, hidden=hidden)
        like = given[0] if vectors is None and given else vectors
        if like is None or (vectors is None) != (self.fields is None):
            raise ValueError("a tower needs a table of its fields, or ids or a history where it has none")
        empty = like.new_zeros(len(like), like.shape[-1])
        stack = torch.stack([empty if part is None else part for part in parts], dim=1)
        refined = self.refiner(stack if vectors is None else torch.cat([stack, vectors], dim=1))
        return cast("Tensor", self.layers(refined.flatten(1)) if len(self.layers) else refined.sum(1))


class TwoTower(nn.Module):
    r"""A tower of users and one of items, which meet in the inner product alone ([1]).

    .. math:: s(u, i) = x_u^\top x_i

    A side with attributes has a :class:`Tower`; a node of a side without any is its free vector, as in
    :class:`~gclrec.encoders.mf.MF`. The graph is ignored, so a new node with attributes has its final vector
    at once, and views of the graph change nothing; ``feature_mask`` does.

    With ``sequences`` the vector of a user also depends on the items taken last, by the vectors that come out
    of the items' tower. In training a pair is scored with the user as of *before* its item
    (:meth:`users_before`), otherwise the target leaks into the input.

    Args:
        attributes: of users, items, both or neither.
        refiner: a name in :data:`~gclrec.encoders.two_tower.refiners.REFINERS`.
        num_layers: linear layers of each tower's perceptron.
        degrees: training interactions of users ``(U,)`` and items ``(I,)``; a node with none has no free
            vector. All nodes are known if ``None``.
        id_dropout: probability that a node with attributes (or a history) is encoded without its free vector
            in training; half of these users are encoded without their history too.
        sequences: the users' items in order; users have no history if ``None``.
        history: how they become a vector, a name in
            :data:`~gclrec.encoders.two_tower.histories.HISTORIES`; needed with sequences.

    Shapes:
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Raises:
        SettingError: a name is not known, or a number is out of range.

    Example, with items that have only attributes:
        >>> import polars as pl
        >>> from gclrec.data.schema import Schema
        >>> frame = pl.DataFrame({"id": range(3), "kind": ["war", "love", "war"]})
        >>> table = Schema.fit(frame, min_count=1).encode(frame)
        >>> _ = torch.manual_seed(0)
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

    users: Tensor
    items: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        attributes: Attributes | None = None,
        dim: Annotated[int, DIM] = 64,
        *,
        refiner: Annotated[str, _REFINER] = "none",
        num_layers: Annotated[int, _TOWER_LAYERS] = 2,
        degrees: tuple[Tensor, Tensor] | None = None,
        id_dropout: Annotated[float, ID_DROPOUT] = 0.0,
        sequences: Sequences | None = None,
        history: Annotated[str, _HISTORY] = "none",
        init_std: Annotated[float, INIT_STD] = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        add_free_vectors(self, num_users, num_items, dim, init_std=init_std, generator=generator)
        attributes = attributes or Attributes()
        known = {side: getattr(attributes, f"{side}s") for side in SIDES}
        more = sequences is not None
        self.ids = NodeIds(
            degrees, id_dropout, (known["user"] is not None or more, known["item"] is not None)
        )
        self.tables, self.towers = nn.ModuleDict(), nn.ModuleDict()
        for side, table in known.items():
            if table is not None:
                self.tables[side] = FieldTable(table)
            if table is not None or (side == "user" and more):
                self.towers[side] = Tower(
                    () if table is None else table.fields,
                    dim,
                    refiner=refiner,
                    num_layers=num_layers,
                    history=side == "user" and more,
                    init_std=init_std,
                    generator=generator,
                )
        self.sequences, self.history = sequences, None
        if sequences is not None:
            check_choice("history", history, HISTORIES)
            make = HISTORIES[history]
            self.history = make(dim, sequences.length, init_std=init_std, generator=generator)
        self.draws: Generator | None = None

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, on which L2 acts."""
        return self.users, self.items

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        return sizes(self)

    def forward(
        self,
        graph: GraphLike | None = None,  # noqa: ARG002 - the encoders' common signature
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),
    ) -> Embeddings:
        """Return the vectors of all users and items; layer 0, the output of the towers, is the only layer."""
        start = self.ids(self.users, self.items, self.draws)
        users, items = start.users, start.items
        if "item" in self.towers:
            items = self.towers["item"](self.tables["item"], items, hidden[1])
        if "user" in self.towers:
            rows = None if self.sequences is None else self.sequences.newest()
            past = self._past(items, rows, self._new(start.alone[0]))
            users = self.towers["user"](self._table(), users, hidden[0], past)
        if perturb is not None:
            users, items = perturb.shifted(1, *perturb.changed(users, items))
        return Embeddings(users, items, ((users, items),) if layers else ())

    def users_before(self, final: Embeddings, users: Tensor, items: Tensor) -> Tensor:
        """Return the users of training pairs as of before each item, ``(B, D)``.

        They are encoded anew: ``final`` has a view's changes of items, but not those of users.
        """
        if self.sequences is None:
            return final.users.index_select(0, users)
        ids, alone = self.ids.side("user", self.users, self.draws, users)
        past = self._past(final.items, self.sequences.before(users, items), self._new(alone))
        table = self._table()
        return cast("Tensor", self.towers["user"](table and table.batch(users), ids, None, past))

    def encode_history(self, items: Tensor, rows: Tensor, users: Tensor | None = None) -> Tensor:
        """Return users encoded by given histories, ``(B, D)``."""
        if self.history is None:
            raise ValueError("the encoder was made without histories")
        if users is None:
            users = torch.full((len(rows),), -1, device=rows.device)
        stranger = (users < 0)[:, None]
        known = users.clamp(min=0)
        ids, _ = self.ids.side("user", self.users, self.draws, known)
        table, batch = self._table(), None
        if table is not None:
            batch = table.batch(known).hide(stranger)
        past = self.history(items, rows)
        return cast("Tensor", self.towers["user"](batch, ids.masked_fill(stranger, 0.0), None, past))

    def _new(self, alone: Tensor | None) -> Tensor | None:
        """Return which of the users encoded without id have no history either: half of them, drawn."""
        if alone is None or self.history is None:
            return alone
        return alone & bernoulli(len(alone), 0.5, generator=self.draws, device=alone.device)

    def _past(self, items: Tensor, rows: Tensor | None, alone: Tensor | None) -> Tensor | None:
        """Return the vectors of histories, zero for users encoded without one."""
        if self.history is None or rows is None:
            return None
        if alone is not None:
            rows = rows.masked_fill(alone[:, None], -1)
        return cast("Tensor", self.history(items, rows))

    def _table(self) -> FieldTable | None:
        return self.field_table("user")

    def field_table(self, side: str) -> FieldTable | None:
        """Return the attributes of a side, ``None`` if it has none."""
        return cast("FieldTable", self.tables[side]) if side in self.tables else None

    def encode_content(self, side: str, table: FieldTable | AttributeTable | FieldBatch) -> Tensor:
        """Return the final vectors of nodes that have attributes and no id, ``(N, D)``."""
        if side not in self.tables:
            raise ValueError(f"the encoder has no attributes of {side}s")
        return cast("Tensor", self.towers[side](table))

    def encode_cold(
        self,
        side: str,
        table: FieldTable | AttributeTable,
        graph: GraphLike,  # noqa: ARG002 - the encoders' common signature
    ) -> Tensor:
        """Return the final vectors of new nodes, those of :meth:`encode_content`."""
        return self.encode_content(side, table)
