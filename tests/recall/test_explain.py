"""Explanations: the encoder's own layers, taken apart by slow sums, are the oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.baselines import ials
from gclrec.common.errors import InputError, SettingError
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import Vocabulary
from gclrec.encoders import LAYER_WEIGHTS, LightGCN
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.explain import Explanation
from gclrec.recall.fold_in import FoldIn
from gclrec.recall.index import Index
from gclrec.recall.recommender import Recommender

from .folded_run import FoldedRun, folded_run

SCORES = {"dot": (1.0, 1.0), "cosine": (0.0, 0.0), "calibrated": (0.0, 0.4)}


def total(explanation: Explanation) -> float:
    return sum(value for _, value in explanation.because) + explanation.others + explanation.own


def messages(run: FoldedRun, user: int) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """What a user receives from each of its items over all layers, and its own share, edge by edge."""
    users, items = run.parts["train"]
    du, di = np.bincount(users, minlength=30) * 1.0, np.bincount(items, minlength=60) * 1.0
    edges = list(zip(users, items, (du[users] * di[items]) ** -run.encoder.degree_exponent, strict=True))
    weights, states = (
        run.encoder.layer_shares(),
        [x.detach().double().numpy() for x in run.encoder.layer_zero],
    )
    parts, own = {item: np.zeros(8) for one, item in zip(users, items, strict=True) if one == user}, states[0]
    own = own[user] * weights[0]
    for share in weights[1:]:
        fresh = [np.zeros((30, 8)), np.zeros((60, 8))]
        for u, i, weight in edges:
            fresh[0][u] += weight * states[1][i]
            fresh[1][i] += weight * states[0][u]
            if u == user:
                parts[i] += share * weight * states[1][i]
        states = fresh
    return parts, own


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("layer_weights", LAYER_WEIGHTS)
def test_parts_are_what_the_layers_pass_along_each_edge(
    layer_weights: str, score: str, tmp_path: Path
) -> None:
    """An item struck out of every layer's sum leaves the vector without exactly its contribution."""
    run = folded_run(tmp_path / "run", layer_weights, exponents=SCORES[score], degree_exponent=0.3)
    recommender = Recommender.load(run.path)
    for user in (0, 5, 17):
        parts, own = messages(run, user)
        raw = np.sum(list(parts.values()), axis=0) + own
        scale = np.linalg.norm(raw) ** (SCORES[score][0] - 1)
        raw_id = run.users.ids[user]
        found = recommender.recommend(raw_id, k=5, exclude_seen=False)
        why = recommender.explain(raw_id, [item for item, _ in found], top=100)
        for (item, value), each in zip(found, why, strict=True):
            target = run.item_vectors[run.items.row(item)]
            assert each.item == item
            assert each.score == pytest.approx(value, abs=1e-5)
            assert total(each) == pytest.approx(value, abs=1e-5)
            assert each.own == pytest.approx(scale * own @ target, abs=1e-5)
            assert each.others == 0
            expected = {run.items.ids[int(j)]: scale * part @ target for j, part in parts.items()}
            assert dict(each.because) == pytest.approx(expected, abs=1e-5)
            values = [part for _, part in each.because]
            assert values == sorted(values, reverse=True)
            assert np.ptp(values) > 1e-3


def test_top_names_the_largest_and_sums_the_others(tmp_path: Path) -> None:
    run = folded_run(tmp_path / "run")
    recommender = Recommender.load(run.path)
    user = run.users.ids[5]
    (whole,) = recommender.explain(user, [run.items.ids[3]], top=100)
    (short,) = recommender.explain(user, run.items.ids[3], top=2)
    assert short.because == whole.because[:2]
    assert short.others == pytest.approx(sum(value for _, value in whole.because[2:]))
    assert total(short) == pytest.approx(whole.score)
    assert len(whole.because) == run.histories.lengths[5] > 2


def test_users_made_of_their_items_have_nothing_of_their_own(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=6, num_layers=2, init_std=1.0, user_vectors="items")
    final = [part.detach().numpy() for part in encoder(toy_graph)]
    user, item = toy_graph.edge_index.numpy()
    recommender = Recommender(
        Vocabulary.in_order(range(12)),
        final[0],
        Index.exact(final[1], range(10)),
        Ragged.from_pairs(user, item, 12, distinct=True),
        fold_in=FoldIn.of_layers(toy_graph, *encoder.as_polynomial(toy_graph)),
    )
    for each in recommender.explain(3, list(range(10)), top=10):
        assert each.own == pytest.approx(0, abs=1e-6)
        assert total(each) == pytest.approx(final[0][3] @ final[1][each.item], abs=1e-5)
        assert {name for name, _ in each.because} == set(item[user == 3])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("layer_weights", ["mean", None])
