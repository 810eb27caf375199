"""The ASGI application: from a request to a function and back, with keys, limits, ids, counters and logs."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from inspect import isawaitable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gclrec.common.errors import InputError
from gclrec.serving.endpoints import ENDPOINTS, Endpoint
from gclrec.serving.expression import FilterError
from gclrec.serving.instruments import Instruments
from gclrec.serving.keys import ApiKeys
from gclrec.serving.messages import Problem
from gclrec.serving.openapi import document
from gclrec.serving.problems import KINDS_OF_PROBLEMS, RequestError
from gclrec.serving.served import Served
from gclrec.serving.service import Service, ServiceOptions
from gclrec.serving.structured_log import StructuredLog

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
_FURTHER_HEADERS = {
    401: ((b"www-authenticate", b"Bearer"),),
    413: ((b"connection", b"close"),),
    503: ((b"retry-after", b"1"),),
}
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Args:
        body: bytes of a body.
        seconds: for a request to arrive and to be answered.
        waiting: requests in work at a time.
    """

    body: int = 4 << 20
    seconds: float = 30.0
    waiting: int = 512


@dataclass
class _Arrival:
    """How far a request is: whether all of it has arrived, and whether its time is over."""

    whole: bool = False
    expired: bool = False


class Answering:
    """Answers one endpoint: an ASGI application of its own.

    Args:
        endpoint: what it is.
        service: what answers.
        keys: who may ask.
        limits: what a request may cost.
        log: where requests are noted.
    """

    def __init__(
        self, endpoint: Endpoint, service: Service, keys: ApiKeys, limits: Limits, log: StructuredLog
    ) -> None:
        self._endpoint, self._service, self._keys = endpoint, service, keys
        self._limits, self._log = limits, log
        self._decode = None if endpoint.takes is None else msgspec.json.Decoder(endpoint.takes).decode
        self._media_type = endpoint.media_type.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request within its time."""
        service, task, arrival = self._service, asyncio.current_task(), _Arrival()

        def expire() -> None:
            arrival.expired = True
            if task is not None:
                task.cancel()

        timer = asyncio.get_running_loop().call_later(self._limits.seconds, expire)
        service.in_work += 1
        try:
            await self._answer(scope, receive, send, arrival)
        except asyncio.CancelledError:
            if not arrival.expired:
                raise  # else the client does not read its answer: the server closes the connection
        finally:
            timer.cancel()
            service.in_work -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send, arrival: _Arrival) -> None:
        service, began = self._service, time.perf_counter()
        asked = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(8).encode()
        status, media_type, error = 200, self._media_type, None
        try:
            if service.in_work > self._limits.waiting:
                raise RequestError("unavailable", "too many requests at a time; try again soon")
            if self._endpoint.write is not None:
                self._keys.check(scope["headers"], write=self._endpoint.write)
            body = await self._body(scope, receive)
            arrival.whole = True
            found = self._endpoint.answer(service, body, self._parameters(scope))
            content = _content(await found if isawaitable(found) else found)
        except asyncio.CancelledError:
            if not arrival.expired:
                raise
            kind = "unavailable" if arrival.whole else "timeout"
            late = RequestError(kind, f"took over {self._limits.seconds:g} seconds")
            status, media_type, content = problem(late, request_id)
        except Exception as failed:
            refusal, error = request_error(failed)
            status, media_type, content = problem(refusal, request_id)
        headers = [
            (b"content-type", media_type),
            (b"content-length", str(len(content)).encode()),
            (b"x-request-id", request_id),
            *_FURTHER_HEADERS.get(status, ()),
        ]
        seconds = time.perf_counter() - began
        service.instruments.request(self._endpoint.name, status, seconds)
        self._log.request(self._endpoint.name, request_id.decode(), status, seconds, error)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    async def _body(self, scope: Scope, receive: Receive) -> Any:
        """Return the decoded body, refused as soon as it is too large."""
        if self._decode is None:
            return None
        most, media_type = self._limits.body, b""
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > most:
                raise RequestError("too-large", f"found {int(value):,} bytes, expected at most {most:,}")
            if name == b"content-type":
                media_type = value.partition(b";")[0].strip().lower()
        if media_type != b"application/json":
            raise RequestError("unsupported-media-type", "expected the header Content-Type: application/json")
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError("timeout", "the client has left")
            chunks.append(message.get("body", b""))
            size, more = size + len(chunks[-1]), message.get("more_body", False)
            if size > most:
                raise RequestError("too-large", f"expected at most {most:,} bytes")
        content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        try:
            return self._decode(content)
        except msgspec.ValidationError as error:
            if "got `float`" not in str(error):
                raise
            # 7.0 is a whole number in JSON, as tables with missing ids write it.
            return msgspec.convert(_with_whole_numbers(msgspec.json.decode(content)), self._endpoint.takes)

    def _parameters(self, scope: Scope) -> Mapping[str, Any]:
        """Return the parameters of path and query."""
        wanted = self._endpoint.parameters
        if not wanted:
            return {}
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        unknown = given.keys() - {each.name for each in wanted}
        if unknown:
            raise RequestError("invalid", f"unknown parameter {min(unknown)!r}")
        given |= scope["path_params"]
        found = {}
        for each in wanted:
            if each.name not in given:
                if each.default is msgspec.NODEFAULT:
                    raise RequestError("invalid", f"the parameter {each.name!r} is missing")
                found[each.name] = each.default
                continue
            try:
                found[each.name] = msgspec.convert(given[each.name], each.kind, strict=False)
            except msgspec.ValidationError as error:
                raise RequestError("invalid", f"parameter {each.name!r}: {error}") from None
        return found


def _with_whole_numbers(value: Any) -> Any:
    """Return JSON values with ``7`` in place of ``7.0``."""
    if isinstance(value, dict):
        return {name: _with_whole_numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return list(map(_with_whole_numbers, value))
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 else value


def _content(answer: Any) -> bytes:
    return answer.encode() if isinstance(answer, str) else _encode(answer)


def request_error(error: Exception) -> tuple[RequestError, Exception | None]:
    """Return what a client is told of an error, and the error if it is the service's own."""
    if isinstance(error, RequestError):
        return error, None
    if isinstance(error, FilterError):
        return RequestError("invalid", str(error), pointer="/filter", position=error.position), None
    if isinstance(error, msgspec.ValidationError):
        message, _, path = str(error).partition(" - at `$")
        pointer = re.sub(r"\[(\d+|\.\.\.)\]", r"/\1", path.rstrip("`")).replace(".", "/", 1 if path else 0)
        return RequestError("invalid", message, pointer=pointer.replace(".", "/") or None), None
    if isinstance(error, (msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        return RequestError("malformed", str(error).splitlines()[0]), None
    if isinstance(error, InputError):
        return RequestError("invalid", str(error)), None
    return RequestError("internal", "an error of the service; its log has the request id"), error


def problem(refusal: RequestError, request_id: bytes) -> tuple[int, bytes, bytes]:
    """Return status, media type and body of an error."""
    status, title = KINDS_OF_PROBLEMS[refusal.kind]
    told = Problem(
        type=f"urn:gclrec:{refusal.kind}",
        title=title,
        status=status,
        detail=refusal.detail,
        instance=request_id.decode(),
        pointer=msgspec.UNSET if refusal.pointer is None else refusal.pointer,
        position=msgspec.UNSET if refusal.position is None else refusal.position,
    )
    return status, b"application/problem+json", _encode(told)


class _ByMethod:
    """The endpoints of one address, an ASGI application."""

    def __init__(self, methods: Mapping[str, Answering]) -> None:
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._methods[method](scope, receive, send)


async def _not_answered(request: Request, error: Exception) -> Response:
    """Answer an address that is unknown, or does not take the method."""
    assert isinstance(error, HTTPException)
    kind = "method-not-allowed" if error.status_code == 405 else "not-found"
    request_id = secrets.token_hex(8).encode()
    status, media_type, content = problem(
        RequestError(kind, f"{request.method} {request.url.path}"), request_id
    )
    headers = {**(error.headers or {}), "x-request-id": request_id.decode()}
    return Response(content, status, headers, media_type.decode())


def create_app(
    options: ServiceOptions,
    first: Served | None = None,
    *,
    keys: ApiKeys | None = None,
    limits: Limits | None = None,
    origins: Sequence[str] = (),
    log: StructuredLog | None = None,
) -> Starlette:
    """Return the application.

    Args:
        options: how the service is set up.
        first: what answers first; loaded when the server starts if ``None``.
        keys: who may ask; everybody if ``None``.
        limits: what a request may cost.
        origins: sites whose pages may ask from a browser (CORS); none by default.
        log: where requests are noted; stderr if ``None``.
    """
    keys, limits, log = keys or ApiKeys(), limits or Limits(), log or StructuredLog()
    instruments = Instruments(options.state / "counters", [each.name for each in ENDPOINTS])
    service = Service(options, instruments, log.event, first)
    addresses: dict[str, dict[str, Answering]] = {}
    for endpoint in ENDPOINTS:
        answering = Answering(endpoint, service, keys, limits, log)
        addresses.setdefault(endpoint.path, {})[endpoint.method] = answering
    routes = [
        # Raw ids may hold a slash.
        Route(path.replace("{id}", "{id:path}"), _ByMethod(methods), methods=list(methods))
        for path, methods in addresses.items()
    ]
    described = _encode(document())
    page = files("gclrec.serving").joinpath("page", "index.html").read_bytes()

    async def openapi(_: Request) -> Response:
        return Response(described, media_type="application/json")

    async def index(_: Request) -> Response:
        return Response(page, media_type="text/html", headers=_PAGE_HEADERS)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await service.start()
        app.state.service = service
        try:
            yield
        finally:
            await service.stop()

    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
        expose_headers=["X-Request-ID"],
    )
    return Starlette(
        routes=[*routes, Route("/openapi.json", openapi), Route("/", index)],
        middleware=[cors] if origins else [],
        exception_handlers={404: _not_answered, 405: _not_answered},
        lifespan=lifespan,
    )


_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
