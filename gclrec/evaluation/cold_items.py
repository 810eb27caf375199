"""How items with predicted vectors rank among the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.curve import MOST_USERS, Curve, by_length, drawn
from gclrec.losses.base import SCORES

PENALTIES = (0.3, 1.0, 3.0, 10.0)
"""Penalties of the map that validation chooses from."""

_EXPONENTS = (0.0, 0.5, 1.0)
_OCTAVES = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


class ColdItems(nn.Module):
    r"""Gives predicted vectors the lengths at which they rank best.

    .. math:: y_j = \alpha \, \hat x_j \, \lVert \hat x_j \rVert^{\gamma - 1}

    A prediction is shorter than what it predicts, the more so the less its attributes tell, so its length
    cannot count as that of a trained vector does. The exponent :math:`\gamma` orders cold items among
    themselves, the scale :math:`\alpha` places them among the warm ones. Both are buffers, and so is the
    penalty of the map that made the predictions: they are saved with the model.

    Args:
        mask: ``(I,)`` bool, which items have predicted vectors.
        l2: penalty of the map before validation has chosen one.
        penalties: those that validation chooses from.
    """

    mask: Tensor
    exponent: Tensor
    scale: Tensor
    l2: Tensor

    def __init__(self, mask: Tensor, l2: float, penalties: Sequence[float] = PENALTIES) -> None:
        super().__init__()
        self.penalties = penalties
        self.register_buffer("mask", mask, persistent=False)
        # The exponent of the score holds until there is one of its own.
        for name, value in (("exponent", math.nan), ("scale", 1.0), ("l2", l2)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    @property
    def chosen(self) -> bool:
        """Whether validation has chosen."""
        return not bool(self.exponent.isnan())

    def forward(self, items: Tensor, exponent: float) -> Tensor:
        """Return vectors to rank by.

        Args:
            items: ``(N, D)`` predicted vectors.
            exponent: of the score, which holds where none was chosen.
        """
        power = float(self.exponent) if self.chosen else exponent
        lengths = torch.linalg.vector_norm(items, dim=1, keepdim=True)
        found: Tensor = SCORES["cosine"](items) * lengths.pow(power) * float(self.scale)
        return found

    def order(self, mapped: Callable[[float], Embeddings], split: Split, figure: str) -> None:
        """Choose the exponent, and the first time the penalty too, by how cold items rank among themselves.

        Nothing is chosen where no validation pair has a cold item.

        Args:
            mapped: from a penalty to the encoder's embeddings with predicted vectors.
            split: its validation pairs are the ones to rank.
            figure: what epochs are chosen by; its metric and cut-off are taken.
        """
        if not bool(self.mask[torch.from_numpy(split.valid.item).to(self.mask.device)].any()):
            return
        users, best = drawn(split, MOST_USERS)[:MOST_USERS], -math.inf
        for l2 in (float(self.l2),) if self.chosen else self.penalties:
            name = f"cold_among_cold/{figure.partition('/')[2]}"
            curve = by_length(mapped(l2), split, name, users)
            exponent = curve.best(_EXPONENTS)
            if curve.found[exponent] > best:
                best = curve.found[exponent]
                self.l2.fill_(l2)
                self.exponent.fill_(exponent)

    def place(self, ranked: Embeddings, split: Split, figure: str) -> None:
        """Choose the scale by a validation figure, to a quarter of an octave; of equal ones the smallest.

        Args:
            ranked: the vectors that items are ranked by with a scale of 1.
            split: its validation pairs are the ones to rank.
            figure: such as ``all/recall@20``.
        """
        if not self.chosen:
            return
        lengths = torch.linalg.vector_norm(ranked.items, dim=1)
        level = float(lengths[~self.mask].mean() / lengths[self.mask].mean().clamp_min(1e-12))
        one = torch.ones_like(lengths)

        def scale(octave: float) -> Tensor:
            return torch.where(self.mask, level * 2.0**octave, one)

        curve = Curve(ranked, scale, split, figure, drawn(split, MOST_USERS)[:MOST_USERS])
        best = curve.best(_OCTAVES)
        for distance in (0.5, 0.25):
            best = curve.best((best - distance, best, best + distance))
        self.scale.fill_(level * 2.0**best)
