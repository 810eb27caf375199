"""EGCF: an encoder without user vectors; a user is made of its items."""

from __future__ import annotations

from typing import Annotated, Any, cast

from torch import Generator, Tensor, nn

from gclrec.common.errors import SettingError
from gclrec.encoders.base import (
    DIM,
    INIT_STD,
    NUM_LAYERS,
    Embeddings,
    GraphLike,
    Hidden,
    Perturbation,
    add_free_vectors,
    sizes,
)
from gclrec.encoders.layers import LayerOperators
from gclrec.graph.items_alone import of_items


class EGCF(nn.Module):
    r"""Sum of propagation steps with a tanh, from item vectors alone (EGCF, [1], parallel aggregation).

    .. math:: X_U^{(0)} = \tanh(\hat R X_I^{(0)}), \qquad
        X^{(l)} = \tanh(\hat A X^{(l-1)}), \qquad x = \sum_{l=1}^{L} x^{(l)}

    A user without interactions is the zero vector. Layer 0 of a user is made of its items.

    Args:
        num_layers: ``L >= 1``.

    Shapes:
        - **edge_index:** ``(2, E)`` int64; row 0 in ``[0, U)``, row 1 in ``[0, I)``
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Raises:
        SettingError: ``num_layers`` is below 1.

    Example:
        >>> import torch
        >>> encoder = EGCF(num_users=3, num_items=2, dim=8)
        >>> users, items = encoder(torch.tensor([[0, 1, 2], [0, 0, 1]]))
        >>> torch.equal(users[0], users[1])  # the same items, so the same user
        True

    [1] Zhang et al., ACM TOIS 2025, https://doi.org/10.1145/3701230
    """

    users: Tensor
    items: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        dim: Annotated[int, DIM] = 64,
        num_layers: Annotated[int, NUM_LAYERS] = 3,
        *,
        init_std: Annotated[float, INIT_STD] = 0.1,
        generator: Generator | None = None,
    ) -> None:
        if num_layers < 1:
            raise SettingError("num_layers", f"must be at least 1, got {num_layers}")
        super().__init__()
        start: dict[str, Any] = {"init_std": init_std, "generator": generator, "user_vectors": False}
        add_free_vectors(self, num_users, num_items, dim, **start)
        self.num_layers = num_layers
        self._operators = LayerOperators(num_users, num_items, num_layers)

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, on which L2 acts."""
        return self.users, self.items

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        return f"{sizes(self)}, num_layers={self.num_layers}"

    def forward(
        self,
        graph: GraphLike,
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),  # noqa: ARG002 - the encoders' common signature
    ) -> Embeddings:
        """Return the final embeddings; see :class:`~gclrec.encoders.base.Encoder`."""
        operators = self._operators(graph)
        _, items = self.layer_zero
        users = of_items(operators[0], items, (0.0, 1.0))[0].tanh()
        perturb = perturb or Perturbation()
        users, items = perturb.changed(users, items)
        outputs = [(users, items)]
        for layer, operator in enumerate(operators, start=1):
            users, items = (x.tanh() for x in operator.propagate(users, items))
            users, items = perturb.shifted(layer, users, items)
            outputs.append((users, items))
        users, items = (cast("Tensor", sum(output[side] for output in outputs[1:])) for side in (0, 1))
        return Embeddings(users, items, tuple(outputs) if layers else ())
