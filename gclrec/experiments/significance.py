r"""Intervals and tests of a mean difference where both users and seeds are random.

The score :math:`x_{su}` of user ``u`` in the run with seed ``s`` is modelled as

.. math:: x_{su} = \mu + a_s + b_u + e_{su}

with random effects of the seed and of the user, and a residual; every run has the same users. Two runs of the
*same* method differ by :math:`a_s`, for all users together. A test over users alone ignores that: with many
users it calls two runs of the same method different far more often than its level says. The two-way standard
error of the mean ([1]) does not:

.. math::
    V_S = \frac{s^2(\bar x_{s \cdot})}{S}, \quad V_U = \frac{s^2(\bar x_{\cdot u})}{U}, \quad
    V_E = \frac{s^2(e)}{S U}, \qquad V = \max(V_S, V_U, V_S + V_U - V_E)

(:math:`V_S` and :math:`V_U` both include the residual, which is subtracted once), with Satterthwaite's
degrees of freedom ([2]). It is conservative where seeds make no difference. With one seed only
:math:`V = V_U` is known: a finding then holds for these two trained models, not for the methods.

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
"""Default level of intervals."""
REPETITIONS = 2000
"""Default number of bootstrap samples."""

_BLOCK = 2**22  # resampled users in memory at a time


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
        Both ``(C,)``; the error is ``nan`` if there is only one user.
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

    Users and seeds are resampled independently, with replacement (the two-way or pigeonhole bootstrap, [1]).
    A sample has the mean

    .. math:: \bar x^* = \frac{1}{S U} \sum_s \sum_u v_s w_u x_{su}

    where :math:`v` and :math:`w` count how often a seed and a user was drawn. The quantiles of
    :math:`\bar x^*` alone are too narrow with a few seeds ([2]). They give the interval its shape; its width
    is that of Student's t with the two-way variance ``V``:

    .. math:: \bar x + c \, (q - \bar x), \qquad
        c = \frac{t_{1 - \alpha / 2, \nu} \sqrt{V}}{z_{1 - \alpha / 2} \operatorname{sd}(\bar x^*)}

    With many seeds and users ``c`` is about 1.

    Args:
        scores: ``(C, S, U)``; all columns share the resampled users and seeds.
        level: share of such intervals that contain the true mean.
        repetitions: number of samples.
        seed: of the resampling.

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

    with the two-way standard error and its degrees of freedom. A sign-flip test over users would ignore the
    seeds, which cause most false findings (see above).

    Args:
        differences: ``(C, S, U)`` scores minus those of the baseline, paired by user and seed.

    Returns:
        ``(C,)``; 1 where no user differs, ``nan`` where the difference has no variance.
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
    r"""Return adjusted p values: the probability of *any* false finding stays below the level (Holm, [1]).

    .. math:: \tilde p_{(k)} = \max_{j \le k} \min(1, (m - j + 1) \, p_{(j)})

    It holds for dependent tests, such as those of two groups with users in common.

    Args:
        p: ``(m,)``, one for each test; ``nan`` is no test and is kept.

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
