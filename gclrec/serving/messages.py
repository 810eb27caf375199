"""Requests and answers of the service: their fields, limits and examples, from which OpenAPI is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gclrec.serving.expression import LONGEST_FILTER

MOST_ASKED = 1_000
"""Users of one request."""

MOST_IDS = 10_000
"""RawIdList in a list of one request, and interactions of one feedback."""

MOST_ANSWERS = 200_000
"""Users times list length of one request."""

Id = Annotated[int | str, Meta(description="A raw id, a whole number of 64 bits or text, as in the data.")]
IntId = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
TextId = Annotated[str, Meta(min_length=1, max_length=1_000, pattern=r"^[^\x00-\x1f\x7f]*$")]
RawId = IntId | TextId
Length = Annotated[int, Meta(ge=1, le=1_000, description="Length of a list.")]
History = Annotated[list[RawId], Meta(min_length=1, max_length=MOST_IDS)]
RawIdList = Annotated[list[RawId], Meta(max_length=MOST_IDS)]
Number = Annotated[float, Meta(ge=-1e30, le=1e30)]


class Restriction(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every request for a list may say."""

    k: Length = 10
    exclude: Annotated[RawIdList, Meta(description="Items to leave out; unknown ones are ignored.")] = []
    candidates: Annotated[
        RawIdList | None, Meta(description="Only these items, by exact search; unknown ones are ignored.")
    ] = None
    filter: Annotated[
        Annotated[str, Meta(max_length=LONGEST_FILTER)] | None,
        Meta(description="Only items whose attributes satisfy this, such as `year >= 1990`."),
    ] = None
    cold_only: Annotated[bool, Meta(description="Only items without training interaction.")] = False
    attributes: Annotated[bool, Meta(description="Give the attributes of each item too.")] = False
    ids_as_strings: Annotated[
        bool | None, Meta(description="Write whole-number ids as text; by default as the service is set.")
    ] = None


class RecommendRequest(Restriction):
    """The best items for one user, or for each of several."""

    user: Annotated[RawId | UnsetType, Meta(description="One user; give this or `users`.")] = UNSET
    users: Annotated[
        Annotated[list[RawId], Meta(min_length=1, max_length=MOST_ASKED)] | UnsetType,
        Meta(description="Several users; the answer has one result for each."),
    ] = UNSET
    exclude_seen: Annotated[bool, Meta(description="Leave out what the user has.")] = True
    unknown: Annotated[
        Literal["error", "popular", "items"],
        Meta(description="What an unknown user gets: an error, popular items, or a list from `items`."),
    ] = "error"
    items: Annotated[
        History | UnsetType, Meta(description="History of an unknown user, for `unknown: items`.")
    ] = UNSET
    explain: Annotated[
        int, Meta(ge=0, le=50, description="Explain each item by so many items of the history.")
    ] = 0


class HistoryRequest(Restriction):
    """The best items for someone who has these items."""

    items: Annotated[History, Meta(description="What the user has, oldest to newest.")]
    user: Annotated[
        RawId | None, Meta(description="A user of the run, whose own history counts as well.")
    ] = None
    exclude_seen: Annotated[bool, Meta(description="Leave out what the user has.")] = True
    explain: Annotated[
        int, Meta(ge=0, le=50, description="Explain each item by so many items of the history.")
    ] = 0
    skip_unknown: Annotated[bool, Meta(description="Leave out unknown items instead of refusing them.")] = (
        False
    )


class SimilarRequest(Restriction):
    """The items with the largest cosine to an item."""

    item: RawId


