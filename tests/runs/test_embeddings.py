"""The embeddings folder: what is written comes back, and what was damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.common.manifest import MANIFEST
from gclrec.data.interactions import Vocabulary
from gclrec.runs.embeddings import read_embeddings, write_embeddings
from tests.recall.fake_run import FakeRun


def arguments(**changes):
    given = {
        "user_ids": Vocabulary.of(["b", "a"]),
        "user_vectors": np.ones((2, 3), dtype=np.float32),
        "user_degrees": np.array([1, 2]),
        "item_ids": Vocabulary.of([5]),
        "item_vectors": np.ones((1, 3)),
        "item_degrees": np.array([0]),
    }
    return given | changes


def test_round_trip(run: FakeRun) -> None:
    held = read_embeddings(run.path / "embeddings")
    assert held.users == run.users
    assert held.items == run.items
    assert np.array_equal(held.user_vectors, run.user_vectors)
    assert np.array_equal(held.item_vectors, run.item_vectors)
    assert held.user_degrees.tolist() == np.bincount(run.parts["train"][0], minlength=30).tolist()
    assert held.item_degrees.dtype == np.int64
    assert held.user_vectors.dtype == held.item_vectors.dtype == np.float32
    assert held.user_vectors.flags.writeable  # torch.from_numpy warns otherwise


def test_tables_are_what_other_programs_expect(run: FakeRun) -> None:
    frame = pl.read_parquet(run.path / "embeddings" / "items.parquet")
    assert frame.columns == ["id", "vector", "degree"]
    assert frame["vector"].dtype == pl.Array(pl.Float32, 8)
    assert frame["id"].to_list() == run.items.ids.to_list()
    manifest = json.loads((run.path / "embeddings" / MANIFEST).read_text())
    assert manifest["metric"] == "inner product"
    assert manifest["dim"] == 8
    assert manifest["users"] == {"count": 30, "id": str(run.users.ids.dtype)}


def test_a_side_may_be_empty(tmp_path: Path) -> None:
    nobody = {
        "user_ids": Vocabulary(pl.Series("id", [], dtype=pl.Int64)),
        "user_vectors": np.empty((0, 3)),
        "user_degrees": np.empty(0, dtype=np.int64),
    }
    write_embeddings(tmp_path / "e", **arguments(**nobody))
    assert read_embeddings(tmp_path / "e").user_vectors.shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user_vectors": np.ones((2, 4))}, "4 dimensions"),
        ({"user_vectors": np.ones((3, 3))}, "2 user ids, 3 vectors"),
        ({"item_degrees": np.array([1, 2])}, "2 degrees"),
        ({"user_vectors": np.array([[1, 2, 3], [1, np.nan, 3]])}, "user vectors: row 1"),
        ({"item_vectors": np.array([[1, np.inf, 3]])}, "item vectors: row 0"),
        ({"item_vectors": np.ones(3)}, "shape (3,)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(tmp_path: Path, changes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        write_embeddings(tmp_path / "e", **arguments(**changes))
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_writing_again_replaces(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "e", **arguments())
    write_embeddings(tmp_path / "e", **arguments(user_degrees=np.array([7, 8])))
    assert read_embeddings(tmp_path / "e").user_degrees.tolist() == [7, 8]
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_a_failed_write_keeps_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_embeddings(tmp_path / "e", **arguments())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gclrec.runs.embeddings.write_parquet", full)
    with pytest.raises(OSError, match="No space"):
        write_embeddings(tmp_path / "e", **arguments(user_degrees=np.array([7, 8])))
    assert read_embeddings(tmp_path / "e").user_degrees.tolist() == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not replaced"):
        write_embeddings(tmp_path / "e", **arguments())
    assert (tmp_path / "e" / "thesis.tex").read_text() == "years of work"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        *((name, cut, "cut off") for name in ("users.parquet", "items.parquet", MANIFEST)),
        *((name, empty, "cut off") for name in ("users.parquet", "items.parquet", MANIFEST)),
        *((name, Path.unlink, "missing") for name in ("users.parquet", "items.parquet", MANIFEST)),
        *((name, flip, "checksum") for name in ("users.parquet", "items.parquet")),
    ],
)
def test_damage_is_named(run: FakeRun, name: str, damage, said: str) -> None:
    damage(run.path / "embeddings" / name)
    with pytest.raises(InputError) as caught:
        read_embeddings(run.path / "embeddings")
    message = str(caught.value)
    assert name in message
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("metric", "cosine", "metric 'cosine'"),
        ("dim", 9, "expected 9 float32"),
        ("dim", None, "cannot be used"),
        ("kind", "gclrec index", "not the manifest of gclrec embeddings"),
        ("format", 2, "reads format 1"),
        ("users", {"count": 29, "id": "Int64"}, "expected 29"),
        ("files", {"users.parquet": {}}, "no size and checksum of users.parquet"),
        ("files", [], "lists no files"),
    ],
)
def test_a_manifest_that_does_not_fit(run: FakeRun, key: str, value, said: str) -> None:
    path = run.path / "embeddings" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(InputError) as caught:
        read_embeddings(run.path / "embeddings")
    assert said in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_embeddings(tmp_path / "nowhere")
