"""The free vectors that encoders begin with: one of each user and item."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

from gclrec.encoders.embeddings import Embeddings


class FreeVectors(nn.Module):
    """What encoders with a free vector for each user and item have in common.

    Args:
        num_users: ``U``.
        num_items: ``I``.
        dim: ``D``.
        init_std: standard deviation of the normal start.
        generator: where the start is drawn from, users first; the global one if ``None``.
        user_vectors: whether users have vectors; zeros that are not trained stand for them if not.
    """

    if TYPE_CHECKING:
        __call__: Callable[..., Embeddings]

    def __init__(
        self,
        num_users: int,
        num_items: int,
        dim: int,
        *,
        init_std: float,
        generator: Generator | None,
        user_vectors: bool = True,
    ) -> None:
        super().__init__()
        self.users: Tensor
        if user_vectors:
            drawn = torch.empty(num_users, dim).normal_(0.0, init_std, generator=generator)
            self.users = nn.Parameter(drawn)
        else:
            self.register_buffer("users", torch.zeros(1, dim).expand(num_users, -1), persistent=False)
        self.items = nn.Parameter(torch.empty(num_items, dim).normal_(0.0, init_std, generator=generator))

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, users ``(U, D)`` and items ``(I, D)``: what L2 acts on."""
        return self.users, self.items

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        return f"num_users={len(self.users)}, num_items={len(self.items)}, dim={self.users.shape[1]}"
