"""The user-item graph: each interaction stored once, everything else derived from it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from gclrec.graph.bounds import ascend, check_edges, check_features, check_range
from gclrec.graph.csr import SortedEdges, positions
from gclrec.graph.low_rank import LowRank
from gclrec.graph.propagation import Adjacency

if TYPE_CHECKING:
    import networkx
    import scipy.sparse
    from torch_geometric.data import HeteroData

    from gclrec.data.interactions import Interactions

T = TypeVar("T")

_KEEPS_ROWS = 0.8
"""From this share of the interactions on a view keeps the rows of the graph it comes from."""

EDGE_TYPE = ("user", "interacts", "item")
"""The edge type under which a PyG ``HeteroData`` holds the interactions."""


@dataclass(frozen=True, eq=False)
class _Patch:
    """Edges of an arrangement of which those at some places are taken away, and new ones."""

    base: SortedEdges
    dropped: Tensor
    user: Tensor
    item: Tensor


class BipartiteGraph:
    """A graph of users and items whose edges are interactions, each stored once.

    The graph never changes: what alters it returns a new graph. Views that only drop edges share the
    arrangement of the graph they come from until their own is asked for.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        edge_index: ``(2, E)`` int64, distinct pairs; row 0 users in ``[0, U)``, row 1 items in ``[0, I)``.
            It is kept as it is, not copied: do not change it afterwards.
        user_x: node attributes ``(U, F)``, or ``None``.
        item_x: the same for items.

    Raises:
        ValueError: a number is out of range, the shape is not ``(2, E)``, a pair occurs twice, or
            attributes have another number of rows.

    Example:
        >>> graph = BipartiteGraph(2, 3, torch.tensor([[0, 0, 1], [0, 1, 2]]))
        >>> graph.degrees()[0].tolist(), graph.degrees()[1].tolist()
        ([2, 1], [1, 1, 1])
        >>> graph.keep_edges(torch.tensor([True, False, True])).num_edges
        2
    """

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
        check_features(user_x, num_users, item_x, num_items)
        self.num_users = num_users
        self.num_items = num_items
        self.user_x = user_x
        self.item_x = item_x
        user, item = edge_index
        keys = user * num_items + item
        self._given: Tensor | None = edge_index
        self._order: Tensor | None = None  # (E,) edges as given, listed by (user, item)
        if len(keys) > 1 and not bool((keys[1:] >= keys[:-1]).all()):
            self._order = torch.argsort(keys, stable=True)
            user, item, keys = (x.index_select(0, self._order) for x in (user, item, keys))
        if bool((keys[1:] == keys[:-1]).any()):
            raise ValueError("edge_index holds a pair twice; an interaction is stored once")
        self.__dict__["_whole"] = SortedEdges.of(user, item, num_users, num_items)
        self._kept: Tensor | None = None  # which edges of the whole are here, bool in user order
        self._patch: _Patch | None = None  # what the whole is made from, if it has to be
        self._remembered: dict[Hashable, Any] = {}

    # -- making one ------------------------------------------------------------------------------

    @classmethod
    def from_interactions(cls, interactions: Interactions) -> BipartiteGraph:
        """Return the graph of numbered pairs, its edges sorted by user, then item."""
        counts = interactions.num_users, interactions.num_items
        for row, (ends, count) in enumerate(zip((interactions.user, interactions.item), counts, strict=True)):
            if len(ends):
                check_range(int(ends.min()), int(ends.max()), row, count)
        whole = SortedEdges.of_unsorted(interactions.user, interactions.item, *counts)
        state = {"num_users": counts[0], "num_items": counts[1], "user_x": None, "item_x": None}
        return _bare(state | dict.fromkeys(("_given", "_order", "_kept", "_patch")) | {"_whole": whole})

    @classmethod
    def from_hetero_data(
        cls, data: HeteroData, edge_type: tuple[str, str, str] = EDGE_TYPE
    ) -> BipartiteGraph:
        """Return the graph of one edge type of a PyG ``HeteroData``; ``x`` of both ends is taken along."""
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
        held = coo.data != 0
        edge_index = torch.from_numpy(np.stack([coo.row[held], coo.col[held]]).astype(np.int64))
        return cls(coo.shape[0], coo.shape[1], edge_index)

    @classmethod
    def from_networkx(cls, graph: networkx.Graph) -> BipartiteGraph:
        """Return the graph of nodes ``("user", n)`` and ``("item", n)``, the names of :meth:`to_networkx`."""
        counts = {side: sum(node[0] == side for node in graph) for side in ("user", "item")}
        pairs = sorted((dict((a, b))["user"], dict((a, b))["item"]) for a, b in graph.edges)
        edge_index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T.contiguous()
        return cls(counts["user"], counts["item"], edge_index)

    # -- what it holds ---------------------------------------------------------------------------

    @cached_property
    def edge_index(self) -> Tensor:
        """``(2, E)`` int64 interactions, in the order they were given."""
        if self._given is None:
            user, item = self.edges.user_of, self.edges.user_to
            return torch.stack([user.long(), item.long()])
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
        return self._whole.num_edges

    @property
    def device(self) -> torch.device:
        """Where the edges lie."""
        return (self._whole if self._patch is None else self._patch.base).user_of.device

    @cached_property
    def _whole(self) -> SortedEdges:
        """The arrangement that this graph shares with those it comes from, and of which it may be a part."""
        assert self._patch is not None
        return self._patch.base.exchange(self._patch.dropped, self._patch.user, self._patch.item)

    @cached_property
    def edges(self) -> SortedEdges:
        """The interactions in compressed rows, by user and by item; made once."""
        return self._whole if self._kept is None else self._whole.select(self._kept)

    def degrees(self) -> tuple[Tensor, Tensor]:
        """Return the number of interactions of each user ``(U,)`` and of each item ``(I,)``, int64."""
        return self.edges.degrees

    @cached_property
    def user_degrees(self) -> Tensor:
        """Number of interactions of each user, ``(U,)`` int64; counted once."""
        return self.degrees()[0]

    @property
    def adjacency(self) -> Adjacency:
        """The symmetrically normalised adjacency, by the degrees of this very graph; made once."""
        return self.weighted()

    def weighted(self, degree_exponent: float = 0.5) -> Adjacency:
        r"""Return the adjacency whose edges have the weight :math:`(d_u d_i)^{-a}`; made once for each ``a``.

        A view that has lost few interactions keeps the rows of the graph it comes from, with weights 0;
        for one that has lost many new rows pay, since every product is cheaper.

        Args:
            degree_exponent: ``a``; 0.5 is the symmetrically normalised :attr:`adjacency`, 0 that of ones.
        """
        return self.remember(("adjacency", degree_exponent), lambda: self._weighted(degree_exponent))

    def _weighted(self, exponent: float) -> Adjacency:
        if "edges" not in self.__dict__:
            if self._patch is not None and self._kept is None and "_whole" not in self.__dict__:
                new = (self._patch.user, self._patch.item)
                return self._patch.base.patched(self._patch.dropped, new, exponent)
            if self._kept is not None and self.num_edges >= _KEEPS_ROWS * len(self._kept):
                return self._whole.patched(self._dropped, exponent=exponent)
        return self.edges.adjacency(exponent)

    def low_rank(self, rank: int, degree_exponent: float = 0.5) -> LowRank:
        """Return the best operator of that rank in place of :meth:`weighted`; found once for each."""
        return self.remember(
            ("low_rank", rank, degree_exponent), lambda: LowRank.of(self.weighted(degree_exponent), rank)
        )

    def remember(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make()`` gave when it was first asked for under ``key``; it lives with the graph."""
        if key not in self._remembered:
            with torch.inference_mode(False), torch.no_grad():  # what is kept serves training as well
                self._remembered[key] = make()
        return cast("T", self._remembered[key])

    def contains(self, user: Tensor, item: Tensor) -> Tensor:
        """Return for each pair, of whatever numbers, whether it is an interaction, ``(B,)`` bool."""
        keys, wanted = self._whole.keys, user * self.num_items + item
        if len(keys) == 0:
            return torch.zeros_like(wanted, dtype=torch.bool)
        place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        found = (keys[place] == wanted) & (item >= 0) & (item < self.num_items)
        return found if self._kept is None else found & self._kept[place]

    def nth_missing_item(self, user: Tensor, n: Tensor) -> Tensor:
        """Return the ``n``-th item (from 0) that the user has *no* interaction with, ``(B,)``.

        With ``n`` uniform in ``[0, I - degree)`` this draws a negative exactly uniformly, without trying
        again. Item ``n + j`` is the answer when ``j`` of the user's items lie before it.
        """
        wanted = user * self.num_items + n
        before = torch.searchsorted(self.edges.missing_in_row, wanted, right=True)
        return n + before - self.edges.user_ptr.index_select(0, user)

    # -- other graphs ----------------------------------------------------------------------------

    def keep_edges(self, mask: Tensor) -> BipartiteGraph:
        """Return the graph of the interactions where ``mask (E,)`` is true; nodes keep their numbers."""
        if mask.shape != (self.num_edges,) or mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool ({self.num_edges},), got {mask.dtype} {tuple(mask.shape)}")
        if self._kept is not None:
            places = positions(self._kept_as_given)
            mask = torch.zeros_like(self._kept).index_copy_(0, places, mask)
        return self._part(mask if self._order is None else mask.index_select(0, self._order))

    def drop_edges(self, places: Tensor) -> BipartiteGraph:
        """Return the graph without the interactions at some places; nodes keep their numbers.

        The same as :meth:`keep_edges` with a mask that is false there, and faster where they are few.

        Args:
            places: columns of :attr:`edge_index`, ``(n,)`` int64; ascending ones save a pass.
        """
        mask = torch.ones(self.num_edges, dtype=torch.bool, device=self.device)
        graph = self.keep_edges(mask.index_fill_(0, places, False))
        if self._order is None and self._kept is None and ascend(places):
            graph.__dict__["_dropped"] = places
        return graph

    def keep_nodes(self, users: Tensor, items: Tensor) -> BipartiteGraph:
        """Return the graph of the interactions of which both ends are kept; nodes keep their numbers.

        Args:
            users: ``(U,)`` bool.
            items: ``(I,)`` bool.
        """
        kept = users.index_select(0, self._whole.user_of)
        kept &= items.index_select(0, self._whole.user_to)
        return self._part(kept if self._kept is None else kept & self._kept)

    def add_edges(self, edge_index: Tensor) -> BipartiteGraph:
        """Return the graph with further interactions ``(2, n)``, none of which may be here already."""
        joined = torch.cat([self.edge_index, edge_index], dim=1)
        return BipartiteGraph(self.num_users, self.num_items, joined, user_x=self.user_x, item_x=self.item_x)

    def exchange_edges(self, dropped: Tensor, user: Tensor, item: Tensor) -> BipartiteGraph:
        """Return the graph of some interactions and of some pairs that are none as yet.

        The same as :meth:`drop_edges` followed by :meth:`add_edges`, but the adjacency is had without
        sorting anything. The result's interactions are in the order of user, then item.

        Args:
            dropped: places of the interactions that leave, ``(n,)``, in the order of user, then item.
            user: ``(n,)`` users of the pairs that come in, which are sorted by user and distinct; none may
                be an interaction of this graph, kept or not. (This is not checked.)
            item: ``(n,)`` their items.
        """
        patch = _Patch(self.edges, dropped, user, item)
        names = ("num_users", "num_items", "user_x", "item_x")
        return _bare(
            {name: getattr(self, name) for name in names}
            | {"_given": None, "_order": None, "_kept": None, "_patch": patch}
        )

    def with_features(self, user_x: Tensor | None, item_x: Tensor | None) -> BipartiteGraph:
        """Return the same edges with other node attributes."""
        check_features(user_x, self.num_users, item_x, self.num_items)
        return _bare(self.__dict__ | {"user_x": user_x, "item_x": item_x})

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
        """Which edges of the whole are here, bool in the order given."""
        assert self._kept is not None
        if self._order is None:
            return self._kept
        return torch.empty_like(self._kept).index_copy_(0, self._order, self._kept)

    @cached_property
    def _dropped(self) -> Tensor:
        """Places of the edges of the whole that are not here, in user order."""
        assert self._kept is not None
        return positions(self._kept.logical_not())

    def _part(self, kept: Tensor) -> BipartiteGraph:
        """Return the graph of those edges of the whole that are kept, bool in user order."""
        names = ("num_users", "num_items", "user_x", "item_x", "_given", "_order", "_whole")
        return _bare({name: getattr(self, name) for name in names} | {"_kept": kept, "_patch": None})

    def components(self) -> tuple[int, Tensor, Tensor]:
        """Return the number of connected components and each user's and item's component number."""
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
        return scipy.sparse.csr_array((ones, (user, item)), shape=(self.num_users, self.num_items))

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


def _bare(state: dict[str, Any]) -> BipartiteGraph:
    """Return a graph of a known state, without looking at its edges again."""
    graph = object.__new__(BipartiteGraph)
    graph.__dict__.update({"_remembered": {}} | state)
    return graph
