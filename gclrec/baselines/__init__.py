"""Baselines: models that are fitted once, without epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gclrec.baselines.content_knn import content_knn
from gclrec.baselines.ease import ease
from gclrec.baselines.gf_cf import gf_cf
from gclrec.baselines.group_popularity import group_popularity
from gclrec.baselines.ials import ials
from gclrec.baselines.item_knn import item_knn
from gclrec.baselines.linear_map import linear_map
from gclrec.baselines.popularity import popularity
from gclrec.baselines.pure_svd import pure_svd
from gclrec.baselines.rp3beta import rp3beta
from gclrec.baselines.scorers import Scorer
from gclrec.common.declaration import Declared, declarations

__all__ = ["BASELINES", "Baseline", "Scorer"]


@dataclass(frozen=True)
class Baseline:
    """One entry of :data:`BASELINES`.

    Args:
        fit: ``(graph, **settings) -> Scorer``; its annotated keyword arguments are settings of a run.
        about: the score of item ``j`` for user ``u``.
        attributes_of: ``"users"`` or ``"items"``, whose attributes it takes too: ``fit(graph, table, ...)``.
    """

    fit: Callable[..., Scorer]
    about: str
    attributes_of: str | None = None

    @property
    def declared(self) -> Mapping[str, Declared]:
        """Its settings by keyword argument."""
        return declarations(self.fit)


BASELINES: Mapping[str, Baseline] = {
    "popularity": Baseline(popularity, "training interactions of `j`"),
    "group_popularity": Baseline(
        group_popularity,
        "share of `j` in the interactions of the users with the attributes of `u`",
        attributes_of="users",
    ),
    "item_knn": Baseline(item_knn, "sum of `cos(i, j)` over the user's items among the nearest of `j`"),
    "content_knn": Baseline(
        content_knn,
        "TF-IDF cosine of the user's items together and `j`, by the items' attributes",
        attributes_of="items",
    ),
    "linear_map": Baseline(
        linear_map,
        "`w_u c_j`, a linear map of the attributes of `j`, fitted for each user to all items of training",
        attributes_of="items",
    ),
    "pure_svd": Baseline(pure_svd, "`r_u Q q_j`, from the truncated SVD of the interaction matrix"),
    "gf_cf": Baseline(
        gf_cf, "`r_u (R'R + a D^-1/2 V V' D^1/2)`, `a` for low_pass: linear filter plus ideal low-pass filter"
    ),
    "rp3beta": Baseline(
        rp3beta,
        "probability of a walk of three steps from `u` to `j`, divided by a power of the degree of `j`",
    ),
    "ease": Baseline(
        ease, "sum of the weights from the user's items to `j` that reconstruct the interactions best"
    ),
    "ials": Baseline(
        ials, "`x_u y_j`, fitted to all pairs by least squares, those without interaction weighing less"
    ),
}
"""Baselines by the name that ``baseline`` takes."""
