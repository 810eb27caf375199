"""Ask a service everything at once, spoil its requests and kill it, and compare each answer with Python.

    python scripts/torture/run.py serve --seconds 1200 --seed 0

Clients ask for lists, tell feedback, add items and reload, all at random, and one request in a hundred is
hostile. Between bursts nobody writes, and lists of the service are compared with those of the recommender in
Python for the same users, feedback and added items. At random moments the service is killed while it is told
feedback, given items and reloaded; what it had acknowledged must be there when it is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from commands import DATA, gclrec

from gclrec import Recommender

KEY = "key-of-the-campaign"
CLIENTS = 8
CHECKED = 24  # users that are compared with Python after a burst
_TOLD = 40  # users who give feedback, so that the memory of a service does not grow with the time


@dataclass
class Service:
    """A running service of a run.

    Args:
        run: the run folder.
        workers: its processes.
    """

    run: Path
    workers: int = 1
    process: subprocess.Popen[bytes] = field(init=False)
    port: int = field(init=False)

    def start(self) -> float:
        """Start it and return the seconds until it answered."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "gclrec", "serve", str(self.run), "--port", str(self.port)]
        command += ["--workers", str(self.workers), "--no-log-requests", "--watch", "0.2", "--timeout", "20"]
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"GCLREC_API_KEYS": f"write:{KEY} read:{KEY}-that-may-read"},
        )
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise SystemExit("the service does not start")
        return time.perf_counter() - began

    def kill(self) -> None:
        """Kill it with its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def ask(self, path: str, body: Any = None) -> Any:
        """Return the answer to one request."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            content,
            {"content-type": "application/json", "x-api-key": KEY},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def memory(self) -> int:
        """Return the resident bytes of its processes that they do not share."""
        total = 0
        for pid in _tree(self.process.pid):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(
                    int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Private_")
                )
        return total


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _tree(int(child)))]


@dataclass
class Known:
    """What a campaign knows of its service: acknowledged feedback and items, and what it counts."""

    users: list[str]
    items: list[str]
    whole: bool  # ids are whole numbers
    told: list[tuple[str, str]] = field(default_factory=list)
    added: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


