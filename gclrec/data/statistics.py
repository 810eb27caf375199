"""Statistics of a data set, as JSON values."""

from __future__ import annotations

import warnings
from datetime import datetime, timezone
from typing import Any

import numpy as np
import polars as pl

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Dataset, IntArray, Interactions, TimeArray, Vocabulary
from gclrec.data.schema import Schema
from gclrec.data.splits import Split

K_CORES = (2, 5, 10)
"""The k-cores whose sizes are reported."""

_QUANTILES = {"min": 0, "q10": 10, "q25": 25, "median": 50, "q75": 75, "q90": 90, "q99": 99, "max": 100}
_FEW = 20  # up to this many distinct ratings are counted one by one
_CLOCK = (1e8, 2e10)  # seconds since 1970 that are dates from 1973 to 2603
_NANOSECONDS = (1e17, 9e18)  # the same times in nanoseconds, as far as int64 goes


def dataset_statistics(dataset: Dataset, split: Split | None = None) -> dict[str, Any]:
    """Return sizes, degrees, times, ratings and attributes of a data set, and the sizes of its parts.

    Args:
        dataset: the data set.
        split: a split of it, whose parts and cold rows are described as well.

    Returns:
        ``name``, ``synthetic``, ``users``, ``items``, ``interactions``, ``density`` (share of all pairs),
        ``users_without_interactions``, ``items_without_interactions``, ``user_degrees`` and
        ``item_degrees`` (quantiles, mean, Gini index), ``k_cores``, ``time``, ``ratings``,
        ``user_attributes``, ``item_attributes``, ``default_split``, ``parts`` (published) and ``split``;
        ``None`` for what the data set lacks.
    """
    pairs = dataset.interactions
    user_degrees, item_degrees = pairs.user_degrees(), pairs.item_degrees()
    return {
        "name": dataset.name,
        "synthetic": dataset.synthetic,
        "users": pairs.num_users,
        "items": pairs.num_items,
        "interactions": len(pairs),
        "density": len(pairs) / max(1, pairs.num_users * pairs.num_items),
        "users_without_interactions": int((user_degrees == 0).sum()),
        "items_without_interactions": int((item_degrees == 0).sum()),
        "user_degrees": degree_figures(user_degrees),
        "item_degrees": degree_figures(item_degrees),
        "k_cores": {str(k): _core_size(pairs, k) for k in K_CORES},
        "time": _time_figures(dataset),
        "ratings": _rating_figures(pairs),
        "user_attributes": _attribute_figures(dataset.user_attributes, pairs.users),
        "item_attributes": _attribute_figures(dataset.item_attributes, pairs.items),
        "default_split": dataset.default_split,
        "parts": part_figures(dict(dataset.parts)) if dataset.parts else None,
        "split": None if split is None else _split_figures(split),
    }


def headline(dataset: Dataset) -> str:
    """Return name and size of a data set on one line."""
    kind = " (synthetic: made by code, not by people)" if dataset.synthetic else ""
    pairs = dataset.interactions
    size = f"{pairs.num_users:,} users, {pairs.num_items:,} items, {len(pairs):,} interactions"
    return f"{dataset.name}{kind}: {size}"


def degree_figures(degrees: IntArray) -> dict[str, float]:
    """Return quantiles, mean and Gini index of numbers of interactions."""
    if len(degrees) == 0:
        return dict.fromkeys([*_QUANTILES, "mean", "gini"], 0.0)
    figures = {name: float(np.percentile(degrees, share)) for name, share in _QUANTILES.items()}
    figures["mean"] = float(degrees.mean())
    figures["gini"] = gini_index(degrees)
    return figures


def gini_index(counts: IntArray) -> float:
    r"""Return the Gini index of counts.

    .. math:: \frac{2 \sum_k k\, x_{(k)}}{n \sum_k x_k} - \frac{n + 1}{n}

    with the counts :math:`x_{(1)} \le x_{(2)} \le \dots` in ascending order: 0 if all are equal, near 1 if
    one has nearly all.
    """
    total, number = int(counts.sum()), len(counts)
    if total == 0:
        return 0.0
    places = np.arange(1, number + 1)
    return float(2 * (places * np.sort(counts)).sum() / (number * total) - (number + 1) / number)


def part_figures(parts: dict[str, Interactions]) -> dict[str, dict[str, Any]]:
    """Return the size of each part, and how much of it is cold: without a pair in ``train``.

    Returns:
        For each part ``interactions``, ``users``, ``items``; for those besides train also ``cold_users``,
        ``cold_items``, ``cold_interactions`` (pairs with a cold user or item) and ``item_dispersion``
        (:func:`item_dispersion`).
    """
    train = parts.get("train")
    figures: dict[str, dict[str, Any]] = {}
    for name, part in parts.items():
        figures[name] = {
            "interactions": len(part),
            "users": int((part.user_degrees() > 0).sum()),
            "items": int((part.item_degrees() > 0).sum()),
        }
        if train is None or part is train:
            continue
        no_user, no_item = train.user_degrees() == 0, train.item_degrees() == 0
        figures[name].update(
            cold_users=int((no_user & (part.user_degrees() > 0)).sum()),
            cold_items=int((no_item & (part.item_degrees() > 0)).sum()),
            cold_interactions=int((no_user[part.user] | no_item[part.item]).sum()),
            item_dispersion=item_dispersion(train, part),
        )
    return figures


