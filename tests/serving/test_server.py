"""The command: it starts without torch, stops when it is told to, and refuses what is wrong in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

from gclrec.cli.console import main_of
from gclrec.cli.serve import app
from tests.recall.folded_run import folded_run


@contextmanager
def serving(run: Path, *flags: object) -> Iterator[tuple[subprocess.Popen, str]]:
    """Start ``gclrec serve`` on a free port and yield the process and its URL once it answers."""
    command = [sys.executable, "-m", "gclrec", "serve", str(run), "--port", "0", *map(str, flags)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+): ready\n", line)
        assert found, line + process.stderr.read()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def asked(url: str, body: object = None) -> dict:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = folded_run(tmp_path / "run")
    (made.path / "config.toml").write_text('encoder = "lightgcn"\n')
    return made.path


def test_it_starts_without_torch_and_finishes_what_is_in_work(run: Path) -> None:
    with serving(run) as (process, url):
        assert asked(f"{url}/v1/recommend", {"users": list(range(-7, 60, 3)), "unknown": "popular"})[
            "results"
        ]
        assert asked(f"{url}/v1/recommend-for", {"items": [5, 8], "explain": 2})["items"]
        asked(f"{url}/v1/items", {"items": [{"id": 999, "users": [2, 5]}]})
        mapped = Path(f"/proc/{process.pid}/maps")
        if mapped.exists():
            assert "libtorch" not in mapped.read_text()
        host, port = url.removeprefix("http://").split(":")
        body = b'{"user": 2}'
        head = b"POST /v1/recommend HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body[:4])
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[4:])
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert out == ""
        assert [json.loads(line)["status"] for line in err.splitlines() if "endpoint" in line][-1] == 200


def test_several_workers_share_a_port_and_their_feedback(run: Path) -> None:
    with serving(run, "--workers", 2, "--no-log-requests") as (process, url):
        asked(f"{url}/v1/feedback", {"interactions": [{"user": "424242", "item": 5}]})
        # Each request has a connection of its own, which either process may take.
        sources = {asked(f"{url}/v1/recommend", {"user": 424242})["source"] for _ in range(20)}
        assert sources == {"feedback"}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_what_is_no_http_gets_a_problem(run: Path) -> None:
    with serving(run) as (_, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(1000), b""))
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json")


def test_refusals(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # the command sets them where they are not

    def refused(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main_of(app)([*map(str, arguments)])
        assert ended.value.code == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    assert "no such run folder" in refused(tmp_path / "nothing")
    assert "--workers: found 0" in refused(run, "--workers", 0)
    assert "--watch: found 0.0, expected seconds" in refused(run, "--watch", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}: Address already in use" in refused(run, "--port", port)
    assert "no such file of API keys" in refused(run, "--api-keys", tmp_path / "keys")
    monkeypatch.setitem(sys.modules, "gclrec.serving.server", None)
    assert 'pip install "gclrec[serve]"' in refused(run)
