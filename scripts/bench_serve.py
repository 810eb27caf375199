"""``benchmark.py serve``: requests a second and latency of a service, beside a bare one, in turn."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import show

from gclrec import Recommender

_LUA = """
local n = 0
function request()
  n = n + 1
  return wrk.format("POST", "/v1/recommend", {["Content-Type"] = "application/json"}, bodies[n % #bodies + 1])
end
"""


def serve(
    run: Path,
    *,
    seconds: float = 4.0,
    rounds: int = 3,
    connections: tuple[int, ...] = (1, 8, 64),
    batch: int = 256,
    k: int = 20,
    workers: int = 1,
    bare: bool = True,
) -> None:
    """Requests a second and p50/p99 of ``gclrec serve RUN``, single and batched, beside FastAPI with NumPy.

    Both services run at the same time and are asked in turn, by ``wrk`` where it is installed. The medians of
    the rounds are shown.

    Args:
        run: run folder.
        seconds: of each measurement.
        rounds: measurements of each.
        connections: clients at a time.
        batch: users of a request when batched.
        k: length of the lists.
        workers: processes of the service.
        bare: measure the bare service too, which needs fastapi.
    """
    users = Recommender.load(run, use_index=False).users.ids.to_list()
    drawn = np.random.default_rng(0)
    services = ["gclrec", *(["FastAPI + NumPy"] if bare else [])]
    found: dict[tuple[str, int, int], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch, _started(run, workers, bare, Path(scratch)) as ports:
        for size in (1, batch):
            bodies = []
            for _ in range(max(16, 2000 // size)):
                some = [users[row] for row in drawn.integers(0, len(users), size).tolist()]
                bodies.append(json.dumps({"user": some[0], "k": k} if size == 1 else {"users": some, "k": k}))
            for _ in range(rounds):
                for count in connections:
                    for name, port in zip(services, ports, strict=False):
                        drain(ports, bodies[0])
                        measured = load(port, bodies, count, seconds)
                        found.setdefault((name, size, count), []).append(measured)
    rows, values = [], []
    for (name, size, count), parts in found.items():
        middle = {key: statistics.median(part[key] for part in parts) for key in parts[0]}
        values.append({"service": name, "users": size, "connections": count, **middle})
        cells = [f"{middle['rate']:,.0f}", f"{middle['rate'] * size:,.0f}"]
        cells += [f"{middle['p50_ms']:.1f}", f"{middle['p99_ms']:.1f}"]
        rows.append([name, str(size), str(count), *cells])
    header = ("service", "users a request", "connections", "requests/s", "users/s", "p50 ms", "p99 ms")
    show(
        f"services of {run.name}, k = {k}",
        header,
        rows,
        {"workers": workers, "k": k, "cores": os.cpu_count(), "measured": values},
    )


@contextmanager
def _started(run: Path, workers: int, bare: bool, scratch: Path) -> Iterator[list[int]]:
    """Start the services and yield their ports."""
    ports, processes = [_free(), _free()], []
    flags = ["--workers", str(workers), "--no-log-requests", "--state", str(scratch / "state")]
    commands = [[sys.executable, "-m", "gclrec", "serve", str(run), "--port", str(ports[0]), *flags]]
    if bare:
        flags = ["--port", str(ports[1]), "--log-level", "error", "--workers", str(workers)]
        commands.append([sys.executable, "-m", "uvicorn", "bare_service:app", *flags])
    environment = os.environ | {"BARE_RUN": str(run.resolve()), "OMP_NUM_THREADS": "1"}
    try:
        for command, port in zip(commands, ports, strict=False):
            processes.append(
                subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, env=environment, cwd=Path(__file__).parent
                )
            )
            _wait(port)
        yield ports[: len(commands)]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("a service did not start")


def drain(ports: Sequence[int], body: str) -> None:
    """Wait until services are done with what former clients left behind."""
    for port in ports:
        address = f"http://127.0.0.1:{port}/v1/recommend"
        asked = urllib.request.Request(address, body.encode(), {"content-type": "application/json"})
        urllib.request.urlopen(asked, timeout=300).read()


def load(port: int, bodies: Sequence[str], connections: int, seconds: float) -> dict[str, float]:
    """Return requests a second and latencies in milliseconds; every answer is 200.

    Args:
        port: of the service on this machine.
        bodies: sent in turn.
        connections: clients at a time.
        seconds: how long.
    """
    if shutil.which("wrk") is None:
        return asyncio.run(by_asyncio(port, bodies, connections, seconds))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        table = ", ".join(f"[[{body}]]" for body in bodies)
        script.write(f"bodies = {{{table}}}\n{_LUA}")
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}", "--latency"]
        command += ["-s", script.name, f"http://127.0.0.1:{port}"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        raise SystemExit(text)
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    found = {name: re.search(rf"{name}%\s+([\d.]+)(us|ms|s)", text) for name in ("50", "99")}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None
    latencies = {
        f"p{name}_ms": float(each[1]) * scale[each[2]] for name, each in found.items() if each is not None
    }
    return {"rate": float(rate[1]), **latencies}


async def by_asyncio(port: int, bodies: Sequence[str], connections: int, seconds: float) -> dict[str, float]:
    """Do what :func:`load` does without ``wrk``; the client takes more of the processor."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def client(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = first
        while time.perf_counter() < until:
            body = bodies[turn % len(bodies)].encode()
            began = time.perf_counter()
            head = "POST /v1/recommend HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not answer.startswith(b"http/1.1 200"):
                raise SystemExit(answer.decode())
            length = re.search(rb"content-length: (\d+)", answer)
            assert length is not None
            await reader.readexactly(int(length[1]))
            times.append(time.perf_counter() - began)
            turn += connections
        writer.close()

    await asyncio.gather(*(client(number) for number in range(connections)))
    ordered = np.sort(np.array(times)) * 1000
    quantiles: Any = np.quantile(ordered, [0.5, 0.99])
    return {"rate": len(times) / seconds, "p50_ms": float(quantiles[0]), "p99_ms": float(quantiles[1])}
