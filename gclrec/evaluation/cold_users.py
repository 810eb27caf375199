"""How users with predicted vectors are ranked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.evaluator import evaluate
from gclrec.evaluation.geometry import score_deviations

USER_PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Penalties of the map of users that validation chooses from."""

_SHARES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
_MOST_USERS = 2048  # cold users of validation on whom both are chosen


class ColdUsers(nn.Module):
    r"""Moves predicted vectors of users towards what is popular, as far as it helps.

    .. math:: y_u = \hat x_u + \beta \, s \, q, \qquad
        q = \arg\min_q \sum_i \big(q^\top y_i - d_i\big)^2

    The inner products of :math:`q` with the items come as close as they can to their training interactions
    :math:`d_i`, so :math:`\beta` leads from what the attributes of a user predict to what is popular; the
    scale :math:`s` makes the scores of :math:`q` vary over the items as much as those of the predicted
    vectors do. The score stays an inner product with the same item vectors, so an index serves it as it is.
    :math:`\beta` is a buffer, and so is the penalty of the map that made the predictions: they are saved with
    the model.

    Args:
        mask: ``(U,)`` bool, which users have predicted vectors.
        popularity: ``(I,)`` the items' training interactions :math:`d_i`.
        l2: penalty of the map before validation has chosen one.
        penalties: those that validation chooses from.
    """

    mask: Tensor
    popularity: Tensor
    share: Tensor
    l2: Tensor

    def __init__(
        self, mask: Tensor, popularity: Tensor, l2: float, penalties: Sequence[float] = USER_PENALTIES
    ) -> None:
        super().__init__()
        self.penalties = penalties
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("popularity", popularity.double(), persistent=False)
        for name, value in (("share", math.nan), ("l2", l2)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    @property
    def chosen(self) -> bool:
        """Whether validation has chosen."""
        return not bool(self.share.isnan())

    def forward(self, ranked: Embeddings) -> Embeddings:
        """Return vectors to rank by, those of users with predicted vectors moved; none before a choice.

        Args:
            ranked: users ``(U, D)`` and items ``(I, D)`` whose inner product would be the score.
        """
        return self.moved(ranked, float(self.share)) if self.chosen else ranked

    def moved(self, ranked: Embeddings, share: float) -> Embeddings:
        r"""Return vectors to rank by with :math:`\beta` = ``share``."""
        if share == 0.0 or not bool(self.mask.any()):
            return ranked
        users, items = ranked
        known = self.popularity > 0
        rows = items[known].double()
        gram = rows.T @ rows
        little = 1e-9 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        towards = torch.linalg.solve(gram + little, rows.T @ self.popularity[known])
        deviations = score_deviations(torch.cat([users[self.mask].double(), towards[None]]), rows)
        own, target = deviations[:-1].mean(), deviations[-1]
        step = (share * own / target.clamp_min(1e-30) * towards).to(users.dtype)
        return Embeddings(users + self.mask[:, None] * step, items)

    def choose(self, ranked: Callable[[float], Embeddings], split: Split, figure: str) -> None:
        """Choose the penalty, the first time, and the share, by a figure over cold users alone.

        Cold users are few and their figures differ by little, so the largest penalty and then the smallest
        share is taken whose figure is within one standard error of the best ([1], section 7.10). Nothing is
        chosen where no validation pair has such a user.

        Args:
            ranked: from a penalty to the vectors to rank by, before they are moved.
            split: its validation pairs are the ones to rank.
            figure: what epochs are chosen by; its metric and cut-off are taken.

        [1] Hastie et al., The Elements of Statistical Learning, 2009
        """
        valid = split.valid.select(self.mask.cpu().numpy()[split.valid.user])
        if len(valid) == 0:
            return
        some = np.random.default_rng(0).permutation(np.unique(valid.user))[:_MOST_USERS]
        valid = valid.select(np.isin(valid.user, some))
        metric, _, cut = figure.rpartition("/")[2].partition("@")

        def measured(vectors: Embeddings) -> tuple[float, float]:
            found = evaluate(
                vectors.users,
                vectors.items,
                split.train,
                valid,
                ks=(int(cut),),
                metrics=(metric,),
                groups=("all",),
                exclude=split.removed,
                per_user=False,
            )
            name = f"all/{metric}@{cut}"
            return found.values[name], found.errors.get(name, 0.0)

        if not self.chosen and len(self.penalties) > 1:
            wide = sorted(self.penalties, reverse=True)
            self.l2.fill_(_first_near_best(wide, [measured(ranked(l2)) for l2 in wide]))
        vectors = ranked(float(self.l2))
        figures = [measured(self.moved(vectors, share)) for share in _SHARES]
        self.share.fill_(_first_near_best(_SHARES, figures))


def _first_near_best(numbers: Sequence[float], figures: Sequence[tuple[float, float]]) -> float:
    """Return the first of some numbers whose figure is within one standard error of the best.

    Args:
        numbers: in the order of preference.
        figures: figure and standard error of each.
    """
    best, error = max(figures)
    return next(n for n, (value, _) in zip(numbers, figures, strict=True) if value >= best - error)
