"""The OpenAPI document, made of the table of endpoints and the types of their messages."""

from __future__ import annotations

from typing import Any

import msgspec

from gclrec import __version__
from gclrec.serving.endpoints import ENDPOINTS, Endpoint
from gclrec.serving.messages import Problem
from gclrec.serving.problems import KINDS_OF_PROBLEMS

_ALWAYS = ("method-not-allowed", "timeout", "internal", "unavailable")
_WITH_KEY = ("unauthorized", "forbidden")
_WITH_BODY = ("malformed", "invalid", "too-large", "unsupported-media-type")


def document() -> dict[str, Any]:
    """Return the document as JSON values."""
    types: list[Any] = [Problem]
    for endpoint in ENDPOINTS:
        types += [*endpoint.gives, *([] if endpoint.takes is None else [endpoint.takes])]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    # What types cannot say: one of two fields, and a field that a value of another one needs.
    components["RecommendRequest"] |= {
        "oneOf": [{"required": ["user"]}, {"required": ["users"]}],
        "if": {"properties": {"unknown": {"const": "items"}}, "required": ["unknown"]},
        "then": {"required": ["items"]},
    }
    known = dict(zip(map(str, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gclrec",
            "version": __version__,
            "description": "Recommendations of a run. Errors are problem JSON (RFC 9457).",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(endpoint: Endpoint, known: dict[str, Any]) -> dict[str, Any]:
    kinds = [*endpoint.refusals, *_ALWAYS]
    if endpoint.write is not None:
        kinds += _WITH_KEY
    if endpoint.takes is not None:
        kinds += _WITH_BODY
    elif endpoint.parameters:
        kinds.append("invalid")
    about: dict[int, list[str]] = {}
    for kind in kinds:
        status, title = KINDS_OF_PROBLEMS[kind]
        about.setdefault(status, []).append(title)
    problem = {"application/problem+json": {"schema": known[str(Problem)]}}
    answers: dict[str, Any] = {
        str(status): {"description": " ".join(dict.fromkeys(titles)), "content": problem}
        for status, titles in sorted(about.items())
    }
    choices = [known[str(each)] for each in endpoint.gives] or [{"type": "string"}]
    schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    media = endpoint.media_type.partition(";")[0]
    answers = {
        "200": {"description": f"{endpoint.about}.", "content": {media: {"schema": schema}}},
        **answers,
    }
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.about,
        "responses": answers,
        "security": [] if endpoint.write is None else [{}, {"bearer": []}, {"header": []}],
    }
    if endpoint.parameters:
        operation["parameters"] = [_parameter(endpoint, each) for each in endpoint.parameters]
    if endpoint.takes is not None:
        content: dict[str, Any] = {"schema": known[str(endpoint.takes)]}
        if endpoint.examples:
            content["examples"] = {
                name.replace(" ", "-"): {"summary": name, "value": value}
                for name, value in endpoint.examples.items()
            }
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _parameter(endpoint: Endpoint, parameter: Any) -> dict[str, Any]:
    in_path = f"{{{parameter.name}}}" in endpoint.path
    (schema,), _ = msgspec.json.schema_components([parameter.kind])
    return {
        "name": parameter.name,
        "in": "path" if in_path else "query",
        "required": in_path or parameter.default is msgspec.NODEFAULT,
        "description": parameter.about,
        "schema": schema,
    }
