r"""Vectors of new users and items from their neighbours, without training again.

The graph of training is frozen: a new node receives from its neighbours as a node of the graph does, but the
neighbours' own layers and degrees stay as they were trained. With layer weights :math:`w_0 \dots w_L`
(LightGCN, https://arxiv.org/abs/2002.02126), the exponent :math:`a` of the edge weights (1/2 by default), and
the neighbours :math:`N` of a new node,

.. math:: x = w_0\, x^{(0)} + |N|^{-a} \sum_{j \in N} s_j, \qquad
    s_j = d_j^{-a} \sum_{l=1}^{L} w_l\, x_j^{(l-1)}

so one vector :math:`s_j` a node, what it *sends*, is all that is kept of the layers. For a node of the
training graph with its own layer 0 this equals the encoder's output. Layer 0 of a new node is unknown; where
it is needed, a ridge regression fitted to the nodes of training predicts it from what the node receives. A
factorisation fitted by least squares solves for a new node as it solved for those of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save as serialize

from gclrec.common.errors import InputError, reading
from gclrec.common.manifest import MANIFEST, read_manifest, writing
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import BoolArray, IntArray
from gclrec.recall.ridge import Ridge, solved, solver_of
from gclrec.recall.vectors import listed_sums, scaled, with_profiles
from gclrec.runs.embeddings import FloatArray

if TYPE_CHECKING:  # torch is imported by what needs it: a service folds in without
    from torch import Tensor

    from gclrec.baselines.least_squares import LeastSquares
    from gclrec.graph.bipartite import BipartiteGraph

FOLD_IN_KIND = "gclrec fold-in"


class NewItems(NamedTuple):
    """Vectors of items that training did not know.

    Args:
        vectors: ``(N, D)`` final vectors, for search.
        sent: ``(N, D)`` what a new user who has one of them receives from it.
    """

    vectors: FloatArray
    sent: FloatArray


@dataclass(frozen=True, eq=False)
class FoldIn:
    """What a run keeps to give vectors to new users and items.

    Args:
        weights: layer weights ``w_0 .. w_L``; ``(1,)`` where vectors do not come from neighbours (matrix
            factorisation, baselines): then the ridge regression predicts a new node's whole vector.
        exponents: for users and items, the power ``p`` in ``x |x|^(p - 1)``, by which the score changes the
            length of final vectors: 1 for an inner product, 0 for a cosine.
        item_sent: ``(I, D)`` what a new user receives from an item; 0 for an item that training did not see.
            With ``content_dim``, ``(I, D + k)``: the content of the item follows.
        user_sent: ``(U, D)`` what a new item receives from a user.
        user_onward: ``(U, D)`` what a new item receives for its own layers 1 and up, to send them on.
        user_length: ``(U,)`` lengths of the trained user vectors before the score changes them.
        user_ridge: predicts layer 0 of a user.
        item_ridge: predicts layer 0 of an item.
        trained_on: parts of the split whose pairs were the graph.
        degree_exponent: ``a`` of the edge weights ``(d_u d_i)^-a``.
        least_squares: of users and of items, by what they interacted with; in place of the ridge regressions.
        maps_attributes: whether attributes of new items give the vectors to rank by, not layer 0.
        goes_with: :func:`~gclrec.runs.embeddings.checksum_of` the run's final vectors; ``None`` if it is not
            known, as in runs of version 0.1.0.
        content_dim: ``k`` further dimensions of final vectors, which compare cold items with the items of a
            user by content (:class:`~gclrec.evaluation.cold_neighbours.ColdNeighbours`).
    """

    weights: tuple[float, ...]
    exponents: tuple[float, float]
    item_sent: FloatArray
    user_sent: FloatArray
    user_onward: FloatArray
    user_length: FloatArray
    user_ridge: Ridge
    item_ridge: Ridge
    trained_on: tuple[str, ...] = ("train",)
    degree_exponent: float = 0.5
    least_squares: tuple[LeastSquares, LeastSquares] | None = None
    goes_with: str | None = None
    maps_attributes: bool = False
    content_dim: int = 0

    @classmethod
    def of_layers(
        cls,
        graph: BipartiteGraph,
        users: Tensor,
        items: Tensor,
        weights: Sequence[float],
        *,
        exponents: tuple[float, float] = (1.0, 1.0),
        degree_exponent: float = 0.5,
    ) -> FoldIn:
        """Keep what an encoder with linear propagation sends along the edges of its graph.

        Args:
            graph: the training interactions.
            users: ``(U, D)`` layer 0.
            items: ``(I, D)`` layer 0.
            weights: ``w_0 .. w_L``, at least one.
            exponents: see :class:`FoldIn`.
            degree_exponent: see :class:`FoldIn`.
        """
        if len(weights) == 1:
            # Without shares of neighbours, the final vector is layer 0 times its weight.
            return cls.of_vectors(graph, users * weights[0], items * weights[0], exponents=exponents)
        import torch

        from gclrec.graph.csr import degree_scale

        users, items = users.detach(), items.detach()
        adjacency = graph.weighted(degree_exponent)
        combined = adjacency.polynomial(users, items, list(weights[1:]))
        received = adjacency.propagate(*combined)
        onward = torch.zeros_like(users)
        if len(weights) > 2:
            onward = adjacency.polynomial(users, items, list(weights[2:]))[0]
        scales = [
            torch.where(degree > 0, degree_scale(degree.to(users.dtype), degree_exponent), 0.0)[:, None]
            for degree in graph.degrees()
        ]
        ridges = []
        for part, start, scale in zip(received, (users, items), scales, strict=True):
            known = scale[:, 0] > 0
            ridges.append(Ridge.fit(*(_numpy(x if known.all() else x[known]) for x in (part, start))))
        # Tables of many users are large: they are scaled in place.
        for table, scale in zip((*combined, onward), (*scales, scales[0]), strict=True):
            table.mul_(scale)
        lengths = received[0].add_(users, alpha=weights[0]).norm(dim=1)
        arrays = (_numpy(combined[1]), _numpy(combined[0]), _numpy(onward), _numpy(lengths))
        return cls(tuple(weights), exponents, *arrays, ridges[0], ridges[1], degree_exponent=degree_exponent)

    @classmethod
    def of_vectors(
        cls,
        graph: BipartiteGraph,
        users: Tensor,
        items: Tensor,
        *,
        exponents: tuple[float, float] = (1.0, 1.0),
        least_squares: tuple[LeastSquares, LeastSquares] | None = None,
    ) -> FoldIn:
        """Keep final vectors, of an encoder whose vectors do not come from neighbours.

        A new node receives the sum of its neighbours' vectors over the square root of their number.

        Args:
            graph: the training interactions.
            users: ``(U, D)`` final vectors, before the score changes their length.
            items: ``(I, D)``, likewise.
            exponents: see :class:`FoldIn`.
            least_squares: see :class:`FoldIn`.
        """
        vectors = [_numpy(part) for part in (users, items)]
        degrees = [_numpy(degree) for degree in graph.degrees()]
        sent = [part * (degree > 0)[:, None] for part, degree in zip(vectors, degrees, strict=True)]
        counts, ridges = graph.to_scipy(), []
        for matrix, others, start, degree in zip(
            (counts, counts.T), sent[::-1], vectors, degrees, strict=True
        ):
            received = matrix @ others / np.sqrt(np.maximum(degree, 1))[:, None]
            ridges.append(Ridge.fit(received[degree > 0], start[degree > 0]))
        lengths = np.linalg.norm(vectors[0], axis=1)
        onward = np.zeros_like(sent[0])
        arrays = (sent[1], sent[0], onward, lengths)
        return cls((1.0,), exponents, *arrays, ridges[0], ridges[1], least_squares=least_squares)

    @property
    def dim(self) -> int:
        """Length ``D`` of vectors without their content."""
        return int(self.item_sent.shape[1]) - self.content_dim

    @property
    def item_layers(self) -> FloatArray:
        """``(I, D)`` what a new user receives from an item, without its content."""
        return self.item_sent[:, : self.dim]

    @property
    def item_content(self) -> FloatArray:
        """``(I, k)`` content of the items that training has seen, 0 for others."""
        return self.item_sent[:, self.dim :]

    @property
    def propagates(self) -> bool:
        """Whether final vectors come from neighbours."""
        return len(self.weights) > 1

    @cached_property
    def item_tells(self) -> BoolArray:
        """``(I,)`` whether training has seen an item."""
        found: BoolArray = (self.item_sent != 0).any(axis=1)
        return found

    @cached_property
    def user_tells(self) -> BoolArray:
        """``(U,)`` whether training has seen a user."""
        found: BoolArray = (self.user_sent != 0).any(axis=1)
        return found

    def new_users(self, history: Ragged, *, start: npt.NDArray[Any] | None = None) -> FloatArray:
        """Return the vectors of users by the items that they have.

        With propagation this is exact for a user of the training graph whose items and layer 0 are given. The
        layer-0 share of a new user is left out. Without propagation the ridge regression predicts the vector;
        with least squares it is exactly that of a user of training with the same items.

        Args:
            history: the distinct items of each; the degrees of these items do not count the new users. Items
                that training did not see are ignored.
            start: ``(B, D)`` layer 0 of the users, where it is known.

        Returns:
            ``(B, D)``, with content ``(B, D + k)``; without any item that training has seen, the share of
            ``start``, otherwise zeros (the mean user of the ridge regression).
        """
        if self.least_squares is not None and start is None:
            return solved(
                self.least_squares[0], history.keep(self.item_tells[history.values]), self.item_sent
            )
        received, _ = self._received(history, self.item_layers, self.item_tells)
        vectors: npt.NDArray[Any]
        if self.propagates:
            vectors = received if start is None else received + np.float32(self.weights[0]) * start
        else:
            vectors = self.user_ridge(received) if start is None else start
        return with_profiles(scaled(vectors, self.exponents[0]), history, self.item_content)

    def returning_users(self, trained: FloatArray, rows: IntArray, before: Ragged, now: Ragged) -> FloatArray:
        """Return the vectors of users of the run with further items.

        Their trained vectors move by what the new items change in what they receive; with propagation that
        is exactly the vector of their layer 0 and their whole history.

        Args:
            trained: ``(B, D)`` their final vectors.
            rows: ``(B,)`` their rows.
            before: the items that they were trained on.
            now: the same and the new ones.
        """
        if self.least_squares is not None:
            return self.new_users(now)
        former, latter = (
            self._received(lists, self.item_layers, self.item_tells)[0] for lists in (before, now)
        )
        change = latter - former
        if not self.propagates:
            change = change @ self.user_ridge.matrix
        vectors = scaled(self.unscaled_users(trained, rows) + change, self.exponents[0])
        return with_profiles(vectors, now, self.item_content)

    def unscaled_users(self, trained: FloatArray, rows: IntArray) -> FloatArray:
        """Return ``(B, D)`` final vectors of users of the run before the score changed their length."""
        trained = trained[:, : self.dim]
        if self.exponents[0] == 1:
            return trained
        length = self.user_length[rows, None]
        raw: npt.NDArray[Any] = trained * np.where(length > 0, length, 1) ** np.float32(1 - self.exponents[0])
        return raw

    def new_items(self, audience: Ragged, *, start: npt.NDArray[Any] | None = None) -> NewItems:
        """Return the vectors of items by their users, by their layer 0, or by both.

        Args:
            audience: the distinct users of each; their degrees do not count the new items.
            start: ``(N, D)`` layer 0, such as the output of a content encoder; rows of NaN where it is to be
                predicted. An item with neither users nor layer 0 gets the mean item's, or zeros by least
                squares. With ``maps_attributes``, final vectors, which hold for items without users, and
                which new users do not receive, as from items of the catalogue without interactions.

        Returns:
            Vectors of ``D + k`` numbers; the last ``k`` are 0 for an item with users.
        """
        if self.maps_attributes and start is not None:
            made, known = self.new_items(audience), audience.keep(self.user_tells[audience.values])
            alone = (known.lengths == 0) & ~np.isnan(start).any(axis=1)
            return NewItems(
                np.where(alone[:, None], start, made.vectors).astype(np.float32),
                np.where(alone[:, None], 0.0, made.sent).astype(np.float32),
            )
        received, count = self._received(audience, self.user_sent, self.user_tells)
        if self.least_squares is None:
            layer_zero = self.item_ridge(received)
        else:
            audience = audience.keep(self.user_tells[audience.values])
            layer_zero = solved(self.least_squares[1], audience, self.user_sent)
        if start is not None:
            given = ~np.isnan(start).any(axis=1, keepdims=True)
            layer_zero = np.where(given, start, layer_zero).astype(np.float32)
        if not self.propagates:
            return self._with_zeros(scaled(layer_zero, self.exponents[1]), layer_zero)
        onward, _ = self._received(audience, self.user_onward, self.user_tells)
        sent = (np.float32(self.weights[1]) * layer_zero + onward) * self._scale(count)
        vectors = scaled(np.float32(self.weights[0]) * layer_zero + received, self.exponents[1])
        return self._with_zeros(vectors, sent.astype(np.float32))

    def extended(self, item_sent: FloatArray) -> FoldIn:
        """Return the same with further items, so that they count in the histories of users."""
        return replace(self, item_sent=np.concatenate([self.item_sent, item_sent]))

    def save(self, folder: str | Path) -> None:
        """Write ``items.safetensors``, ``users.safetensors`` and a manifest, atomically.

        Raises:
            InputError: the folder exists and is something else.
            OSError: the disk is full, or the place is not writable.
        """
        values: dict[str, Any] = {
            "layer_weights": list(self.weights),
            "exponents": list(self.exponents),
            "trained_on": list(self.trained_on),
            "degree_exponent": self.degree_exponent,
            "dim": self.dim,
            **({"content_dim": self.content_dim} if self.content_dim else {}),
            "users": len(self.user_sent),
            "items": len(self.item_sent),
            "vectors": self.goes_with,
            "maps_attributes": self.maps_attributes,
        }
        users = {"sent": self.user_sent, "onward": self.user_onward, "length": self.user_length}
        files = {
            "users": users | vars(self.user_ridge),
            "items": {"sent": self.item_sent} | vars(self.item_ridge),
        }
        if self.least_squares is not None:
            solvers = dict(zip(files, self.least_squares, strict=True))
            values["least_squares"] = {side: [x.base, x.l2, x.exponent] for side, x in solvers.items()}
            for side, solver in solvers.items():
                files[side]["gram"] = _numpy(solver.gram)
        with writing(Path(folder), FOLD_IN_KIND, values) as fresh:
            for side, arrays in files.items():
                whole = {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in arrays.items()}
                (fresh / f"{side}.safetensors").write_bytes(serialize(whole))

    @classmethod
    def load(cls, folder: str | Path) -> FoldIn:
        """Return what :meth:`save` wrote; every file is checked.

        Raises:
            InputError: a file is missing, cut off or altered (it is named), or the folder is something else.
        """
        folder = Path(folder)
        manifest = read_manifest(folder, FOLD_IN_KIND)
        users, items = (_read(folder / f"{side}.safetensors") for side in ("users", "items"))
        with reading(folder / MANIFEST, "cannot be used"):
            num_users, num_items, dim = (int(manifest[name]) for name in ("users", "items", "dim"))
            solvers = [
                solver_of(arrays["gram"], manifest["least_squares"][side])
                for side, arrays in (("users", users), ("items", items))
                if "least_squares" in manifest
            ]
            found = cls(
                tuple(map(float, manifest["layer_weights"])),
                (float(manifest["exponents"][0]), float(manifest["exponents"][1])),
                items["sent"],
                users["sent"],
                users["onward"],
                users["length"],
                Ridge(users["centre"], users["matrix"], users["mean"]),
                Ridge(items["centre"], items["matrix"], items["mean"]),
                tuple(map(str, manifest["trained_on"])),
                float(manifest.get("degree_exponent", 0.5)),
                (solvers[0], solvers[1]) if solvers else None,
                manifest.get("vectors"),
                bool(manifest.get("maps_attributes", False)),
                int(manifest.get("content_dim", 0)),
            )
        arrays = (found.item_sent, found.user_sent, found.user_onward, found.user_length)
        expected = ((num_items, dim + found.content_dim), (num_users, dim), (num_users, dim), (num_users,))
        if not found.weights or tuple(array.shape for array in arrays) != expected:
            raise InputError(f"{folder}: its arrays do not have the sizes that {MANIFEST} says")
        return found

    def _with_zeros(self, vectors: FloatArray, sent: FloatArray) -> NewItems:
        """Return new items without content."""
        further = ((0, 0), (0, self.content_dim))
        return NewItems(np.pad(vectors, further), np.pad(sent, further))

    def _received(self, lists: Ragged, sent: FloatArray, tells: BoolArray) -> tuple[FloatArray, IntArray]:
        """Return ``(B, D)`` the weighted sum of what the listed nodes send, and ``(B,)`` their number."""
        lists = lists.keep(tells[lists.values])
        return (listed_sums(lists, sent) * self._scale(lists.lengths)).astype(np.float32), lists.lengths

    def _scale(self, count: IntArray) -> npt.NDArray[np.float64]:
        """Return ``(N, 1)`` the factor of edge weights for nodes with so many edges."""
        return np.maximum(count, 1.0)[:, None] ** -self.degree_exponent


def _numpy(part: Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = part.detach().cpu().numpy()
    return array


def _read(path: Path) -> dict[str, FloatArray]:
    if not path.exists():
        raise InputError(f"{path}: missing from the run folder")
    with reading(path, "cannot be used"), safetensors.safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
