"""Ids of a wrong kind end with one line; ids are shown as one types them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.recall.recommender import Recommender

from .folded_run import folded_run


@pytest.fixture(params=["int", "string"])
def recommender(request: pytest.FixtureRequest, tmp_path: Path) -> Recommender:
    return Recommender.load(folded_run(tmp_path / "run", ids=request.param).path)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda r: r.recommend(["u"]), r"user: found \['u'\], expected one id"),
        (lambda r: r.recommend(None), "user: found None, expected one id"),
        (lambda r: r.similar_items({"a": 1}), r"item: found \{'a': 1\}, expected one id"),
        (lambda r: r.recommend_for([["a"]]), r"found \['a'\] in a list of ids"),
        (lambda r: r.recommend_for(None), "found None, expected a list of ids"),
        (lambda r: r.recommend_many("u000010"), "found the text 'u000010', expected a list of ids"),
        (lambda r: r.recommend_many([None]), "found None in a list of ids"),
        (lambda r: r.recommend_many([["a"]] * 200), r"found \['a'\] in a list of ids"),
        (lambda r: r.recommend_many(pl.Series([["a"]])), "holds List.*, expected ids: whole numbers or text"),
        (lambda r: r.recommend_many(pl.Series(["a", None])), "row 2: found nothing in column"),
        (lambda r: r.within(7), "found 7, expected a list of ids"),
        (lambda r: r.recommend(r.users.ids[3], k=2.0), "k must be a whole number, got 2.0"),
        (lambda r: r.recommend(r.users.ids[3], k="2"), "k must be a whole number, got '2'"),
        (lambda r: r.recommend(np.int64(999_999)), "unknown user 999999"),
        (lambda r: r.recommend_many([np.int64(999_999)]), "unknown user 999999"),
        (
            lambda r: r.recommend_for([np.int64(999_999)]),
            "such as 999999; `skip_unknown=True`",
        ),
    ],
)
def test_one_line(recommender: Recommender, ask: Callable[[Recommender], object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        ask(recommender)
    assert "\n" not in str(caught.value)


def test_unknown_users_of_many_can_be_left_out(recommender: Recommender) -> None:
    users = recommender.users.ids[2:4].to_list()
    with pytest.warns(InputWarning, match="1 unknown user, such as 'nobody'; left out"):
        found = recommender.recommend_many([users[0], "nobody", users[1]], 4, skip_unknown=True)
    assert found.equals(recommender.recommend_many(users, 4))


def test_columns_of_tables_are_guessed_as_those_of_files(recommender: Recommender) -> None:
    table = pl.DataFrame({"user": ["zoe", "zoe", "adam"], "item": recommender.items.ids[3:6]})
    guessed = table.select(pl.lit("x").alias("note"), pl.col("item").alias("productId"), customer="user")
    expected = recommender.recommend_for(table, 4)
    assert recommender.recommend_for(guessed, 4).equals(expected)
    with pytest.raises(InputError, match="no column 'item', found user, thing"):
        recommender.recommend_for(table.rename({"item": "thing"}), 4)

    news = pl.DataFrame({"customer": recommender.users.ids[2:4], "product": pl.Series([1001, 1002])})
    news = news.with_columns(pl.col("product").cast(recommender.items.ids.dtype))
    assert len(recommender.add_items(news).items) == len(recommender.items) + 2


def test_a_recommender_is_shown_in_a_line(recommender: Recommender) -> None:
    shown = f"Recommender(users=30, items=60, exact, run={str(recommender.run)!r})"
    assert repr(recommender) == shown
