r"""Explanations: a score split over the items of the user's history.

Where a user's vector is a sum over its items, so is every score of it:

.. math:: s(u, i) = \sum_{j \in N(u)} c_u\, p_j^\top y_i + c_u\, b_u^\top y_i, \qquad
    c_u = \Big| b_u + \sum_{j \in N(u)} p_j \Big|^{\gamma - 1}

with :math:`y_i` the item's final vector and :math:`\gamma` the power of the user's own length in the score (1
for an inner product, 0 for a cosine). The part :math:`p_j` of an item of the history and the base :math:`b_u`
depend on how the vector was made:

* linear propagation (LightGCN): :math:`p_j = |N|^{-a} s_j`, what the user receives from ``j`` in layers 1 and
  up (:mod:`gclrec.recall.fold_in`), and :math:`b_u = w_0 x_u^{(0)}`, the user's own vector; it is zero for
  new users and for users that are made of their items (``user_vectors="items"``);
* least squares (iALS, [1]): :math:`p_j = A_u^{-1} y_j` with the matrix :math:`A_u` of the user's equations,
  and :math:`b_u = 0`;
* new users otherwise: :math:`p_j = |N|^{-1/2} s_j W` by the ridge regression, whose constant is :math:`b_u`.

The split is that of the score at hand: an item that is taken away leaves the score without its contribution
while the number of items and their vectors stay as they are.

[1] Hu, Koren, Volinsky, ICDM 2008, https://doi.org/10.1109/ICDM.2008.22
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from gclrec.common.errors import InputError, SettingError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import Float64Array, IntArray, Vocabulary, normal_ids
from gclrec.data.io.frames import table_from
from gclrec.recall.new_users import histories_of
from gclrec.recall.raw_ids import Lookup, RawIds, distinct_rows, user_item_columns
from gclrec.recall.recommendation import Recommendation

if TYPE_CHECKING:
    from gclrec.recall.fold_in import FoldIn
    from gclrec.runs.embeddings import FloatArray


class Explanation(NamedTuple):
    """A score and its parts: ``sum(value for _, value in because) + others + own`` is the score.

    Args:
        item: the item that is explained, in the user's own id.
        score: its score for the user.
        because: items of the user with what each contributes, the largest contribution first.
        others: what the other items of the user contribute together.
        own: what comes from no item: the user's own vector, or the constant of a regression.
    """

    item: int | str
    score: float
    because: list[Recommendation]
    others: float
    own: float


class _Split(NamedTuple):
    """The scores of ``k`` items: items of the history ``(n,)``, contributions ``(n, k)``, own ``(k,)``."""

    history: IntArray
    contributions: Float64Array
    own: Float64Array


@dataclass(frozen=True, eq=False)
class Explainer:
    """Splits scores over the items of users; its arguments are parts of a recommender.

    Args:
        fold_in: of the run.
        users: finds the rows of raw user ids.
        items: finds the rows of raw item ids.
        item_ids: raw item ids by row.
        item_vectors: ``(I, D)`` final vectors.
        user_vectors: ``(U, D)`` final vectors of the users of training.
        trained_on: the items that each of these was trained on.
    """

    fold_in: FoldIn
    users: Lookup
    items: Lookup
    item_ids: Vocabulary
    item_vectors: FloatArray
    user_vectors: FloatArray
    trained_on: Ragged

    def explain(
        self, user: object, items: RawIds, *, history: RawIds = None, top: int = 5
    ) -> list[Explanation]:
        """Return how the scores of items come about: what each item of the user's history contributes.

        Args:
            user: raw id; ``None`` for a new user, who has ``history`` alone.
            items: raw ids of the items to explain, or one id.
            history: raw ids of items that the user has, beside those of training.
            top: the most items of the history to name.

        Raises:
            InputError: an id is unknown, or the vector of the user is no sum over items.
        """
        row = -1 if user is None else self.users.of(user)
        given = np.empty(0, dtype=np.int64)
        if history is not None:
            given = distinct_rows(history, self.items, "item", skip_unknown=False)
        elif user is None:
            raise InputError("explanations: found neither a user nor a history, expected one of them")
        one = [items] if isinstance(items, (int, str, np.integer)) else items
        return self._explained(row, given, distinct_rows(one, self.items, "item", skip_unknown=False), top)

    def columns(self, answers: pl.DataFrame, *, histories: Any = None, top: int = 5) -> pl.DataFrame:
        """Return a table of recommendations with the parts of each score in columns.

        They are ``because_1``, ``contribution_1`` to ``because_N``, ``contribution_N`` (null where a user has
        fewer items), ``others`` and ``own``: flat, so that CSV can hold them too.

        Args:
            answers: of ``recommend_many``, or of ``recommend_for`` with a table.
            histories: the table that ``recommend_for`` was given.
            top: ``N``.

        Raises:
            InputError: the vector of a user is no sum over items.
        """
        users = answers["user"].unique(maintain_order=True)
        if histories is None:
            rows, given = self.users.rows(users), Ragged.empty(len(users))
        else:
            what = "the interactions of new users"
            table = user_item_columns(table_from(histories, what), what)
            asked = Lookup(Vocabulary(users), "user").rows(normal_ids(table["user"])) >= 0
            table = table.filter(asked & (self.items.rows(normal_ids(table["item"])) >= 0))
            found = histories_of(table, self.users, self.items, self.fold_in, skip_unknown=False)
            places = Lookup(Vocabulary(found.ids), "user").rows(users)
            rows, given = found.rows[places], found.given.take(places)
        owner = Lookup(Vocabulary(users), "user").rows(answers["user"])
        targets = Ragged.from_pairs(owner, self.items.rows(answers["item"]), len(users))
        by_user = [
            each
            for place, row in enumerate(rows.tolist())
            for each in self._explained(row, given[place], targets[place], top)
        ]
        place = np.argsort(np.argsort(owner, kind="stable"), kind="stable")  # of each row among them
        explained = [by_user[number] for number in place.tolist()]
        columns = []
        for rank in range(top):
            named = [each.because[rank] if rank < len(each.because) else (None, None) for each in explained]
            ids = pl.Series(f"because_{rank + 1}", [item for item, _ in named], self.item_ids.ids.dtype)
            values = pl.Series(f"contribution_{rank + 1}", [value for _, value in named], pl.Float32)
            columns += [ids, values]
        for name in ("others", "own"):
            columns.append(pl.Series(name, [getattr(each, name) for each in explained], pl.Float32))
        return answers.hstack(columns)

    def _explained(self, user: int, given: IntArray, rows: IntArray, top: int) -> list[Explanation]:
        """Return how the scores of ``(k,)`` items come about for one user, ``-1`` for a new one."""
        if top < 1:
            raise SettingError("explain", f"must be at least 1, got {top}")
        split = self._split(user, given, rows)
        scores = split.contributions.sum(axis=0) + split.own
        found = []
        for place, item in enumerate(self.item_ids.raw(rows).to_list()):
            values = split.contributions[:, place]
            order = np.argsort(-values, kind="stable")[:top]
            names = self.item_ids.raw(split.history[order]).to_list()
            named = [Recommendation(*pair) for pair in zip(names, values[order].tolist(), strict=True)]
            others = float(values.sum() - values[order].sum()) if len(values) > top else 0.0
            found.append(Explanation(item, float(scores[place]), named, others, float(split.own[place])))
        return found

    def _split(self, user: int, given: IntArray, rows: IntArray) -> _Split:
        fold_in, trained = self.fold_in, user >= 0
        if trained and not (fold_in.propagates or fold_in.least_squares is not None):
            raise InputError(
                "explanations: the vectors of this run's users are no sums over their items, so their scores "
                "do not split; those of lightgcn and ials do"
            )
        before = self.trained_on[user] if trained else given[:0]
        now = self._told(np.union1d(before, given))
        parts = self._parts(now)
        base = np.zeros(parts.shape[1])
        if fold_in.least_squares is not None:
            pass  # all of the vector comes from the items
        elif trained:
            whole = fold_in.unscaled_users(self.user_vectors[[user]], np.array([user]))[0]
            base = whole - self._parts(self._told(before)).sum(axis=0)
        elif not fold_in.propagates:
            ridge = fold_in.user_ridge
            base = ridge.mean - ridge.centre.astype(np.float64) @ ridge.matrix
        length = float(np.linalg.norm(base + parts.sum(axis=0)))
        scale = (length or 1.0) ** (fold_in.exponents[0] - 1)
        targets = self.item_vectors[rows].astype(np.float64).T
        layers = targets[: fold_in.dim] * scale
        contributions = parts @ layers
        if fold_in.content_dim:
            content = fold_in.item_content[now].astype(np.float64)
            total = float(np.linalg.norm(content.sum(axis=0))) or 1.0
            contributions += content @ targets[fold_in.dim :] * (length * scale / total)
        return _Split(now, contributions, base @ layers)

    def _told(self, history: IntArray) -> IntArray:
        """Return those items of a history that training has seen."""
        return history[self.fold_in.item_tells[history]]

    def _parts(self, history: IntArray) -> Float64Array:
        """Return ``(n, D)`` what each item adds to a user's vector before the score changes its length."""
        fold_in, count = self.fold_in, len(history)
        sent = fold_in.item_layers[history].astype(np.float64)
        if fold_in.least_squares is not None:
            solver = fold_in.least_squares[0]
            penalty = solver.l2 * (count + solver.base) ** solver.exponent
            matrix = np.asarray(solver.gram, np.float64) + sent.T @ sent + penalty * np.eye(sent.shape[1])
            solved: Float64Array = np.linalg.solve(matrix, sent.T).T
            return solved
        sent *= max(count, 1) ** -fold_in.degree_exponent
        return sent if fold_in.propagates else sent @ fold_in.user_ridge.matrix
