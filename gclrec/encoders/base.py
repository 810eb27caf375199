"""What encoders have in common: their protocol, their output, their free vectors and shared settings.

Every encoder is made as ``Encoder(num_users, num_items, dim, ...)`` with ``U`` users, ``I`` items and
embeddings of length ``D``; ``init_std`` is the standard deviation of the normal start and ``generator``
draws it, users first (the global generator if ``None``). Encoders with attributes have an attribute
``draws``, the generator that hides ids in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from gclrec.common.declaration import Setting, Span
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.propagation import Operator

if TYPE_CHECKING:
    from gclrec.data.schema import AttributeTable
    from gclrec.encoders.content.fields import FieldBatch, FieldTable
    from gclrec.encoders.two_tower.histories import Sequences

GraphLike: TypeAlias = "BipartiteGraph | Operator | Sequence[Operator] | Tensor"
"""A graph, an operator over users and items (or one for each layer), or a plain ``edge_index (2, E)``."""

Hidden: TypeAlias = "tuple[Tensor | None, Tensor | None]"
"""Attributes that read as missing, bool users ``(U, F)`` and items ``(I, F)``; ``None`` for none."""

DIM = Setting(
    "dim", "Length of an embedding.", low=1, high=65536, search=Span(8, 512, log=True), lenient=True
)
NUM_LAYERS = Setting("num_layers", "Propagation steps.", low=0, high=100, search=Span(1, 4), lenient=True)
INIT_STD = Setting("init_std", "Standard deviation of the normal start.", low=0, closed=False, lenient=True)


class Dimensions(NamedTuple):
    """The embedding dimensions that this process holds, where several share them: ``begin`` to ``end``."""

    begin: int
    end: int
    dim: int

    def of(self, x: Tensor) -> Tensor:
        """Return these columns of ``(N, dim)``."""
        return x[:, self.begin : self.end]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of users and items; unpacks as ``users, items = embeddings``.

    Args:
        users: ``(U, D)`` final embeddings.
        items: ``(I, D)`` final embeddings.
        layers: each layer's output as ``(users, items)``, layer 0 first; empty unless asked for.
        sparse: whether the gradient of :meth:`rows` is sparse, for tables that many small parts look into.
        gather: makes whole rows of the columns of each process, where several share the dimensions.
        replace: changes the rows that are asked for, given their numbers and the rows.
        numbers: the users that ``users (n, D)`` holds, ascending; all if ``None``.
    """

    users: Tensor
    items: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...] = ()
    sparse: bool = False
    gather: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    replace: Callable[[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], tuple[Tensor, Tensor]] | None = None
    numbers: Tensor | None = None

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.users, self.items))

    def rows(self, users: Tensor, items: Tensor) -> Embeddings:
        """Return the embeddings of some users and some items, without layers."""
        places = users if self.numbers is None else torch.searchsorted(self.numbers, users)
        if self.sparse:
            found = functional.embedding(places, self.users, sparse=True)
            pair = found, functional.embedding(items, self.items, sparse=True)
        else:
            pair = self.users.index_select(0, places), self.items.index_select(0, items)
        if self.gather is not None:
            pair = self.gather(*pair)
        return Embeddings(*(pair if self.replace is None else self.replace((users, items), pair)))

    def layer(self, number: int) -> Embeddings:
        """Return the output of one of the layers."""
        return Embeddings(*self.layers[number], sparse=self.sparse, gather=self.gather)


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What a view does to embeddings while an encoder runs.

    Args:
        on_input: maps layer 0's users ``(U, D)`` and items ``(I, D)`` to new ones, with their gradient.
        shift: ``shift(layer, users, items)`` adds a constant to the output of a layer from 1 on, in place;
            the gradient passes unchanged.
    """

    on_input: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    shift: Callable[[int, Tensor, Tensor], None] | None = None

    def changed(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return layer 0 after ``on_input``."""
        return (users, items) if self.on_input is None else self.on_input(users, items)

    def shifted(self, layer: int, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of a layer after ``shift``; the rows given are not changed."""
        if self.shift is None:
            return users, items
        return cast("tuple[Tensor, Tensor]", _Shifted.apply(self.shift, layer, users, items))  # type: ignore[no-untyped-call]


class _Shifted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ARG004
        shift: Callable[[int, Tensor, Tensor], None],
        layer: int,
        users: Tensor,
        items: Tensor,
    ) -> tuple[Tensor, Tensor]:
        users, items = users.clone(), items.clone()
        shift(layer, users, items)
        return users, items

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor, Tensor]:  # noqa: ARG004
        return None, None, grads[0], grads[1]


class Encoder(Protocol):
    """What training and views ask of an encoder, beside being an ``nn.Module``."""

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """Free vectors before propagation, users ``(U, D)`` and items ``(I, D)``, without attributes."""

    def __call__(
        self,
        graph: GraphLike,
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),
    ) -> Embeddings:
        """Return the final embeddings of all users and items.

        Args:
            graph: what to encode on. The same ``edge_index`` tensor given again is not prepared again;
                encoders that do not propagate ignore the graph.
            layers: also return each layer's output.
            perturb: applied to layer 0 and to the output of each layer ``1..L`` before it goes on; encoders
                without layers apply it to their vectors as input and again as output (layer 1).
            hidden: attributes that read as missing; ignored by encoders without attributes.
        """


@runtime_checkable
class EncodesSome(Protocol):
    """An encoder for which the embeddings of some users cost less than those of all."""

    def encode_some(self, graph: GraphLike, users: Tensor) -> Embeddings:
        """Return the final embeddings of some users ``(n,)``, distinct and ascending, and of all items.

        Their ``numbers`` say that other users are missing, where the encoder leaves them out.
        """


@runtime_checkable
class EncodesContent(Protocol):
    """An encoder that makes vectors of attributes alone, as a cold node has them.

    ``side`` is ``"user"`` or ``"item"``; a table must be encoded by the schema of the attributes that the
    encoder was made with, and a ``ValueError`` says that it is not, or that the side has no attributes.
    """

    def field_table(self, side: str) -> FieldTable | None:
        """Return the attributes of a side that the encoder makes vectors of, ``None`` if there are none."""

    def encode_content(self, side: str, table: FieldTable | AttributeTable | FieldBatch) -> Tensor:
        """Return the layer-0 vectors of nodes that have attributes and no id, ``(N, D)``."""

    def encode_cold(self, side: str, table: FieldTable | AttributeTable, graph: GraphLike) -> Tensor:
        """Return the final vectors of new nodes that have attributes and no interaction, ``(N, D)``."""


@runtime_checkable
class EncodesHistories(Protocol):
    """An encoder whose users depend on the items they took last, where it was made with such sequences."""

    sequences: Sequences | None

    def users_before(self, final: Embeddings, users: Tensor, items: Tensor) -> Tensor:
        """Return the users of training pairs as of before each item, ``(B, D)``.

        A pair may see only what came before it.

        Args:
            final: the result of a pass.
            users: ``(B,)``.
            items: ``(B,)`` an item of each.
        """

    def encode_history(self, items: Tensor, rows: Tensor, users: Tensor | None = None) -> Tensor:
        """Return users encoded by given histories, ``(B, D)``.

        Args:
            items: ``(I, D)`` final vectors of items.
            rows: ``(B, n)`` item numbers, the newest last, ``-1`` for none.
            users: ``(B,)`` their numbers, ``-1`` for an unknown user; all are unknown if ``None``.

        Raises:
            ValueError: the encoder was made without histories.
        """


@runtime_checkable
class PropagatesLinearly(Protocol):
    """An encoder whose final vectors may be weighted sums of propagation steps, so that fold-in is exact."""

    degree_exponent: float

    def as_polynomial(self, graph: GraphLike) -> tuple[Tensor, Tensor, list[float]] | None:
        """Return users ``(U, D)``, items ``(I, D)`` and a weight for each power of the operator on them.

        The weighted sum is the output of the encoder; ``None`` where that is not so.
        """


def add_free_vectors(
    encoder: nn.Module,
    num_users: int,
    num_items: int,
    dim: int,
    *,
    init_std: float,
    generator: Generator | None,
    user_vectors: bool = True,
) -> None:
    """Give an encoder ``users (U, D)`` and ``items (I, D)``, a trained vector for each user and item.

    Without ``user_vectors`` untrained zeros take the place of the users.
    """
    if user_vectors:
        encoder.users = nn.Parameter(torch.empty(num_users, dim).normal_(0.0, init_std, generator=generator))
    else:
        encoder.register_buffer("users", torch.zeros(1, dim).expand(num_users, -1), persistent=False)
    encoder.items = nn.Parameter(torch.empty(num_items, dim).normal_(0.0, init_std, generator=generator))


def sizes(encoder: Encoder) -> str:
    """Return the sizes of an encoder, for ``repr``."""
    users, items = encoder.layer_zero
    return f"num_users={len(users)}, num_items={len(items)}, dim={users.shape[1]}"
