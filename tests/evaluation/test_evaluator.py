import json
import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.evaluation import CATALOGUE_METRICS, ITEM_GROUPS, METRICS, USER_GROUPS, evaluate, evaluate_ranking
from gclrec.evaluation.evaluator import ALL_GROUPS, DECILES
from gclrec.evaluation.groups import popularity_parts, popularity_thirds

U, I, D = 14, 17, 3  # noqa: E741


def case(seed):
    """Small whole-number vectors (many ties) and disjoint train, valid and test pairs, some ends cold."""
    rng = np.random.default_rng(seed)
    users, items = (torch.from_numpy(rng.integers(-2, 3, (n, D)).astype(np.float32)) for n in (U, I))
    fate = rng.choice(4, size=(U, I), p=[0.5, 0.2, 0.1, 0.2])
    fate[rng.integers(U)] = rng.choice([0, 3], I)  # a cold user
    fate[:, rng.integers(I)] = rng.choice([0, 3], U)  # a cold item
    return users, items, *(np.nonzero(fate == part) for part in (1, 2, 3))


def rank(users, items, *hidden):
    """Return each user's whole catalogue without what is hidden, by score and then number."""
    scores = (users @ items.T).tolist()
    out = {(u, i) for pairs in hidden for u, i in zip(*pairs, strict=True)}
    return [
        sorted((i for i in range(len(items)) if (u, i) not in out), key=lambda i: (-scores[u][i], i))
        for u in range(len(users))
    ]


def degree(rows, size):
    return [list(rows).count(row) for row in range(size)]


def slow_figures(ranked, relevant, k):
    """All accuracy metrics of one user, straight from their definitions."""
    flags = [item in relevant for item in ranked[:k]]
    found = sum(flags)
    gains = [1 / math.log2(rank + 2) for rank in range(k)]
    return {
        f"recall@{k}": found / len(relevant),
        f"precision@{k}": found / k,
        f"hit@{k}": float(found > 0),
        f"ndcg@{k}": sum(g for g, h in zip(gains, flags, strict=False) if h) / sum(gains[: len(relevant)]),
        f"mrr@{k}": 1 / (flags.index(True) + 1) if found else 0.0,
        f"map@{k}": sum(sum(flags[: r + 1]) / (r + 1) for r, h in enumerate(flags) if h)
        / min(k, len(relevant)),
    }


def among_cold(ranked, train):
    """Return rankings without the items that have a training pair."""
    return [[item for item in each if item not in set(train[1])] for each in ranked]


