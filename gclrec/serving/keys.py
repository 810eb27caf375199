"""API keys: who may read and who may write."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from gclrec.common.errors import InputError
from gclrec.common.files import local_path
from gclrec.serving.problems import RequestError

KEYS_VARIABLE = "GCLREC_API_KEYS"
"""Environment variable with keys, such as ``read:abc write:def``."""

_SHORTEST = 8


class ApiKeys:
    """Keys that requests must carry; without any, everything is allowed.

    Args:
        entries: such as ``"read:abc"``: read keys may ask, write keys may also add and reload.

    Raises:
        InputError: an entry is malformed or a key too short.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._digests: list[tuple[bytes, bool]] = []
        for entry in entries:
            right, _, key = entry.strip().partition(":")
            key = key.strip()
            if right not in ("read", "write") or len(key) < _SHORTEST or not key.isascii():
                expected = f"read:KEY or write:KEY with a key of at least {_SHORTEST} letters"
                raise InputError(
                    f"API keys: found an entry that begins with {right[:5]!r}, expected {expected}"
                )
            self._digests.append((_digest(key.encode()), right == "write"))

    @classmethod
    def read(cls, path: Path | None) -> ApiKeys:
        """Return the keys of a file, one entry a line, and those of the environment.

        Raises:
            InputError: the file is missing, or an entry is malformed.
        """
        entries = os.environ.get(KEYS_VARIABLE, "").split()
        if path is not None:
            path = local_path(path)
            if not path.is_file():
                raise InputError(f"{path}: no such file of API keys")
            lines = path.read_text(encoding="utf-8").splitlines()
            entries += [line for line in lines if line.strip() and not line.startswith("#")]
            if not entries:
                raise InputError(f"{path}: holds no key, expected lines read:KEY or write:KEY")
        return cls(entries)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, headers: Iterable[tuple[bytes, bytes]], *, write: bool) -> None:
        """Check the key of a request: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

        Digests are compared in constant time, and all of them.

        Raises:
            RequestError: there is none, it is unknown, or it may only read.
        """
        if not self._digests:
            return
        given = b""
        for name, value in headers:
            if name == b"x-api-key":
                given = value
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip()
        if not given:
            raise RequestError(
                "unauthorized", "give a key in the header Authorization: Bearer KEY, or X-API-Key"
            )
        digest, known, allowed = _digest(given), False, False
        for each, writes in self._digests:
            same = hmac.compare_digest(each, digest)
            known |= same
            allowed |= same and (writes or not write)
        if not known:
            raise RequestError("unauthorized", "the key is unknown")
        if not allowed:
            raise RequestError("forbidden", "the key may only read")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
