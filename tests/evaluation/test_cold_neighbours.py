"""Neighbours by content in the score of cold items: the formula in loops, and choices with a known answer."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse
import torch

from gclrec.baselines.content_knn import content_knn
from gclrec.data.schema import AttributeTable, Schema
from gclrec.data.splits import Split
from gclrec.data.tf_idf import TfIdf
from gclrec.encoders import Embeddings
from gclrec.evaluation.cold_items import ColdItems
from gclrec.evaluation.cold_neighbours import WEIGHTS, ColdNeighbours, leading
from gclrec.evaluation.scoring import SCORINGS, Scoring
from gclrec.graph.bipartite import BipartiteGraph
from tests.training.test_training import pairs_of

USERS, ITEMS, TAGS = 40, 30, 12
COLD = torch.arange(ITEMS) % 3 == 0


def table_of() -> AttributeTable:
    draws = np.random.default_rng(0)
    tags = [[f"t{tag}" for tag in draws.choice(TAGS, 3, replace=False)] for _ in range(ITEMS)]
    frame = pl.DataFrame({"id": range(ITEMS), "tags": tags})
    return Schema.fit(frame, min_count=1).encode(frame)


def graph_of() -> BipartiteGraph:
    """Return training pairs of warm items; user 0 has none."""
    user, item = np.nonzero(np.random.default_rng(1).random((USERS, ITEMS)) < 0.2)
    user, item = np.append(user, np.arange(1, USERS)), np.append(item, 1 + 3 * (np.arange(1, USERS) % 10))
    user, item = np.unique(np.stack([user, item]), axis=1)
    kept = (user > 0) & ~COLD.numpy()[item]
    return BipartiteGraph(USERS, ITEMS, torch.from_numpy(np.stack([user[kept], item[kept]])))


def vectors() -> Embeddings:
    generator = torch.Generator().manual_seed(3)
    return Embeddings(*(torch.randn(n, 6, generator=generator) for n in (USERS, ITEMS)))


def made(gain: float) -> ColdNeighbours:
    table = table_of()
    found = ColdNeighbours(graph_of(), table, COLD)
    found.basis = leading(TfIdf.fit(table)(table), TAGS)
    found.gain.fill_(gain)
    return found


def test_with_fewer_directions_content_is_compared_by_the_cosine() -> None:
    few, table = made(0.6), table_of()
    few.basis = few.basis[:, :4]
    content = TfIdf.fit(table)(table).toarray() @ few.basis.numpy()
    for item in range(ITEMS):
        wanted = content[item] / np.linalg.norm(content[item])
        np.testing.assert_allclose(few.content[item], wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(few.encode(table), 0.6 * few.content)


@pytest.mark.parametrize("score", SCORINGS)
def test_the_score_is_the_sum(score: str) -> None:
    """With all directions kept the further part is that of the baseline."""
    raw, cold = vectors(), ColdItems(COLD, 1.0)
    cold.exponent.fill_(0.4)
    cold.scale.fill_(1.7)
    before = Scoring(score, cold=cold)(raw)
    found = Scoring(score, cold=cold, neighbours=made(0.6))(raw)
    table, graph = table_of(), graph_of()
    content = TfIdf.fit(table)(table).toarray()
    counts = graph.to_scipy().toarray()
    scores = found.users @ found.items.T
    for user in range(USERS):
        profile = sum((counts[user, item] * content[item] for item in range(ITEMS)), np.zeros(TAGS))
        length = np.linalg.norm(profile)
        assert (length == 0) == (user == 0)
        for item in range(ITEMS):
            wanted = float(before.users[user] @ before.items[item])
            if COLD[item] and length > 0:
                cosine = float(profile @ content[item]) / length
                wanted += 1.7 * 0.6 * float(before.users[user].norm()) * cosine
            assert float(scores[user, item]) == pytest.approx(wanted, abs=2e-5)
    own = content_knn(graph, table)._scores(torch.arange(USERS))[:, COLD]
    knn = (found.users[:, 6:] @ found.items[:, 6:].T)[:, COLD]
    assert torch.equal(own.argmax(1)[1:], knn.argmax(1)[1:])


def test_warm_scores_stay_to_the_bit() -> None:
    raw, cold = vectors(), ColdItems(COLD, 1.0)
    before, found = Scoring("dot", cold=cold)(raw), Scoring("dot", cold=cold, neighbours=made(0.6))(raw)
    assert found.users.shape[1] == 6 + TAGS
    assert torch.equal(found.users[:, :6], before.users)
    assert torch.equal(found.items[:, :6], before.items)
    assert not found.items[~COLD, 6:].any()
    assert torch.equal(found.users @ found.items[~COLD].T, before.users @ before.items[~COLD].T)


def test_without_a_gain_the_vectors_are_left() -> None:
    raw, cold = vectors(), ColdItems(COLD, 1.0)
    scoring = Scoring("dot", cold=cold, neighbours=ColdNeighbours(graph_of(), table_of(), COLD))
    before = Scoring("dot", cold=cold)(raw)
    assert all(torch.equal(a, b) for a, b in zip(scoring(raw), before, strict=True))
    assert (scoring.further, scoring.neighbours.used) == (0, False)


def test_a_saved_choice_is_taken_and_an_older_model_has_none() -> None:
    saved = made(0.6).state_dict()
    assert set(saved) == {"gain", "basis"}
    for assign in (False, True):
        other = ColdNeighbours(graph_of(), table_of(), COLD)
        other.load_state_dict(dict(saved), assign=assign)
        raw = vectors()
        assert all(torch.equal(a, b) for a, b in zip(other(raw), made(0.6)(raw), strict=True))
        other.load_state_dict({}, assign=assign)
        assert not other.used
        assert other(raw) is raw


@pytest.mark.parametrize("right", ["content", "model", "both"])
def test_the_weight_that_fits_validation_is_chosen(right: str) -> None:
    """Validation pairs are the best cold items by content, by the vectors, or by the sum of both."""
    raw, graph = vectors(), graph_of()
    reference = made(1.0)
    joined = reference(raw)
    own = raw.users @ raw.items.T
    further = joined.users[:, 6:] @ joined.items[:, 6:].T
    unit = own[1:][:, COLD].std(1).mean() / further[1:][:, COLD].std(1).mean()
    scores = {"content": further, "model": own, "both": own + 0.25 * unit * further}[right]
    best = scores.masked_fill(~COLD, -torch.inf).topk(3, 1).indices[1:]
    user = np.repeat(np.arange(1, USERS), 3)
    valid = pairs_of(USERS, ITEMS, user, best.numpy().reshape(-1))
    train = pairs_of(USERS, ITEMS, *graph.edge_index.numpy())
    split = Split(train, valid, valid.select(np.zeros(0, dtype=np.int64)), "given")
    chosen = ColdNeighbours(graph, table_of(), COLD)
    chosen.choose(raw, split, "all/recall@3")
    weight = {"content": WEIGHTS[-1], "model": 0.0, "both": 0.25}[right]
    assert float(chosen.gain) == pytest.approx(weight * float(unit), rel=1e-3)
    assert chosen.dim == chosen.basis.shape[1] == (TAGS if weight else 0)
    chosen.choose(raw, split, "all/recall@3")  # as the next validation does
    assert float(chosen.gain) == pytest.approx(weight * float(unit), rel=1e-3)


def test_without_cold_validation_pairs_nothing_is_chosen() -> None:
    train = pairs_of(USERS, ITEMS, *graph_of().edge_index.numpy())
    chosen = ColdNeighbours(graph_of(), table_of(), COLD)
    chosen.choose(vectors(), Split(train, train, train, "given"), "all/recall@3")
    assert not chosen.used


@pytest.mark.parametrize("shape", [(200, 60), (30, 60), (8, 5)])
def test_the_leading_directions_are_those_of_a_dense_decomposition(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    few = random.random(shape) * (random.random(shape) < 0.1)
    rows = scipy.sparse.csr_array(few + 0.5 * (np.arange(shape[1]) < 3))
    found = leading(rows, 4).numpy()
    values = np.linalg.svd(rows.toarray(), compute_uv=False)[:4]
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows @ found, axis=0), values, rtol=0.02)
