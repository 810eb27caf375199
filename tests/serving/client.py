"""A client that calls an ASGI application in a thread of its own, as a server would."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """Runs the lifespan of an application while the block runs."""

    def __init__(self, app: Starlette, key: str | None = None) -> None:
        self.app, self.key = app, key
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Client:
        self._thread.start()
        self._lifespan = self.app.router.lifespan_context(self.app)
        self.run(self._lifespan.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._lifespan.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def run(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(60)

    @property
    def service(self) -> Any:
        return self.app.state.service

    def get(self, path: str, **headers: str) -> Answer:
        return self.run(self.call("GET", path, None, headers))

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a body: bytes as they are, anything else as JSON."""
        return self.run(self.call("POST", path, body, headers))

    async def call(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        named = {"content-type": "application/json"} if body is not None else {}
        named |= {"authorization": f"Bearer {self.key}"} if self.key else {}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        plain, _, query = path.partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": plain,
            "raw_path": plain.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
        }
        pieces = [{"type": "http.request", "body": content, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if pieces:
                return pieces.pop(0)
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], found, b"".join(each.get("body", b"") for each in sent[1:]))
