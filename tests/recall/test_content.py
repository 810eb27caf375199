"""Vectors with dimensions of content: what a run keeps of them gives new users and items the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import gclrec
from gclrec.evaluation import cold_neighbours
from gclrec.recall.recommender import Recommender
from gclrec.runs.folder import RunFolder
from gclrec.training.trained import item_encoder, load_model

DIM = 8
KINDS = {"lightgcn": ("calibrated", "mean_without_0"), "mf": ("dot", None)}


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run folder whose cold items are ranked by content too, whatever validation says."""
    monkeypatch.setattr(cold_neighbours, "WEIGHTS", (1.0,))
    score, layers = KINDS[request.param]
    settings = {"encoder": request.param, "score": score, "dim": DIM, "epochs": 1, "batch_size": 256}
    settings |= {} if layers is None else {"layer_weights": layers, "num_layers": 2}
    data = {"split": "cold_items", "attributes": "map", "aug": "none"}
    gclrec.fit("synthetic-120x80x2000", folder=tmp_path / "run", **settings, **data)
    return tmp_path / "run"


def test_what_a_run_keeps_of_its_content(run: Path) -> None:
    held, loaded = gclrec.load_run(run).embeddings, load_model(RunFolder.open(run))
    further = loaded.scoring.further
    warm = held.item_degrees > 0
    assert held.item_vectors.shape[1] == held.user_vectors.shape[1] == DIM + further
    assert 0 < further <= cold_neighbours.CONTENT_DIM
    assert not held.item_vectors[warm, DIM:].any()
    assert held.item_vectors[~warm, DIM:].any(axis=1).all()
    for kept, made in zip((held.user_vectors, held.item_vectors), loaded.embeddings(), strict=True):
        np.testing.assert_allclose(kept, made.numpy(), rtol=1e-5, atol=1e-6)

    # The same model without the further part.
    loaded.scoring.neighbours.gain.fill_(0.0)
    plain = loaded.embeddings()
    for kept, made in zip((held.user_vectors, held.item_vectors), plain, strict=True):
        np.testing.assert_allclose(kept[:, :DIM], made.numpy(), rtol=1e-5, atol=1e-6)

    # A run that was saved before there was this part.
    tensors = {name: x for name, x in loaded.state_dict().items() if "neighbours" not in name}
    loaded.scoring.neighbours.gain.fill_(1.0)
    loaded.load(tensors)
    assert all(torch.equal(a, b) for a, b in zip(loaded.embeddings(), plain, strict=True))


def test_new_users_get_the_content_of_their_items(run: Path) -> None:
    found = gclrec.load_recommender(run)
    fold_in, trained, items = found.folding, found.user_vectors, found.training_items
    assert (fold_in.dim, fold_in.content_dim) == (DIM, trained.shape[1] - DIM)
    new = fold_in.new_users(items)
    lengths = [np.linalg.norm(rows[:, :DIM], axis=1, keepdims=True) for rows in (new, trained)]
    assert (lengths[1] > 0).all()
    np.testing.assert_allclose(new[:, DIM:] / lengths[0], trained[:, DIM:] / lengths[1], atol=1e-5)
    rows = np.arange(len(trained))
    same = fold_in.returning_users(trained, rows, items, items)
    np.testing.assert_allclose(same, trained, rtol=1e-4, atol=1e-5)
    assert len(found.recommend_for(found.items.ids[items[0][:3]].to_list(), 5)) == 5


def cold_of(found: Recommender, run: Path) -> pl.DataFrame:
    """Return the attributes of the cold items, as those of new ones."""
    table = pl.read_parquet(run / "attributes" / "items.parquet")
    known = found.items.rows(table["id"])
    cold = (known >= 0) & (found.item_degrees[np.maximum(known, 0)] == 0)
    return table.filter(cold).with_columns(id="new-" + pl.col("id"))


def test_a_new_item_equals_a_cold_one(run: Path) -> None:
    """Alone by its attributes; one with users gets its vector from them, without content."""
    found = gclrec.load_recommender(run)
    news = cold_of(found, run)
    rows = found.items.rows(news["id"].str.strip_prefix("new-"))
    encode = item_encoder(RunFolder.open(run))
    more = found.add_items(attributes=news, encode=encode)
    assert len(more.index) == len(found.index) + len(news)
    vectors = more.index.vectors[len(found.index) :]
    np.testing.assert_allclose(vectors, found.index.vectors[rows], rtol=1e-5, atol=1e-6)
    pairs = pl.DataFrame({"user": found.users.ids.head(3)}).with_columns(item=pl.lit(news["id"][0]))
    with_users = found.add_items(pairs, attributes=news.head(1), encode=encode).index.vectors[-1]
    assert with_users[:DIM].any()
    assert not with_users[DIM:].any()

    more.save_added()
    again = gclrec.load_recommender(run)
    np.testing.assert_array_equal(again.index.vectors, more.index.vectors)
    user = found.users.ids[0]
    assert again.recommend(user, 9) == more.recommend(user, 9)
    taken = [found.items.ids[int(found.training_items[0][0])], news["id"][0]]
    assert again.recommend_for(taken, 3) == more.recommend_for(taken, 3)


def test_scores_split_over_the_history(run: Path) -> None:
    found = gclrec.load_recommender(run)
    if not found.folding.propagates:
        pytest.skip("the users of mf are no sums over their items")
    cold = np.flatnonzero(found.item_degrees == 0)
    scores = found.user_vectors @ found.index.vectors.T
    for user in range(5):
        items = found.items.ids.gather(cold).to_list()
        told = found.explainer.explain(found.users.ids[user], items, top=100)
        for row, each in zip(cold, told, strict=True):
            total = sum(value for _, value in each.because) + each.others + each.own
            assert total == pytest.approx(float(scores[user, row]), abs=1e-4)
            assert each.score == pytest.approx(float(scores[user, row]), abs=1e-4)
