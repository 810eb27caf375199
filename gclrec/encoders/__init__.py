"""Encoders: from a graph to users' and items' embeddings. Each is usable alone, on a plain ``edge_index``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from torch import Generator, Tensor, nn

from gclrec.data.schema import Attributes, AttributeTable
from gclrec.encoders.content.content import Content
from gclrec.encoders.content.fields import FieldBatch, FieldEncoder, FieldTable
from gclrec.encoders.content.value_nodes import ValueNodes
from gclrec.encoders.egcf import EGCF
from gclrec.encoders.embeddings import Embeddings, GraphLike, Hidden, Perturbation
from gclrec.encoders.layers import LAYER_WEIGHTS, USER_VECTORS
from gclrec.encoders.lightgcn import LightGCN
from gclrec.encoders.mf import MF
from gclrec.encoders.pyg import Conv, PyGEncoder, gat_conv, sage_conv
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
    "MF",
    "REFINERS",
    "Content",
    "Embeddings",
    "EncodesContent",
    "Encoder",
    "FieldBatch",
    "FieldEncoder",
    "FieldTable",
    "LightGCN",
    "PyGEncoder",
    "Sequences",
    "Tower",
    "TwoTower",
    "USER_VECTORS",
    "UsersBefore",
    "ValueNodes",
    "build_encoder",
]


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
        """Return the embeddings of all users and items on ``graph``."""


@runtime_checkable
class EncodesContent(Protocol):
    """An encoder that makes vectors of attributes alone, as a cold node has them."""

    def field_table(self, side: str) -> FieldTable | None:
        """Return the attributes of ``"user"`` or ``"item"`` that it makes vectors of, ``None`` if none."""

    def encode_content(self, side: str, table: FieldTable | AttributeTable | FieldBatch) -> Tensor:
        """Return the layer-0 vectors of nodes that have attributes and no id, ``(N, D)``."""

    def encode_cold(self, side: str, table: FieldTable | AttributeTable, graph: GraphLike) -> Tensor:
        """Return the final vectors of new nodes that have attributes and no interaction, ``(N, D)``."""


@runtime_checkable
class UsersBefore(Protocol):
    """An encoder of whose users a pair may see a part only, such as what came before its item."""

    def users_before(self, final: Embeddings, users: Tensor, items: Tensor) -> Tensor:
        """Return ``(B, D)`` the users of training pairs, given what a pass has returned."""


def build_encoder(
    name: str,
    num_users: int,
    num_items: int,
    *,
    dim: int = 64,
    num_layers: int = 3,
    layer_weights: str = "mean",
    degree_exponent: float = 0.5,
    user_vectors: str = "free",
    init_std: float = 0.1,
    generator: Generator | None = None,
    attributes: Attributes | None = None,
    use: str = "none",
    degrees: tuple[Tensor, Tensor] | None = None,
    id_dropout: float = 0.0,
    draws: Generator | None = None,
    refiner: str = "none",
    tower_layers: int = 2,
    sequences: Sequences | None = None,
    history: str = "none",
) -> MF | LightGCN | EGCF | PyGEncoder | TwoTower:
    """Return an encoder by its name in :data:`ENCODERS`; what does not concern it is left aside.

    Args:
        name: in :data:`ENCODERS`.
        num_users: ``U``.
        num_items: ``I``.
        dim: ``D``.
        num_layers: ``L`` of graph encoders.
        layer_weights: how their layers are combined.
        degree_exponent: of LightGCN's edge weights.
        user_vectors: whether its users have any, a name in :data:`~gclrec.encoders.layers.USER_VECTORS`.
        init_std: standard deviation of the normal start.
        generator: where the start is drawn from.
        attributes: of users and items.
        use: what is done with them, a name in :data:`ATTRIBUTE_USES`.
        degrees: training interactions of users and items; needed with attributes.
        id_dropout: probability that an id is hidden in training.
        draws: where that is drawn from, on the device of training.
        refiner: of the towers, a name in :data:`~gclrec.encoders.two_tower.refiners.REFINERS`.
        tower_layers: linear layers of their perceptrons.
        sequences: users' items in order, for the towers.
        history: how they become vectors, a name in :data:`HISTORIES`; ``none`` leaves them aside.

    Raises:
        ValueError: a name is not known, or attributes are to be used in a way that the encoder has not.
    """
    if name not in ENCODERS:
        raise ValueError(f"name must be one of {', '.join(ENCODERS)}, got {name!r}")
    if use != "none" and (attributes is None or use not in ENCODER_USES[name]):
        raise ValueError(f"{name} does not take attributes as {use}, or there are none")
    if name == "mf":
        return MF(num_users, num_items, dim, init_std=init_std, generator=generator)
    if name == "egcf":
        return EGCF(num_users, num_items, dim, num_layers, init_std=init_std, generator=generator)
    if name == "two_tower":
        towers = TwoTower(
            num_users,
            num_items,
            attributes if use == "input" else None,
            dim,
            refiner=refiner,
            num_layers=tower_layers,
            degrees=degrees,
            id_dropout=id_dropout,
            sequences=sequences if history != "none" else None,
            history=history,
            init_std=init_std,
            generator=generator,
        )
        towers.draws = draws
        return towers
    content: Content | ValueNodes | None = None
    # The free vectors are drawn first, so that they start the same with and without attributes.
    encoder: LightGCN | PyGEncoder
    if name == "lightgcn":
        encoder = LightGCN(
            num_users,
            num_items,
            dim,
            num_layers,
            layer_weights=layer_weights,
            degree_exponent=degree_exponent,
            user_vectors=user_vectors,
            init_std=init_std,
            generator=generator,
        )
    else:
        encoder = PyGEncoder(
            num_users,
            num_items,
            CONVOLUTIONS[name],
            dim,
            num_layers,
            layer_weights=layer_weights,
            init_std=init_std,
            generator=generator,
        )
    if use != "none" and attributes is not None:
        content = ATTRIBUTE_USES[use](
            attributes, dim, degrees=degrees, id_dropout=id_dropout, init_std=init_std, generator=generator
        )
        encoder.content = content
    encoder.draws = draws
    return encoder


CONVOLUTIONS: Mapping[str, Conv] = {"sage": sage_conv, "gat": gat_conv}
"""Convolutions of PyG that have a name."""

ENCODERS: Mapping[str, type[nn.Module]] = {
    "lightgcn": LightGCN,
    "mf": MF,
    "egcf": EGCF,
    "two_tower": TwoTower,
    **dict.fromkeys(CONVOLUTIONS, PyGEncoder),
}

ATTRIBUTE_USES: Mapping[str, Callable[..., Content | ValueNodes]] = {"input": Content, "nodes": ValueNodes}
"""What attributes can be used as, besides not at all."""

ENCODER_USES: Mapping[str, tuple[str, ...]] = {
    "lightgcn": ("input", "nodes"),
    "mf": (),
    "egcf": (),
    "two_tower": ("input",),
    **dict.fromkeys(CONVOLUTIONS, ("input",)),
}
"""The uses that each encoder has for attributes."""
