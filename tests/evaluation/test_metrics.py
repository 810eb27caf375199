import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.evaluation import CATALOGUE_METRICS, METRICS


def slow_recall(ranked, relevant, k):
    return len([item for item in ranked[:k] if item in relevant]) / len(relevant)


def slow_precision(ranked, relevant, k):
    return len([item for item in ranked[:k] if item in relevant]) / k


def slow_hit(ranked, relevant, k):
    return 1.0 if any(item in relevant for item in ranked[:k]) else 0.0


def slow_ndcg(ranked, relevant, k):
    gain = sum(1 / math.log2(rank + 1) for rank, item in enumerate(ranked[:k], start=1) if item in relevant)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))


def slow_mrr(ranked, relevant, k):
    for rank, item in enumerate(ranked[:k], start=1):
        if item in relevant:
            return 1 / rank
    return 0.0


def slow_map(ranked, relevant, k):
    found, total = 0, 0.0
    for rank, item in enumerate(ranked[:k], start=1):
        if item in relevant:
            found += 1
            total += found / rank
    return total / min(k, len(relevant))


SLOW = {
    "recall": slow_recall,
    "ndcg": slow_ndcg,
    "precision": slow_precision,
    "hit": slow_hit,
    "mrr": slow_mrr,
    "map": slow_map,
}

# ir_measures' names for the same figures. AP@k there divides by all relevant items, as trec_eval does; ours
# divides by min(k, relevant), so that a list full of hits scores 1 (see the test).
PUBLIC = {"recall": "R", "ndcg": "nDCG", "precision": "P", "hit": "Success", "mrr": "RR", "map": "AP"}


def lists(seed, num_users=40, num_items=30, length=12):
    rng = np.random.default_rng(seed)
    ranked = np.stack([rng.permutation(num_items)[:length] for _ in range(num_users)])
    relevant = [
        set(rng.choice(num_items, rng.integers(1, num_items), replace=False).tolist())
        for _ in range(num_users)
    ]
    hits = np.array([[item in wanted for item in row] for row, wanted in zip(ranked, relevant, strict=True)])
    return ranked, relevant, hits, np.array([len(wanted) for wanted in relevant])


@pytest.mark.parametrize("name", METRICS)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 15))
def test_equals_slow_loops(name, seed, k):
    ranked, relevant, hits, num_relevant = lists(seed)
    found = METRICS[name](hits, num_relevant, k)
    expected = [SLOW[name](row.tolist(), wanted, k) for row, wanted in zip(ranked, relevant, strict=True)]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("k", [1, 5, 12])
def test_equals_a_public_library(name, k):
    ranked, relevant, hits, num_relevant = lists(seed=k)
    truth = [ir_measures.Qrel(str(u), str(item), 1) for u, wanted in enumerate(relevant) for item in wanted]
    run = [
        ir_measures.ScoredDoc(str(u), str(item), float(-rank))
        for u, row in enumerate(ranked.tolist())
        for rank, item in enumerate(row)
    ]
    measure = ir_measures.parse_measure(f"{PUBLIC[name]}@{k}")
    public = {int(found.query_id): found.value for found in ir_measures.iter_calc([measure], truth, run)}
    expected = np.array([public[u] for u in range(len(ranked))])
    if name == "map":
        expected = expected * num_relevant / np.minimum(num_relevant, k)
    np.testing.assert_allclose(METRICS[name](hits, num_relevant, k), expected, atol=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_range_and_edges(name):
    metric = METRICS[name]
    hits = np.array([[True] * 4, [False] * 4, [False] * 4])
    assert metric(hits, np.array([4, 2, 0]), 4).tolist() == [1.0, 0.0, 0.0]
    assert metric(np.zeros((0, 4), dtype=bool), np.zeros(0, dtype=np.int64), 4).shape == (0,)
    assert metric(np.zeros((2, 0), dtype=bool), np.array([1, 2]), 4).tolist() == [0.0, 0.0]


def test_known_values():
    hits = np.array([[False, True, True, False]])
    values = {name: metric(hits, np.array([5]), 4)[0] for name, metric in METRICS.items()}
    assert values["recall"] == 2 / 5
    assert values["precision"] == 2 / 4
    assert values["hit"] == 1
    assert values["mrr"] == 1 / 2
    assert values["map"] == pytest.approx((1 / 2 + 2 / 3) / 4)
    ideal = 1 + 1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)
    assert values["ndcg"] == pytest.approx((1 / math.log2(3) + 1 / 2) / ideal)


def test_lists_shorter_than_the_cut_miss_the_rest():
    hits = np.array([[True, True]])
    padded = np.array([[True, True, False, False, False]])
    for metric in METRICS.values():
        assert metric(hits, np.array([3]), 5) == metric(padded, np.array([3]), 5)


def slow_gini(counts):
    """Mean absolute difference over twice the mean."""
    differences = sum(abs(a - b) for a in counts for b in counts)
    return differences / (2 * len(counts) * sum(counts))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 15))
def test_catalogue_equals_slow_loops(seed, k):
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(np.r_[np.arange(20), -1, -1])[:10] for _ in range(6)])
    items[0, 0] = 3
    degrees = rng.integers(0, 50, 20)
    shown = [item for row in items.tolist() for item in row[:k] if item >= 0]
    if not shown:
        return
    counts = [shown.count(item) for item in range(20)]
    assert CATALOGUE_METRICS["coverage"](items, degrees, k) == len(set(shown)) / 20
    assert CATALOGUE_METRICS["popularity"](items, degrees, k) == pytest.approx(np.mean(degrees[shown]))
    assert CATALOGUE_METRICS["gini"](items, degrees, k) == pytest.approx(slow_gini(counts))


def test_catalogue_known_cases():
    degrees = np.array([10, 0, 2, 4])
    one_for_all, all_equal = np.array([[0], [0], [0]]), np.array([[0, 1], [2, 3]])
    assert CATALOGUE_METRICS["gini"](all_equal, degrees, 2) == 0
    assert CATALOGUE_METRICS["gini"](one_for_all, degrees, 1) == pytest.approx(3 / 4)  # (I - 1) / I
    assert CATALOGUE_METRICS["coverage"](all_equal, degrees, 2) == 1
    assert CATALOGUE_METRICS["coverage"](all_equal, degrees, 1) == 0.5
    assert CATALOGUE_METRICS["popularity"](all_equal, degrees, 1) == 6
    empty = np.full((2, 3), -1)
    assert CATALOGUE_METRICS["coverage"](empty, degrees, 3) == 0
    assert math.isnan(CATALOGUE_METRICS["gini"](empty, degrees, 3))
    assert math.isnan(CATALOGUE_METRICS["popularity"](empty, degrees, 3))


def test_every_metric_is_explained():
    for metric in (*METRICS.values(), *CATALOGUE_METRICS.values()):
        assert ".. math::" in metric.__doc__


@pytest.mark.parametrize("k", [0, -1])
def test_lists_have_positions(k):
    for metric in (*METRICS.values(), *CATALOGUE_METRICS.values()):
        with pytest.raises(ValueError, match="k must be at least 1"):
            metric(np.ones((2, 3), dtype=int), np.ones(2, dtype=int), k)
