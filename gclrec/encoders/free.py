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
    """

    if TYPE_CHECKING:
        __call__: Callable[..., Embeddings]

    def __init__(
        self, num_users: int, num_items: int, dim: int, *, init_std: float, generator: Generator | None
    ) -> None:
        super().__init__()
        self.users = nn.Parameter(torch.empty(num_users, dim).normal_(0.0, init_std, generator=generator))
        self.items = nn.Parameter(torch.empty(num_items, dim).normal_(0.0, init_std, generator=generator))

    @property
    def layer_zero(self) -> tuple[Tensor, Tensor]:
        """The free vectors, users ``(U, D)`` and items ``(I, D)``: what L2 acts on."""
        return self.users, self.items

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        return f"num_users={len(self.users)}, num_items={len(self.items)}, dim={self.users.shape[1]}"
