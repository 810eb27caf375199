"""The index folder: what is saved comes back, what was damaged is named, nothing is unpickled."""

from __future__ import annotations

import json
import pickle
import resource
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.common.manifest import MANIFEST
from gclrec.data.interactions import Vocabulary
from gclrec.recall.build_index import build_index
from gclrec.recall.faiss_backends import GRAPH_LAYOUTS, HnswGraph
from gclrec.recall.index import Index

from .catalogue import DIM, ITEMS, QUERIES, VECTORS, clustered, lists, numbered


def test_round_trip(index: Index, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    assert again.ids == index.ids
    assert (again.backend, again.effort) == (index.backend, index.effort)
    assert (again.quality, again.trials) == (index.quality, index.trials)
    assert np.array_equal(again.vectors, index.vectors)
    if index.structure is not None:
        assert again.structure is not None
        assert again.structure.settings == index.structure.settings
    exclude = lists([set(range(q, 900 + q)) for q in range(40)])
    for ours, theirs in zip(
        index.search(QUERIES[:40], 30, exclude=exclude),
        again.search(QUERIES[:40], 30, exclude=exclude),
        strict=True,
    ):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("layout", GRAPH_LAYOUTS)
def test_round_trip_of_each_layout(layout: str, tmp_path: Path) -> None:
    index = Index(numbered(ITEMS), VECTORS, "hnsw", HnswGraph.build(VECTORS, layout, seed=0), effort=100)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    for ours, theirs in zip(index.search(QUERIES, 30), again.search(QUERIES, 30), strict=True):
        assert np.array_equal(ours, theirs)


def test_text_ids_survive(tmp_path: Path) -> None:
    ids = Vocabulary(pl.Series("id", [f"ítem {n}" for n in range(300)]))
    build_index(clustered(300, 1), ids, backend="exact").save(tmp_path / "index")
    assert Index.load(tmp_path / "index").ids == ids


def test_items_faiss_is_for_other_programs_too(built: dict[str, Index], tmp_path: Path) -> None:
    import faiss

    for name in ("exact", "ivfflat"):
        built[name].save(tmp_path / name)
        foreign = faiss.read_index(str(tmp_path / name / "items.faiss"))
        assert foreign.metric_type == faiss.METRIC_INNER_PRODUCT
        assert (foreign.ntotal, foreign.d) == (ITEMS, DIM)
        first = foreign.search(QUERIES[:1], 1)[1][0, 0]
        assert first == built["exact"].search(QUERIES[:1], 1)[0][0, 0] or name == "ivfflat"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = ("items.faiss", "vectors.npy", "ids.parquet")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, cut) for name in (*FILES, MANIFEST)),
        *((name, Path.unlink) for name in (*FILES, MANIFEST)),
        *((name, flip) for name in FILES),
    ],
)
def test_damage_is_named(index: Index, tmp_path: Path, name: str, damage) -> None:
    index.save(tmp_path / "index")
    damage(tmp_path / "index" / name)
    with pytest.raises(InputError) as caught:
        Index.load(tmp_path / "index")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def change_manifest(folder: Path, **values: object) -> None:
    """Change the manifest; the checksums of files that were changed too are put right."""
    import hashlib

    path = folder / MANIFEST
    manifest = json.loads(path.read_text()) | values
    for name in manifest["files"]:
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("backend", ["exact", "hnsw", "ivfflat"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"metric": "l2"}, "metric 'l2'"),
        ({"count": 1_999}, "the manifest says (1999, 16)"),
        ({"dim": 17}, "the manifest says (2000, 17)"),
        ({"backend": None, "count": "many"}, "cannot be used"),
        ({"measured": {"recall": 1}}, "cannot be used"),
        ({"compared": None}, "cannot be used"),
        ({"settings": None}, "cannot be used"),
        ({"kind": "gclrec embeddings"}, "not the manifest of gclrec index"),
    ],
)
def test_a_manifest_that_does_not_fit(built, backend: str, tmp_path: Path, values, said: str) -> None:
    built[backend].save(tmp_path / "index")
    change_manifest(tmp_path / "index", **values)
    with pytest.raises(InputError) as caught:
        Index.load(tmp_path / "index")
    assert said in str(caught.value)