def slow_evaluation(ranked, train, test, ks, near_cold):
    """Per group and per user, one after the other."""
    user_degree, item_degree = degree(train[0], U), degree(train[1], I)
    thirds = popularity_thirds(np.array(item_degree))
    warmth = {
        "warm": lambda d: d > near_cold,
        "near_cold": lambda d: 0 < d <= near_cold,
        "cold": lambda d: d == 0,
    }
    groups = {"all": lambda u, i: True}
    for name, holds in warmth.items():
        groups[f"{name}_users"] = lambda u, i, holds=holds: holds(user_degree[u])
        groups[f"{name}_items"] = lambda u, i, holds=holds: holds(item_degree[i])
    for number, name in enumerate(("head", "mid", "tail")):
        groups[f"{name}_items"] = lambda u, i, number=number: thirds[i] == number
    if not set(test[1]) <= set(train[1]):
        groups["cold_among_cold"] = groups["cold_items"]
    values, cases, pairs = {}, {}, {}
    everything, cold = ranked, among_cold(ranked, train)
    for group, holds in groups.items():
        figures, ranked = [], cold if group == "cold_among_cold" else everything
        pairs[group] = 0
        for u in range(U):
            relevant = {i for v, i in zip(*test, strict=True) if u == v and holds(u, i)}
            pairs[group] += len(relevant)
            if relevant:
                figures.append({n: x for k in ks for n, x in slow_figures(ranked[u], relevant, k).items()})
        cases[group] = len(figures)
        if figures:
            values |= {f"{group}/{name}": np.mean([f[name] for f in figures]) for name in figures[0]}
    return values, cases, pairs


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), near_cold=st.integers(0, 4), hide_valid=st.booleans())
def test_equals_slow_loops(seed, near_cold, hide_valid):
    users, items, train, valid, test = case(seed)
    ks = (1, 4, 30)
    found = evaluate(
        users,
        items,
        train,
        test,
        ks=ks,
        metrics=tuple(METRICS),
        near_cold=near_cold,
        exclude=valid if hide_valid else None,
    )
    ranked = rank(users, items, train, *([valid] if hide_valid else []))
    values, cases, pairs = slow_evaluation(ranked, train, test, ks, near_cold)

    assert found.cases == cases
    assert found.pairs == pairs
    assert found.values.keys() == values.keys()
    assert found.values == pytest.approx(values, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_per_user_rows(seed):
    users, items, train, _, test = case(seed)
    table = evaluate(users, items, train, test, ks=(3,), metrics=tuple(METRICS)).per_user
    ranked, degrees = rank(users, items, train), degree(train[0], U)
    item_degrees = np.array(degree(train[1], I))
    tail = set(np.flatnonzero(popularity_thirds(item_degrees) == 2).tolist())
    deciles = popularity_parts(item_degrees, DECILES)

    assert table["user"].to_list() == sorted(set(test[0].tolist()))
    for row in table.iter_rows(named=True):
        relevant = set(test[1][test[0] == row["user"]].tolist())
        expected = slow_figures(ranked[row["user"]], relevant, 3)
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert (row["degree"], row["num_relevant"]) == (degrees[row["user"]], len(relevant))
        assert row["tail_items/num_relevant"] == len(relevant & tail)
        expected = slow_figures(ranked[row["user"]], relevant & tail, 3) if relevant & tail else {}
        for name in METRICS:
            assert row[f"tail_items/{name}@3"] == pytest.approx(expected.get(f"{name}@3"))
        for number in range(DECILES):
            inside = {item for item in relevant if deciles[item] == number}
            found = len(inside & set(ranked[row["user"]][:3]))
            assert row[f"decile_{number + 1}/num_relevant"] == len(inside)
            assert row[f"decile_{number + 1}/hits@3"] == found


def test_a_table_of_some_users_has_their_rows_of_the_whole(monkeypatch):
    """The figures stay those of all users; blocks of users change nothing."""
    users, items, train, _, test = case(1)
    whole = evaluate(users, items, train, test)
    monkeypatch.setattr("gclrec.evaluation.evaluator._BLOCK", 3)
    monkeypatch.setattr("gclrec.evaluation.evaluator.RANKED", 4)
    some = evaluate(users, items, train, test, per_user=5)
    assert some.values == whole.values
    assert some.per_user.height == 5
    assert some.per_user.equals(whole.per_user.join(some.per_user.select("user"), on="user", how="semi"))
    assert evaluate(users, items, train, test, per_user=10**6).per_user.equals(whole.per_user)


def test_without_the_table_per_user_the_figures_are_the_same():
    users, items, train, _, test = case(4)
    full = evaluate(users, items, train, test)
    lists = [(row + [-1] * 50)[:50] for row in rank(users, items, train)]
    cold = [(row + [-1] * 50)[:50] for row in among_cold(rank(users, items, train), train)]
    how = {"num_users": U, "num_items": I, "per_user": False, "among": {"cold_among_cold": cold}}
    for found in (
        evaluate(users, items, train, test, per_user=False),
        evaluate_ranking(lists, range(U), train, test, **how),
    ):
        assert (found.values, found.cases, found.pairs) == (full.values, full.cases, full.pairs)
        assert not found.per_user.columns


@pytest.mark.parametrize("block_size", [1, 5])
def test_block_size_does_not_change_the_figures(block_size):
    users, items, train, _, test = case(5)
    assert (
        evaluate(users, items, train, test, block_size=block_size).values
        == evaluate(users, items, train, test).values
    )


@pytest.mark.parametrize("name", [*METRICS, *CATALOGUE_METRICS])
def test_each_metric_alone(name):
    users, items, train, _, test = case(6)
    full = evaluate(users, items, train, test, ks=(5, 2))
    alone = evaluate(users, items, train, test, ks=(2,), metrics=[name], groups=["all"])
    assert alone.values == {f"all/{name}@2": full.values[f"all/{name}@2"]}


@pytest.mark.parametrize("name", ALL_GROUPS)
def test_each_group_alone(name):
    users, items, train, _, test = case(7)
    full = evaluate(users, items, train, test, near_cold=2)
    alone = evaluate(users, items, train, test, groups=[name], near_cold=2)
    assert alone.cases == {name: full.cases[name]}
    assert alone.values == {key: value for key, value in full.values.items() if key.startswith(f"{name}/")}
    assert alone.values


def test_groups_of_users_and_of_items_add_up_to_all():
    users, items, train, _, test = case(8)
    found = evaluate(users, items, train, test, near_cold=2)
    for groups in (
        ("warm_users", "near_cold_users", "cold_users"),
        ("head_items", "mid_items", "tail_items"),
    ):
        assert sum(found.pairs[group] for group in groups) == found.pairs["all"] == len(test[0])
    assert sum(found.cases[f"{name}_users"] for name in ("warm", "near_cold", "cold")) == found.cases["all"]


def test_catalogue_figures():
    """Two users, one list each: items 1 and 2 are shown, item 0 is known, item 3 is not shown."""
    ranked, users = np.array([[1, 2], [1, -1]]), np.array([0, 1])
    train, test = ([0, 1, 1], [0, 0, 1]), ([0, 1], [2, 3])
    found = evaluate_ranking(ranked, users, train, test, num_users=2, num_items=4, ks=(2,))
    assert found.values["all/coverage@2"] == 2 / 4
    assert found.values["all/popularity@2"] == pytest.approx((1 + 0 + 1) / 3)
    assert found.values["all/cold_share@2"] == pytest.approx(1 / 3)  # item 2, of the three places
    assert found.values["all/gini@2"] == pytest.approx((-3 * 0 - 1 * 0 + 1 * 1 + 3 * 2) / (4 * 3))
    assert not any(
        key.split("/")[1].startswith("coverage") for key in found.values if not key.startswith("all/")
    )


def test_checkerboard_has_recall_one():
    """Everyone likes the items of their own colour; one of them is held out and is the only one left."""
    user, item = np.nonzero((np.arange(20)[:, None] + np.arange(30)) % 2 == 0)
    held_out = item == (user * 2 + user % 2) % 30
    train, test = ((user[part], item[part]) for part in (~held_out, held_out))
    found = evaluate(torch.eye(2)[np.arange(20) % 2], torch.eye(2)[np.arange(30) % 2], train, test, ks=(1,))
    assert found.cases["all"] == found.pairs["all"] == 20
    assert all(found.values[f"all/{name}@1"] == 1.0 for name in METRICS)


def test_an_empty_place_is_never_a_hit():
    """Item -1 of user 1 would have the same key as the last item of user 0."""
    found = evaluate_ranking(
        [[0], [-1]], [0, 1], ([], []), ([0, 1], [2, 1]), num_users=2, num_items=3, ks=(1,)
    )
    assert found.values["all/recall@1"] == 0.0


def test_ranking_equals_vectors():
    users, items, train, _, test = case(9)
    ranked = rank(users, items, train)
    lists, cold = (
        np.array([(row + [-1] * 50)[:10] for row in each]) for each in (ranked, among_cold(ranked, train))
    )
    order = np.random.default_rng(0).permutation(U)  # lists may come in any order
    how = {"num_users": U, "num_items": I, "ks": (3, 10), "among": {"cold_among_cold": cold[order]}}
    found = evaluate_ranking(lists[order], order, train, test, **how)
    expected = evaluate(users, items, train, test, ks=(3, 10))
    assert found.values == expected.values
    assert (found.cases, found.pairs) == (expected.cases, expected.pairs)
    assert found.per_user.equals(expected.per_user)


def test_interactions_and_arrays_are_the_same():
    users, items, train, valid, test = case(10)
    names = Vocabulary.of(list(range(U))), Vocabulary.of(list(range(I)))
    as_interactions = [Interactions(*names, *pairs) for pairs in (train, test, valid)]
    expected = evaluate(users, items, train, test, exclude=valid)
    known, held_out, more = as_interactions
    assert evaluate(users.numpy(), items.numpy(), known, held_out, exclude=more).values == expected.values
    edges, pair = torch.tensor(np.array(train)), tuple(map(torch.tensor, test))
    assert evaluate(users, items, edges, pair, exclude=valid).values == expected.values

    lists = [(row + [-1] * 50)[:50] for row in rank(users, items, train, valid)]
    found = evaluate_ranking(lists, range(U), known, held_out).values
    whole = {name: value for name, value in expected.values.items() if "among" not in name}
    assert found == pytest.approx(whole, abs=1e-12)


def test_repeated_test_pairs_count_once():
    users, items, train, _, test = case(11)
    twice = tuple(np.concatenate([rows, rows[::-1]]) for rows in test)
    assert evaluate(users, items, train, twice).values == evaluate(users, items, train, test).values


def test_nothing_to_test():
    users, items, train, _, _ = case(12)
    found = evaluate(users, items, train, ([], []), ks=(5,))
    assert found.values == {}
    assert set(found.cases) == {*USER_GROUPS, *ITEM_GROUPS}
    assert not any(found.cases.values())
    assert not any(found.pairs.values())
    assert found.per_user.height == 0
    assert "recall@5" in found.per_user.columns


def test_result_is_plain():
    users, items, train, _, test = case(13)
    found = evaluate(users, items, train, test, ks=[20])
    assert json.loads(json.dumps(found.values, allow_nan=False)) == found.values
    assert all(type(value) is float for value in found.values.values())
    assert all(type(value) is int for value in (*found.cases.values(), *found.pairs.values()))
    assert found.seconds > 0
    assert found.per_user.schema["recall@20"] == pl.Float64


def test_pairs_that_can_never_be_hit_are_noticed():
    users, items, train, _, test = case(14)
    with pytest.warns(InputWarning, match="1 test pairs are also among the pairs left out"):
        evaluate(users, items, tuple(np.append(a, b[0]) for a, b in zip(train, test, strict=True)), test)
    with pytest.warns(InputWarning, match=f"{len(test[0])} test pairs"):
        evaluate(users, items, train, test, exclude=test)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ks": ()}, "ks must be one or more whole numbers"),
        ({"ks": (0, 5)}, "ks must be one or more whole numbers of at least 1"),
        ({"ks": (2.5,)}, "ks must be one or more whole numbers"),
        ({"ks": 5}, "ks must be one or more whole numbers .*, got 5"),
        ({"test": ([0.5], [1])}, "test: found float64, expected the row numbers"),
        ({"test": torch.zeros(3, 2).long()}, "test: found 3 parts, expected users and items"),
        ({"metrics": ["recal"]}, "unknown metric 'recal': expected some of recall, ndcg"),
        ({"groups": ["lukewarm"]}, "unknown group 'lukewarm': expected some of all, warm_users"),
        ({"near_cold": -1}, "near_cold must not be negative, got -1"),
        ({"train": ([0, 14], [0, 0])}, r"train: user rows run from 0 to 14, expected \[0, 14\)"),
        ({"test": ([0], [-1])}, r"test: item rows run from -1 to -1, expected \[0, 17\)"),
        ({"exclude": ([0, 1], [0])}, r"exclude: found users \(2,\) and items \(1,\)"),
        ({"user_vectors": torch.full((U, D), float("nan"))}, "user_vectors: row 0 holds NaN"),
        (
            {"test": Interactions(Vocabulary.of([1]), Vocabulary.of([2]), np.array([0]), np.array([0]))},
            "test: found 1 users and 1 items, expected 14 and 17",
        ),
    ],
)
def test_bad_input(change, message):
    users, items, train, _, test = case(0)
    arguments = {"user_vectors": users, "item_vectors": items, "train": train, "test": test} | change
    with pytest.raises(InputError, match=message):
        evaluate(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": [[0, 1], [1, 1]]}, "the list of user 1 names an item more than once"),
        ({"items": [[0, 1], [1, 3]]}, r"items run from 0 to 3, expected -1 or \[0, 3\)"),
        ({"items": [[0], [1]]}, "the lists have 1 places, the largest cut needs 2"),
        ({"items": [[0.9, 1.0], [1.0, -1.0]]}, "items: found float64"),
        ({"items": [0, 1]}, r"found items \(2,\) and users \(2,\)"),
        ({"users": [0, 0]}, "user 0 has 2 lists, expected one each"),
        ({"users": [0, 2]}, r"users run from 0 to 2, expected \[0, 2\)"),
        ({"users": [0], "items": [[0, 1]]}, "1 users with test pairs have no list"),
        ({"num_items": None}, "num_users and num_items must be given"),
    ],
)
def test_bad_lists(change, message):
    good = {"items": [[0, 1], [1, -1]], "users": [0, 1], "train": ([0], [2]), "test": ([1], [0])}
    arguments = good | {"num_users": 2, "num_items": 3, "ks": (2,)}
    assert evaluate_ranking(**arguments).cases["all"] == 1
    with pytest.raises(InputError, match=message):
        evaluate_ranking(**(arguments | change))


def test_the_tables_come_without_torch():
    code = "import sys, gclrec.evaluation as e; e.METRICS; e.ITEM_GROUPS; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name_of_the_package():
    import gclrec.evaluation

    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        gclrec.evaluation.evalute  # noqa: B018
    assert set(gclrec.evaluation.__all__) <= set(dir(gclrec.evaluation))
