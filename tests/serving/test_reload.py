"""Another version takes over without a failed request; added items are kept and seen by all workers."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec import Recommender
from gclrec.recall.build_index import build_index
from gclrec.serving.app import create_app
from gclrec.serving.snapshot import version_of
from gclrec.serving.structured_log import StructuredLog
from tests.recall.folded_run import FoldedRun, folded_run

from .client import Client
from .conftest import BOTH, options_of
from .test_lists import same


def test_a_link_moves_to_a_newer_run(run: FoldedRun, tmp_path: Path) -> None:
    """Requests go on meanwhile, each answered by one version or the other."""
    newer = folded_run(tmp_path / "newer", "last", ids="int" if run.items.ids.dtype == pl.Int64 else "string")
    link, user = tmp_path / "current", run.users.ids[3]
    link.symlink_to(run.path)
    expected = [Recommender.load(path).recommend(user, 8) for path in (run.path, newer.path)]
    answers, stop = [], threading.Event()
    with Client(create_app(options_of(run, run=link))) as client:

        def ask() -> None:
            while not stop.is_set():
                answers.append(client.post("/v1/recommend", {"user": user, "k": 8}))

        asking = threading.Thread(target=ask)
        asking.start()
        before = client.post("/v1/recommend", {"user": user, "k": 8}).json
        assert client.post("/v1/reload").json["changed"] is False
        link.unlink()
        link.symlink_to(newer.path)
        reloaded = client.post("/v1/reload").json
        after = client.post("/v1/recommend", {"user": user, "k": 8}).json
        stop.set()
        asking.join()
    assert reloaded["changed"] is True
    assert reloaded["model"] == version_of(newer.path)
    same(before, expected[0])
    same(after, expected[1])
    assert {answer.status for answer in answers} == {200}
    assert {tuple(answer.json["items"]) for answer in answers} <= {
        tuple(before["items"]),
        tuple(after["items"]),
    }


def test_an_export_is_noticed(run: FoldedRun) -> None:
    with Client(create_app(options_of(run, watch=0.02))) as client:
        assert client.get("/v1/run").json["index"] == {"backend": "exact"}
        build_index(run.item_vectors, run.items, backend="ivfflat", seed=0).save(run.path / "index")
        loaded = threading.Event()
        while client.get("/v1/run").json["index"]["backend"] != "ivfflat":
            loaded.wait(0.02)
        same(
            client.post("/v1/recommend", {"user": run.users.ids[4], "k": 60}).json,
            Recommender.load(run.path).recommend(run.users.ids[4], 60),
        )


def test_a_damaged_run_leaves_the_former_version(run: FoldedRun, log: io.BytesIO) -> None:
    user = run.users.ids[3]
    with Client(create_app(options_of(run), log=StructuredLog(log))) as client:
        before = client.post("/v1/recommend", {"user": user}).json
        path = run.path / "embeddings" / "manifest.json"
        path.write_text(path.read_text() + " ")
        (run.path / "embeddings" / "items.parquet").write_bytes(b"PAR1")
        answer = client.post("/v1/reload")
        assert (answer.status, answer.json["type"]) == (409, "urn:gclrec:conflict")
        assert "items.parquet: cut off" in answer.json["detail"]
        assert client.post("/v1/recommend", {"user": user}).json == before
        assert client.get("/readyz").status == 200
        assert "gclrec_failed_reloads_total 1" in client.get("/metrics").content.decode()


@BOTH
def test_added_items(run: FoldedRun) -> None:
    """They are recommended at once, by other workers after a look at the folder, and after a restart."""
    users, new = run.users.ids[2:6].to_list(), 900_001 if run.items.ids.dtype == pl.Int64 else "new"
    expected = Recommender.load(run.path).add_items(pl.DataFrame({"user": users, "item": [new] * 4}))
    body = {
        "items": [{"id": new, "users": users, "attributes": {"title": "New", "tags": ["a"], "year": 2030}}]
    }
    asked = {"user": run.users.ids[7], "k": 61}
    with Client(create_app(options_of(run))) as one, Client(create_app(options_of(run, watch=0.02))) as two:
        assert one.post("/v1/items", body).json == {"added": 1, "items": 61}
        for client in (one, two):
            waiting = threading.Event()
            while client.get("/v1/run").json["items"] != 61:
                waiting.wait(0.02)
            same(client.post("/v1/recommend", asked).json, expected.recommend(asked["user"], 61))
            found = client.post(
                "/v1/recommend", asked | {"filter": "year = 2030 and tags = a", "attributes": True}
            )
            assert found.json["items"] == [new]
            assert found.json["attributes"] == [{"title": "New", "year": 2030, "tags": ["a"]}]
        again = one.post("/v1/items", body)
        assert (again.status, again.json["type"]) == (409, "urn:gclrec:conflict")
        assert one.post("/v1/items", body | {"skip_known": True}).json == {"added": 0, "items": 61}
        assert client.get(f"/v1/items/{new}").json["added"] is True
    with Client(create_app(options_of(run))) as three:
        same(three.post("/v1/recommend", asked).json, expected.recommend(asked["user"], 61))


@BOTH
def test_items_by_vectors(client: Client, run: FoldedRun) -> None:
    first, second = (1_001, 1_002) if run.items.ids.dtype == pl.Int64 else ("v1", "v2")
    vector = np.linspace(-1, 1, 8)
    items = [{"id": first, "vector": vector.tolist()}, {"id": second, "users": [run.users.ids[2]]}]
    assert client.post("/v1/items", {"items": items}).json == {"added": 2, "items": 62}
    table = pl.DataFrame({"id": [first], "vector": [vector.tolist()]})
    pairs = pl.DataFrame({"user": [run.users.ids[2]], "item": [second]})
    (run.path / "added").rename(run.path / "kept")
    expected = Recommender.load(run.path).add_items(pairs, attributes=table)
    same(client.post("/v1/similar", {"item": first, "k": 9}).json, expected.similar_items(first, 9))
    same(client.post("/v1/similar", {"item": second, "k": 9}).json, expected.similar_items(second, 9))
    for wrong, detail in (
        ({"id": "x1", "vector": [1.0]}, "found a vector of 1 numbers, expected 8"),
        ({"id": "x2"}, "neither users nor vectors"),
        ({"id": 333, "users": [10**15]}, "unknown user"),
    ):
        answer = client.post("/v1/items", {"items": [wrong]})
        assert answer.status == 409
        assert detail in answer.json["detail"]
    assert client.post("/v1/items", b'{"items": [{"id": 1, "vector": [NaN]}]}').status == 400


def test_items_added_at_once_share_loads(run: FoldedRun, log: io.BytesIO) -> None:
    users = run.users.ids[2:4].to_list()

    def item(number: int) -> dict:
        return {"items": [{"id": number, "users": users}]}

    async def add(client: Client) -> list:
        numbers = [7_000, 7_000, *range(7_001, 7_009)]
        return await asyncio.gather(*(client.call("POST", "/v1/items", item(each), {}) for each in numbers))

    with Client(create_app(options_of(run), log=StructuredLog(log))) as client:
        answers = client.run(add(client))
        assert [each.status for each in answers] == [200, 409] + [200] * 8
        assert client.get("/v1/run").json["added_items"] == 9
    assert log.getvalue().count(b'"loaded"') < 9


def test_arrays_are_mapped_and_old_ones_removed(run: FoldedRun) -> None:
    options = options_of(run)
    with Client(create_app(options)) as client:
        recommender = client.service.served.recommender
        for array in (recommender.user_vectors, recommender.index.vectors, recommender.known.values):
            assert isinstance(array.base, np.memmap)
        for number in range(4):
            client.post(
                "/v1/items", {"items": [{"id": 5_000 + number, "users": run.users.ids[2:4].to_list()}]}
            )
        names = {path.name for path in (options.state / "snapshots").iterdir() if path.is_dir()}
        assert len(names) == 2
        assert client.service.served.version in names


def test_readiness(run: FoldedRun) -> None:
    app = create_app(options_of(run))
    client = Client(app)
    client._thread.start()
    service = None
    with Client(app) as opened:
        service = opened.service
        assert opened.get("/readyz").json == {"status": "ok", "model": version_of(run.path)}
    answer = client.get("/readyz")
    assert (answer.status, client.get("/healthz").json) == (503, {"status": "stopping"})
    assert service.stopping
    client.loop.call_soon_threadsafe(client.loop.stop)


@pytest.mark.parametrize("part", ["embeddings", "split", "fold_in"])
def test_a_version_changes_with_the_run(run: FoldedRun, part: str) -> None:
    before = version_of(run.path)
    path = sorted((run.path / part).iterdir(), key=lambda path: path.suffix)[
        0
    ]  # the manifest, if there is one
    path.write_bytes(path.read_bytes() + b" ")
    assert version_of(run.path) != before


def test_the_log_is_json(run: FoldedRun, log: io.BytesIO) -> None:
    with Client(create_app(options_of(run), log=StructuredLog(log))) as client:
        client.post("/v1/items", {"items": [{"id": 77_777, "users": run.users.ids[2:4].to_list()}]})
    events = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line.get("event", line.get("endpoint")) for line in events] == ["loaded", "add-items"]
