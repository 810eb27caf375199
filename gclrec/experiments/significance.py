r"""Is a difference real? Intervals and tests that know of both chances: which users, and which seeds.

A score :math:`x_{su}` is that of user ``u`` in the run with seed ``s``; every run has the same users. It is
taken as

.. math:: x_{su} = \mu + a_s + b_u + e_{su}

with a part of the seed (the run came out well), a part of the user (an easy one) and a rest, all drawn at
random. Runs of *one and the same* method differ by :math:`a_s`, for all users together. A test over users
alone takes that for a finding: with many users it calls two runs of the same method different far more often
than its level says. So the mean has the two-way standard error ([1])

.. math::
    V_S = \frac{s^2(\bar x_{s \cdot})}{S}, \quad V_U = \frac{s^2(\bar x_{\cdot u})}{U}, \quad
    V_E = \frac{s^2(e)}{S U}, \qquad V = \max(V_S, V_U, V_S + V_U - V_E)

(:math:`V_S` and :math:`V_U` both hold the rest, which is taken off once), with Satterthwaite's degrees of
freedom ([2]). It errs to the side of caution where seeds make no difference at all. With one seed there is
only :math:`V = V_U`: what is found then holds for these two trained models, not for the methods.

[1] Brennan, Generalizability Theory, 2001, https://doi.org/10.1007/978-1-4757-3456-0
[2] Satterthwaite, Biometrics 1946, https://doi.org/10.2307/3002019
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gclrec.common.errors import InputError
from gclrec.data.interactions import Float64Array

LEVEL = 0.95
"""Of all intervals, if nothing else is said."""
REPETITIONS = 2000
"""Bootstrap samples, if nothing else is said."""

_BLOCK = 2**22  # drawn users that are held at a time


@dataclass(frozen=True, eq=False)
class Estimate:
    """Means with their intervals, one for each column of scores.

    Shapes:
        - **mean, low, high, error, df:** ``(C,)``
    """

    mean: Float64Array
    low: Float64Array
    high: Float64Array
    error: Float64Array
    df: Float64Array


def standard_error(scores: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return the standard error of the mean over users and seeds, and its degrees of freedom.

    Args:
        scores: ``(C, S, U)`` for ``C`` columns, ``S`` seeds and ``U`` users.

    Returns:
        Both ``(C,)``; the error is ``nan`` where there is but one user.
    """
    x = _checked(scores)
    _, num_seeds, num_users = x.shape
    if num_users < 2:
        return np.full(len(x), np.nan), np.full(len(x), np.nan)
    of_users = x.mean(axis=1)
    user_part = of_users.var(axis=1, ddof=1) / num_users
    if num_seeds == 1:
        return np.sqrt(user_part), np.full(len(x), num_users - 1.0)
    of_seeds = x.mean(axis=2)
    seed_part = of_seeds.var(axis=1, ddof=1) / num_seeds
    rest = x - of_seeds[:, :, None] - of_users[:, None, :] + x.mean(axis=(1, 2))[:, None, None]
    freedom = (num_seeds - 1) * (num_users - 1)
    rest_part = np.square(rest).sum(axis=(1, 2)) / freedom / (num_seeds * num_users)
    variance = np.maximum.reduce([seed_part, user_part, seed_part + user_part - rest_part])
    spread = seed_part**2 / (num_seeds - 1) + user_part**2 / (num_users - 1) + rest_part**2 / freedom
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(spread > 0, variance**2 / spread, num_users - 1.0)
    return np.sqrt(variance), np.clip(df, 1.0, None)


