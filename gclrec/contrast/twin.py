"""A momentum twin: a frozen copy of an encoder that follows it slowly."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import nn

from gclrec.encoders import Encoder


class Twin(nn.Module):
    r"""A copy without gradient, moved a little towards its original after every step (MoCo, [1]).

    .. math:: \theta' \leftarrow m\,\theta' + (1 - m)\,\theta

    Args:
        encoder: the original; the copy starts equal to it, and the original is not kept.
        momentum: ``m`` in ``[0, 1]``; the closer to 1, the slower.

    [1] He et al., CVPR 2020, https://arxiv.org/abs/1911.05722
    """

    def __init__(self, encoder: Encoder, momentum: float) -> None:
        super().__init__()
        self.copy = copy.deepcopy(cast("nn.Module", encoder)).requires_grad_(False)
        self.momentum = momentum

    @property
    def encoder(self) -> Encoder:
        """The copy."""
        return cast("Encoder", self.copy)

    @torch.no_grad()
    def follow(self, encoder: Encoder) -> None:
        """Take one step towards the original."""
        originals = cast("nn.Module", encoder).parameters()
        for mine, original in zip(self.copy.parameters(), originals, strict=True):
            mine.lerp_(original, 1.0 - self.momentum)