@pytest.mark.parametrize(("one", "other"), [("hnsw", "ivfflat"), ("ivfflat", "hnsw"), ("ivfpq", "exact")])
def test_a_faiss_file_of_another_index(built, one: str, other: str, tmp_path: Path) -> None:
    built[one].save(tmp_path / "one")
    built[other].save(tmp_path / "other")
    (tmp_path / "other" / "items.faiss").replace(tmp_path / "one" / "items.faiss")
    change_manifest(tmp_path / "one")
    with pytest.raises(InputError, match=r"items\.faiss: .* do not fit the manifest"):
        Index.load(tmp_path / "one")


@pytest.mark.parametrize("name", ["items.faiss", "vectors.npy", "ids.parquet"])
def test_rubbish_with_a_right_checksum(built, name: str, tmp_path: Path) -> None:
    built["hnsw"].save(tmp_path / "index")
    (tmp_path / "index" / name).write_bytes(b"rubbish" * 99)
    change_manifest(tmp_path / "index")
    with pytest.raises(InputError, match=name):
        Index.load(tmp_path / "index")


@pytest.mark.parametrize("part", ["id_map", "neighbors", "offsets", "levels"])
@pytest.mark.parametrize("value", [-9, 10**6])
def test_links_of_a_graph_out_of_range(built, part: str, value: int, tmp_path: Path) -> None:
    """faiss follows them without a look, into memory that is not its own."""
    built["hnsw"].save(tmp_path / "index")
    path = tmp_path / "index" / "items.faiss"
    index = faiss.read_index(str(path))
    held = getattr(index if part == "id_map" else faiss.downcast_index(index.index).hnsw, part)
    values = faiss.vector_to_array(held)
    values[7] = np.array(value).astype(values.dtype)
    faiss.copy_array_to_vector(values, held)
    faiss.write_index(index, str(path))
    change_manifest(tmp_path / "index")
    with pytest.raises(InputError, match=r"items\.faiss: "):
        Index.load(tmp_path / "index")


@pytest.mark.parametrize("backend", ["ivfflat", "ivfpq"])
def test_rows_of_lists_out_of_range(built, backend: str, tmp_path: Path) -> None:
    built[backend].save(tmp_path / "index")
    path = tmp_path / "index" / "items.faiss"
    index = faiss.read_index(str(path))
    number = next(n for n in range(index.nlist) if index.invlists.list_size(n))
    faiss.rev_swig_ptr(index.invlists.get_ids(number), 1)[0] = 10**6
    faiss.write_index(index, str(path))
    change_manifest(tmp_path / "index")
    with pytest.raises(InputError, match="links or row numbers out of range"):
        Index.load(tmp_path / "index")


def test_a_size_that_is_claimed_takes_no_memory(built, tmp_path: Path) -> None:
    built["hnsw"].save(tmp_path / "index")
    path = tmp_path / "index" / "items.faiss"
    content = path.read_bytes()
    count = len(faiss.vector_to_array(faiss.read_index(str(path)).id_map))
    at = content.rindex(count.to_bytes(8, "little"))  # of the item rows, which come last
    path.write_bytes(content[:at] + (2**31).to_bytes(8, "little") + content[at + 8 :])
    change_manifest(tmp_path / "index")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"items\.faiss: cannot be used"):
        Index.load(tmp_path / "index")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**20  # kB


def test_nothing_is_unpickled(built: dict[str, Index], tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    built["exact"].save(tmp_path / "index")
    bomb = np.array([Bomb()], dtype=object)
    with (tmp_path / "index" / "vectors.npy").open("wb") as file:
        np.lib.format.write_array(file, bomb, allow_pickle=True)
    change_manifest(tmp_path / "index")
    with pytest.raises(InputError, match=r"vectors\.npy"):
        Index.load(tmp_path / "index")
    for name in ("items.faiss", "ids.parquet", MANIFEST):
        (tmp_path / "index" / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError):
        Index.load(tmp_path / "index")
    assert not (tmp_path / "exploded").exists()


def test_a_folder_of_something_else_is_not_replaced(built: dict[str, Index], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not replaced"):
        built["exact"].save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_be_written(built: dict[str, Index], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        built["exact"].save(tmp_path / "file" / "index")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Index.load(tmp_path / "nowhere")
