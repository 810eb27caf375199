"""Expansions keep the degrees, the spectrum and the clusters of the original."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.stats

import gclrec
from gclrec.common.errors import InputError
from gclrec.data.expansion import Expansion, reduced_matrix
from gclrec.data.interactions import Interactions
from gclrec.data.synthetic import make_synthetic


@pytest.fixture(scope="module")
def pairs() -> Interactions:
    return make_synthetic(600, 500, 9_000, seed=3).interactions


def table(expansion: Expansion, **how: bool) -> pl.DataFrame:
    return pl.concat(list(expansion.tables(**how)))


def test_each_interaction_is_one_of_its_block(pairs: Interactions) -> None:
    """Divided by the factors, items and users give the block and the original item of each interaction."""
    expansion = Expansion.of(pairs, 60_000, seed=1)
    rows, columns = expansion.keep.shape
    assert (rows, columns) == (7, 3)
    counts = np.zeros((rows, columns))
    for user, item, place in expansion.blocks():
        np.testing.assert_array_equal(item // columns, pairs.item[place])
        np.add.at(counts, (user % rows, item % columns), 1)
    expected = expansion.keep * len(pairs)
    assert expected.sum() == pytest.approx(60_000)
    spread = np.sqrt(expected * (1 - expansion.keep)) + 1
    assert (np.abs(counts - expected) < 5 * spread).all()


def test_a_pair_occurs_once_and_the_seed_decides_all(pairs: Interactions) -> None:
    one, again, other = (table(Expansion.of(pairs, 30_000, seed=seed)) for seed in (1, 1, 2))
    assert one.equals(again)
    assert not one.equals(other)
    assert one.select("user", "item").n_unique() == len(one)


def test_factor_one_keeps_each_item_and_almost_each_degree(pairs: Interactions) -> None:
    """All interactions stay, so items keep their degrees exactly, and users trade rows among their like."""
    expansion = Expansion.of(pairs, len(pairs))
    user, item, place = next(expansion.blocks())
    np.testing.assert_array_equal(np.bincount(item), pairs.item_degrees())
    degree = pairs.user_degrees()
    now = np.bincount(user, minlength=len(degree))
    np.testing.assert_array_equal(np.sort(now), np.sort(degree))
    assert (pairs.user[place] != user).mean() > 0.9
    assert scipy.stats.spearmanr(now, degree).statistic > 0.99


def test_the_reduced_matrix_has_the_leading_singular_values(pairs: Interactions) -> None:
    """Up to the shift and the scale to probabilities, which change no singular value but the first."""
    reduced = reduced_matrix(pairs, 6, 4)
    assert reduced.max() == pytest.approx(1)
    assert reduced.min() == pytest.approx(0.1)
    dense = np.zeros((pairs.num_users, pairs.num_items))
    dense[pairs.user, pairs.item] = 1
    values = np.linalg.svd(dense, compute_uv=False)[:4]
    centred = reduced - reduced.mean()
    own = np.linalg.svd(centred, compute_uv=False)
    assert own[1] / own[0] == pytest.approx(values[2] / values[1], rel=0.3)


def test_text_ids_name_the_same_pairs(pairs: Interactions) -> None:
    plain = table(Expansion.of(pairs, 20_000))
    text = table(Expansion.of(pairs, 20_000), text_ids=True)
    both = pl.DataFrame({"number": plain["item"], "text": text["item"]}).unique()
    assert both["number"].is_unique().all()
    assert both["text"].is_unique().all()
    assert both["text"].str.contains("^[0-9a-f]{16}$").all()
    assert text["time"].equals(plain["time"])


def test_there_is_something_to_learn(pairs: Interactions) -> None:
    """Neighbours of items find what popularity does not, as in the original."""
    made = table(Expansion.of(pairs, 40_000, seed=2))
    found = {
        name: gclrec.fit(made, baseline=name).figures["all/recall@20"] for name in ("popularity", "item_knn")
    }
    assert found["item_knn"] > 1.5 * found["popularity"], found


@pytest.mark.parametrize(
    ("rows", "how", "said"),
    [
        (10, {}, "rows: found 10, expected at least the 9,000 interactions of the data itself"),
        (20_000, {"item_factor": 0}, "item_factor: found 0, expected at least 1"),
        (20_000, {"seed": -1}, "seed: found -1, expected at least 0"),
    ],
)
def test_what_cannot_be_expanded(pairs: Interactions, rows: int, how: dict[str, int], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Expansion.of(pairs, rows, **how)
    assert said in str(caught.value)
