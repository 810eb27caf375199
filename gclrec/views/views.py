"""Views: a graph and its embeddings, changed as a chain of augmentations says.

The grammar, the same on the command line, in TOML and in Python::

    edge_drop                     one augmentation, for both views
    edge_drop:0.2                 with a strength of its own
    edge_drop:0.2+feature_mask    several in sequence
    edge_drop,random_walk         a different one for each view

The order of composition: first every step that changes the *graph*, in the order written; then
``layer_edge_drop`` draws a graph for each layer from the result; then ``svd`` replaces each layer's adjacency
by the low-rank operator of that graph. Steps that change *embeddings* (``noise``, and ``feature_mask`` for
nodes without attributes) act while the encoder runs, in the order written.

The cross-layer contrast of XSimGCL is not a view: it compares two outputs of one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeAlias

import torch
from torch import Generator, Tensor

from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import InputError
from gclrec.encoders.base import Dimensions, Embeddings, Encoder, EncodesSome, GraphLike, Hidden, Perturbation
from gclrec.graph.augmentations import AUGMENTATIONS, Augmentation, edge_drop
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.propagation import Operator
from gclrec.views.perturbations import add_noise_, mask_dimensions, noise_directions

AUG_P = Setting(
    "aug_p",
    "Strength of every augmentation that names none: mostly the share that is dropped.",
    search=Span(0.02, 0.6, log=True),
)


@dataclass(frozen=True, eq=False)
class View:
    """What an encoder is given in place of the graph.

    Args:
        graph: a graph, an operator, or one operator for each layer.
        perturb: what changes the embeddings, or ``None``. It draws anew at every pass.
        hidden: attributes of users ``(U, F)`` and items ``(I, F)`` that read as missing, bool; encoders
            without attributes ignore it.
    """

    graph: GraphLike
    perturb: Perturbation | None = None
    hidden: Hidden = (None, None)

    def encode(self, encoder: Encoder, *, layers: bool = False, users: Tensor | None = None) -> Embeddings:
        """Return an encoder's embeddings in this view.

        Args:
            encoder: the encoder.
            layers: also return each layer's output.
            users: ``(n,)`` distinct and ascending, where others may be left out; all are wanted if ``None``.
        """
        changed = layers or self.perturb is not None or self.hidden != (None, None)
        if users is not None and not changed and isinstance(encoder, EncodesSome):
            return encoder.encode_some(self.graph, users)
        return encoder(self.graph, layers=layers, perturb=self.perturb, hidden=self.hidden)


@dataclass(frozen=True)
class Step:
    """One augmentation of a chain.

    Args:
        name: one of :data:`VIEWS`.
        p: its strength, mostly the share that is dropped.
    """

    name: str
    p: float

    def __str__(self) -> str:
        return f"{self.name}:{self.p:g}"


Chain: TypeAlias = "tuple[Step, ...]"
"""Augmentations in sequence."""


@dataclass(frozen=True, eq=False)
class Draft:
    """A view in the making.

    Args:
        base: the graph that the view is made from.
        graph: the result of the graph augmentations so far.
        layer_drops: drop probabilities of ``layer_edge_drop``.
        rank: of ``svd``, or ``None``.
        perturbations: changes of embeddings, in order.
        columns: the dimensions of the embeddings that are changed; all if ``None``.
    """

    base: BipartiteGraph
    graph: BipartiteGraph
    layer_drops: tuple[float, ...] = ()
    rank: int | None = None
    perturbations: tuple[Perturbation, ...] = ()
    columns: Dimensions | None = None


@dataclass(frozen=True)
class ViewKind:
    """One entry of :data:`VIEWS`.

    Args:
        add: adds one step of a strength to a draft.
        strength: what the number after the colon means.
        default: the strength of a step that names none; ``None`` for that of the whole chain.
        lowest: smallest strength allowed.
        below: bound that the strength must stay below.
        whole: whether the strength is a whole number.
    """

    add: Callable[[Draft, float, Generator | None], Draft]
    strength: str
    default: float | None = None
    lowest: float = 0.0
    below: float = 1.0
    whole: bool = False


def parse_augmentations(text: str, default_p: Annotated[float, AUG_P] = 0.1) -> tuple[Chain, Chain]:
    """Return the two chains that a text such as ``edge_drop:0.2+feature_mask,random_walk`` describes.

    Args:
        text: see the grammar above; one chain stands for both views.
        default_p: strength of every step that names none (``svd`` has its own).

    Raises:
        InputError: a name is not known, a strength is out of range, or there are more than two chains.

    Example:
        >>> first, second = parse_augmentations("edge_drop:0.2+feature_mask,random_walk")
        >>> [str(step) for step in first], [str(step) for step in second]
        (['edge_drop:0.2', 'feature_mask:0.1'], ['random_walk:0.1'])
    """
    chains = [
        tuple(_step(part.strip(), text, default_p) for part in chain.split("+")) for chain in text.split(",")
    ]
    if len(chains) > 2:
        raise InputError(f"augmentations {text!r}: there are two views, but {len(chains)} are described")
    return chains[0], chains[-1]


def _step(part: str, text: str, default_p: float) -> Step:
    name, colon, number = (piece.strip() for piece in part.partition(":"))
    where = f"augmentations {text!r}"
    if name not in VIEWS:
        raise InputError(f"{where}: {name!r} is not known; choose from {', '.join(VIEWS)}")
    kind = VIEWS[name]
    p = default_p if kind.default is None else kind.default
    if colon:
        try:
            p = float(number)
        except ValueError:
            raise InputError(f"{where}: {number!r} behind {name!r} is no number ({kind.strength})") from None
    if not kind.lowest <= p < kind.below or (kind.whole and p != int(p)):
        number = "a whole number" if kind.whole else "a number"
        low = f"{kind.lowest:g}"
        bound = f"at least {low}" if math.isinf(kind.below) else f"in [{low}, {kind.below:g})"
        raise InputError(f"{where}: {name} takes {number} {bound} ({kind.strength}), got {p:g}")
    return Step(name, p)


def make_view(
    chain: Chain,
    graph: BipartiteGraph,
    *,
    generator: Generator | None = None,
    num_layers: int,
    degree_exponent: float = 0.5,
    columns: Dimensions | None = None,
) -> View:
    """Return one view of a graph; cheap enough to be called twice for every batch.

    Args:
        chain: augmentations from :func:`parse_augmentations`.
        graph: never modified; what is needed only once for it (``svd``) is kept with it.
        generator: source of all randomness, that of later passes included; the global one if ``None``.
        num_layers: ``L`` of the encoder.
        degree_exponent: how the encoder weights edges, see :meth:`BipartiteGraph.weighted`.
        columns: the dimensions that the encoder holds; all if ``None``.
    """
    draft = _drafted(chain, graph, generator, columns)
    seen: GraphLike = draft.graph
    if draft.layer_drops:
        layers = [_dropped(draft.graph, draft.layer_drops, generator) for _ in range(num_layers)]
        seen = [_operator(layer, graph, draft.rank, degree_exponent) for layer in layers]
    elif draft.rank is not None:
        seen = _operator(draft.graph, graph, draft.rank, degree_exponent)
    x = (draft.graph.user_x, draft.graph.item_x)
    changed = x[0] is not graph.user_x or x[1] is not graph.item_x
    hidden = (_missing(x[0]), _missing(x[1])) if changed else (None, None)
    return View(seen, _composed(draft.perturbations), hidden)


def view_graph(chain: Chain, graph: BipartiteGraph, *, generator: Generator | None = None) -> BipartiteGraph:
    """Return the graph that one layer of such a view propagates over, before ``svd``."""
    draft = _drafted(chain, graph, generator, None)
    return _dropped(draft.graph, draft.layer_drops, generator)


def _drafted(
    chain: Chain, graph: BipartiteGraph, generator: Generator | None, columns: Dimensions | None
) -> Draft:
    draft = Draft(graph, graph, columns=columns)
    for step in chain:
        draft = VIEWS[step.name].add(draft, step.p, generator)
    return draft


def _dropped(
    graph: BipartiteGraph, probabilities: tuple[float, ...], generator: Generator | None
) -> BipartiteGraph:
    for p in probabilities:
        graph = edge_drop(graph, p, generator=generator)
    return graph


def _operator(graph: BipartiteGraph, base: BipartiteGraph, rank: int | None, exponent: float) -> Operator:
    if rank is None:
        return graph.weighted(exponent)
    low_rank = base.low_rank(rank, exponent)
    return low_rank if graph is base else low_rank.refined(graph.weighted(exponent))


def _missing(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.isnan() if x.is_floating_point() else x < 0


def _composed(perturbations: tuple[Perturbation, ...]) -> Perturbation | None:
    """Return one perturbation that applies all, in order."""
    if len(perturbations) < 2:
        return perturbations[0] if perturbations else None
    inputs = [one.on_input for one in perturbations if one.on_input is not None]
    shifts = [one.shift for one in perturbations if one.shift is not None]

    def on_input(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        for change in inputs:
            users, items = change(users, items)
        return users, items

    def shift(layer: int, users: Tensor, items: Tensor) -> None:
        for add in shifts:
            add(layer, users, items)

    return Perturbation(on_input if inputs else None, shift if shifts else None)


_DIRECTIONS = 2**15
"""Random directions that noise is picked from."""


def _noise(draft: Draft, eps: float, generator: Generator | None) -> Draft:
    if eps == 0.0:
        return draft

    columns = draft.columns

    def directions(rows: Tensor) -> Tensor:
        def drawn() -> Tensor:
            fixed = torch.Generator().manual_seed(0)
            width = rows.shape[1] if columns is None else columns.dim
            found = noise_directions(_DIRECTIONS, width, generator=fixed, like=rows)
            return found if columns is None else columns.of(found).contiguous()

        return draft.base.remember(("noise", rows.shape[1], rows.dtype), drawn)

    def shift(layer: int, users: Tensor, items: Tensor) -> None:  # noqa: ARG001 - all layers get the same
        for rows in (users, items):
            add_noise_(rows, eps, directions(rows), generator=generator, columns=columns)

    return replace(draft, perturbations=(*draft.perturbations, Perturbation(shift=shift)))


def _feature_mask(draft: Draft, p: float, generator: Generator | None) -> Draft:
    graph = AUGMENTATIONS["feature_mask"](draft.graph, p, generator=generator)
    free = draft.graph.user_x is None, draft.graph.item_x is None
    if p == 0.0 or not any(free):
        return replace(draft, graph=graph)

    def masked(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        drawn: dict[str, Any] = {"generator": generator, "columns": draft.columns}
        users = mask_dimensions(users, p, **drawn) if free[0] else users
        items = mask_dimensions(items, p, **drawn) if free[1] else items
        return users, items

    perturbations = (*draft.perturbations, Perturbation(on_input=masked))
    return replace(draft, graph=graph, perturbations=perturbations)


def _on_graph(augment: Augmentation) -> Callable[[Draft, float, Generator | None], Draft]:
    def add(draft: Draft, p: float, generator: Generator | None) -> Draft:
        return replace(draft, graph=augment(draft.graph, p, generator=generator))

    return add


def _layer_edge_drop(draft: Draft, p: float, generator: Generator | None) -> Draft:  # noqa: ARG001
    return replace(draft, layer_drops=(*draft.layer_drops, p))


def _svd(draft: Draft, rank: float, generator: Generator | None) -> Draft:  # noqa: ARG001
    return replace(draft, rank=int(rank) if draft.rank is None else min(int(rank), draft.rank))


_STRENGTHS = {
    "none": "not used",
    "edge_drop": "share of the interactions that leave",
    "node_drop": "share of the users and items that lose their interactions",
    "edge_perturb": "share of the interactions that are replaced",
    "random_walk": "share of the nodes that the walks leave out",
    "feature_mask": "share of the attributes, or of the embedding dimensions, that are hidden",
    "degree_edge_drop": "share of the interactions that leave, between popular ends first",
    "gca_edge_drop": "share of the interactions that leave, between unpopular ends first",
}

VIEWS: Mapping[str, ViewKind] = {
    **{
        name: ViewKind(_on_graph(augment), _STRENGTHS.get(name, "share of the graph that changes"))
        for name, augment in AUGMENTATIONS.items()
    },
    "feature_mask": ViewKind(_feature_mask, _STRENGTHS["feature_mask"]),
    "layer_edge_drop": ViewKind(_layer_edge_drop, "share of the interactions that leave, anew in each layer"),
    "noise": ViewKind(_noise, "length of the noise added to each embedding", below=math.inf),
    "svd": ViewKind(_svd, "rank", default=5, lowest=1, below=math.inf, whole=True),
}
"""The augmentations of views by name."""
