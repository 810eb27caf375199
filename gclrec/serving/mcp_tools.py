"""Tools of the Model Context Protocol: what an assistant may ask of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from msgspec import UNSET

from gclrec import __version__
from gclrec.common.errors import InputError
from gclrec.serving.describe import description
from gclrec.serving.messages import HistoryRequest, RecommendRequest, SimilarRequest
from gclrec.serving.problems import RequestError
from gclrec.serving.served import Served

_INSTRUCTIONS = (
    "Recommendations of one trained recommender. Ask `describe` first: it names the attributes for filters. "
    "Ids are those of the training data. Scores are inner products: compare them within one list only."
)


def tools_of(served: Served) -> MCPServer:
    """Return a server with the tools ``recommend``, ``similar``, ``explain`` and ``describe``.

    Args:
        served: what answers.
    """
    server = MCPServer("gclrec", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING")

    def listed(items: list[int | str], scores: list[float]) -> list[dict[str, Any]]:
        rows = [served.item_row(item, None) for item in items]
        titles = served.catalogue.titles.gather(rows).to_list()
        return [
            {"rank": rank, "item": item, "title": title, "score": score}
            for rank, (item, title, score) in enumerate(zip(items, titles, scores, strict=True), 1)
        ]

    def asked(kind: Any, values: dict[str, Any]) -> Any:
        """Return a request of the service with its limits checked."""
        try:
            return msgspec.convert({name: value for name, value in values.items() if value is not None}, kind)
        except msgspec.ValidationError as error:
            raise RequestError("invalid", str(error)) from None

    @server.tool()
    def recommend(
        user: int | str | None = None,
        items: list[int | str] | None = None,
        k: int = 10,
        filter: str | None = None,
        cold_only: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the best items for a user, for someone who has some items, or for a user who has them too.

        `filter` restricts them by attributes, such as "genre = comedy and year >= 1990"; `cold_only` to items
        that nobody had in training. Items that the user has are left out.
        """
        values = {"user": user, "items": items, "k": k, "filter": filter, "cold_only": cold_only}
        with _told(served):
            if items:
                found = served.recommend_for(asked(HistoryRequest, values))
            else:
                found = served.recommend_user(asked(RecommendRequest, values))
        return listed(found.items, found.scores)

    @server.tool()
    def similar(item: int | str, k: int = 10, filter: str | None = None) -> list[dict[str, Any]]:
        """Return the items most similar to an item; the score is the cosine of their vectors."""
        with _told(served):
            found = served.similar(asked(SimilarRequest, {"item": item, "k": k, "filter": filter}))
        return listed(found.items, found.scores)

    @server.tool()
    def explain(user: int | str, item: int | str, top: int = 5) -> dict[str, Any]:
        """Return how much each item of a user's history adds to the score of an item.

        The contributions, `others` (the rest of the history) and `own` (what comes from no item) add up to
        the score exactly.
        """
        values = {"user": user, "candidates": [item], "k": 1, "explain": top, "exclude_seen": False}
        with _told(served):
            found = served.recommend_user(asked(RecommendRequest, values))
            if not found.items or found.explanations is UNSET:
                raise RequestError("unknown-item", f"unknown item {item!r}")
        parts = found.explanations[0]
        names, values_of = zip(*((each.item, each.contribution) for each in parts.because), strict=True)
        because = listed(list(names), list(values_of))
        return {"score": found.scores[0], "because": because, "others": parts.others, "own": parts.own}

    @server.tool()
    def describe() -> dict[str, Any]:
        """Return what the run is: sizes, attributes, settings, test figures by group, the index."""
        return description(served)

    return server


@contextlib.contextmanager
def _told(served: Served) -> Iterator[None]:
    """Count the feedback so far, and tell the assistant in one sentence what is wrong with its request."""
    try:
        served.told.update()
        yield
    except (RequestError, InputError, msgspec.ValidationError) as error:
        raise ToolError(str(error)) from None