def item_dispersion(train: Interactions, part: Interactions) -> float | None:
    r"""Return how unevenly a part takes pairs from the items; about 1 if it was drawn at random.

    .. math:: \frac{1}{n - 1} \sum_i \frac{(o_i - p\, d_i)^2}{d_i\, p\, (1 - p)}

    over the ``n`` items with pairs in either, of which item ``i`` has :math:`d_i`, :math:`o_i` of them in the
    part, and the part has the share :math:`p` of all pairs: Pearson's statistic divided by its degrees of
    freedom. If it is well above 1 for the test part, a random validation part does not resemble the test
    part, and what is best on one need not be best on the other.

    Returns:
        ``None`` if a part is empty or there is a single item.
    """
    held = part.item_degrees()
    pool = train.without(part).item_degrees() + held
    held, pool = held[pool > 0], pool[pool > 0].astype(np.float64)
    if len(pool) < 2 or not 0 < held.sum() < pool.sum():
        return None
    share = held.sum() / pool.sum()
    return float(((held - share * pool) ** 2 / (pool * share * (1 - share))).sum() / (len(pool) - 1))


def _split_figures(split: Split) -> dict[str, Any]:
    return {
        "name": split.name,
        "seed": split.seed,
        "train_fraction": split.train_fraction,
        "cold_users": len(split.cold_users),
        "cold_items": len(split.cold_items),
        "parts": part_figures({"train": split.train, "valid": split.valid, "test": split.test}),
    }


def _core_size(pairs: Interactions, k: int) -> dict[str, int]:
    try:
        core = pairs.k_core(k)
    except InputError:
        return {"users": 0, "items": 0, "interactions": 0}
    return {"users": core.num_users, "items": core.num_items, "interactions": len(core)}


def seconds_since_1970(dataset: Dataset) -> TimeArray | None:
    """Return the times of a data set in seconds since 1970.

    Returns:
        ``None`` if they are a mere order, or do not look like seconds or nanoseconds since 1970.
    """
    time = dataset.interactions.time
    if time is None or dataset.time_is_order or len(time) == 0:
        return None
    for (low, high), scale in ((_CLOCK, 1), (_NANOSECONDS, 1e9)):
        if low <= time.min() and time.max() <= high:
            return time / scale
    return None


def _time_figures(dataset: Dataset) -> dict[str, Any] | None:
    time = dataset.interactions.time
    if time is None or len(time) == 0:
        return None
    if dataset.time_is_order:
        return {"kind": "order", "longest": int(dataset.interactions.user_degrees().max())}
    seconds = seconds_since_1970(dataset)
    if seconds is None:
        return {"kind": "numbers", "first": float(time.min()), "last": float(time.max())}
    first, last = float(seconds.min()), float(seconds.max())
    dates = [datetime.fromtimestamp(moment, tz=timezone.utc).isoformat() for moment in (first, last)]
    days = (last - first) / 86_400
    return {"kind": "clock", "first": dates[0], "last": dates[1], "days": days}


def _rating_figures(pairs: Interactions) -> dict[str, Any] | None:
    weight = pairs.weight
    if weight is None or len(weight) == 0:
        return None
    values, counts = np.unique(weight, return_counts=True)
    low = high = values
    if len(values) > _FEW:
        counts, edges = np.histogram(weight, bins=10)
        low, high = edges[:-1], edges[1:]
    bars = [
        {"from": float(least), "to": float(most), "interactions": int(count)}
        for least, most, count in zip(low, high, counts, strict=True)
    ]
    return {"mean": float(weight.mean(dtype=np.float64)), "distinct": len(values), "histogram": bars}


def _attribute_figures(table: pl.DataFrame | None, vocabulary: Vocabulary) -> list[dict[str, Any]] | None:
    """Return kind, coverage (share of the vocabulary with a value) and variety of each field."""
    if table is None:
        return None
    rows = vocabulary.rows(table["id"])
    here = table.filter(pl.Series(rows >= 0, dtype=pl.Boolean))
    texts = _texts(table)
    figures = [_field_figures(here[name], len(vocabulary)) for name in table.columns[1:]]
    return [known | {"kind": "words"} if known["field"] in texts else known for known in figures]


def _texts(table: pl.DataFrame) -> set[str]:
    """Return the names of the columns that a schema reads as words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        try:
            fields = Schema.fit(table).fields
        except InputError:
            return set()
    return {known.name for known in fields if known.kind == "words"}


def _field_figures(column: pl.Series, number: int) -> dict[str, Any]:
    known = column.drop_nulls()
    figures: dict[str, Any] = {
        "field": column.name,
        "kind": _kind(column.dtype),
        "coverage": len(known) / max(1, number),
    }
    if column.dtype == pl.List(pl.Float64):
        return figures | {"length": known.list.len().max() or 0}
    if isinstance(column.dtype, pl.List):
        per_row = known.list.len().mean()
        return figures | {
            "distinct": known.explode().n_unique() if len(known) else 0,
            "per_row": 0.0 if per_row is None else per_row,
        }
    if column.dtype.is_float():
        return figures | {"least": known.min(), "most": known.max()}
    return figures | {"distinct": known.n_unique()}


def _kind(dtype: pl.DataType) -> str:
    if dtype == pl.List(pl.Float64):
        return "vector"
    if isinstance(dtype, pl.List):
        return "categories"
    return "number" if dtype.is_float() else "category"
