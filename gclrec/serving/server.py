"""Processes that listen: one in this process, or several that are started anew and share a port."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from gclrec.serving.app import Limits, create_app, problem
from gclrec.serving.instruments import cleared
from gclrec.serving.keys import ApiKeys
from gclrec.serving.problems import RequestError
from gclrec.serving.served import Served
from gclrec.serving.service import ServiceOptions, load_served
from gclrec.serving.snapshot import LOAD_SECONDS
from gclrec.serving.structured_log import StructuredLog

_VARIABLE = "GCLREC_SERVE"  # how workers are told what to serve
_BACKLOG = 2048
_IDLE_SECONDS = 75  # a connection may wait for its next request
_HEAD_SECONDS = 10.0  # in which the head of a request must arrive
_STOP_SECONDS = 30  # in which requests in work are finished


@dataclass(frozen=True)
class Setup:
    """What the processes of a service have in common, as plain values.

    Args:
        run: see :class:`~gclrec.serving.service.ServiceOptions`, as ``state`` to ``watch``.
        state: as above.
        item_attributes: as above.
        ids_as_strings: as above.
        watch: as above.
        api_keys: file of keys.
        origins: sites whose pages may ask.
        max_body: bytes of a body.
        timeout: seconds of a request.
        log_requests: log each request.
    """

    run: str
    state: str
    item_attributes: str | None = None
    ids_as_strings: bool = False
    watch: float = 1.0
    api_keys: str | None = None
    origins: tuple[str, ...] = ()
    max_body: int = 4 << 20
    timeout: float = 30.0
    log_requests: bool = True

    @property
    def options(self) -> ServiceOptions:
        """What is served."""
        extra = None if self.item_attributes is None else Path(self.item_attributes)
        return ServiceOptions(Path(self.run), Path(self.state), extra, self.ids_as_strings, self.watch)

    def application(self, first: Served | None = None) -> Starlette:
        """Return the application of one process.

        Args:
            first: what answers first; loaded when the server starts if ``None``.

        Raises:
            InputError: the keys are malformed.
        """
        keys = ApiKeys.read(None if self.api_keys is None else Path(self.api_keys))
        limits = Limits(self.max_body, self.timeout)
        log = StructuredLog(requests=self.log_requests)
        logging.captureWarnings(True)
        for name in ("uvicorn", "py.warnings"):
            log.take_over(name)
        return create_app(self.options, first, keys=keys, limits=limits, origins=self.origins, log=log)


def application() -> Starlette:
    """Return the application of a worker, which its environment describes."""
    return msgspec.json.decode(os.environ[_VARIABLE], type=Setup).application()


def listen(setup: Setup, *, host: str, port: int, workers: int = 1, ready: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or SIGINT; requests in work are finished first.

    Args:
        setup: what is served.
        host: address to listen on.
        port: port to listen on, 0 for a free one.
        workers: processes.
        ready: called with the URL when requests are answered; with several workers, when they are started.

    Raises:
        InputError: the run cannot be loaded, or the keys are malformed.
        OSError: the address is taken, or the state folder is not writable.
    """
    first = load_served(setup.options)  # what is wrong is refused before a port is taken
    cleared(setup.options.state / "counters")
    app = setup.application(first if workers == 1 else None)
    del first  # workers load it themselves, from the arrays that are there now
    os.environ[_VARIABLE] = msgspec.json.encode(setup).decode()
    config = uvicorn.Config(
        app if workers == 1 else f"{__name__}:application",
        factory=workers > 1,
        workers=workers,
        http=Connection,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    with contextlib.closing(_bound(host, port)) as listener:
        name, number = listener.getsockname()[:2]
        address = f"http://{f'[{name}]' if ':' in name else name}:{number}"
        if workers > 1:
            _Workers(config, [listener], lambda: ready(address)).run()
            return
        with contextlib.suppress(KeyboardInterrupt):  # the server raises the signal again that stopped it
            _Server(config, lambda: ready(address)).run([listener])


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        code = error.errno if isinstance(error, OSError) else errno.EINVAL
        raise OSError(code, reason or str(error), f"{host}:{port}") from None


class _Server(uvicorn.Server):
    """Tells when it answers.

    Args:
        config: of the server.
        ready: called then.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell it."""
        await super().startup(sockets)
        self._ready()


class _Workers(Multiprocess):
    """Tells when all processes answer.

    Args:
        config: of the server.
        sockets: that they share.
        ready: called then.
    """

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._ready = ready

    def init_processes(self) -> None:
        """Start the processes, and tell when they answer."""
        super().init_processes()
        if all(process.wait_until_ready(LOAD_SECONDS) for process in self.processes):
            self._ready()


class Connection(HttpToolsProtocol):
    """A connection whose client must send the head of a request in time.

    uvicorn waits for ever for it. An answer to what is no HTTP is problem JSON, as every other error.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._expect_head()

    def on_message_begin(self) -> None:
        """Expect the rest of its head."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Answer the request."""
        self._expect_nothing()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._expect_nothing()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        _, media_type, content = problem(RequestError("malformed", msg), secrets.token_hex(8).encode())
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: " + media_type
        size = str(len(content)).encode()
        self.transport.write(
            head + b"\r\ncontent-length: " + size + b"\r\nconnection: close\r\n\r\n" + content
        )
        self.transport.close()

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(_HEAD_SECONDS, self.timeout_keep_alive_handler)

    def _expect_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