def intervals(
    scores: npt.ArrayLike, *, level: float = LEVEL, repetitions: int = REPETITIONS, seed: int = 0
) -> Estimate:
    r"""Return means over users and seeds with bootstrap intervals.

    Users and seeds are drawn anew independently of each other, with replacement (the two-way or pigeonhole
    bootstrap, [1]): one sample has the mean

    .. math:: \bar x^* = \frac{1}{S U} \sum_s \sum_u v_s w_u x_{su}

    where :math:`v` and :math:`w` count how often a seed and a user was drawn. The quantiles of
    :math:`\bar x^*` alone would be too narrow, since a handful of seeds cannot show how far seeds go ([2]).
    So they give the interval its shape, and the two-way variance ``V`` and Student's t give it its width:

    .. math:: \bar x + c \, (q - \bar x), \qquad
        c = \frac{t_{1 - \alpha / 2, \nu} \sqrt{V}}{z_{1 - \alpha / 2} \operatorname{sd}(\bar x^*)}

    With many seeds and users ``c`` is about 1.

    Args:
        scores: ``(C, S, U)``; all columns share the drawn users and seeds.
        level: share of such intervals that hold the true mean.
        repetitions: samples to draw.
        seed: of the draws.

    Raises:
        InputError: a score is not finite or an argument is out of range.

    [1] Owen, The pigeonhole bootstrap, Annals of Applied Statistics 2007, https://arxiv.org/abs/0712.1111
    [2] Hesterberg, The American Statistician 2015, https://arxiv.org/abs/1411.5279
    """
    from scipy import stats

    x = _checked(scores)
    if not 0 < level < 1 or repetitions < 100:
        raise InputError(
            f"intervals: level {level:g}, {repetitions} repetitions; expected (0, 1), 100 or more"
        )
    mean = x.mean(axis=(1, 2))
    error, df = standard_error(x)
    if x.shape[2] < 2:
        nothing = np.full(len(x), np.nan)
        return Estimate(mean, nothing, nothing, error, df)
    deviation = _samples(x, repetitions, seed) - mean
    high_tail = (1 + level) / 2
    low, high = np.quantile(deviation, [1 - high_tail, high_tail], axis=0)
    width = stats.t.ppf(high_tail, df) * error
    spread = stats.norm.ppf(high_tail) * deviation.std(axis=0)
    stretch = np.divide(width, spread, out=np.zeros_like(width), where=spread > 0)
    return Estimate(mean, mean + stretch * low, mean + stretch * high, error, df)


def _samples(x: Float64Array, repetitions: int, seed: int) -> Float64Array:
    """Return ``(repetitions, C)`` means of resampled users and seeds."""
    generator = np.random.default_rng(seed)
    columns, num_seeds, num_users = x.shape
    seeds = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=repetitions) / num_seeds
    table = x.reshape(columns * num_seeds, num_users).T
    means = np.empty((repetitions, columns))
    step = max(1, _BLOCK // num_users)
    for start in range(0, repetitions, step):
        size = min(step, repetitions - start)
        drawn = generator.integers(0, num_users, size=(size, num_users))
        drawn += np.arange(size)[:, None] * num_users
        counts = np.bincount(drawn.ravel(), minlength=size * num_users).reshape(size, num_users)
        of_seeds = (counts @ table / num_users).reshape(size, columns, num_seeds)
        means[start : start + size] = np.einsum("rcs,rs->rc", of_seeds, seeds[start : start + size])
    return means


def paired_test(differences: npt.ArrayLike) -> Float64Array:
    r"""Return the two-sided p value of a mean difference of zero (a paired t test over users and seeds).

    .. math:: t = \bar d / \sqrt{V}

    with the two-way standard error and its degrees of freedom. A sign-flip test over users was left out on
    purpose: it has no notion of the seeds (see above), which is where most false findings come from.

    Args:
        differences: ``(C, S, U)`` scores less those of the baseline, of the same users and seeds.

    Returns:
        ``(C,)``; 1 where no user differs, ``nan`` where nothing varies that the difference could be
        measured by.
    """
    from scipy import stats

    x = _checked(differences)
    mean = x.mean(axis=(1, 2))
    error, df = standard_error(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean) / error, df)
    p = np.where(error > 0, p, np.nan)
    return np.where(np.abs(x).max(axis=(1, 2), initial=0.0) == 0, 1.0, p)


def holm(p: npt.ArrayLike) -> Float64Array:
    r"""Return p values adjusted so that the chance of *any* false finding stays below the level (Holm, [1]).

    .. math:: \tilde p_{(k)} = \max_{j \le k} \min(1, (m - j + 1) \, p_{(j)})

    It holds whatever the tests have in common, such as the same users in two groups.

    Args:
        p: ``(m,)``, one for each claim; a ``nan`` is no claim and stays.

    Example:
        >>> holm([0.01, 0.04, 0.03, float("nan")]).round(3).tolist()
        [0.03, 0.06, 0.06, nan]

    [1] Holm, Scandinavian Journal of Statistics 1979, https://www.jstor.org/stable/4615733
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = values.copy()
    claims = np.flatnonzero(~np.isnan(values))
    order = claims[np.argsort(values[claims], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return adjusted


def _checked(scores: npt.ArrayLike) -> Float64Array:
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 3 or 0 in x.shape[1:]:
        raise InputError(f"scores: found shape {x.shape}, expected (C, S, U) with a seed and a user at least")
    if not np.isfinite(x).all():
        raise InputError("scores: found a value that is not finite")
    return x
