"""The addresses of the service: what each takes and gives, and the function that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta, UnsetType

from gclrec.serving.describe import description
from gclrec.serving.messages import (
    Accepted,
    Added,
    FeedbackRequest,
    FoundItems,
    HistoryRequest,
    ItemDetails,
    ItemMap,
    ItemsRequest,
    ManyRecommended,
    Recommended,
    RecommendRequest,
    Reloaded,
    Restriction,
    Similar,
    SimilarRequest,
    State,
    UserDetails,
)
from gclrec.serving.problems import RequestError
from gclrec.serving.service import Service

_FEW_USERS = 8  # up to so many are answered in the event loop, which costs less than a change of threads


@dataclass(frozen=True)
class Parameter:
    """A parameter in the path or the query.

    Args:
        name: as it is written.
        kind: type of its value, as :mod:`msgspec` converts text to it.
        about: one sentence.
        default: value without it; a parameter of the path has none.
    """

    name: str
    kind: Any
    about: str
    default: Any = msgspec.NODEFAULT


@dataclass(frozen=True)
class Endpoint:
    """One address.

    Args:
        name: for logs and counters.
        method: of HTTP.
        path: with names of parameters between braces.
        about: one sentence.
        answer: ``(service, body, parameters)`` to an answer, at once or awaited.
        takes: type of the body; ``None`` without one.
        gives: types of the answer, as JSON; none for text.
        write: whether it needs a key that may write; ``None`` if it needs no key.
        parameters: of path and query.
        examples: of the body.
        refusals: kinds of problems that it may answer with, besides the general ones.
        media_type: of the answer.
    """

    name: str
    method: str
    path: str
    about: str
    answer: Callable[[Service, Any, Mapping[str, Any]], Any]
    takes: Any = None
    gives: tuple[Any, ...] = ()
    write: bool | None = False
    parameters: tuple[Parameter, ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()
    media_type: str = "application/json"


def _is_light(request: Restriction) -> bool:
    return request.candidates is None and request.filter is None and not request.cold_only


def recommend(service: Service, request: RecommendRequest, _: Mapping[str, Any]) -> Any:
    """Answer known users together, few others at once, and many in a thread."""
    served, user = service.served, request.user
    users = 1 if isinstance(request.users, UnsetType) else len(request.users)
    service.instruments.count("users", users)
    if not _is_light(request) or users > _FEW_USERS or request.explain:
        return service.in_thread(served.recommend, request)
    alone = isinstance(request.users, UnsetType) and not (request.exclude or request.attributes)
    if alone and not isinstance(user, UnsetType) and served.knows(user):
        return service.recommend_soon(request)
    return served.recommend(request)


def recommend_for(service: Service, request: HistoryRequest, _: Mapping[str, Any]) -> Any:
    """Answer by a history."""
    served = service.served
    if _is_light(request) and not request.explain:
        return served.recommend_for(request)
    return service.in_thread(served.recommend_for, request)


def similar(service: Service, request: SimilarRequest, _: Mapping[str, Any]) -> Any:
    """Answer by cosine."""
    served = service.served
    return served.similar(request) if _is_light(request) else service.in_thread(served.similar, request)


async def add_items(service: Service, request: ItemsRequest, _: Mapping[str, Any]) -> Added:
    """Add items."""
    return await service.add_items(request)


async def feedback(service: Service, request: FeedbackRequest, _: Mapping[str, Any]) -> Accepted:
    """Keep feedback."""
    return await service.feedback(request)


async def reload(service: Service, _: None, __: Mapping[str, Any]) -> Reloaded:
    """Load the run anew."""
    return await service.reload()


def user_details(service: Service, _: None, given: Mapping[str, Any]) -> UserDetails:
    """Tell what is known of a user."""
    return service.served.user(
        given["id"], ids_as_strings=given["ids_as_strings"], attributes=given["attributes"]
    )


def item_details(service: Service, _: None, given: Mapping[str, Any]) -> ItemDetails:
    """Tell what is known of an item."""
    return service.served.item(given["id"], ids_as_strings=given["ids_as_strings"])


def find_items(service: Service, _: None, given: Mapping[str, Any]) -> Any:
    """Find items by a text."""
    served = service.served
    return service.in_thread(served.find, given["search"], given["limit"], given["ids_as_strings"])


def item_map(service: Service, _: None, given: Mapping[str, Any]) -> Any:
    """Return coordinates of items."""
    served = service.served
    return service.in_thread(served.item_map, given["by"], given["ids_as_strings"])


def describe(service: Service, _: None, __: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the run, and how fast it answers."""
    return description(service.served) | {"latency": service.instruments.latency("recommend")}


def health(service: Service, _: None, __: Mapping[str, Any]) -> State:
    """Tell that the process lives."""
    return State("stopping" if service.stopping else "ok" if service.ready else "starting")


