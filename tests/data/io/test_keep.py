"""Which rows are interactions, and which row of a repeated pair stays."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy import sparse
from torch_geometric.data import HeteroData

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.filters import Keep
from gclrec.data.interactions import REPEATS
from gclrec.data.io.frames import interactions_from
from gclrec.data.io.hetero import dataset_of_hetero
from gclrec.data.io.readers import read_dataset, read_interactions, read_parts

TWICE = {"user": ["u", "u", "v"], "item": ["a", "a", "a"], "rating": [1, 5, 4], "time": [10, 20, 30]}
KEPT = {"first": (1, 10), "last": (5, 20), "max": (5, 20), "sum": (6, 10)}


def matrix_of(table: pl.DataFrame) -> sparse.coo_matrix:
    user, item, rating = (column.to_numpy() for column in table)
    return sparse.coo_matrix((rating, (user, item)))


def hetero(rating: list[float]) -> HeteroData:
    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = 2, 3
    edges = data["user", "rates", "item"]
    edges.edge_index = torch.tensor([[0] * len(rating), list(range(len(rating)))])
    edges.rating = torch.tensor(rating)
    return data


@pytest.mark.parametrize("repeats", REPEATS)
def test_repeats(repeats: str, tmp_path: Path) -> None:
    table = pl.DataFrame(TWICE)
    table.write_csv(tmp_path / "a.csv")
    for keep_order in (table, table.reverse()):
        with pytest.warns(
            InputWarning, match=f"1 repeated pairs: each pair is kept once, {REPEATS[repeats]}"
        ):
            pairs = interactions_from(keep_order, keep=Keep(repeats=repeats))
        found = pairs.to_frame().filter(pl.col("user") == "u").row(0, named=True)
        assert (found["weight"], found["time"]) == KEPT[repeats]
    with pytest.warns(InputWarning, match="repeated"):
        from_file = read_interactions(tmp_path / "a.csv", keep=Keep(repeats=repeats))
    assert from_file.to_frame().sort("user").row(0)[2:] == KEPT[repeats][::-1]


def test_without_times_rows_are_in_order() -> None:
    table = pl.DataFrame(TWICE).drop("time")
    for repeats, weight in (("first", 1), ("last", 5)):
        with pytest.warns(InputWarning, match="repeated"):
            pairs = interactions_from(table, keep=Keep(repeats=repeats))
        assert pairs.to_frame().sort("user")["weight"].to_list() == [weight, 4]


def test_ratings_are_filtered_before_repeats(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("user,item,rating\nu,a,1\nu,a,5\nv,a,1\n")
    (tmp_path / "test.csv").write_text("user,item,rating\nu,b,2\nu,b,4\n")
    (tmp_path / "item.csv").write_text("item,x\na,1\nb,2\n")
    keep = Keep(min_rating=4)
    pairs = read_interactions(tmp_path / "train.csv", keep=keep)
    assert pairs.to_frame().rows() == [("u", "a", 5.0)]
    assert pairs.users.ids.to_list() == ["u"]
    data = read_dataset(tmp_path, keep=keep)
    assert data.parts["train"].to_frame().rows() == [("u", "a", 5.0)]
    assert data.parts["test"].to_frame().rows() == [("u", "b", 4.0)]
    assert data.interactions.users.ids.to_list() == ["u"]


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_weights_of_0_and_below_are_no_interactions(bad: float, tmp_path: Path) -> None:
    table = pl.DataFrame({"user": [0, 0, 1], "item": [0, 1, 2], "rating": [2.0, bad, 3.0]})
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "a.csv")
    table.write_csv(tmp_path / "a.txt", separator="\t", include_header=False)
    sparse.save_npz(tmp_path / "a.npz", matrix_of(table))
    readers: list[tuple[Any, Any]] = [
        (read_interactions, tmp_path / name) for name in ("a.parquet", "a.csv", "a.txt", "a.npz")
    ]
    readers += [
        (interactions_from, table),
        (lambda data: dataset_of_hetero(data).interactions, hetero([2, bad, 3])),
    ]
    message = "1 rows with a weight of 0 or below are no interactions and are left out; to keep all rows"
    for read, source in readers:
        with pytest.warns(InputWarning, match=message):
            pairs = read(source)
        assert sorted(pairs.weight.tolist()) == [2.0, 3.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a minimum says itself what counts
        assert len(interactions_from(table, keep=Keep(min_rating=-5))) == 3
    with pytest.raises(InputError, match=r"no interaction has a rating above 0 \(the highest is -1\)"):
        interactions_from({"user": [1], "item": [1], "rating": [-1]})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_finite_numbers_are_refused(bad: float, tmp_path: Path) -> None:
    table = pl.DataFrame({"user": [0, 0], "item": [0, 1], "rating": [2.0, bad]})
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "a.csv")
    sparse.save_npz(tmp_path / "a.npz", matrix_of(table))
    readers: list[tuple[Any, Any]] = [
        (read_interactions, tmp_path / name) for name in ("a.parquet", "a.csv", "a.npz")
    ]
    readers += [(interactions_from, table), (dataset_of_hetero, hetero([2.0, bad]))]
    for read, source in readers:
        with pytest.raises(InputError, match="expected a finite number"):
            read(source)


def test_what_needs_weights_says_so(tmp_path: Path) -> None:
    pairs = {"user": [1], "item": [1]}
    for keep, setting in ((Keep(min_rating=3), "min_rating"), (Keep(repeats="sum"), "repeats")):
        with pytest.raises(InputError, match=f"`{setting}` is about ratings.*no rating"):
            interactions_from(pairs, keep=keep)
    (tmp_path / "a.csv").write_text("user,item,rating\n1,1,5\n")
    (tmp_path / "b.csv").write_text("user,item\n1,2\n")
    with pytest.raises(InputError, match=r"b\.csv: .*no rating"):
        read_parts({"train": tmp_path / "a.csv", "test": tmp_path / "b.csv"}, keep=Keep(min_rating=3))
    with pytest.raises(InputError, match="repeats: found 'all', expected one of first, last, max, sum"):
        interactions_from(pairs, keep=Keep(repeats="all"))
