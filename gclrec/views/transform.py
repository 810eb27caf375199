"""Augmentations as a PyTorch Geometric transform; importing this imports ``torch_geometric``."""

from __future__ import annotations

import torch
from torch import Generator
from torch.utils.data import get_worker_info
from torch_geometric.data import HeteroData
from torch_geometric.transforms import BaseTransform

from gclrec.views.augment import augment, graph_chain


class Augment(BaseTransform):  # type: ignore[misc]
    """Augment the user-item interactions of a ``HeteroData``, for use in any PyG pipeline.

    Args:
        augmentation: a name in :data:`~gclrec.graph.augmentations.AUGMENTATIONS`, or several in sequence
            such as ``"edge_drop:0.2+feature_mask"``.
        p: strength of those that name none.
        generator: source of randomness; the global one if ``None``. Each worker of a ``DataLoader`` uses a
            copy of it that is mixed with the worker's own seed, so that no two draw the same.
        edge_type: the edges that are the interactions, where there are several types.

    Raises:
        InputError: the augmentation is not known or does not act on graphs, or a strength is out of range.

    Example:
        >>> import torch
        >>> from torch_geometric.transforms import Compose, ToUndirected
        >>> data = HeteroData()
        >>> data["user"].num_nodes, data["item"].num_nodes = 3, 3
        >>> data["user", "rates", "item"].edge_index = torch.tensor([[0, 0, 1, 2], [0, 1, 1, 2]])
        >>> transform = Compose([ToUndirected(), Augment("edge_drop", p=0.5)])
        >>> view = transform(data)
        >>> there, back = (view[kind].edge_index for kind in view.edge_types)
        >>> torch.equal(there, back.flip(0))
        True
    """

    def __init__(
        self,
        augmentation: str = "edge_drop",
        p: float = 0.1,
        *,
        generator: Generator | None = None,
        edge_type: tuple[str, str, str] | None = None,
    ) -> None:
        graph_chain(augmentation, p)
        self.augmentation = augmentation
        self.p = p
        self.generator = generator
        self.edge_type = edge_type
        self._worker: int | None = None  # seed of the worker that has this generator

    def forward(self, data: HeteroData) -> HeteroData:
        """Return an augmented copy."""
        worker = get_worker_info()
        if self.generator is not None and worker is not None and worker.seed != self._worker:
            drawn = torch.randint(2**62, (), generator=self.generator, device=self.generator.device)
            self.generator.manual_seed((int(drawn) + worker.seed) % 2**63)
            self._worker = worker.seed
        return augment(data, self.augmentation, self.p, generator=self.generator, edge_type=self.edge_type)

    def __repr__(self) -> str:
        return f"Augment({self.augmentation!r}, p={self.p:g})"