def readiness(service: Service, _: None, __: Mapping[str, Any]) -> State:
    """Tell whether requests can be answered."""
    if not service.ready:
        raise RequestError(
            "unavailable", "the service is being stopped" if service.stopping else "the run is being loaded"
        )
    return State("ok", service.served.version)


def figures(service: Service, _: None, __: Mapping[str, Any]) -> str:
    """Return the counters of all workers."""
    return service.instruments.text(service.gauges())


_STRINGS = Parameter(
    "ids_as_strings", bool | None, "Write whole-number ids as text; by default as the service is set.", None
)
ENDPOINTS = (
    Endpoint(
        "recommend",
        "POST",
        "/v1/recommend",
        "The best items for a user, or for each of up to 1,000 users",
        recommend,
        RecommendRequest,
        (Recommended, ManyRecommended),
        examples={
            "one user": {"user": 17, "k": 10},
            "several users": {"users": [17, 42], "k": 20, "unknown": "popular"},
            "filtered": {"user": 17, "filter": "interactions >= 20 and not id in (3, 5)", "explain": 3},
            "an unknown user": {"user": "new", "unknown": "items", "items": [3, 5]},
        },
        refusals=("unknown-user", "unknown-item", "not-explained"),
    ),
    Endpoint(
        "recommend-for",
        "POST",
        "/v1/recommend-for",
        "The best items for someone who has these items, or for a user who has them too",
        recommend_for,
        HistoryRequest,
        (Recommended,),
        examples={"a new user": {"items": [3, 5]}, "what if": {"user": 17, "items": [3], "explain": 3}},
        refusals=("unknown-user", "unknown-item", "not-explained"),
    ),
    Endpoint(
        "similar",
        "POST",
        "/v1/similar",
        "The items with the largest cosine to an item",
        similar,
        SimilarRequest,
        (Similar,),
        examples={"an item": {"item": 3, "k": 10}},
        refusals=("unknown-item",),
    ),
    Endpoint(
        "add-items",
        "POST",
        "/v1/items",
        "Add items by their users, their attributes or their vectors",
        add_items,
        ItemsRequest,
        (Added,),
        write=True,
        examples={"by users": {"items": [{"id": 900001, "users": [17, 42], "attributes": {"title": "New"}}]}},
        refusals=("unknown-user", "conflict", "no-space"),
    ),
    Endpoint(
        "find-items",
        "GET",
        "/v1/items",
        "Items whose id or title holds a text",
        find_items,
        gives=(FoundItems,),
        parameters=(
            Parameter("search", Annotated[str, Meta(min_length=1, max_length=200)], "The text."),
            Parameter("limit", Annotated[int, Meta(ge=1, le=100)], "Most items to give.", 10),
            _STRINGS,
        ),
    ),
    Endpoint(
        "item",
        "GET",
        "/v1/items/{id}",
        "What is known of an item",
        item_details,
        gives=(ItemDetails,),
        parameters=(Parameter("id", Annotated[str, Meta(min_length=1)], "Raw id of the item."), _STRINGS),
        refusals=("unknown-item",),
    ),
    Endpoint(
        "user",
        "GET",
        "/v1/users/{id}",
        "What is known of a user",
        user_details,
        gives=(UserDetails,),
        parameters=(
            Parameter("id", Annotated[str, Meta(min_length=1)], "Raw id of the user."),
            Parameter("attributes", bool, "Give the attributes of the items too.", False),
            _STRINGS,
        ),
        refusals=("unknown-user",),
    ),
    Endpoint(
        "feedback",
        "POST",
        "/v1/feedback",
        "Tell interactions, which count from the next answer on and are kept for the next training",
        feedback,
        FeedbackRequest,
        (Accepted,),
        write=True,
        examples={"one": {"interactions": [{"user": 17, "item": 3}]}},
        refusals=("conflict", "no-space"),
    ),
    Endpoint(
        "reload",
        "POST",
        "/v1/reload",
        "Load what the run folder holds now",
        reload,
        gives=(Reloaded,),
        write=True,
        refusals=("conflict",),
    ),
    Endpoint(
        "run",
        "GET",
        "/v1/run",
        "Settings and figures of the run, the index and the service",
        describe,
        gives=(dict[str, Any],),
    ),
    Endpoint(
        "map",
        "GET",
        "/v1/map",
        "A map of the items: their vectors on two axes",
        item_map,
        gives=(ItemMap,),
        parameters=(
            Parameter("by", str, "Attribute that groups the items; none if it is empty.", ""),
            _STRINGS,
        ),
        refusals=("unknown-attribute",),
    ),
    Endpoint("health", "GET", "/healthz", "Whether the process lives", health, gives=(State,), write=None),
    Endpoint(
        "ready", "GET", "/readyz", "Whether requests can be answered", readiness, gives=(State,), write=None
    ),
    Endpoint(
        "metrics",
        "GET",
        "/metrics",
        "Counters for Prometheus",
        figures,
        media_type="text/plain; version=0.0.4; charset=utf-8",
    ),
)
"""All addresses but the page and the OpenAPI document."""
