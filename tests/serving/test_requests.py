"""What is refused, how it is told, and what is noted of each request."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from gclrec import InputError
from gclrec.serving.app import Limits, create_app
from gclrec.serving.keys import ApiKeys
from gclrec.serving.problems import KINDS_OF_PROBLEMS
from gclrec.serving.structured_log import StructuredLog
from tests.recall.folded_run import FoldedRun

from .client import Client
from .conftest import options_of


@pytest.mark.parametrize(
    ("body", "status", "pointer", "detail"),
    [
        (b"", 400, None, "truncated"),
        (b"{", 400, None, "truncated"),
        (b'{"user": ' + b"[" * 100_000, 422, "/user", "got `array`"),
        (b'{"user": "\xff"}', 400, None, "UTF-8"),
        (b'{"user": "\\ud800"}', 400, None, ""),
        (b"[]", 422, None, "Expected `object`, got `array`"),
        (b"{}", 422, "/user", "give one of `user` and `users`"),
        (b'{"user": 1, "users": [1]}', 422, "/user", "give one of"),
        (b'{"user": 1.5}', 422, "/user", "Expected `int | str`, got `float`"),
        (b'{"user": true}', 422, "/user", "got `bool`"),
        (b'{"user": 9223372036854775808}', 422, "/user", ""),
        (b'{"users": [1, null]}', 422, "/users/1", "got `null`"),
        (b'{"users": []}', 422, "/users", "length >= 1"),
        (b'{"users": [' + b"1," * 1000 + b"1]}", 422, "/users", "length <= 1000"),
        (b'{"user": 1, "k": 0}', 422, "/k", ">= 1"),
        (b'{"user": 1, "k": 1000000000}', 422, "/k", "<= 1000"),
        (b'{"user": 1, "k": 1e400}', 422, "/k", "out of range"),
        (b'{"user": 1, "k": NaN}', 400, None, ""),
        (b'{"user": 1, "colour": "red"}', 422, None, "unknown field `colour`"),
        (b'{"users": [' + b"1," * 900 + b'1], "k": 1000}', 422, "/k", "users times k"),
        (b'{"user": 1, "unknown": "what"}', 422, "/unknown", ""),
        (b'{"users": [1], "unknown": "popular", "filter": "year ="}', 422, "/filter", "filter, position 7"),
        (b'{"user": 1, "explain": 51}', 422, "/explain", "<= 50"),
    ],
)
def test_bad_bodies(client: Client, body: bytes, status: int, pointer: str | None, detail: str) -> None:
    answer = client.post("/v1/recommend", body)
    told = answer.json
    assert (answer.status, told["status"], told.get("pointer")) == (status, status, pointer)
    assert detail.lower() in told["detail"].lower()
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["instance"] == answer.headers["x-request-id"]


def test_addresses_methods_and_types(client: Client) -> None:
    assert client.get("/nothing").json["type"] == "urn:gclrec:not-found"
    answer = client.get("/v1/recommend")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    both = client.run(client.call("DELETE", "/v1/items", None, {}))
    assert (both.status, sorted(both.headers["allow"].split(", "))) == (405, ["GET", "HEAD", "POST"])
    assert client.run(client.call("HEAD", "/v1/run", None, {})).content == b""
    assert client.post("/v1/recommend", b'{"user": 1}', content_type="text/plain").status == 415
    assert client.get("/v1/items?search=a&limit=0").json["detail"].startswith("parameter 'limit'")
    assert client.get("/v1/items").json["detail"] == "the parameter 'search' is missing"
    assert client.get("/v1/items?search=a&page=2").json["detail"] == "unknown parameter 'page'"


def test_request_ids(client: Client) -> None:
    given = client.get("/healthz", x_request_id="abc-1")
    assert given.headers["x-request-id"] == "abc-1"
    forged = client.get("/healthz", x_request_id='a"b\nc')
    assert len(forged.headers["x-request-id"]) == 16


def test_limits(run: FoldedRun) -> None:
    with Client(create_app(options_of(run), limits=Limits(body=100, seconds=0.2, waiting=0))) as client:
        assert client.get("/healthz").status == 503
    with Client(create_app(options_of(run), limits=Limits(body=100, seconds=0.2))) as client:
        answer = client.post("/v1/recommend", {"users": [1] * 200})
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert client.post("/v1/recommend", {"user": run.users.ids[1]}, content_length="3").status == 200

        async def never(*_: object) -> None:
            await asyncio.Event().wait()

        client.service.in_thread = never
        late = client.post("/v1/recommend", {"user": run.users.ids[1], "cold_only": True})
        assert (late.status, late.headers["retry-after"]) == (503, "1")


def test_a_client_that_does_not_read_is_let_go(run: FoldedRun) -> None:
    with Client(create_app(options_of(run), limits=Limits(seconds=0.1))) as client:

        async def ask() -> int:
            pieces = [{"type": "http.request", "body": b"", "more_body": False}]

            async def receive() -> dict:
                return pieces.pop()

            async def send(_: dict) -> None:
                await asyncio.Event().wait()

            path = {"path": "/healthz", "raw_path": b"/healthz", "root_path": "", "query_string": b""}
            scope = {"type": "http", "method": "GET", "headers": [], **path}
            await client.app(scope, receive, send)
            return client.service.in_work

        assert client.run(ask()) == 0


def test_keys(run: FoldedRun) -> None:
    keys = ApiKeys(["read:reader-key", "write:writer-key"])
    body = {"interactions": [{"user": run.users.ids[1], "item": run.items.ids[1]}]}
    with Client(create_app(options_of(run), keys=keys)) as client:
        for key, expected in ((None, (401, 401)), ("wrong-key", (401, 401)), ("reader-key", (200, 403))):
            client.key = key
            found = (
                client.post("/v1/recommend", {"user": run.users.ids[1]}),
                client.post("/v1/feedback", body),
            )
            assert tuple(each.status for each in found) == expected
        client.key = None
        assert client.get("/v1/run").headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/run", x_api_key="writer-key").status == 200
        assert client.post("/v1/feedback", body, x_api_key="writer-key").status == 200
        assert client.post("/v1/reload", x_api_key="reader-key").status == 403
        for path in ("/healthz", "/readyz", "/", "/openapi.json"):
            assert client.get(path).status == 200


def test_keys_are_read_from_a_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCLREC_API_KEYS", "read:from-the-environment")
    path = tmp_path / "keys"
    path.write_text("# ours\nwrite:from-the-file\n\n")
    keys = ApiKeys.read(path)
    for key, write in ((b"from-the-environment", False), (b"from-the-file", True)):
        keys.check([(b"x-api-key", key)], write=write)
    monkeypatch.delenv("GCLREC_API_KEYS")
    assert not ApiKeys.read(None)
    for text in ("read:short", "admin:long-enough-key", "long-enough-key", ""):
        path.write_text(text)
        with pytest.raises(InputError, match=r"API keys|holds no key"):
            ApiKeys.read(path)


def test_sites_may_ask_only_if_they_are_named(run: FoldedRun, client: Client) -> None:
    assert "access-control-allow-origin" not in client.get("/healthz", origin="https://shop.example").headers
    with Client(create_app(options_of(run), origins=["https://shop.example"])) as open_client:
        answer = open_client.get("/healthz", origin="https://shop.example")
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        other = open_client.get("/healthz", origin="https://evil.example")
        assert "access-control-allow-origin" not in other.headers


def test_the_log_and_the_counters(client: Client, run: FoldedRun, log: io.BytesIO) -> None:
    user = run.users.ids[1]
    client.post("/v1/recommend", {"user": user}, x_request_id="first")
    client.post("/v1/recommend", {"users": [user, user]})
    client.post("/v1/recommend", {"user": "nobody"})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["status"] for line in lines] == [200, 200, 404]
    assert lines[0]["request_id"] == "first"
    assert "nobody" not in log.getvalue().decode()
    text = client.get("/metrics").content.decode()
    assert 'gclrec_requests_total{endpoint="recommend",status="200"} 2' in text
    assert 'gclrec_requests_total{endpoint="recommend",status="404"} 1' in text
    assert 'gclrec_request_seconds_count{endpoint="recommend"} 3' in text
    assert "gclrec_users_total 4" in text
    assert "gclrec_items 60" in text
    latency = client.get("/v1/run").json["latency"]
    assert latency["requests"] == 3
    assert 0 < latency["p50_ms"] <= latency["p99_ms"]


def test_a_fault_of_the_service_is_logged_and_not_shown(client: Client, log: io.BytesIO) -> None:
    client.service._served.catalogue = None  # something that cannot happen
    answer = client.post("/v1/recommend", {"user": client.service.served.recommender.users.ids[1]})
    assert (answer.status, answer.json["type"]) == (500, "urn:gclrec:internal")
    assert "NoneType" not in answer.content.decode()
    line = json.loads(log.getvalue().splitlines()[-1])
    assert "NoneType" in line["error"]
    assert line["request_id"] == answer.json["instance"]


def test_every_kind_of_problem_has_a_status_that_is_counted() -> None:
    from gclrec.serving.instruments import STATUSES

    assert {status for status, _ in KINDS_OF_PROBLEMS.values()} <= set(STATUSES)


def test_a_log_without_requests_keeps_errors() -> None:
    stream = io.BytesIO()
    log = StructuredLog(stream, requests=False)
    log.request("recommend", "1", 200, 0.1)
    log.request("recommend", "2", 503, 0.1)
    assert [json.loads(line)["status"] for line in stream.getvalue().splitlines()] == [503]
