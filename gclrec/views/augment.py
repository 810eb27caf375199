"""Augmentations of a plain ``edge_index`` or of PyG's ``HeteroData``."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch import Generator, Tensor

from gclrec.common.errors import InputError, InputWarning
from gclrec.graph.augmentations import AUGMENTATIONS
from gclrec.graph.bipartite import EDGE_TYPE, BipartiteGraph
from gclrec.graph.functional import uncompiled
from gclrec.views.views import Chain, parse_augmentations, view_graph

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

D = TypeVar("D", bound="Tensor | HeteroData | BipartiteGraph")
EdgeType: TypeAlias = "tuple[str, str, str]"


@uncompiled
def augment(
    data: D,
    augmentation: str = "edge_drop",
    p: float = 0.1,
    *,
    generator: Generator | None = None,
    num_users: int | None = None,
    num_items: int | None = None,
    edge_type: EdgeType | None = None,
) -> D:
    """Return an augmented copy of user-item interactions, of the same type as what was given.

    Args:
        data: interactions as ``edge_index (2, E)`` int64 (row 0 users, row 1 items), as a PyG ``HeteroData``
            or as a :class:`~gclrec.graph.bipartite.BipartiteGraph`; never modified. In a ``HeteroData``
            an edge type that holds the same interactions in the other direction changes with them, edge
            attributes (tensors, arrays and lists of length ``E``) follow, and all else is kept.
        augmentation: a name in :data:`~gclrec.graph.augmentations.AUGMENTATIONS`, or several in sequence
            such as ``"edge_drop:0.2+feature_mask"``.
        p: strength of those that name none.
        generator: source of randomness; the global one if ``None``.
        num_users: ``U``, for an ``edge_index`` whose last users have no interaction; inferred if ``None``.
        num_items: ``I``, likewise.
        edge_type: the edges of a ``HeteroData`` that are the interactions, where there are several types.

    Raises:
        InputError: the augmentation is not known, does not act on graphs, or cannot be applied to the data.
        ValueError: the interactions are out of range or not distinct.

    Example:
        >>> import torch
        >>> edge_index = torch.tensor([[0, 0, 1, 2], [0, 1, 1, 2]])
        >>> augment(edge_index, "edge_drop", p=0.5, generator=torch.Generator().manual_seed(1))
        tensor([[0],
                [1]])
    """
    chain = graph_chain(augmentation, p)
    view: Tensor | HeteroData | BipartiteGraph
    if isinstance(data, BipartiteGraph):
        view = _view(chain, data, generator)
    elif isinstance(data, Tensor):
        view = _view(chain, _graph_of(data, num_users, num_items), generator).edge_index
    elif hasattr(data, "edge_types"):
        view = _hetero_view(chain, data, edge_type or _interactions_of(data), generator)
    else:
        raise InputError(
            f"augment takes an edge_index, a HeteroData or a BipartiteGraph, got {type(data).__name__}"
        )
    return cast("D", view)


def graph_chain(augmentation: str, p: float) -> Chain:
    """Return the steps that a text describes, all of which act on graphs.

    Raises:
        InputError: a name is not known or acts elsewhere, or a strength is out of range.
    """
    if "," in augmentation:
        raise InputError(f"augmentations {augmentation!r}: one view is made here, so there is no ','")
    chain, _ = parse_augmentations(augmentation, p)
    for step in chain:
        if step.name not in AUGMENTATIONS:
            raise InputError(
                f"augmentations {augmentation!r}: {step.name!r} acts inside an encoder and not on a graph; "
                f"choose from {', '.join(AUGMENTATIONS)}"
            )
    return chain


def _view(
    chain: Chain, graph: BipartiteGraph, generator: Generator | None, *, above: int = 4
) -> BipartiteGraph:
    masks = any(step.name == "feature_mask" for step in chain)
    if masks and graph.user_x is None and graph.item_x is None:
        message = "feature_mask: the data holds no attributes, so there is nothing to hide"
        warnings.warn(message, InputWarning, stacklevel=above)
    return view_graph(chain, graph, generator=generator)


def _graph_of(edge_index: Tensor, num_users: int | None, num_items: int | None) -> BipartiteGraph:
    if edge_index.dim() == 2 and edge_index.shape[0] == 2:
        num_users, num_items = (
            count if count is not None else _highest(row) + 1
            for count, row in zip((num_users, num_items), edge_index, strict=True)
        )
    return BipartiteGraph(num_users or 0, num_items or 0, edge_index)


def _highest(numbers: Tensor) -> int:
    return int(numbers.max()) if len(numbers) else -1


def _interactions_of(data: HeteroData) -> EdgeType:
    """Return the edge type that holds the interactions, if it is unambiguous."""
    types = data.edge_types
    forward = [kind for kind in types if not kind[1].startswith("rev_")]
    if EDGE_TYPE in types:
        return EDGE_TYPE
    if len(forward) != 1:
        raise InputError(f"edge_type: say which of {types} holds the interactions, users first")
    return cast("EdgeType", forward[0])


def _hetero_view(
    chain: Chain, data: HeteroData, edge_type: EdgeType, generator: Generator | None
) -> HeteroData:
    if edge_type not in data.edge_types:
        raise InputError(f"edge_type: {edge_type} is not among {data.edge_types}")
    user, _, item = edge_type
    for adjacency in ("adj", "adj_t"):
        if adjacency in data[edge_type]:
            raise InputError(
                f"{edge_type}: holds {adjacency!r}, which would not change with it; give edge_index"
            )
    old = data[edge_type].edge_index
    x = {kind: data[kind].x if "x" in data[kind] else None for kind in (user, item)}
    graph = _graph_of(old, _num_nodes(data, user), _num_nodes(data, item)).with_features(x[user], x[item])
    view = _view(chain, graph, generator, above=5)
    result = copy.copy(data)
    if view is graph:
        return result
    for kind, masked in ((user, view.user_x), (item, view.item_x)):
        if masked is not None:
            result[kind].x = masked
    new = view.edge_index
    _replace(result[edge_type], new, _places(old, new, graph.num_items), f"{edge_type}")
    for other in data.edge_types:
        if (other[0], other[2]) == (item, user) and "edge_index" in data[other]:
            back = data[other].edge_index.flip(0)
            if back.shape == old.shape and bool(graph.contains(*back).all()):
                _replace(result[other], new.flip(0), _places(back, new, graph.num_items), f"{other}")
    return result


def _num_nodes(data: HeteroData, kind: str) -> int | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyG warns where it guesses; the edges are used instead
        count = data[kind].num_nodes
    return None if count is None else int(count)


def _places(old: Tensor, new: Tensor, num_items: int) -> Tensor:
    """Return the place of each new pair among the old ones, ``(E',)``; -1 for one that was not there."""
    keys, order = (old[0] * num_items + old[1]).sort()
    wanted = new[0] * num_items + new[1]
    if len(keys) == 0:
        return wanted.new_full(wanted.shape, -1)
    place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    return order[place].masked_fill_(keys[place] != wanted, -1)


def _replace(store: Any, edge_index: Tensor, places: Tensor, name: str) -> None:
    """Give an edge type its new edges and their attributes."""
    before = store.edge_index.shape[1]
    for key, value in list(store.items()):
        if key == "edge_index" or key.startswith("edge_label"):
            continue
        axis = -1 if "index" in key and isinstance(value, (Tensor, np.ndarray)) else 0
        if not _is_of_edges(value, axis, before):
            continue
        if bool((places < 0).any()):
            raise InputError(
                f"{name}: {key!r} is given for each edge, but is not known for a pair that comes in"
            )
        store[key] = _taken(value, axis, places)
    store.edge_index = edge_index


def _is_of_edges(value: object, axis: int, count: int) -> bool:
    """Return whether a value has one entry for each edge, which by PyG's convention is an edge attribute."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim > 0 and value.shape[axis] == count
    return isinstance(value, (list, tuple)) and len(value) == count


def _taken(value: Any, axis: int, places: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value.index_select(axis, places.to(value.device))
    if isinstance(value, np.ndarray):
        return value.take(places.cpu().numpy(), axis)
    return type(value)(value[place] for place in places.tolist())
