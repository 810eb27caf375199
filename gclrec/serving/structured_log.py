"""The log of a service: one JSON object a line, on stderr."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from typing import Any, BinaryIO

import msgspec


class StructuredLog:
    """Writes lines of JSON.

    Args:
        stream: where to; stderr if ``None``.
        requests: note each request, not only errors and events.
    """

    def __init__(self, stream: BinaryIO | None = None, *, requests: bool = True) -> None:
        self._stream = sys.stderr.buffer if stream is None else stream
        self._requests = requests
        self._process = os.getpid()

    def event(self, what: str, **details: Any) -> None:
        """Note what happens to the service."""
        self._write({"event": what, **details})

    def take_over(self, name: str) -> None:
        """Write what a library logs, from warnings on, in the same form."""
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Handler(self)], False
        logger.setLevel(logging.WARNING)

    def request(
        self, endpoint: str, request_id: str, status: int, seconds: float, error: Exception | None = None
    ) -> None:
        """Note one request; an error of the service with where it was raised."""
        if not self._requests and error is None and status < 500:
            return
        line: dict[str, Any] = {
            "endpoint": endpoint,
            "status": status,
            "ms": round(1000 * seconds, 3),
            "request_id": request_id,
        }
        if error is not None:
            line["error"] = repr(error)
            line["raised"] = traceback.format_exception(error)
        self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        whole = {"time": round(time.time(), 3), "process": self._process, **line}
        self._stream.write(msgspec.json.encode(whole) + b"\n")
        self._stream.flush()


class _Handler(logging.Handler):
    def __init__(self, log: StructuredLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.event(record.getMessage(), level=record.levelname.lower())
