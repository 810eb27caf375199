"""Errors that a client is told: one kind, one status, one sentence."""

from __future__ import annotations

KINDS_OF_PROBLEMS = {
    "invalid": (422, "The request is not valid."),
    "malformed": (400, "The body is not JSON."),
    "unauthorized": (401, "An API key is needed."),
    "forbidden": (403, "The API key does not allow this."),
    "not-found": (404, "There is no such address."),
    "unknown-user": (404, "The user is unknown."),
    "unknown-item": (404, "The item is unknown."),
    "unknown-attribute": (404, "The attribute is unknown."),
    "method-not-allowed": (405, "The address does not take this method."),
    "timeout": (408, "The request took too long to arrive."),
    "conflict": (409, "The run cannot take this now."),
    "too-large": (413, "The body is too large."),
    "unsupported-media-type": (415, "The body is not declared as JSON."),
    "not-explained": (422, "The scores of this run do not split."),
    "internal": (500, "The service failed."),
    "unavailable": (503, "The service cannot answer now."),
    "no-space": (507, "The disk is full."),
}
"""Status and title of each kind of error."""


class RequestError(Exception):
    """A request that is refused.

    Args:
        kind: a name in :data:`KINDS_OF_PROBLEMS`.
        detail: what was found and what was expected.
        pointer: JSON Pointer of the field at fault.
        position: character of the filter at fault, from 1.
    """

    def __init__(
        self, kind: str, detail: str, *, pointer: str | None = None, position: int | None = None
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.pointer, self.position = kind, detail, pointer, position

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS_OF_PROBLEMS[self.kind][0]
