"""Files and folders appear whole or not at all; long tables are written piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.common.files import (
    read_json,
    read_parquet,
    read_toml,
    write_atomically,
    write_parquet,
    write_table,
)


def pieces(count: int, rows: int = 7) -> Iterator[pl.DataFrame]:
    for n in range(count):
        first = n * rows
        yield pl.DataFrame({"user": [f"u{first + i}" for i in range(rows)], "score": [0.5 * n] * rows})


@pytest.mark.parametrize(("suffix", "read"), [(".parquet", pl.read_parquet), (".csv", pl.read_csv)])
def test_pieces_add_up(tmp_path: Path, suffix: str, read) -> None:
    path = tmp_path / f"table{suffix}"
    path.write_text("a former file")
    assert write_table(path, pieces(10)) == 70
    assert read(path).equals(pl.concat(list(pieces(10))))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_pieces_are_asked_for_as_they_are_written(tmp_path: Path) -> None:
    """Most of a long table is written before its last piece is made, so it is never in memory as a whole."""
    sizes = []

    def watched() -> Iterator[pl.DataFrame]:
        random = np.random.default_rng(0)
        for _ in range(60):
            sizes.append(sum(file.stat().st_size for file in tmp_path.rglob("table.parquet")))
            yield pl.DataFrame({"score": random.random(100_000)})

    write_table(tmp_path / "table.parquet", watched())
    assert sizes[-1] > 0.5 * (tmp_path / "table.parquet").stat().st_size


def test_a_table_without_rows_has_columns(tmp_path: Path) -> None:
    assert write_table(tmp_path / "table.csv", [next(pieces(1)).clear()]) == 0
    assert (tmp_path / "table.csv").read_text() == "user,score\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_interrupted_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
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


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "missing"),
        ("{", "damaged or cut off"),
        ("[1]", "expected a JSON object"),
        ("\xff", "damaged"),
        ('{"a": ' * 10**5, r"damaged or cut off \(it is nested too deeply\)"),
    ],
    ids=["missing", "cut", "list", "latin", "nested"],
)
def test_bad_json(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "result.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=f"^{path}: {said}"):
        read_json(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, ": no such file"),
        ("a =", ": not a TOML file"),
        ("a = \xff", ": not a TOML file"),
        ("a = 1\nb = " + "[" * 5000, r": not a TOML file \(it is nested too deeply\)"),
        ("a = 1\n" + ".".join("a" * 9000) + " = 1", ", line 2: longer than 10,000 characters"),
    ],
    ids=["missing", "cut", "latin", "nested", "dotted"],
)
def test_bad_toml(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "settings.toml"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=f"^{path}{said}"):
        read_toml(path)


@pytest.mark.parametrize(("content", "said"), [(None, "missing"), (b"PAR1", "cannot be used")])
def test_bad_parquet(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{path}: {said}"):
        read_parquet(path)


def test_round_trips(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    write_parquet(tmp_path / "a.parquet", frame)
    assert read_parquet(tmp_path / "a.parquet").equals(frame)
    write_atomically(tmp_path / "a.json", '{"ä": 1}')
    assert read_json(tmp_path / "a.json") == {"ä": 1}
