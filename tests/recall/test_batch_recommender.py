"""Batches of users in every kind of table get the lists of the recommender."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import gclrec
from gclrec.common.errors import InputError
from gclrec.recall.recommender import Recommender

from .fake_run import FakeRun, write_run


@pytest.fixture(params=["int", "string"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> FakeRun:
    return write_run(tmp_path / "run", ids=request.param)


@pytest.mark.parametrize("column", ["user", "id"])
@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow", "arrays"])
def test_every_kind_of_table(run: FakeRun, kind: str, column: str) -> None:
    if kind in ("pandas", "arrow"):
        pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
    users = run.users.ids[1:9].alias(column)
    expected = Recommender.load(run.path).recommend_many(users, 4)
    asked: dict[str, Any] = {
        "polars": users.to_frame(),
        "arrays": {column: users.to_numpy(), "other": users.to_numpy()},
    }
    if kind in ("pandas", "arrow"):
        asked |= {"pandas": users.to_frame().to_pandas(), "arrow": users.to_frame().to_arrow()}
    recommender = gclrec.BatchRecommender(run.path, 4)
    found = recommender(asked[kind])
    assert type(found) is type(asked[kind])
    table = pl.from_pandas(found) if kind == "pandas" else pl.DataFrame(found)
    assert table.equals(expected)


def test_arguments_and_pickling(run: FakeRun) -> None:
    users = pl.DataFrame({"user": run.users.ids[1:5]})
    recommender = gclrec.BatchRecommender(run.path, 3, exclude_seen=False)
    expected = recommender(users)
    assert expected.equals(Recommender.load(run.path).recommend_many(users["user"], 3, exclude_seen=False))
    content = pickle.dumps(recommender)  # though the run is loaded
    assert len(content) < 500
    assert pickle.loads(content)(users).equals(expected)


def test_bad_batches(run: FakeRun) -> None:
    recommender = gclrec.BatchRecommender(run.path)
    with pytest.raises(InputError, match="found the columns name, expected user or id"):
        recommender({"name": [1]})
    unknown = pl.DataFrame(
        {"user": [run.users.ids[3], run.users.ids[3] * 2 if run.users.ids.dtype == pl.String else 9999]}
    )
    with pytest.raises(InputError, match="unknown user"):
        recommender(unknown)
    skipping = gclrec.BatchRecommender(run.path, skip_unknown=True)
    with pytest.warns(gclrec.InputWarning, match="unknown"):
        assert skipping(unknown)["user"].unique().to_list() == [run.users.ids[3]]
    with pytest.raises(InputError, match="nowhere"):
        gclrec.BatchRecommender("nowhere")(unknown)
