"""Long tables go to a file in pieces; the file appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.recall.tables import write_table


def pieces(count: int, rows: int = 7) -> Iterator[pl.DataFrame]:
    for n in range(count):
        first = n * rows
        yield pl.DataFrame({"user": [f"u{first + i}" for i in range(rows)], "score": [0.5 * n] * rows})


@pytest.mark.parametrize("rows_held", [1, 20, 1_000])
@pytest.mark.parametrize(("suffix", "read"), [(".parquet", pl.read_parquet), (".csv", pl.read_csv)])
def test_pieces_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_held: int, suffix: str, read
) -> None:
    monkeypatch.setattr("gclrec.recall.tables._ROWS", rows_held)
    path = tmp_path / f"table{suffix}"
    path.write_text("a former file")
    assert write_table(path, pieces(10)) == 70
    assert read(path).equals(pl.concat(list(pieces(10))))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_table_without_rows_has_columns(tmp_path: Path) -> None:
    assert write_table(tmp_path / "table.csv", [next(pieces(1)).clear()]) == 0
    assert (tmp_path / "table.csv").read_text() == "user,score\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr("gclrec.recall.tables._ROWS", 1)

    def broken() -> Iterator[pl.DataFrame]:
        yield from pieces(3)
        raise error

    (tmp_path / "table.csv").write_text("former")
    with pytest.raises(error):
        write_table(tmp_path / "table.csv", broken())
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]
    assert (tmp_path / "table.csv").read_text() == "former"


@pytest.mark.parametrize(
    ("name", "said"),
    [("t.txt", "expected .parquet or .csv"), ("no/t.csv", "no such folder"), ("d.csv", "is a folder")],
)
def test_bad_places(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InputError) as caught:
        write_table(tmp_path / name, pieces(1))
    assert said in str(caught.value)
