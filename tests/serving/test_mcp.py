"""The tools of the Model Context Protocol give what the recommender gives."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("mcp")

import mcp

from gclrec import Recommender
from gclrec.serving.mcp_tools import tools_of
from gclrec.serving.service import load_served
from tests.recall.folded_run import FoldedRun

from .conftest import BOTH, options_of


def asked(server: object, *calls: tuple[str, dict]) -> list:
    """Return the answers of tools: values, or the text of an error."""

    async def ask() -> list:
        found = []
        async with mcp.Client(server) as client:
            for name, arguments in calls:
                result = await client.call_tool(name, arguments)
                text = "".join(part.text for part in result.content)
                failed = result.is_error
                found.append(text if failed else (result.structured_content or json.loads(text)))
        return [each.get("result", each) if isinstance(each, dict) else each for each in found]

    return asyncio.run(ask())


@BOTH
def test_tools(run: FoldedRun) -> None:
    recommender, ids = Recommender.load(run.path), run.items.ids.to_list()
    user = run.users.ids[3]
    server = tools_of(load_served(options_of(run)))
    listed, by_items, near, why, about = asked(
        server,
        ("recommend", {"user": user, "k": 4}),
        ("recommend", {"items": ids[3:6], "k": 3, "filter": "genres = drama"}),
        ("similar", {"item": ids[7], "k": 2}),
        ("explain", {"user": user, "item": ids[9], "top": 2}),
        ("describe", {}),
    )
    assert [each["item"] for each in listed] == [item for item, _ in recommender.recommend(user, 4)]
    assert listed[0]["title"].startswith("Film ")
    assert len(by_items) == 3
    assert [each["item"] for each in near] == [item for item, _ in recommender.similar_items(ids[7], 2)]
    total = sum(each["score"] for each in why["because"]) + why["others"] + why["own"]
    assert abs(total - why["score"]) < 1e-5
    assert about["attributes"] == ["title", "genres", "year"]


def test_errors_are_one_sentence(run: FoldedRun) -> None:
    server = tools_of(load_served(options_of(run)))
    found = asked(
        server,
        ("recommend", {"user": 10**12}),
        ("recommend", {"user": run.users.ids[1], "filter": "year ="}),
        ("recommend", {"user": run.users.ids[1], "k": 0}),
        ("recommend", {}),
        ("similar", {"item": 10**12}),
        ("explain", {"user": run.users.ids[1], "item": 10**12}),
    )
    expected = ("unknown user", "position 7", ">= 1", "give one of", "unknown item", "unknown item")
    for text, part in zip(found, expected, strict=True):
        assert part in text
        assert "Traceback" not in text


def test_the_command_speaks_over_stdio(run: FoldedRun, tmp_path: Path) -> None:
    command = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "gclrec", "mcp", str(run.path), "--state", str(tmp_path / "state")],
    )
    (listed,) = asked(mcp.stdio_client(command), ("recommend", {"user": run.users.ids[3], "k": 2}))
    assert [each["rank"] for each in listed] == [1, 2]
