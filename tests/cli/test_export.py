"""``gclrec export``: every backend by name, its figures, and messages for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from gclrec.cli.export import Backend
from gclrec.recall.build_index import BACKENDS
from gclrec.recall.index import Index
from gclrec.stores import open_store
from gclrec.stores.upload import recommend_from
from tests.recall.fake_run import FakeRun, write_run

from .conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _short_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.recall.build_index._TIMED_SECONDS", 0.005)


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return write_run(tmp_path / "run", num_users=80, num_items=1100, ids="string", skew=0.3)


def test_every_backend_can_be_named() -> None:
    assert get_args(Backend) == tuple(BACKENDS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_export(gclrec: Run, run: FakeRun, backend: str) -> None:
    outcome = gclrec("export", run.path, "--backend", backend, "--target-recall", 0.9, "--seed", 5, "--json")
    assert outcome.code == 0
    values = outcome.values
    assert len(outcome.out.splitlines()) == 1  # tables go to stderr
    assert values["backend"] == backend or backend == "auto"
    assert 0.9 <= values["recall@100"] <= 1
    for name in ("queries_per_second", "queries_per_second_batched", "bytes"):
        assert values[name] > 0
    assert values["build_seconds"] >= 0
    index = Index.load(run.path / "index")
    assert index.backend == values["backend"]
    assert index.quality is not None
    assert index.quality.recall == values["recall@100"]


def test_table(gclrec: Run, run: FakeRun) -> None:
    outcome = gclrec("export", run.path, "--backend", "hnsw")
    assert outcome.code == 0
    for word in ("recall@100", "queries/s", "build s", "MB", "exact", "hnsw *", "layout", "gclrec recommend"):
        assert word in outcome.out


def test_export_again_replaces(gclrec: Run, run: FakeRun) -> None:
    for backend in ("ivfflat", "exact"):
        assert gclrec("export", run.path, "--backend", backend).code == 0
    assert Index.load(run.path / "index").backend == "exact"
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "embeddings", "index", "split"]


def test_a_missed_target_is_reported(gclrec: Run, run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gclrec.recall.faiss_backends.InvertedLists.efforts", (12, 12))
    outcome = gclrec("export", run.path, "--backend", "ivfflat", "--target-recall", 1, "--json")
    assert outcome.code == 0
    assert "note: ivfflat: measured recall@100" in outcome.err
    assert outcome.values["recall@100"] < 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--backend", "annoy"), "annoy"),
        (("--target-recall", 1.5), "target recall must be above 0 and at most 1, got 1.5"),
        (("--target-recall", 0), "target recall"),
        (("--target-recall", "much"), "much"),
        (("--seed", -1), "seed must not be negative"),
    ],
)
def test_bad_flags(gclrec: Run, run: FakeRun, flags: tuple[object, ...], said: str) -> None:
    assert said in gclrec("export", run.path, *flags).error
    assert not (run.path / "index").exists()


def test_bad_run_folders(gclrec: Run, run: FakeRun, tmp_path: Path) -> None:
    assert "no such run folder" in gclrec("export", tmp_path / "nowhere").error
    assert "not a run folder" in gclrec("export", tmp_path).error
    (run.path / "index").mkdir()
    (run.path / "index" / "mine.txt").write_text("")
    said = gclrec("export", run.path, "--backend", "exact").error
    assert said.endswith(
        f"{run.path / 'index'}: is damaged or something else than gclrec index, so it is not replaced; "
        "remove it and run again"
    )
    path = run.path / "embeddings" / "items.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}: cut off" in gclrec("export", run.path).error


def test_a_full_disk(gclrec: Run, run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "items.faiss")

    monkeypatch.setattr("gclrec.recall.index.write_parquet", full)
    assert "No space left on device" in gclrec("export", run.path, "--backend", "exact").error
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "embeddings", "split"]


def test_manifest_tells_all(gclrec: Run, run: FakeRun) -> None:
    assert gclrec("export", run.path, "--backend", "ivfflat").code == 0
    manifest = json.loads((run.path / "index" / "manifest.json").read_text())
    assert manifest["metric"] == "inner product"
    assert (manifest["count"], manifest["dim"], manifest["backend"]) == (1100, 8, "ivfflat")
    assert set(manifest["files"]) == {"items.faiss", "vectors.npy", "ids.parquet"}
    assert [each["backend"] for each in manifest["compared"]] == ["exact", "ivfflat"]
    assert manifest["measured"] == manifest["compared"][1]


def test_to_a_store(gclrec: Run, run: FakeRun, tmp_path: Path) -> None:
    url = f"bundle:{tmp_path / 'bundle'}"
    values = gclrec("export", run.path, "--to", url, "--json").values
    assert (values["items"], values["users"], values["resumed"]) == (1100, 80, 0)
    assert values["recall"] == 1
    assert not (run.path / "index").exists()
    again = gclrec("export", run.path, "--to", url)
    assert "1,100 items and 80 users (1,180 rows were there)" in again.out
    user = run.users.ids[5]
    found = [item for item, _ in recommend_from(open_store(url), user, 9)]
    assert found == run.items.raw(run.ranked(5, "train", "valid", "test")[:9]).to_list()
    assert "no such store" in gclrec("export", run.path, "--to", "ftp://x").error
    (tmp_path / "bundle" / "items.parquet").write_bytes(b"")
    assert "items.parquet" in gclrec("export", run.path, "--to", url).error
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    assert gclrec("export", run.path, "--to", f"bundle:{tmp_path / 'other'}").code == 2
    assert (tmp_path / "other" / "mine.txt").exists()
