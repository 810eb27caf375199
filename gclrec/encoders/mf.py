"""Matrix factorisation: the encoder that does not look at the graph."""

from __future__ import annotations

from torch import Generator

from gclrec.encoders.embeddings import Embeddings, GraphLike, Hidden, Perturbation
from gclrec.encoders.free_vectors import FreeVectors


class MF(FreeVectors):
    r"""One free vector a user and an item (matrix factorisation, [1]).

    .. math:: s(u, i) = x_u^\top x_i

    The graph is accepted and ignored, so that MF stands wherever a graph encoder does.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        dim: ``D``.
        init_std: standard deviation of the normal start.
        generator: where the start is drawn from; the global one if ``None``.

    Shapes:
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Example, trained on a plain PyG ``HeteroData``:
        >>> import torch
        >>> from torch_geometric.data import HeteroData
        >>> data = HeteroData()
        >>> data["user", "rates", "item"].edge_index = torch.tensor([[0, 1, 2], [0, 0, 1]])
        >>> user, item = data["user", "rates", "item"].edge_index
        >>> encoder = MF(num_users=3, num_items=2, dim=8)
        >>> optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
        >>> for _ in range(60):
        ...     users, items = encoder()
        ...     loss = torch.nn.functional.cross_entropy(users[user] @ items.T, item)
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     _ = optimizer.step()
        >>> bool(loss < 0.1)
        True

    [1] Rendle et al., BPR, UAI 2009, https://arxiv.org/abs/1205.2618
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        dim: int = 64,
        *,
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(num_users, num_items, dim, init_std=init_std, generator=generator)

    def forward(
        self,
        graph: GraphLike | None = None,  # noqa: ARG002 - the encoders' common signature
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),  # noqa: ARG002 - likewise
    ) -> Embeddings:
        """Return the vectors; ``graph`` has no influence.

        Args:
            graph: ignored.
            layers: also return layer 0, the only one there is.
            perturb: applied to the vectors as input (layer 0) and again as output (layer 1).
            hidden: ignored: MF has no attributes.
        """
        users, items = self.layer_zero
        if perturb is not None:
            if perturb.on_input is not None:
                users, items = perturb.on_input(users, items)
            users, items = perturb.shifted(1, users, items)
        return Embeddings(users, items, ((users, items),) if layers else ())