class NewItem(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One item to add: what is known of it."""

    id: RawId
    users: Annotated[RawIdList, Meta(description="Users of the run who have it.")] = []
    vector: Annotated[
        Annotated[list[Number], Meta(min_length=1, max_length=4_096)] | None,
        Meta(description="Its layer-0 vector, such as a content encoder's."),
    ] = None
    attributes: Annotated[
        dict[
            Annotated[str, Meta(min_length=1, max_length=200)],
            str | float | int | bool | list[str | float | int] | None,
        ],
        Meta(description="Its attributes, for filters and, where the run was trained with them, its vector."),
    ] = {}


class ItemsRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Items to add to the catalogue."""

    items: Annotated[list[NewItem], Meta(min_length=1, max_length=1_000)]
    skip_known: Annotated[bool, Meta(description="Leave out items that are there already.")] = False
    skip_unknown: Annotated[
        bool, Meta(description="Leave out unknown users, and items of which nothing is known.")
    ] = False


class Interaction(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One interaction."""

    user: RawId
    item: RawId
    time: Annotated[
        Annotated[float, Meta(ge=0, le=1e11)] | None,
        Meta(description="Seconds since 1970; now if it is not given."),
    ] = None


class FeedbackRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Interactions that count from the next answer on."""

    interactions: Annotated[list[Interaction], Meta(min_length=1, max_length=MOST_IDS)]


class Contribution(msgspec.Struct):
    """What an item of the history adds to a score."""

    item: RawId
    contribution: float


class ScoreParts(msgspec.Struct):
    """A score as a sum: `because`, `others` and `own` add up to it."""

    because: Annotated[
        list[Contribution], Meta(description="Items of the history, the largest contribution first.")
    ]
    others: Annotated[float, Meta(description="What the other items of the history contribute together.")]
    own: Annotated[float, Meta(description="What comes from no item, such as the user's own vector.")]


class Recommended(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The list of one user, best item first."""

    user: RawId | None = None
    source: Annotated[
        Literal["trained", "feedback", "items", "popular"],
        Meta(
            description="Where the list comes from: the trained vector, that vector and feedback, the given "
            "items, or popularity."
        ),
    ]
    items: list[RawId]
    scores: list[float]
    attributes: list[dict[str, Any]] | UnsetType = UNSET
    explanations: list[ScoreParts] | UnsetType = UNSET


class ManyRecommended(msgspec.Struct):
    """The lists of several users, in the order of the request."""

    results: list[Recommended]


class Similar(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Items similar to one, with their cosines as scores."""

    item: RawId
    items: list[RawId]
    scores: list[float]
    attributes: list[dict[str, Any]] | UnsetType = UNSET


class Added(msgspec.Struct):
    """What was added."""

    added: int
    items: Annotated[int, Meta(description="Items of the catalogue now.")]


class Accepted(msgspec.Struct):
    """What was appended to the log; it is on the disk."""

    accepted: int
    unknown_items: Annotated[int, Meta(description="Interactions with items that the run does not know.")]


class UserDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of a user."""

    user: RawId
    trained: Annotated[bool, Meta(description="Whether the run has a trained vector of the user.")]
    count: Annotated[int, Meta(description="Number of items that the user has.")]
    items: Annotated[list[RawId], Meta(description="Up to 200 of them, feedback first.")]
    feedback: Annotated[int, Meta(description="How many of them came as feedback.")] = 0
    attributes: list[dict[str, Any]] | UnsetType = UNSET


class ItemDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of an item."""

    item: RawId
    interactions: Annotated[int, Meta(description="Training interactions.")]
    cold: Annotated[bool, Meta(description="Whether there are none.")]
    added: Annotated[bool, Meta(description="Whether it was added after training.")]
    attributes: dict[str, Any]


class FoundItem(msgspec.Struct):
    """An item that a search found."""

    item: RawId
    title: str


class FoundItems(msgspec.Struct):
    """Items whose id or title holds a text, the most popular first."""

    items: list[FoundItem]


class ItemMap(msgspec.Struct):
    """Items on two axes along which their vectors differ most (PCA of unit vectors)."""

    items: list[RawId]
    titles: list[str]
    x: list[float]
    y: list[float]
    interactions: list[int]
    groups: Annotated[list[str], Meta(description="The most frequent values of the attribute.")]
    group: Annotated[list[int], Meta(description="Place of each item's value in `groups`, -1 for another.")]


class Reloaded(msgspec.Struct):
    """The model that answers now."""

    model: str
    changed: bool
    seconds: float


class State(msgspec.Struct, omit_defaults=True):
    """Whether the service can answer."""

    status: Literal["ok", "starting", "stopping"]
    model: str | UnsetType = UNSET


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An error, as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="Id of the request, also in the header X-Request-ID.")]
    pointer: Annotated[str | UnsetType, Meta(description="JSON Pointer of the field at fault.")] = UNSET
    position: Annotated[int | UnsetType, Meta(description="Character of the filter at fault, from 1.")] = (
        UNSET
    )
