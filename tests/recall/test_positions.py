"""Lists and tables of ids are read by position, whatever library they are of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.io.frames import is_table
from gclrec.recall.build_index import build_index
from gclrec.recall.index import Index
from gclrec.recall.recommender import Recommender

from .folded_run import folded_run


@pytest.fixture(params=["int", "string"])
def recommender(request: pytest.FixtureRequest, tmp_path: Path) -> Recommender:
    return Recommender.load(folded_run(tmp_path / "run", ids=request.param).path)


LISTS: list[Callable[[list[Any]], Any]] = [
    tuple,
    np.array,
    pl.Series,
    iter,
    lambda ids: np.array(ids, dtype=object),
    lambda ids: pl.DataFrame({"any": ids}),
    lambda ids: pl.LazyFrame({"any": ids}),
    lambda ids: {"any": ids},
    lambda ids: dict.fromkeys(ids).keys(),
    lambda ids: pd.Series(ids, index=range(len(ids))[::-1]),
    lambda ids: pd.Series(ids, index=[7] * len(ids)),
    lambda ids: pd.Series(ids, dtype="category"),
    lambda ids: pd.Series(ids).convert_dtypes(),
    lambda ids: pd.Index(ids),
    lambda ids: pd.DataFrame({"any": ids}, index=range(len(ids))[::-1]),
    lambda ids: pl.Series(ids).cast(pl.String),
]


@pytest.mark.parametrize("of", LISTS)
@pytest.mark.parametrize("count", [5, 120])
def test_lists_are_read_by_position(
    recommender: Recommender, of: Callable[[list[Any]], Any], count: int
) -> None:
    users = recommender.users.ids.to_list()[::-1][:count]
    items = recommender.items.ids.to_list()[::-1][:count]
    assert recommender.recommend_many(of(users), 3).equals(recommender.recommend_many(users, 3))
    if not is_table(of(items)):  # a table holds users too
        assert recommender.recommend_for(of(items[:7]), 3) == recommender.recommend_for(items[:7], 3)
    few = recommender.within(of(items)).recommend_many(users, 3)
    assert few.equals(recommender.within(items).recommend_many(users, 3))


def test_a_sorted_pandas_series_answers_for_its_own_users(recommender: Recommender) -> None:
    users = pd.Series(recommender.users.ids.to_list()[:6][::-1]).sort_values()
    found = recommender.recommend_many(users, 2, exclude_seen=False)
    assert found["user"].unique(maintain_order=True).to_list() == users.tolist()
    assert recommender.recommend_many(users[::-1], 2, exclude_seen=False)["user"][0] == users.tolist()[-1]


TABLES: list[Callable[[pl.DataFrame], Any]] = [
    pl.DataFrame.lazy,
    lambda table: table.to_dict(as_series=False),
    lambda table: pd.DataFrame(table.to_dict(as_series=False)),
    lambda table: pd.DataFrame(table.to_dict(as_series=False), index=range(len(table))[::-1]),
    lambda table: pd.DataFrame(table.to_dict(as_series=False), index=[0] * len(table)),
]


@pytest.mark.parametrize("of", TABLES)
def test_tables_are_read_by_position(recommender: Recommender, of: Callable[[pl.DataFrame], Any]) -> None:
    items = recommender.items.ids
    table = pl.DataFrame({"user": ["zoe", "adam", "zoe"], "item": items[3:6], "time": [3, 2, 1]})
    assert recommender.recommend_for(of(table), 4).equals(recommender.recommend_for(table, 4))
    new = pl.Series("item", ["90001", "90002"]).cast(items.dtype)
    news = pl.DataFrame({"user": recommender.users.ids[2:4], "item": new})
    assert recommender.add_items(of(news)).items == recommender.add_items(news).items
    vectors = pl.DataFrame({"id": new, "vector": [[1.0] * 8, [2.0] * 8]})
    plain = recommender.add_items(attributes=vectors)
    assert np.array_equal(recommender.add_items(attributes=of(vectors)).index.vectors, plain.index.vectors)


@pytest.mark.parametrize("of", LISTS)
def test_ids_of_an_index_are_read_by_position(of: Callable[[list[Any]], Any]) -> None:
    ids, eye = ["tea", "rice", "milk"], np.eye(3, dtype=np.float32)
    assert Index.exact(eye, of(ids)).ids.ids.to_list() == ids
    assert build_index(eye, of(ids), backend="exact").ids.ids.to_list() == ids


@pytest.mark.parametrize("bad", [7, "u", {"a": [1], "b": [2]}, pl.DataFrame({"a": [1], "b": [2]}), None])
def test_what_is_no_list_names_the_way_out(recommender: Recommender, bad: Any) -> None:
    for ask in (recommender.recommend_many, recommender.within):
        with pytest.raises(InputError, match="expected a list of ids: a list, an array or a series"):
            ask(bad)
    with pytest.raises(InputError, match="expected a polars or pandas table, a dict of columns"):
        recommender.add_items(object())


def test_text_is_no_number_in_requests(tmp_path: Path) -> None:
    recommender = Recommender.load(folded_run(tmp_path / "run", ids="int").path)
    user, item = recommender.users.ids[3], recommender.items.ids[3]
    assert (
        recommender.recommend(str(user)) == recommender.recommend(user) == recommender.recommend(float(user))
    )
    said = "found the id '0.*', expected .*: the known ids are whole numbers"
    for ask in (
        lambda: recommender.recommend(f"0{user}"),
        lambda: recommender.recommend_many([user, f"0{user}"]),
        lambda: recommender.recommend_for([f"0{item}"]),
        lambda: recommender.within([f"0{item}"]),
        lambda: recommender.similar_items(f"0{item}"),
        lambda: recommender.recommend_for({"user": ["07", "7", "+7"], "item": [item] * 3}),
        lambda: recommender.recommend_for({"user": [1, 2], "item": [str(item), f"0{item}"]}),
        lambda: recommender.add_items({"user": [user, user], "item": ["0100", "100"]}),
        lambda: recommender.add_items({"user": [f"0{user}"], "item": [90001]}),
        lambda: recommender.add_items(attributes={"id": ["090001"], "vector": [[1.0] * 8]}),
    ):
        with pytest.raises(InputError, match=said):
            ask()


def test_users_who_have_everything_are_counted(recommender: Recommender) -> None:
    users, items = recommender.users.ids, recommender.items.ids
    full = {"user": ["zoe"] * len(items) + ["adam"], "item": [*items.to_list(), items[3]]}
    with pytest.warns(InputWarning, match="1 user has every item .* such as 'zoe'; left out"):
        found = recommender.recommend_for(full, 3)
    assert found["user"].unique().to_list() == ["adam"]
    row = int(np.argmax(recommender.known.lengths))
    some = recommender.within(items.gather(recommender.known[row]))
    with pytest.warns(InputWarning, match="every item that may be recommended already"):
        assert users[row] not in some.recommend_many([users[row]], 1)["user"].to_list()
