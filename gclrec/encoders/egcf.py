"""EGCF: an encoder without user vectors; a user is what its items make of it."""

from __future__ import annotations

from typing import cast

from torch import Generator, Tensor

from gclrec.encoders.embeddings import Embeddings, GraphLike, Hidden, Perturbation
from gclrec.encoders.free_vectors import FreeVectors
from gclrec.encoders.operators import Operators
from gclrec.graph.propagation import of_items


class EGCF(FreeVectors):
    r"""Sum of propagation steps with a tanh, from item vectors alone (EGCF, [1], parallel aggregation).

    .. math:: X_U^{(0)} = \tanh(\hat R X_I^{(0)}), \qquad
        X^{(l)} = \tanh(\hat A X^{(l-1)}), \qquad x = \sum_{l=1}^{L} x^{(l)}

    A user without interactions is the zero vector.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        dim: ``D``.
        num_layers: ``L >= 1``.
        init_std: standard deviation of the normal start of item vectors.
        generator: where the start is drawn from; the global one if ``None``.

    Shapes:
        - **edge_index:** ``(2, E)`` int64; row 0 in ``[0, U)``, row 1 in ``[0, I)``
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Raises:
        ValueError: ``num_layers`` is below 1.

    Example, trained on a plain PyG ``HeteroData``:
        >>> import torch
        >>> from torch_geometric.data import HeteroData
        >>> data = HeteroData()
        >>> data["user", "rates", "item"].edge_index = torch.tensor([[0, 1, 2], [0, 0, 1]])
        >>> edges = data["user", "rates", "item"].edge_index
        >>> encoder = EGCF(num_users=3, num_items=2, dim=8)
        >>> optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
        >>> for _ in range(60):
        ...     users, items = encoder(edges)
        ...     loss = torch.nn.functional.cross_entropy(users[edges[0]] @ items.T, edges[1])
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     _ = optimizer.step()
        >>> bool(loss < 0.1), torch.equal(users[0], users[1])  # the same items, so the same user
        (True, True)

    [1] Zhang et al., ACM TOIS 2025, https://doi.org/10.1145/3701230
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        dim: int = 64,
        num_layers: int = 3,
        *,
        init_std: float = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            num_users, num_items, dim, init_std=init_std, generator=generator, user_vectors=False
        )
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        self.num_layers = num_layers
        self._operators = Operators(num_users, num_items, num_layers)

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        return f"{super().extra_repr()}, num_layers={self.num_layers}"

    def forward(
        self,
        graph: GraphLike,
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),  # noqa: ARG002 - the encoders' common signature
    ) -> Embeddings:
        """Return final embeddings of all users and items.

        Args:
            graph: what :class:`~gclrec.encoders.lightgcn.LightGCN` takes.
            layers: also return each layer's output; layer 0 of a user is what its items make of it.
            perturb: applied to layer 0 and to the output of each layer ``1..L`` before it goes on.
            hidden: ignored: EGCF has no attributes.
        """
        operators = self._operators(graph)
        _, items = self.layer_zero
        users = of_items(operators[0], items, (0.0, 1.0))[0].tanh()
        perturb = perturb or Perturbation()
        if perturb.on_input is not None:
            users, items = perturb.on_input(users, items)
        outputs = [(users, items)]
        for layer, operator in enumerate(operators, start=1):
            users, items = (x.tanh() for x in operator.propagate(users, items))
            users, items = perturb.shifted(layer, users, items)
            outputs.append((users, items))
        users, items = (cast("Tensor", sum(output[side] for output in outputs[1:])) for side in (0, 1))
        return Embeddings(users, items, tuple(outputs) if layers else ())
