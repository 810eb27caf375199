"""Encoders: from a graph to users' and items' embeddings. Each is usable alone, on a plain ``edge_index``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from torch import Generator, Tensor, nn

from gclrec.common.declaration import Declared, Setting, Span, declarations
from gclrec.common.errors import SettingError, check_choice
from gclrec.data.schema import Attributes
from gclrec.encoders.base import (
    INIT_STD,
    Embeddings,
    Encoder,
    EncodesContent,
    EncodesHistories,
    Perturbation,
    PropagatesLinearly,
)
from gclrec.encoders.content.content import ID_DROPOUT, Content
from gclrec.encoders.content.fields import FieldBatch, FieldEncoder, FieldTable
from gclrec.encoders.content.value_nodes import ValueNodes
from gclrec.encoders.egcf import EGCF
from gclrec.encoders.layers import LAYER_WEIGHTS
from gclrec.encoders.lightgcn import USER_VECTORS, LightGCN
from gclrec.encoders.mf import MF
from gclrec.encoders.pyg import CONVOLUTIONS, PyGEncoder
from gclrec.encoders.two_tower.histories import HISTORIES, Sequences
from gclrec.encoders.two_tower.refiners import REFINERS
from gclrec.encoders.two_tower.towers import Tower, TwoTower

__all__ = [
    "ATTRIBUTE_USES",
    "CONVOLUTIONS",
    "EGCF",
    "ENCODERS",
    "HISTORIES",
    "LAYER_WEIGHTS",
    "MAP",
    "MF",
    "REFINERS",
    "USER_VECTORS",
    "Content",
    "Embeddings",
    "Encoder",
    "EncoderInputs",
    "EncoderKind",
    "EncodesContent",
    "EncodesHistories",
    "FieldBatch",
    "FieldEncoder",
    "FieldTable",
    "LightGCN",
    "Perturbation",
    "PropagatesLinearly",
    "PyGEncoder",
    "Sequences",
    "Tower",
    "TwoTower",
    "ValueNodes",
]


@dataclass(frozen=True, eq=False)
class EncoderInputs:
    """What an encoder is made from, besides its settings; each encoder takes what it uses.

    Args:
        attributes: of users and items.
        degrees: training interactions of users ``(U,)`` and items ``(I,)``; needed with attributes.
        sequences: users' items in order.
        generator: draws the start; the global one if ``None``.
        draws: draws in training which ids are hidden, on the device of training.
    """

    attributes: Attributes | None = None
    degrees: tuple[Tensor, Tensor] | None = None
    sequences: Sequences | None = None
    generator: Generator | None = None
    draws: Generator | None = None

    def attributes_as(self, use: str) -> Attributes:
        """Return the attributes, or raise a :class:`SettingError` if there are none to use."""
        if self.attributes is None:
            raise SettingError("attributes", f"there are none to use as {use}")
        return self.attributes


MAP = "map"
"""The use of attributes that leaves the encoder as it is: nodes without interactions get their vectors by
:class:`~gclrec.encoders.content.attribute_map.AttributeMap` from those of the others."""

ATTRIBUTE_USES: Mapping[str, Callable[..., Content | ValueNodes]] = {"input": Content, "nodes": ValueNodes}
"""What an encoder can use attributes as."""

_ATTRIBUTES = Setting(
    "attributes",
    "What attributes do: none leaves them aside, input adds them to the ids before the first layer, nodes "
    "makes each of their values a node of the graph, map gives users and items without interactions the "
    "vectors that a linear map, fitted to those of the others, makes of their attributes.",
    choices=("none", *ATTRIBUTE_USES, MAP),
)
_HISTORY_LENGTH = Setting(
    "history_length", "Items of a history, at most: the newest ones.", low=1, search=Span(5, 100, log=True)
)


def _plain(
    module: Callable[..., nn.Module],
    num_users: int,
    num_items: int,
    inputs: EncoderInputs,
    *,
    attributes: Annotated[str, _ATTRIBUTES] = "none",
    **settings: Any,
) -> nn.Module:
    del attributes  # a map has no part in the encoder
    return module(num_users, num_items, generator=inputs.generator, **settings)


def _with_content(
    module: Callable[..., LightGCN | PyGEncoder],
    num_users: int,
    num_items: int,
    inputs: EncoderInputs,
    *,
    attributes: Annotated[str, _ATTRIBUTES] = "none",
    id_dropout: Annotated[float, ID_DROPOUT] = 0.0,
    init_std: Annotated[float, INIT_STD] = 0.1,
    **settings: Any,
) -> nn.Module:
    start = {"init_std": init_std, "generator": inputs.generator}
    # The free vectors are drawn first, so that they are the same with and without attributes.
    encoder = module(num_users, num_items, **start, **settings)
    if attributes in ATTRIBUTE_USES:
        dim, given = encoder.items.shape[1], inputs.attributes_as(attributes)
        encoder.content = ATTRIBUTE_USES[attributes](
            given, dim, degrees=inputs.degrees, id_dropout=id_dropout, **start
        )
    encoder.draws = inputs.draws
    return encoder


def _towers(
    module: Callable[..., TwoTower],
    num_users: int,
    num_items: int,
    inputs: EncoderInputs,
    *,
    attributes: Annotated[str, _ATTRIBUTES] = "none",
    history_length: Annotated[int, _HISTORY_LENGTH] = 20,
    **settings: Any,
) -> nn.Module:
    sequences = inputs.sequences if settings.get("history", "none") != "none" else None
    encoder = module(
        num_users,
        num_items,
        None if attributes == "none" else inputs.attributes_as(attributes),
        degrees=inputs.degrees,
        sequences=None if sequences is None else sequences.cut(history_length),
        generator=inputs.generator,
        **settings,
    )
    encoder.draws = inputs.draws
    return encoder


@dataclass(frozen=True)
class EncoderKind:
    """One entry of :data:`ENCODERS`.

    Args:
        module: the class, or a ``partial`` of it; its signature declares settings.
        about: what it is, in a few words.
        builder: ``builder(module, num_users, num_items, inputs, **settings)`` makes the encoder from the
            module; its signature declares settings too.
        propagates: whether the output depends on the graph.
        needs_edges: whether it needs a graph with edges, not only an operator.
        attribute_uses: names in :data:`ATTRIBUTE_USES`, and perhaps :data:`MAP`.
        takes_histories: whether it can encode users by their histories.
        least_layers: the fewest layers that it works with.
        by_columns: whether each dimension of the output depends on the same dimension of the free vectors
            alone, so that several processes can share them; with ids alone and fixed weights of layers.
    """

    module: Callable[..., nn.Module]
    about: str
    builder: Callable[..., nn.Module] = _plain
    propagates: bool = True
    needs_edges: bool = False
    attribute_uses: tuple[str, ...] = (MAP,)
    takes_histories: bool = False
    least_layers: int = 0
    by_columns: bool = False

    @property
    def declared(self) -> Mapping[str, Declared]:
        """The settings by keyword argument of :meth:`make`."""
        return {**declarations(self.module), **declarations(self.builder)}

    def depth(self, num_layers: int) -> int:
        """Return how many layers follow layer 0 if ``num_layers`` are asked for."""
        return num_layers if self.propagates else 0

    def make(
        self, num_users: int, num_items: int, inputs: EncoderInputs | None = None, **settings: Any
    ) -> nn.Module:
        """Return an encoder.

        Args:
            num_users: ``U``.
            num_items: ``I``.
            inputs: what it is made from.
            settings: the keyword arguments in :attr:`declared`.

        Raises:
            SettingError: a value cannot be used, or attributes cannot be used in this way.
        """
        check_choice("attributes", settings.get("attributes", "none"), ("none", *self.attribute_uses))
        return self.builder(self.module, num_users, num_items, inputs or EncoderInputs(), **settings)


ENCODERS: Mapping[str, EncoderKind] = {
    "lightgcn": EncoderKind(
        LightGCN,
        "the average of linear propagation steps",
        _with_content,
        attribute_uses=("input", "nodes", MAP),
        by_columns=True,
    ),
    "mf": EncoderKind(MF, "a free vector for each user and item", propagates=False, by_columns=True),
    "egcf": EncoderKind(EGCF, "propagation with a tanh from item vectors alone", least_layers=1),
    "two_tower": EncoderKind(
        TwoTower,
        "a perceptron for each side, from ids, attributes and histories",
        _towers,
        propagates=False,
        attribute_uses=("input",),
        takes_histories=True,
    ),
    **{
        name: EncoderKind(
            partial(PyGEncoder, conv=conv),
            f"{name} convolutions of PyTorch Geometric",
            _with_content,
            needs_edges=True,
            attribute_uses=("input", MAP),
        )
        for name, conv in CONVOLUTIONS.items()
    },
}
"""The encoders by name."""
