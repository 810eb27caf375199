"""Baselines: what people use instead of a trained graph model. Each is fitted once, without epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gclrec.baselines.content_knn import content_knn
from gclrec.baselines.item_knn import item_knn
from gclrec.baselines.scorers import Scorer, VectorScorer
from gclrec.baselines.spectral import gf_cf, popularity, pure_svd

__all__ = [
    "BASELINES",
    "Baseline",
    "Scorer",
    "VectorScorer",
    "content_knn",
    "gf_cf",
    "item_knn",
    "popularity",
    "pure_svd",
]


@dataclass(frozen=True)
class Baseline:
    """One entry of :data:`BASELINES`.

    Args:
        fit: ``(graph, **settings) -> Scorer``.
        settings: names of the settings that it takes; all others leave it unmoved.
        needs_attributes: whether it takes the items' attributes too, as ``fit(graph, items, ...)``.
    """

    fit: Callable[..., Scorer]
    settings: tuple[str, ...] = ()
    needs_attributes: bool = False


BASELINES: Mapping[str, Baseline] = {
    "popularity": Baseline(popularity),
    "item_knn": Baseline(item_knn, ("neighbours", "shrink")),
    "content_knn": Baseline(content_knn, needs_attributes=True),
    "pure_svd": Baseline(pure_svd, ("dim", "seed")),
    "gf_cf": Baseline(gf_cf, ("rank", "low_pass", "seed")),
}
