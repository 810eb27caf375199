"""Files and folders appear whole or not at all; long tables are written piece by piece."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.common.files import (
    read_json,
    read_parquet,
    read_toml,
    replacing,
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


# -- one file or folder ---------------------------------------------------------------------------


def make(fresh: Path, folder: bool, text: str) -> None:
    if folder:
        (fresh / "inner").mkdir(parents=True)
        (fresh / "inner" / "file").write_text(text)
    else:
        fresh.write_text(text)


def content(path: Path) -> str:
    return (path / "inner" / "file" if path.is_dir() else path).read_text()


as_folder = pytest.mark.parametrize("folder", [False, True])


@as_folder
def test_replacing(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "new" / "thing"
    for text in ("first", "second"):
        with replacing(path) as fresh:
            assert fresh.parent.parent == path.parent  # the same file system, so a rename is enough
            make(fresh, folder, text)
            assert not path.exists() or content(path) == "first"
        assert content(path) == text
    assert [each.name for each in path.parent.iterdir()] == ["thing"]


@as_folder
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(28, "No space left on device")])
def test_a_failed_write_leaves_the_former(tmp_path: Path, folder: bool, error) -> None:
    path = tmp_path / "thing"
    with replacing(path) as fresh:
        make(fresh, folder, "former")

    def broken() -> None:
        with replacing(path) as fresh:
            make(fresh, folder, "half")
            raise error

    with pytest.raises(error if isinstance(error, type) else OSError):
        broken()
    assert content(path) == "former"
    assert [each.name for each in tmp_path.iterdir()] == ["thing"]


@as_folder
def test_a_failed_rename_leaves_the_former(
    tmp_path: Path, folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "thing"
    with replacing(path) as fresh:
        make(fresh, folder, "former")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/thing'$"), replacing(path) as fresh:
        make(fresh, folder, "new")
    assert content(path) == "former"
    assert [each.name for each in tmp_path.iterdir()] == ["thing"]


@as_folder
def test_permissions_are_the_usual_ones(tmp_path: Path, folder: bool) -> None:
    """What is written can be read by others, although the temporary folder cannot."""
    make(tmp_path / "usual", folder, "")
    with replacing(tmp_path / "thing") as fresh:
        assert stat.S_IMODE(fresh.parent.stat().st_mode) == 0o700
        make(fresh, folder, "")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "thing")]
    assert modes[0] == modes[1]


def test_a_folder_in_the_way_is_kept(tmp_path: Path) -> None:
    make(tmp_path / "thing", True, "theirs")
    with pytest.raises(OSError, match="thing"), replacing(tmp_path / "thing", overwrite=False) as fresh:
        make(fresh, True, "ours")
    assert content(tmp_path / "thing") == "theirs"
    assert [each.name for each in tmp_path.iterdir()] == ["thing"]


def test_a_link_is_replaced_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "kept"
    assert (tmp_path / "link").read_text() == "new"


def test_threads_may_write_one_file(tmp_path: Path) -> None:
    texts = [str(number) * 10_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_atomically(tmp_path / "file", text), texts * 5))
    assert (tmp_path / "file").read_text() in texts
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


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