async def request(
    port: int,
    path: str,
    content: bytes,
    *,
    kind: str = "application/json",
    pause: float = 0.0,
    key: str = KEY,
) -> tuple[int, bytes]:
    """Send one request on a connection of its own and return status and body; 0 if the service hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {kind}\r\n"
        head += f"x-api-key: {key}\r\n"
        writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            if pause:  # a slow client
                writer.write(content[:5])
                await writer.drain()
                await asyncio.sleep(pause)
                writer.write(content[5:])
            else:
                writer.write(content)
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 60)
            top, _, body = answer.partition(b"\r\n\r\n")
            return int(top.split()[1]) if top else 0, body
        return 0, b""
    finally:
        writer.close()


def hostile(shuffled: random.Random) -> tuple[str, bytes, dict[str, Any]]:
    """Return path, body and further arguments of a request that must be refused."""
    lists = ["/v1/recommend", "/v1/recommend-for", "/v1/feedback", "/v1/items", "/v1/similar"]
    path = shuffled.choice(lists)
    good = b'{"interactions": [{"user": "u01", "item": "u01"}]}'
    return shuffled.choice(
        [
            (path, b'{"user": "u0', {}),
            (path, b'{"user": "u01", "k": 1000000000}', {}),
            (path, b'"' + b"x" * 10_000_000 + b'"', {}),
            (path, b'{"items": ' + b"[" * 100_000, {}),
            (path, b'{"user": NaN, "item": -Infinity}', {}),
            ("/v1/items", b'{"items": [{"id": "nan", "vector": [NaN, 1, 2]}]}', {}),
            ("/v1/items", b'{"items": [{"id": "huge", "vector": [1e39, 1, 1, 1, 1, 1, 1, 1]}]}', {}),
            (path, b"\xff\xfe\x00", {}),
            (path, b"{}", {"kind": "text/plain"}),
            ("/v1/recommend", b'{"user": "u01", "filter": "((((interactions >"}', {}),
            ("/v1/nothing", b"{}", {}),
            (path, b'{"user": "u01", "k": 3, "surprise": 1}', {"pause": 0.2}),
            ("/v1/feedback", good, {"key": "wrong-key"}),
            ("/v1/feedback", good, {"key": f"{KEY}-that-may-read"}),
        ]
    )


async def client(service: Service, known: Known, shuffled: random.Random, until: float, number: int) -> None:
    """Ask, tell, add and spoil until a moment; note what was acknowledged and what is wrong."""
    while time.monotonic() < until:
        draw = shuffled.random()
        if draw < 0.01:
            path, content, how = hostile(shuffled)
            status, body = await request(service.port, path, content, **how)
            if not (status == 0 or 400 <= status < 500):
                known.faults.append(f"{status} for a hostile {path}: {content[:60]!r} {body[:200]!r}")
        else:
            path, value = _asked(known, shuffled, draw, number)
            status, body = await request(service.port, path, json.dumps(value).encode())
            if status != 200:
                known.faults.append(f"{status} for {path} {value}: {body[:300]!r}")
            elif path == "/v1/feedback":
                known.told += [(each["user"], each["item"]) for each in value["interactions"]]
            elif path == "/v1/items":
                known.added |= {str(each["id"]) for each in value["items"]}
            elif path == "/v1/recommend":
                known.faults += _malformed(json.loads(body), value)
        known.statuses[status] += 1


def _asked(known: Known, shuffled: random.Random, draw: float, number: int) -> tuple[str, Any]:
    """Return path and body of a request that must be answered."""
    users, items = known.users, known.items
    if draw < 0.05:
        told = [{"user": shuffled.choice(users[:_TOLD]), "item": shuffled.choice(items)} for _ in range(3)]
        return "/v1/feedback", {"interactions": told}
    if draw < 0.053 and len(known.added) < 100:
        name = (
            shuffled.randrange(10**9, 2**62) if known.whole else f"new-{number}-{shuffled.randrange(10**9)}"
        )
        return "/v1/items", {"items": [{"id": name, "users": shuffled.sample(users, 3)}]}
    if draw < 0.056:
        return "/v1/reload", None
    if draw < 0.15:
        return "/v1/similar", {"item": shuffled.choice(items), "k": 5}
    if draw < 0.25:
        return "/v1/recommend-for", {"items": shuffled.sample(items, 3), "k": 10}
    if draw < 0.4:
        return "/v1/recommend", {"users": shuffled.sample(users, 16), "k": 10, "unknown": "popular"}
    if draw < 0.45:
        return "/v1/recommend", {
            "user": shuffled.choice(users),
            "k": 5,
            "filter": "interactions > 10 or not interactions = 0",
        }
    return "/v1/recommend", {"user": shuffled.choice(users), "k": 10}


def _malformed(answer: Any, asked: Any) -> list[str]:
    """Return what is wrong with a list whatever the state of the service."""
    found = []
    for one in answer.get("results", [answer]):
        items, scores = one["items"], one["scores"]
        falls = scores == sorted(scores, reverse=True)
        if len(items) > asked["k"] or len(items) != len(set(items)) or not falls:
            found.append(f"malformed list for {asked}: {one}")
    return found


def compare(service: Service, known: Known, shuffled: random.Random) -> int:
    """Compare lists with those of Python for the same feedback and items, and return how many."""
    recommender = Recommender.load(service.run)
    missing = known.added - set(recommender.items.ids.cast(pl.String).to_list())
    known.faults += [f"lost items: {sorted(missing)[:3]}"] if missing else []
    wait = time.monotonic() + 30  # other workers look whether the run has changed
    while service.ask("/v1/run")["items"] != len(recommender.items) and time.monotonic() < wait:
        time.sleep(0.1)
    log = None
    if known.told:
        types = [pl.String, pl.String, pl.Float64]
        log = pl.read_csv(f"{service.run}.serving/feedback/*.csv", schema_overrides=types)
    if log is not None:
        pairs = set(log.select("user", "item").iter_rows())
        lost = {pair for pair in known.told if pair not in pairs}
        known.faults += [f"lost feedback: {sorted(lost)[:3]}"] if lost else []
    told = set() if log is None else set(log["user"])
    users = shuffled.sample(known.users, min(CHECKED, len(known.users)))
    users += shuffled.sample(known.users[:_TOLD], min(CHECKED, _TOLD, len(known.users)))
    answers = service.ask("/v1/recommend", {"users": users, "k": 10})["results"]
    for user, answer in zip(users, answers, strict=True):
        if user in told and log is not None:
            table = recommender.recommend_for(log.filter(pl.col("user") == user).select("user", "item"), 10)
        else:
            table = recommender.recommend_many([user], 10)
        known.faults += _different(user, answer, table)
    return len(users)


def _different(user: str, answer: Any, table: pl.DataFrame) -> list[str]:
    """Return what differs from the list in Python; items whose scores agree may swap."""
    expected = dict(zip(table["item"].to_list(), table["score"].to_list(), strict=True))
    scores, wanted = np.array(answer["scores"]), table["score"].to_numpy()
    if scores.shape != wanted.shape or not np.allclose(scores, wanted, rtol=1e-4, atol=1e-5):
        return [f"wrong scores for {user}: {answer} instead of {expected}"]
    last = wanted[-1] if len(wanted) else 0.0
    wrong = [
        item
        for item, score in zip(answer["items"], scores, strict=True)
        if item not in expected and score > last + 1e-4 * abs(last) + 1e-5
    ]
    return [f"wrong items for {user}: {wrong}"] if wrong else []


def campaign(
    seconds: float, seed: int, *, run: Path | None = None, workers: int = 1, kills: int = 4
) -> dict[str, Any]:
    """Run bursts until the time is over, then kill the service several times; return what was counted.

    Args:
        seconds: of the bursts together.
        seed: of all that is random.
        run: a run with text ids; a small one is trained if ``None``. It is changed.
        workers: processes of the service.
        kills: how often it is killed.
    """
    shuffled = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        if run is None:
            run = Path(scratch) / "run"
            done = gclrec("train", *DATA, "--run", run)
            if done.code:
                raise SystemExit(done.err)
        recommender = Recommender.load(run)
        ids = [each.ids.cast(pl.String).to_list() for each in (recommender.users, recommender.items)]
        known = Known(*ids, recommender.items.ids.dtype == pl.Int64)
        service = Service(run, workers)
        started, memory, compared = [service.start()], [], 0
        burst = max(1.0, min(20.0, seconds / 4))
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                _burst(service, known, shuffled, burst)
                compared += compare(service, known, shuffled)
                memory.append(service.memory())
            for _ in range(kills):
                _killed(service, known, shuffled)
                started.append(service.start())
                compared += compare(service, known, shuffled)
            code = service.stop()
            known.faults += [f"exit code {code}"] if code else []
        finally:
            service.kill()
    for fault in known.faults[:20]:
        print(fault, flush=True)
    step = max(1, len(memory) // 12)
    return {
        "requests": sum(known.statuses.values()),
        "statuses": {str(status): count for status, count in sorted(known.statuses.items())},
        "compared": compared,
        "feedback": len(known.told),
        "items": len(known.added),
        "kills": kills,
        "start_seconds": round(max(started), 2),
        "memory_mb": [round(each / 1e6) for each in memory[::step]],
        "faults": len(known.faults),
    }


def _burst(service: Service, known: Known, shuffled: random.Random, seconds: float) -> None:
    async def clients() -> None:
        until = time.monotonic() + seconds
        parts = [random.Random(shuffled.random()) for _ in range(CLIENTS)]
        await asyncio.gather(*(client(service, known, part, until, n) for n, part in enumerate(parts)))

    asyncio.run(clients())


def _killed(service: Service, known: Known, shuffled: random.Random) -> None:
    """Write as fast as it goes, and kill the service at a random moment."""

    async def write(number: int, part: random.Random) -> None:
        while True:
            draw = 0.0501 if part.random() < 0.1 else 0.0531 if part.random() < 0.05 else 0.02
            path, value = _asked(known, part, draw, number)
            try:
                status, _ = await request(service.port, path, json.dumps(value).encode())
            except OSError:
                return
            if status != 200:  # it was killed meanwhile: nothing was acknowledged
                return
            if path == "/v1/feedback":
                known.told.extend((each["user"], each["item"]) for each in value["interactions"])
            elif path == "/v1/items":
                known.added |= {str(each["id"]) for each in value["items"]}

    async def clients() -> None:
        parts = [random.Random(shuffled.random()) for _ in range(CLIENTS)]
        writing = [asyncio.create_task(write(number, part)) for number, part in enumerate(parts)]
        await asyncio.sleep(shuffled.uniform(0.2, 2.0))
        service.kill()
        await asyncio.gather(*writing)

    asyncio.run(clients())
