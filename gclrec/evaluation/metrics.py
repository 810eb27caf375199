r"""Figures of merit of ranked lists, one vectorised function each.

Every accuracy metric takes ``hits (B, K)`` (is the item at this rank a test item of the user?), the number
of test items ``num_relevant (B,)``, called :math:`|T_u|`, and a cut ``k``; it returns one float64 in
``[0, 1]`` per user, 0 for a user without test items. Places beyond ``K`` count as misses. :math:`h_{ur}` is 1
if the item at rank ``r`` (from 1) is a hit. A ``k`` below 1 raises ``ValueError``.

A catalogue metric takes ranked item rows ``(B, K)``, ``-1`` in a place left empty, the training interactions
of each item ``(I,)`` and the cut, and returns one number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gclrec.data.interactions import BoolArray, Float64Array, IntArray, RowArray

Metric = Callable[[BoolArray, IntArray, int], Float64Array]
CatalogueMetric = Callable[[RowArray, IntArray, int], float]


def recall(hits: BoolArray, num_relevant: IntArray, k: int) -> Float64Array:
    r"""Return the share of the user's test items that is among the first ``k``.

    .. math:: \frac{1}{|T_u|} \sum_{r=1}^{k} h_{ur}

    The denominator is all test items, also where there are more than ``k``, as in the NGCF and LightGCN
    papers (https://arxiv.org/abs/1905.08108, https://arxiv.org/abs/2002.02126).
    """
    return _ratio(_num_hits(hits, k), num_relevant)


def precision(hits: BoolArray, num_relevant: IntArray, k: int) -> Float64Array:
    r"""Return the share of the first ``k`` places that holds test items.

    .. math:: \frac{1}{k} \sum_{r=1}^{k} h_{ur}
    """
    return np.where(num_relevant > 0, _num_hits(hits, k) / k, 0.0)


def hit(hits: BoolArray, num_relevant: IntArray, k: int) -> Float64Array:
    r"""Return 1 if any of the first ``k`` items is a test item (hit rate).

    .. math:: \max_{r \le k} h_{ur}
    """
    return np.where(num_relevant > 0, _num_hits(hits, k) > 0, 0.0)


def ndcg(hits: BoolArray, num_relevant: IntArray, k: int) -> Float64Array:
    r"""Return the discounted gain of the first ``k``, as a share of the best that is possible.

    .. math:: \frac{\sum_{r=1}^{k} h_{ur} / \log_2(r + 1)}{\sum_{r=1}^{\min(k, |T_u|)} 1 / \log_2(r + 1)}

    Binary gain; the ideal list has ``min(k, |T_u|)`` hits, so a full list of hits scores 1
    (Järvelin and Kekäläinen, TOIS 2002, https://doi.org/10.1145/582415.582418).
    """
    _check(k)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    first = hits[:, :k]
    return _ratio((first * discount[: first.shape[1]]).sum(axis=1), ideal[np.minimum(num_relevant, k)])


def mrr(hits: BoolArray, num_relevant: IntArray, k: int) -> Float64Array:
    r"""Return one over the rank of the first test item, 0 if it is not among the first ``k``.

    .. math:: 1 / \min \{ r \le k : h_{ur} = 1 \}
    """
    _check(k)
    first = hits[:, :k]
    if not first.shape[1]:
        return np.zeros(len(hits))
    found = first.any(axis=1) & (num_relevant > 0)
    return np.where(found, 1.0 / (first.argmax(axis=1) + 1), 0.0)


def average_precision(hits: BoolArray, num_relevant: IntArray, k: int) -> Float64Array:
    r"""Return the mean of the precision at each test item found (MAP is its mean over users).

    .. math:: \frac{1}{\min(k, |T_u|)} \sum_{r=1}^{k} h_{ur} \, \frac{1}{r} \sum_{q=1}^{r} h_{uq}

    The denominator is what a list of ``k`` can hold at most, so a full list of hits scores 1.
    """
    _check(k)
    first = hits[:, :k]
    found = np.cumsum(first, axis=1, dtype=np.float64)
    found *= first / np.arange(1, first.shape[1] + 1)
    return _ratio(found.sum(axis=1), np.minimum(num_relevant, k))


def coverage(items: RowArray, item_degrees: IntArray, k: int) -> float:
    r"""Return the share of the catalogue that is in the first ``k`` of at least one user.

    .. math:: \frac{1}{I} \left| \bigcup_u L_u^k \right|
    """
    counts = _recommended(items, len(item_degrees), k)
    return float(np.count_nonzero(counts) / len(counts)) if len(counts) else float("nan")


def gini(items: RowArray, item_degrees: IntArray, k: int) -> float:
    r"""Return how unequally the first ``k`` places are shared among all items: 0 equal, near 1 all to one.

    .. math:: \frac{\sum_{j=1}^{I} (2j - I - 1) \, c_{(j)}}{I \sum_j c_j}

    where :math:`c_{(1)} \le \dots \le c_{(I)}` count how often each item is recommended. NaN if nothing is.
    """
    counts = np.sort(_recommended(items, len(item_degrees), k))
    n = len(counts)
    total = int(counts.sum())
    return float((2 * np.arange(1, n + 1) - n - 1) @ counts / (n * total)) if total else float("nan")


def mean_popularity(items: RowArray, item_degrees: IntArray, k: int) -> float:
    r"""Return the mean number of training interactions of the items in the first ``k`` places.

    .. math:: \frac{\sum_u \sum_{i \in L_u^k} \deg(i)}{\sum_u |L_u^k|}

    NaN if nothing is recommended.
    """
    counts = _recommended(items, len(item_degrees), k)
    total = int(counts.sum())
    return float(counts @ item_degrees / total) if total else float("nan")


def cold_share(items: RowArray, item_degrees: IntArray, k: int) -> float:
    r"""Return the share of the first ``k`` places that hold cold items, which have no training interaction.

    .. math:: \frac{\sum_u |\{ i \in L_u^k : \deg(i) = 0 \}|}{\sum_u |L_u^k|}

    To be read beside the share of the test pairs that have a cold item. NaN if no item is cold, or nothing is
    recommended.
    """
    cold = item_degrees == 0
    counts = _recommended(items, len(item_degrees), k)
    total = int(counts.sum())
    return float(counts[cold].sum() / total) if total and cold.any() else float("nan")


def _check(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")


def _num_hits(hits: BoolArray, k: int) -> IntArray:
    _check(k)
    return np.asarray(np.count_nonzero(hits[:, :k], axis=1), dtype=np.int64)


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Float64Array:
    """Divide, with 0 where there is nothing to divide by."""
    ratio = np.zeros(len(part))
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _recommended(items: RowArray, num_items: int, k: int) -> IntArray:
    """Return how often each item is in the first ``k`` places, ``(I,)``."""
    _check(k)
    first = items[:, :k].reshape(-1)
    return np.bincount(first[first >= 0], minlength=num_items)


METRICS: dict[str, Metric] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": precision,
    "hit": hit,
    "mrr": mrr,
    "map": average_precision,
}
"""Accuracy of one user's list; reported as the mean over users."""

CATALOGUE_METRICS: dict[str, CatalogueMetric] = {
    "coverage": coverage,
    "gini": gini,
    "popularity": mean_popularity,
    "cold_share": cold_share,
}
"""What all lists together do to the catalogue."""
