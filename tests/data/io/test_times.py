"""Times keep every digit, from all sources to the last pair of a split."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Dataset
from gclrec.data.io.frames import interactions_from
from gclrec.data.io.readers import read_dataset, read_interactions, read_parts, read_raw
from gclrec.data.splits import make_split
from gclrec.data.statistics import dataset_statistics

START = 1_700_000_000_123_456_000  # nanoseconds; neighbours are equal as float64
LATE = 987_654_321_012_345_000  # a sequence number of 18 digits


def shuffled(start: int) -> pl.DataFrame:
    """Twenty users with five pairs each, one unit of time apart, in random order; item 4 is the last."""
    rows = [(user, item, start + 5 * user + item) for user in range(20) for item in range(5)]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return frame.sample(fraction=1, shuffle=True, seed=1)


def as_dates(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("time").cast(pl.Datetime("ns")))


def iso(frame: pl.DataFrame) -> pl.DataFrame:
    return as_dates(frame).with_columns(pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.9f"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "frame",
    [shuffled(START), shuffled(LATE), as_dates(shuffled(START)), iso(shuffled(START))],
    ids=["nanoseconds", "sequence numbers", "dates", "text"],
)
def test_leave_one_out_takes_the_true_last_pair(frame: pl.DataFrame, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        frame.write_parquet(path)
    else:
        iso(frame).write_csv(path) if frame.schema["time"].is_temporal() else frame.write_csv(path)
    for pairs in (read_interactions(path), interactions_from(frame)):
        assert pairs.time is not None
        assert pairs.time.dtype == np.int64
        split = make_split(Dataset("a", pairs), "leave_one_out")
        assert sorted(split.test.user.tolist()) == list(range(20))
        assert set(split.test.item.tolist()) == {4}
        assert set(split.valid.item.tolist()) == {3}


def test_temporal_cut_is_exact() -> None:
    pairs = interactions_from(shuffled(LATE))
    split = make_split(Dataset("a", pairs), "temporal", valid=0.1, test=0.2)
    assert (len(split.train), len(split.valid), len(split.test)) == (70, 10, 20)
    assert split.train.time is not None
    assert split.train.time.max() == LATE + 69


def test_dates_are_seconds_unless_that_loses_digits() -> None:
    moment = datetime(2024, 1, 5, 10, tzinfo=timezone.utc)
    for unit in ("ms", "us", "ns"):
        table = pl.DataFrame({"user": [1], "item": [1], "time": [moment]})
        table = table.with_columns(pl.col("time").cast(pl.Datetime(unit, "UTC")))
        assert interactions_from(table).time.tolist() == [moment.timestamp()]
    half = pl.DataFrame({"user": [1], "item": [1], "time": pl.Series([1_500_001]).cast(pl.Datetime("us"))})
    assert interactions_from(half).time.tolist() == [1.500001]


def test_parts_and_files_of_one_table_share_a_unit(tmp_path: Path) -> None:
    frame = as_dates(shuffled(START))
    whole_second = frame.head(1).with_columns(pl.col("time").dt.truncate("1s"), item=9)
    paths = {"train": tmp_path / "part-1.parquet", "test": tmp_path / "part-2.parquet"}
    frame.write_parquet(paths["train"])
    whole_second.write_parquet(paths["test"])
    expected = START // 10**9 * 10**9
    assert read_parts(paths).parts["test"].time.tolist() == [expected]
    assert read_dataset(tmp_path).interactions.time.min() == expected


def test_pandas_nanoseconds() -> None:
    pandas = pytest.importorskip("pandas")
    table = shuffled(START)
    columns = {name: table[name].to_numpy() for name in table.columns}
    frame = pandas.DataFrame(columns | {"time": columns["time"].astype("datetime64[ns]")})
    assert interactions_from(frame).time.tolist() == columns["time"].tolist()


def test_float_times_that_tie_are_noted(tmp_path: Path) -> None:
    frame = shuffled(START).with_columns(pl.col("time").cast(pl.Float64))
    frame.write_parquet(tmp_path / "a.parquet")
    with pytest.warns(InputWarning, match=r"99 times in column 'time' are equal to others.*2\*\*53"):
        read_interactions(tmp_path / "a.parquet")


def test_time_that_is_no_int64_is_refused(tmp_path: Path) -> None:
    table = {"user": [1, 1], "item": [1, 2], "time": pl.Series([1, 2**64 - 1], dtype=pl.UInt64)}
    pl.DataFrame(table).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"row 2: found 18446744073709551615 in column 'time', expected"):
        read_raw(tmp_path / "a.parquet")


def test_nanoseconds_are_described_as_dates() -> None:
    figures = dataset_statistics(Dataset("a", interactions_from(shuffled(START))))["time"]
    assert figures["kind"] == "clock"
    assert figures["first"][:10] == "2023-11-14"


def test_categorical_numbers_are_read_and_bytes_refused() -> None:
    table = pl.DataFrame({"user": [1], "item": [1], "time": ["7"]}, schema_overrides={"time": pl.Categorical})
    assert interactions_from(table).time.tolist() == [7]
    with pytest.raises(InputError, match="column 'rating' holds Binary, expected numbers"):
        interactions_from(pl.DataFrame({"user": [1], "item": [1], "rating": [b"5"]}))
