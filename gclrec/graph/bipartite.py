"""The user-item graph: each interaction is stored once, and everything else is derived from it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from gclrec.graph.csr import SortedEdges, check_edges, check_range, positions
from gclrec.graph.low_rank import LowRank
from gclrec.graph.propagation import Adjacency

if TYPE_CHECKING:
    import networkx
    import scipy.sparse
    from torch_geometric.data import HeteroData

    from gclrec.data.interactions import Interactions

_T = TypeVar("_T")

EDGE_TYPE = ("user", "interacts", "item")
"""The edge type under which a PyG ``HeteroData`` holds the interactions."""

_SHARES_ROWS = 0.8
"""A view that keeps at least this share of the interactions uses the rows of the graph that it comes from."""


class _Patch(NamedTuple):
    """What a graph is made from by :meth:`BipartiteGraph.exchange_edges`: edges to remove and to add."""

    base: SortedEdges
    dropped: Tensor
    user: Tensor
    item: Tensor


class BipartiteGraph:
    """A graph of users and items whose edges are interactions, each stored once.

    A graph never changes; methods that alter it return a new one. A view that only drops edges shares the
    sorted edges of the graph that it comes from until its own are needed.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        edge_index: ``(2, E)`` int64, distinct pairs; row 0 users in ``[0, U)``, row 1 items in ``[0, I)``.
            It is not copied, so it must not be changed afterwards.
        user_x: user attributes ``(U, F)``, or ``None``.
        item_x: item attributes ``(I, F)``, or ``None``.

    Raises:
        ValueError: a number is out of range, the shape is not ``(2, E)``, a pair occurs twice, or
            attributes do not have one row for each node.

    Example:
        >>> graph = BipartiteGraph(2, 3, torch.tensor([[0, 0, 1], [0, 1, 2]]))
        >>> graph.degrees()[0].tolist(), graph.degrees()[1].tolist()
        ([2, 1], [1, 1, 1])
        >>> graph.keep_edges(torch.tensor([True, False, True])).num_edges
        2
    """

    num_users: int
    num_items: int
    user_x: Tensor | None
    item_x: Tensor | None
    # A view shares the sorted edges of its graph (``_sorted``) and says which of them it keeps.
    _given: Tensor | None  # ``edge_index`` as given, of all of ``_sorted``; None: in user order
    _order: Tensor | None  # (E,) places of ``_given`` in user order; None: it is in user order
    _kept: Tensor | None  # which of ``_sorted`` are in this graph, bool in user order; None: all
    _patch: _Patch | None  # what ``_sorted`` is made from once it is needed; None: it is there
    _remembered: dict[Hashable, Any]

    def __init__(
        self,
        num_users: int,
        num_items: int,
        edge_index: Tensor,
        *,
        user_x: Tensor | None = None,
        item_x: Tensor | None = None,
    ) -> None:
        check_edges(edge_index, num_users, num_items)
        _check_attributes(user_x, num_users, item_x, num_items)
        self.num_users, self.num_items = num_users, num_items
        self.user_x, self.item_x = user_x, item_x
        self._given, self._order, self._kept, self._patch = edge_index, None, None, None
        self._remembered = {}
        user, item = edge_index
        keys = user * num_items + item
        if len(keys) > 1 and not bool((keys[1:] >= keys[:-1]).all()):
            self._order = torch.argsort(keys, stable=True)
            user, item, keys = (x.index_select(0, self._order) for x in (user, item, keys))
        if bool((keys[1:] == keys[:-1]).any()):
            raise ValueError("edge_index holds a pair twice; an interaction is stored once")
        self.__dict__["_sorted"] = SortedEdges.of(user, item, num_users, num_items)

    # -- making one ------------------------------------------------------------------------------

    @classmethod
    def from_interactions(cls, interactions: Interactions) -> BipartiteGraph:
        """Return the graph of numbered pairs, its edges sorted by user, then item."""
        counts = interactions.num_users, interactions.num_items
        for row, (ends, count) in enumerate(zip((interactions.user, interactions.item), counts, strict=True)):
            if len(ends):
                check_range(int(ends.min()), int(ends.max()), row, count)
        edges = SortedEdges.of_unsorted(interactions.user, interactions.item, *counts)
        return _made_of(num_users=counts[0], num_items=counts[1], user_x=None, item_x=None, _sorted=edges)

    @classmethod
    def from_hetero_data(
        cls, data: HeteroData, edge_type: tuple[str, str, str] = EDGE_TYPE
    ) -> BipartiteGraph:
        """Return the graph of one edge type of a PyG ``HeteroData``, with the ``x`` of both ends.

        Raises:
            ValueError: the data have no such edge type.
        """
        if edge_type not in data.edge_types or "edge_index" not in data[edge_type]:
            raise ValueError(f"edge_type: {edge_type} has no edge_index; the types are {data.edge_types}")
        user, _, item = edge_type
        users, items = data[user], data[item]
        return cls(
            int(users.num_nodes),
            int(items.num_nodes),
            data[edge_type].edge_index,
            user_x=users.x if "x" in users else None,
            item_x=items.x if "x" in items else None,
        )

    @classmethod
    def from_scipy(cls, matrix: scipy.sparse.sparray | scipy.sparse.spmatrix) -> BipartiteGraph:
        """Return the graph of the non-zero entries of a sparse matrix; rows are users."""
        coo = matrix.tocoo()
        nonzero = coo.data != 0
        edge_index = torch.from_numpy(np.stack([coo.row[nonzero], coo.col[nonzero]]).astype(np.int64))
        return cls(coo.shape[0], coo.shape[1], edge_index)

    @classmethod
    def from_networkx(cls, graph: networkx.Graph) -> BipartiteGraph:
        """Return the graph of nodes ``("user", n)`` and ``("item", n)``; inverts :meth:`to_networkx`."""
        counts = {side: sum(node[0] == side for node in graph) for side in ("user", "item")}
        pairs = sorted((dict((a, b))["user"], dict((a, b))["item"]) for a, b in graph.edges)
        edge_index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T.contiguous()
        return cls(counts["user"], counts["item"], edge_index)

    # -- what it holds ---------------------------------------------------------------------------

    @cached_property
    def edge_index(self) -> Tensor:
        """``(2, E)`` int64 interactions, in the order that they were given in."""
        if self._given is None:
            return torch.stack([self.edges.user_of.long(), self.edges.user_to.long()])
        if self._kept is None:
            return self._given
        return self._given.index_select(1, positions(self._kept_as_given))

    @cached_property
    def num_edges(self) -> int:
        """Number of interactions ``E``."""
        if self._kept is not None:
            return int(torch.count_nonzero(self._kept))
        if self._patch is not None:
            return self._patch.base.num_edges - len(self._patch.dropped) + len(self._patch.user)
        return self._sorted.num_edges

    @property
    def device(self) -> torch.device:
        """Device of the edges."""
        return (self._sorted if self._patch is None else self._patch.base).user_of.device

    @cached_property
    def edges(self) -> SortedEdges:
        """The interactions in compressed rows, by user and by item; made once."""
        return self._sorted if self._kept is None else self._sorted.select(self._kept)

    @cached_property
    def _sorted(self) -> SortedEdges:
        """Sorted edges of which this graph has those that ``_kept`` says; shared by a graph and its views."""
        assert self._patch is not None
        return self._patch.base.exchange(self._patch.dropped, self._patch.user, self._patch.item)

    def degrees(self) -> tuple[Tensor, Tensor]:
        """Return the number of interactions of each user ``(U,)`` and of each item ``(I,)``, int64."""
        return self.edges.degrees

    @cached_property
    def user_degrees(self) -> Tensor:
        """Number of interactions of each user, ``(U,)`` int64; counted once."""
        return self.degrees()[0]

    @property
    def adjacency(self) -> Adjacency:
        """The symmetrically normalised adjacency, by this graph's own degrees; made once."""
        return self.weighted()

    def weighted(self, degree_exponent: float = 0.5) -> Adjacency:
        r"""Return the adjacency whose edges have the weight :math:`(d_u d_i)^{-a}`; made once for each ``a``.

        A view that has lost few interactions uses the rows of the graph that it comes from, with weight 0
        for lost ones. A view that has lost many gets rows of its own, which make every product cheaper.

        Args:
            degree_exponent: ``a``; 0.5 gives the normalised :attr:`adjacency`, 0 gives weights of 1.
        """
        return self.remember(("adjacency", degree_exponent), lambda: self._weighted(degree_exponent))

    def _weighted(self, exponent: float) -> Adjacency:
        if "edges" not in self.__dict__:
            if self._patch is not None and self._kept is None and "_sorted" not in self.__dict__:
                new = (self._patch.user, self._patch.item)
                return self._patch.base.patched(self._patch.dropped, new, exponent)
            if self._kept is not None and self.num_edges >= _SHARES_ROWS * len(self._kept):
                return self._sorted.patched(self._dropped, exponent=exponent)
        return self.edges.adjacency(exponent)

    def low_rank(self, rank: int, degree_exponent: float = 0.5) -> LowRank:
        """Return the best operator of a rank in place of :meth:`weighted`; computed once for each rank."""
        return self.remember(
            ("low_rank", rank, degree_exponent), lambda: LowRank.of(self.weighted(degree_exponent), rank)
        )

    def remember(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return what ``make()`` returned when ``key`` was first asked for; kept as long as the graph."""
        if key not in self._remembered:
            with torch.inference_mode(False), torch.no_grad():  # tensors made here are used in training too
                self._remembered[key] = make()
        return cast("_T", self._remembered[key])

    def contains(self, user: Tensor, item: Tensor) -> Tensor:
        """Return for each pair whether it is an interaction, ``(B,)`` bool; false for unknown numbers."""
        keys, wanted = self._sorted.keys, user * self.num_items + item
        if len(keys) == 0:
            return torch.zeros_like(wanted, dtype=torch.bool)
        place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        found = (keys[place] == wanted) & (item >= 0) & (item < self.num_items)
        return found if self._kept is None else found & self._kept[place]

    def nth_missing_item(self, user: Tensor, n: Tensor) -> Tensor:
        """Return the ``n``-th item (from 0) that the user has *no* interaction with, ``(B,)``.

        With ``n`` uniform in ``[0, I - degree)`` this draws a negative uniformly, without rejection. The
        answer is item ``n + j`` where ``j`` of the user's items lie before it.
        """
        wanted = user * self.num_items + n
        before = torch.searchsorted(self.edges.missing_in_row, wanted, right=True)
        return n + before - self.edges.user_ptr.index_select(0, user)

    # -- other graphs ----------------------------------------------------------------------------

    def keep_edges(self, mask: Tensor) -> BipartiteGraph:
        """Return the graph of the interactions where ``mask (E,)`` is true; nodes keep their numbers.

        Raises:
            ValueError: the mask is not bool ``(E,)``.
        """
        if mask.shape != (self.num_edges,) or mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool ({self.num_edges},), got {mask.dtype} {tuple(mask.shape)}")
        if self._kept is not None:
            places = positions(self._kept_as_given)
            mask = torch.zeros_like(self._kept).index_copy_(0, places, mask)
        return self._part(mask if self._order is None else mask.index_select(0, self._order))

    def drop_edges(self, places: Tensor) -> BipartiteGraph:
        """Return the graph without the interactions at some places; nodes keep their numbers.

        Equals :meth:`keep_edges` with a mask that is false there, and is faster for few places.

        Args:
            places: columns of :attr:`edge_index`, ``(n,)`` int64; ascending ones save a pass.
        """
        mask = torch.ones(self.num_edges, dtype=torch.bool, device=self.device)
        graph = self.keep_edges(mask.index_fill_(0, places, False))
        if self._order is None and self._kept is None and _ascend(places):
            graph.__dict__["_dropped"] = places
        return graph

    def keep_nodes(self, users: Tensor, items: Tensor) -> BipartiteGraph:
        """Return the graph of the interactions whose ends are both kept; nodes keep their numbers.

        Args:
            users: ``(U,)`` bool.
            items: ``(I,)`` bool.
        """
        kept = users.index_select(0, self._sorted.user_of)
        kept &= items.index_select(0, self._sorted.user_to)
        return self._part(kept if self._kept is None else kept & self._kept)

    def add_edges(self, edge_index: Tensor) -> BipartiteGraph:
        """Return the graph with further interactions ``(2, n)``, none of which it has already."""
        joined = torch.cat([self.edge_index, edge_index], dim=1)
        return BipartiteGraph(self.num_users, self.num_items, joined, user_x=self.user_x, item_x=self.item_x)

    def exchange_edges(self, dropped: Tensor, user: Tensor, item: Tensor) -> BipartiteGraph:
        """Return the graph without some interactions and with some new ones, sorted by user, then item.

        Equals :meth:`drop_edges` followed by :meth:`add_edges`, but its adjacency is made without sorting.

        Args:
            dropped: places of the interactions that leave, ``(n,)``, in the order of user, then item.
            user: ``(n,)`` users of the new pairs, ascending. The pairs must be distinct, and none may be an
                interaction of this graph or of the one that it is a view of; this is not checked.
            item: ``(n,)`` items of the new pairs.
        """
        patch = _Patch(self.edges, dropped, user, item)
        return _made_of(self, ("num_users", "num_items", "user_x", "item_x"), _patch=patch)

    def with_features(self, user_x: Tensor | None, item_x: Tensor | None) -> BipartiteGraph:
        """Return the same edges with other node attributes."""
        _check_attributes(user_x, self.num_users, item_x, self.num_items)
        return _made_of(self, self.__dict__, user_x=user_x, item_x=item_x)

    def to(self, device: torch.device | str) -> BipartiteGraph:
        """Return the graph on another device (itself if it is there already)."""
        if self.device == torch.device(device):
            return self
        user_x, item_x = (x if x is None else x.to(device) for x in (self.user_x, self.item_x))
        return BipartiteGraph(
            self.num_users, self.num_items, self.edge_index.to(device), user_x=user_x, item_x=item_x
        )

    @cached_property
    def _kept_as_given(self) -> Tensor:
        """``_kept`` in the order of ``_given``."""
        assert self._kept is not None
        if self._order is None:
            return self._kept
        return torch.empty_like(self._kept).index_copy_(0, self._order, self._kept)

    @cached_property
    def _dropped(self) -> Tensor:
        """Places where ``_kept`` is false."""
        assert self._kept is not None
        return positions(self._kept.logical_not())

    def _part(self, kept: Tensor) -> BipartiteGraph:
        """Return the graph of the edges of ``_sorted`` that are kept, bool in user order."""
        names = ("num_users", "num_items", "user_x", "item_x", "_given", "_order", "_sorted")
        return _made_of(self, names, _kept=kept)

    def components(self) -> tuple[int, Tensor, Tensor]:
        """Return the number of connected components and the component of each user and of each item."""
        import scipy.sparse
        import scipy.sparse.csgraph

        num_nodes = self.num_users + self.num_items
        user, item = self.edge_index.cpu().numpy()
        ones = np.ones(len(user), dtype=np.int8)
        matrix = scipy.sparse.csr_array((ones, (user, item + self.num_users)), shape=(num_nodes, num_nodes))
        count, label = scipy.sparse.csgraph.connected_components(matrix, directed=False)
        labels = torch.from_numpy(label.astype(np.int64))
        return int(count), labels[: self.num_users], labels[self.num_users :]

    # -- other libraries -------------------------------------------------------------------------

    def to_hetero_data(self) -> HeteroData:
        """Return a PyG ``HeteroData`` with node types ``user`` and ``item`` and :data:`EDGE_TYPE`."""
        from torch_geometric.data import HeteroData

        data = HeteroData()
        for name, count, x in (("user", self.num_users, self.user_x), ("item", self.num_items, self.item_x)):
            data[name].num_nodes = count
            if x is not None:
                data[name].x = x
        data[EDGE_TYPE].edge_index = self.edge_index
        return data

    def to_scipy(self) -> scipy.sparse.csr_array:
        """Return the ``(U, I)`` matrix of ones, float32."""
        import scipy.sparse

        user, item = self.edge_index.cpu().numpy()
        ones = np.ones(len(user), dtype=np.float32)
        matrix = scipy.sparse.csr_array((ones, (user, item)), shape=(self.num_users, self.num_items))
        matrix.sort_indices()  # before SciPy 1.14 the items of a user stay in the order given
        return matrix

    def to_networkx(self) -> networkx.Graph:
        """Return an undirected graph of nodes ``("user", n)`` and ``("item", n)``; for small graphs."""
        import networkx

        graph = networkx.Graph()
        graph.add_nodes_from((("user", n) for n in range(self.num_users)), bipartite=0)
        graph.add_nodes_from((("item", n) for n in range(self.num_items)), bipartite=1)
        graph.add_edges_from((("user", u), ("item", i)) for u, i in self.edge_index.T.tolist())
        return graph

    def __repr__(self) -> str:
        return f"BipartiteGraph(users={self.num_users:,}, items={self.num_items:,}, edges={self.num_edges:,})"


def _made_of(graph: BipartiteGraph | None = None, names: Iterable[str] = (), **state: Any) -> BipartiteGraph:
    """Return a graph with some attributes of another one and others given, without checking its edges."""
    made = object.__new__(BipartiteGraph)
    taken = {name: getattr(graph, name) for name in names}
    empty: dict[str, Any] = {"_given": None, "_order": None, "_kept": None, "_patch": None, "_remembered": {}}
    made.__dict__.update(empty | taken | state)
    return made


def _ascend(places: Tensor) -> bool:
    """Return whether places are distinct, in order, and not counted from the end."""
    return len(places) == 0 or bool((places[0] >= 0) & (places[1:] > places[:-1]).all())


def _check_attributes(user_x: Tensor | None, num_users: int, item_x: Tensor | None, num_items: int) -> None:
    for name, x, count in (("user_x", user_x, num_users), ("item_x", item_x, num_items)):
        if x is not None and x.shape[:1] != (count,):
            raise ValueError(f"{name} must have a row for each of {count} nodes, got {tuple(x.shape)}")
