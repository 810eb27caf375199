"""Matrix factorisation: the encoder that ignores the graph."""

from __future__ import annotations

from typing import Annotated

from torch import Generator, Tensor, nn

from gclrec.encoders.base import (
    DIM,
    INIT_STD,
    Embeddings,
    GraphLike,
    Hidden,
    Perturbation,
    add_free_vectors,
    sizes,
)


class MF(nn.Module):
    r"""One free vector a user and an item (matrix factorisation, [1]).

    .. math:: s(u, i) = x_u^\top x_i

    The graph is accepted and ignored, so MF can take the place of any graph encoder.

    Shapes:
        - **output:** users ``(U, D)`` and items ``(I, D)``

    Example:
        >>> encoder = MF(num_users=3, num_items=2, dim=8)
        >>> users, items = encoder()
        >>> (users @ items.T).shape
        torch.Size([3, 2])

    [1] Rendle et al., BPR, UAI 2009, https://arxiv.org/abs/1205.2618
    """

    users: Tensor
    items: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        dim: Annotated[int, DIM] = 64,
        *,
        init_std: Annotated[float, INIT_STD] = 0.1,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        add_free_vectors(self, num_users, num_items, dim, init_std=init_std, generator=generator)

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, on which L2 acts."""
        return self.users, self.items

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        return sizes(self)

    def forward(
        self,
        graph: GraphLike | None = None,  # noqa: ARG002 - the encoders' common signature
        *,
        layers: bool = False,
        perturb: Perturbation | None = None,
        hidden: Hidden = (None, None),  # noqa: ARG002
    ) -> Embeddings:
        """Return the vectors; layer 0 is the only layer."""
        users, items = self.layer_zero
        if perturb is not None:
            users, items = perturb.shifted(1, *perturb.changed(users, items))
        return Embeddings(users, items, ((users, items),) if layers else ())
