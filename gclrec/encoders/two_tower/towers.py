"""Two towers: users and items each encoded by what is known of them, without a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Generator, Tensor, nn

from gclrec.data.schema import Attributes, AttributeTable, Field
from gclrec.encoders.content.content import SIDES, Ids
from gclrec.encoders.content.fields import FieldBatch, FieldEncoder, FieldTable
from gclrec.encoders.embeddings import Embeddings, GraphLike, Hidden, Perturbation
from gclrec.encoders.free_vectors import FreeVectors
from gclrec.encoders.two_tower.histories import HISTORIES, Sequences
from gclrec.encoders.two_tower.refiners import REFINERS, linear
from gclrec.graph.sampling import bernoulli


class Tower(nn.Module):
    r"""One vector for each node from its id and its fields.

    .. math:: x_n = \mathrm{MLP}\big(R([k_n z_n, h_n, e_{n1}, \dots, e_{nF}])\big)

    with the free vector :math:`z_n` of the node as one more field, zero where it has none, and maybe its
    history :math:`h_n` as another, a refiner ``R`` and a perceptron with ReLU between its layers, the inner
    ones of ``2 D`` units. Without layers the refined fields are added up.

    Args:
        fields: what the columns of the tables to come are; there may be none.
        dim: ``D``.
        refiner: a name in :data:`~gclrec.encoders.two_tower.refiners.REFINERS`.
        num_layers: linear layers of the perceptron.
        history: whether nodes have one.
        init_std: standard deviation of the normal start of the fields.
        generator: where the start is drawn from; the global one if ``None``.

    Shapes:
        - **table:** ``N`` rows of ``F`` fields
        - **ids:** ``(N, D)``, optional
        - **history:** ``(N, D)``, optional
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
        history: bool = False,
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if refiner not in REFINERS:
            raise ValueError(f"refiner must be one of {', '.join(REFINERS)}, got {refiner!r}")
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, got {num_layers}")
        count = len(fields) + 1 + history
        self.history = history
        self.fields = FieldEncoder(fields, dim, init_std=init_std, generator=generator) if fields else None
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
        table: FieldTable | AttributeTable | FieldBatch | None,
        ids: Tensor | None = None,
        hidden: Tensor | None = None,
        history: Tensor | None = None,
    ) -> Tensor:
        """Return the vectors of the rows of a table.

        Args:
            table: encoded by the schema that the tower was made with; ``None`` where it has no fields.
            ids: free vectors of the nodes; none has one if ``None``.
            hidden: fields that read as missing.
            history: vectors of the nodes' histories; they are empty if ``None``.

        Raises:
            ValueError: the table was made by another schema, or nothing is given to make vectors of.
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


class TwoTower(FreeVectors):
    r"""A tower of users and one of items, which meet in the inner product alone ([1]).

    .. math:: s(u, i) = x_u^\top x_i

    Each side with attributes has a :class:`Tower`; a node of a side without any is its free vector, as in
    :class:`~gclrec.encoders.mf.MF`: a perceptron has nothing to add to that. No graph is looked at, so a new
    node with attributes has its final vector at once, and views of the graph change nothing; ``feature_mask``
    does.

    With ``sequences`` a user is also what he took last, by the vectors that come out of the items' tower. To
    learn from a pair he is encoded by what he took *before* that item (:meth:`users_before`), or the answer
    would stand in the question.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        attributes: of users, items, both or neither.
        dim: ``D``.
        refiner: a name in :data:`~gclrec.encoders.two_tower.refiners.REFINERS`.
        num_layers: linear layers of each tower's perceptron.
        degrees: training interactions of users ``(U,)`` and items ``(I,)``; a node with none has no free
            vector. All nodes are known if ``None``.
        id_dropout: probability that a node with attributes (or a history) is encoded without its free vector
            in training; half of these users are encoded without their history too.
        sequences: the users' items in order; users have no history if ``None``.
        history: how that becomes a vector, a name in :data:`~gclrec.encoders.two_tower.histories.HISTORIES`.
        init_std: standard deviation of the normal start.
        generator: where the start is drawn from; the global one if ``None``.

    ``draws`` is the generator from which ids are hidden in training; the global one if ``None``.

    Shapes:
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Example, with items that have nothing but attributes to go by:
        >>> import polars as pl
        >>> from gclrec.data.schema import Schema
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
        sequences: Sequences | None = None,
        history: str = "mean",
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(num_users, num_items, dim, init_std=init_std, generator=generator)
        attributes = attributes or Attributes()
        known = {side: getattr(attributes, f"{side}s") for side in SIDES}
        more = sequences is not None
        self.ids = Ids(degrees, id_dropout, (known["user"] is not None or more, known["item"] is not None))
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
            if history not in HISTORIES:
                raise ValueError(f"history must be one of {', '.join(HISTORIES)}, got {history!r}")
            make = HISTORIES[history]
            self.history = make(dim, sequences.length, init_std=init_std, generator=generator)
        self.draws: Generator | None = None

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
        users, items = start.users, start.items
        if "item" in self.towers:
            items = self.towers["item"](self.tables["item"], items, hidden[1])
        if "user" in self.towers:
            rows = None if self.sequences is None else self.sequences.newest()
            past = self._past(items, rows, self._new(start.alone[0]))
            users = self.towers["user"](self._table(), users, hidden[0], past)
        if perturb is not None:
            if perturb.on_input is not None:
                users, items = perturb.on_input(users, items)
            users, items = perturb.shifted(1, users, items)
        return Embeddings(users, items, ((users, items),) if layers else ())

    def users_before(self, final: Embeddings, users: Tensor, items: Tensor) -> Tensor:
        """Return users as they were when they took an item, ``(B, D)``: what a pair is learned from.

        They are encoded anew: what a view has changed of items is in ``final``, of users it is not.

        Args:
            final: what a pass has given.
            users: ``(B,)``.
            items: ``(B,)`` an item of each.
        """
        if self.sequences is None:
            return final.users.index_select(0, users)
        ids, alone = self.ids.side("user", self.users, self.draws, users)
        past = self._past(final.items, self.sequences.before(users, items), self._new(alone))
        table = self._table()
        return cast("Tensor", self.towers["user"](table and table.batch(users), ids, None, past))

    def encode_history(self, items: Tensor, rows: Tensor, users: Tensor | None = None) -> Tensor:
        """Return users by what they took, ``(B, D)``.

        Args:
            items: ``(I, D)`` final vectors of items.
            rows: ``(B, n)`` item numbers, the newest last, ``-1`` for none.
            users: ``(B,)`` their numbers, ``-1`` for a user of whom nothing else is known; no user is known
                if ``None``.

        Raises:
            ValueError: the encoder was made without histories.
        """
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
        """Return which of the users without an id in this pass have no history either: every other one."""
        if alone is None or self.history is None:
            return alone
        return alone & bernoulli(len(alone), 0.5, generator=self.draws, device=alone.device)

    def _past(self, items: Tensor, rows: Tensor | None, alone: Tensor | None) -> Tensor | None:
        """Return the vectors of histories, zero for who stands alone."""
        if self.history is None or rows is None:
            return None
        if alone is not None:
            rows = rows.masked_fill(alone[:, None], -1)
        return cast("Tensor", self.history(items, rows))

    def _table(self) -> FieldTable | None:
        return self.field_table("user")

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
        if side not in self.tables:
            raise ValueError(f"the encoder has no attributes of {side}s")
        return cast("Tensor", self.towers[side](table))

    def encode_cold(
        self,
        side: str,
        table: FieldTable | AttributeTable,
        graph: GraphLike,  # noqa: ARG002 - the encoders' common signature
    ) -> Tensor:
        """Return the final vectors of new nodes, which are those of :meth:`encode_content`."""
        return self.encode_content(side, table)
