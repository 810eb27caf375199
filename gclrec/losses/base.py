"""Shared by all ranking losses: scores, shape checks and the entry of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeAlias

import torch
from torch import Tensor

from gclrec.common.declaration import Declared, Setting, Span, declarations
from gclrec.graph.functional import single, unit

SCORES: Mapping[str, Callable[[Tensor], Tensor]] = {"dot": single, "cosine": unit}
"""Scores of two vectors by name: what is done to each vector before their inner product is taken."""

Score: TypeAlias = Annotated[
    str,
    Setting(
        "loss_score",
        "What the loss compares by, dot or cosine. Default: dot for bpr, else cosine.",
        choices=SCORES,
    ),
]
"""A name in :data:`SCORES`."""

LossTemperature: TypeAlias = Annotated[
    float | Tensor,
    Setting(
        "loss_temperature",
        "Temperature of softmax and bsl: a number; learned[:START] (softmax), trained with the "
        "rest; or adaptive[:START] (softmax, bsl), one for each user, found anew at each epoch.",
        search=Span(0.05, 0.5, log=True),
        type=float | str,
    ),
]
"""A number, a scalar tensor or one for each row, ``(B,)``; all above 0, and a tensor may need a gradient."""


class RankingLoss(Protocol):
    """A ranking loss; its own settings are keyword arguments."""

    def __call__(
        self,
        user: Tensor,
        positive: Tensor,
        negatives: Tensor,
        log_weight: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Return the mean over the rows, a scalar."""


@dataclass(frozen=True)
class Loss:
    """One entry of :data:`~gclrec.losses.ranking_losses.LOSSES`.

    Args:
        compute: the loss; its annotated keyword arguments are settings of a run.
        about: what it does, in a few words.
        scores: names in :data:`SCORES` that it can compare by; the first is its default.
        needs_negatives: whether it uses negatives.
        sums_exponentials: whether it sums exponentials over negatives, so that a sampling correction applies.
        temperatures: names in :data:`~gclrec.losses.temperature.TEMPERATURES` that its temperature can be.
    """

    compute: RankingLoss
    about: str
    scores: tuple[str, ...] = ()
    needs_negatives: bool = True
    sums_exponentials: bool = False
    temperatures: tuple[str, ...] = ()

    @property
    def declared(self) -> Mapping[str, Declared]:
        """Its settings by keyword argument."""
        return declarations(self.compute)


def compared(user: Tensor, positive: Tensor, negatives: Tensor, score: str) -> Iterator[Tensor]:
    """Return the vectors whose inner products are the scores."""
    check_shapes(user, positive, negatives)
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
    return map(SCORES[score], (user, positive, negatives))


def check_shapes(user: Tensor, positive: Tensor, negatives: Tensor | None = None) -> None:
    """Raise ``ValueError`` unless the shapes are those that all losses expect."""
    shapes = [tuple(x.shape) for x in (user, positive, negatives) if x is not None]
    if user.dim() != 2 or positive.shape != user.shape:
        raise ValueError(f"user and positive must both be (B, D), got {shapes[0]} and {shapes[1]}")
    if negatives is None:
        return
    fits = negatives.dim() == 2 or (negatives.dim() == 3 and len(negatives) == len(user))
    if not fits or negatives.shape[-1] != user.shape[1]:
        raise ValueError(f"negatives must be (B, N, D) or (N, D) for users {shapes[0]}, got {shapes[2]}")


def whole_weight(log_weight: Tensor | None, seen: Tensor | None, scores: Tensor) -> Tensor | None:
    """Return the logarithmic weights with minus infinity at the places in ``seen``.

    Args:
        log_weight: broadcasts to ``(B, N)``; ``None`` for zeros.
        seen: ``(H,)`` places ``row * N + column``; without any, ``log_weight`` is returned unchanged.
        scores: ``(B, N)``.
    """
    if seen is None:
        return log_weight
    whole = torch.zeros_like(scores) if log_weight is None else log_weight.expand_as(scores).clone()
    return whole.view(-1).index_fill_(0, seen, -torch.inf).view_as(scores)
