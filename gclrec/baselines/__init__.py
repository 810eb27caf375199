"""Baselines: what people use instead of a trained graph model. Each is fitted once, without epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gclrec.baselines.neighbours import item_knn
from gclrec.baselines.scorers import Scorer, VectorScorer
from gclrec.baselines.spectral import gf_cf, popularity, pure_svd

__all__ = [
    "BASELINES",
    "Baseline",
    "Scorer",
    "VectorScorer",
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
    """

    fit: Callable[..., Scorer]
    settings: tuple[str, ...] = ()


BASELINES: Mapping[str, Baseline] = {
    "popularity": Baseline(popularity),
    "item_knn": Baseline(item_knn, ("neighbours", "shrink")),
    "pure_svd": Baseline(pure_svd, ("dim", "seed")),
    "gf_cf": Baseline(gf_cf, ("rank", "low_pass", "seed")),
}
