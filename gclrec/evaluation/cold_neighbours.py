"""Neighbours by content as a part of the score of cold items."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gclrec.data.schema import AttributeTable
from gclrec.data.splits import Split
from gclrec.data.tf_idf import TfIdf
from gclrec.encoders import Embeddings
from gclrec.evaluation.curve import MOST_USERS, Curve, drawn
from gclrec.evaluation.geometry import score_deviations
from gclrec.graph.bipartite import BipartiteGraph

if TYPE_CHECKING:
    import scipy.sparse

CONTENT_DIM = 128
"""Most dimensions ``k`` of the content."""

WEIGHTS = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Weights that validation chooses from; at 1 both parts of the score vary alike over cold items."""

_OVERSAMPLE = 10
_POWERS = 4


class ColdNeighbours(nn.Module):
    r"""Adds to the score of cold items how near they are to the user's items by content.

    .. math:: s(u, j) = \langle y_u, y_j \rangle + g \, \lVert y_u \rVert \, \langle p_u, q_j \rangle,
        \qquad q_j \propto V^\top c_j, \quad p_u \propto \sum_{i \in N(u)} q_i,
        \quad \lVert q_j \rVert = \lVert p_u \rVert = 1

    with the content :math:`c_j` of unit length (:class:`~gclrec.data.tf_idf.TfIdf`) and its ``k`` leading
    right singular vectors :math:`V` ([1]). With all of them the second part is the cosine of
    :func:`~gclrec.baselines.content_knn.content_knn`; fewer leave out what few items share. Both parts are
    one inner product of ``D + k`` numbers. Warm items have zeros in the last ``k``, and so have users
    without training interactions.

    The gain :math:`g` is one of :data:`WEIGHTS` times the ratio of the standard deviations, over cold items
    and averaged over users, of the two parts. At 0, as before a choice, vectors keep their length ``D``.
    :math:`g` and :math:`V` are buffers: they are saved with the model.

    Args:
        graph: training interactions.
        table: attributes of the ``I`` items.
        mask: ``(I,)`` bool, which items are cold.

    Raises:
        InputError: no attribute can be compared.

    [1] Deerwester et al., JASIS 1990,
    https://doi.org/10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9
    """

    mask: Tensor
    gain: Tensor
    basis: Tensor

    def __init__(self, graph: BipartiteGraph, table: AttributeTable, mask: Tensor) -> None:
        super().__init__()
        self.graph, self.table = graph, table
        self.tf_idf = TfIdf.fit(table, "attributes map")
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("gain", torch.zeros((), dtype=torch.float64))
        self.register_buffer("basis", torch.zeros(self.tf_idf.width, 0))
        self._leading: Tensor | None = None

    @property
    def used(self) -> bool:
        """Whether the score has the further part."""
        return float(self.gain) != 0.0

    @property
    def dim(self) -> int:
        """Number ``k`` of further dimensions of the vectors."""
        return self.basis.shape[1] if self.used else 0

    def forward(self, ranked: Embeddings, scale: float = 1.0) -> Embeddings:
        """Return vectors with the further dimensions, if there are any.

        Args:
            ranked: users ``(U, D)`` and items ``(I, D)`` whose inner product would be the score.
            scale: by which cold items are placed among warm ones.
        """
        if not self.used:
            return ranked
        items = self.content
        users = self._profiles(items) * torch.linalg.vector_norm(ranked.users, dim=1, keepdim=True)
        return self._joined(ranked, users, items * (scale * float(self.gain)))

    def encode(self, table: AttributeTable) -> Tensor:
        r"""Return the further dimensions of cold items, :math:`g q_j`, before they are placed, ``(N, k)``.

        Raises:
            ValueError: the table has another schema.
        """
        return self._content(self.tf_idf(table)) * float(self.gain)

    @property
    def content(self) -> Tensor:
        """The content of all items, warm and cold, ``(I, k)``."""
        return self._content(self._rows)

    def choose(self, ranked: Embeddings, split: Split, figure: str) -> None:
        """Choose the weight by how cold items rank among themselves, of equal ones the smallest.

        Nothing is chosen where no validation pair has a cold item.

        Args:
            ranked: the vectors that items are ranked by without the further dimensions.
            split: its validation pairs are the ones to rank.
            figure: what epochs are chosen by; its metric and cut-off are taken.
        """
        if not bool(self.mask[torch.from_numpy(split.valid.item).to(self.mask.device)].any()):
            return
        if self._leading is None:
            self._leading = self.basis if self.used else leading(self._rows, CONTENT_DIM).to(self.mask.device)
        self.basis = self._leading
        items = self.content
        users = self._profiles(items) * torch.linalg.vector_norm(ranked.users, dim=1, keepdim=True)
        known = users.any(dim=1)
        unit = 0.0
        if bool(known.any()):
            own, further = (
                float(score_deviations(x[known], y[self.mask]).mean())
                for x, y in ((ranked.users, ranked.items), (users, items))
            )
            unit = own / further if further > 0 else 0.0
        name, some = f"cold_among_cold/{figure.partition('/')[2]}", drawn(split, MOST_USERS)[:MOST_USERS]
        one = torch.ones(len(items), device=items.device)
        found = {}
        for weight in WEIGHTS if unit else WEIGHTS[:1]:
            joined = self._joined(ranked, users, items * (weight * unit))
            curve = Curve(joined, lambda _: one, split, name, some)
            found[weight] = curve.found[curve.best((0.0,))]
        self.gain.fill_(max(found, key=found.__getitem__) * unit)
        if not self.used:
            self.basis = self.basis[:, :0]

    @cached_property
    def _rows(self) -> scipy.sparse.csr_array:
        return self.tf_idf(self.table)

    def _content(self, rows: scipy.sparse.csr_array) -> Tensor:
        found: npt.NDArray[Any] = rows @ self.basis.cpu().numpy()
        return nn.functional.normalize(torch.from_numpy(found).to(self.mask.device), dim=1)

    def _profiles(self, items: Tensor) -> Tensor:
        sums: npt.NDArray[Any] = self.graph.to_scipy() @ items.cpu().numpy()
        return nn.functional.normalize(torch.from_numpy(sums).to(items.device), dim=1)

    def _joined(self, ranked: Embeddings, users: Tensor, items: Tensor) -> Embeddings:
        items = items * self.mask[:, None]
        return Embeddings(torch.cat([ranked.users, users], 1), torch.cat([ranked.items, items], 1))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Take a basis of any width; a model that was saved before there was this part does without."""
        state_dict.setdefault(f"{prefix}gain", torch.zeros_like(self.gain))
        found = state_dict.setdefault(f"{prefix}basis", self.basis.new_empty(len(self.basis), 0))
        self.basis, self._leading = self.basis.new_empty(found.shape), None
        super()._load_from_state_dict(state_dict, prefix, *others)


def leading(rows: scipy.sparse.csr_array, most: int, *, seed: int = 0) -> Tensor:
    """Return the leading right singular vectors of a sparse matrix by subspace iteration ([1]).

    Args:
        rows: ``(N, V)`` float32.
        most: at most so many.
        seed: of the random start.

    Returns:
        ``(V, k)`` float32 with orthonormal columns, the largest singular value first.

    [1] Halko et al., SIAM Review 2011, https://doi.org/10.1137/090771806
    """
    width = min(most + _OVERSAMPLE, *rows.shape)
    transposed = rows.T.tocsr()
    found = np.random.default_rng(seed).standard_normal((rows.shape[1], width), dtype=np.float32)
    for _ in range(_POWERS):
        found = np.linalg.qr(transposed @ (rows @ found))[0]
    ahead = rows @ found
    _, turn = np.linalg.eigh(ahead.T @ ahead)
    return torch.from_numpy(np.ascontiguousarray((found @ turn[:, ::-1])[:, :most]))