def test_new_users(layer_weights: str | None, score: str, tmp_path: Path) -> None:
    """Also of matrix factorisation, where the ridge regression is a sum over the history."""
    run = folded_run(tmp_path / "run", layer_weights, exponents=SCORES[score])
    recommender = Recommender.load(run.path)
    history = run.items.ids.gather([3, 9, 51, 20]).to_list()  # 51 is cold: it tells nothing
    found = recommender.recommend_for(history, k=6)
    why = recommender.explain(None, [item for item, _ in found], history=history, top=9)
    for (_, value), each in zip(found, why, strict=True):
        assert total(each) == pytest.approx(value, abs=1e-5)
        assert {item for item, _ in each.because} == {history[0], history[1], history[3]}
        if layer_weights is not None:
            assert each.own == 0
    if layer_weights is None:
        assert np.abs([each.own for each in why]).max() > 1e-3


@pytest.mark.parametrize("score", SCORES)
def test_returning_users_in_a_table(score: str, tmp_path: Path) -> None:
    """Known users with further items beside new ones, whose answers come in another order."""
    run = folded_run(tmp_path / "run", exponents=SCORES[score], ids="string")
    recommender = Recommender.load(run.path)
    known = [run.users.ids[7], run.users.ids[11]]
    items = run.items.ids.gather([2, 40, 8, 51, 30]).to_list()
    table = pl.DataFrame({"user": [known[1], "new", known[0], "new", known[0]], "item": items})
    answers = recommender.recommend_for(table, k=4).sort("rank", "user")
    explained = recommender.explainer.columns(answers, histories=table, top=3)
    assert explained.select(answers.columns).equals(answers)
    whole = pl.sum_horizontal(pl.selectors.starts_with("contribution_"), "others", "own")
    gap = explained.select((whole - pl.col("score")).abs().max()).item()
    assert gap < 1e-5
    one = explained.row(by_predicate=(pl.col("user") == known[0]) & (pl.col("rank") == 1), named=True)
    history = table.filter(user=known[0])["item"]
    (alone,) = recommender.explain(known[0], one["item"], history=history, top=3)
    for rank, (item, value) in enumerate(alone.because, 1):
        assert one[f"because_{rank}"] == item
        assert one[f"contribution_{rank}"] == pytest.approx(value, abs=1e-6)
    few = explained.filter(user="new")  # it has two items, of which training has seen one
    assert few["because_1"].null_count() == 0
    assert few["because_2"].null_count() == few["contribution_3"].null_count() == len(few) == 4


def test_added_items_are_explained_and_explain(tmp_path: Path) -> None:
    run = folded_run(tmp_path / "run")
    users = run.users.ids.gather([3, 5, 9])
    recommender = Recommender.load(run.path).add_items(pl.DataFrame({"user": users, "item": [1000] * 3}))
    user = run.users.ids[8]
    (each,) = recommender.explain(user, 1000, top=50)
    assert total(each) == pytest.approx(recommender.index.vectors[60] @ run.user_vectors[8], abs=1e-5)
    ((item, value), *_) = recommender.recommend_for([1000, run.items.ids[3]], k=1)
    (new,) = recommender.explain(None, item, history=[1000, run.items.ids[3]])
    assert {name for name, _ in new.because} == {1000, run.items.ids[3]}
    assert total(new) == pytest.approx(value, abs=1e-5)


def test_least_squares_split_as_in_the_paper(toy_graph: BipartiteGraph) -> None:
    scorer = ials(toy_graph, dim=4, unobserved=0.3, l2=0.02, l2_exponent=0.7, iterations=20)
    users, items = (part.numpy() for part in scorer.vectors)
    user, item = toy_graph.edge_index.numpy()
    lists = Ragged.from_pairs(user, item, 12, distinct=True)
    fold_in = FoldIn.of_vectors(toy_graph, *scorer.vectors, least_squares=scorer.least_squares)
    recommender = Recommender(
        Vocabulary.in_order(range(12)), users, Index.exact(items, range(10)), lists, fold_in=fold_in
    )
    for one in (0, 4):
        for each in recommender.explain(one, list(range(10)), top=10):
            assert total(each) == pytest.approx(users[one] @ items[each.item], abs=1e-5)
            assert each.own == 0
            assert len(each.because) == len(lists[one]) > 0


@pytest.mark.parametrize("layer_weights", ["mean", None])
def test_what_does_not_split_is_refused(layer_weights: str | None, tmp_path: Path) -> None:
    recommender = Recommender.load(folded_run(tmp_path / "run", layer_weights).path)
    user, item = recommender.users.ids[4], recommender.items.ids[2]
    if layer_weights is None:
        with pytest.raises(InputError, match="vectors of this run's users are no sums over their items"):
            recommender.explain(user, item)
    reading = replace(recommender, encode_users=lambda rows, given, items: items[:1])
    with pytest.raises(InputError, match="an encoder reads the histories of users"):
        reading.explain(None, item, history=[item])
    with pytest.raises(InputError, match="found neither a user nor a history"):
        recommender.explain(None, item)
    with pytest.raises(SettingError, match="must be at least 1, got 0"):
        recommender.explain(None, item, history=[item], top=0)
    with pytest.raises(InputError, match="unknown item"):
        recommender.explain(user, 12345)
    if layer_weights is not None:  # a user without items of training: all of the score is its own
        (alone,) = recommender.explain(recommender.users.ids[1], item)
        assert alone.because == []
        assert alone.own == pytest.approx(alone.score)
