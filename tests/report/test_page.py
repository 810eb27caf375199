"""Templates: HTML is escaped, Markdown is not, and nothing that a template reads may be missing."""

from __future__ import annotations

from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from gclrec.report.page import render

MARKDOWN = {"title": "a < b", "about": "60 users & 50 items", "sentences": ["a <b> & c"], "caveats": ["few"]}


def test_markdown_is_plain_text() -> None:
    text = render("comparison.md.j2", **MARKDOWN, tables=[(["x", "y"], [["a|b", "1"]]), ([], [])])
    lines = text.splitlines()
    assert lines[:5] == ["# a < b", "", "60 users & 50 items", "", "- a <b> & c"]
    assert lines[6:9] == ["| x | y |", "| --- | --- |", "| a/b | 1 |"]
    assert "- few" in lines
    assert "\n\n\n" not in text


def test_what_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="tables"):
        render("comparison.md.j2", **MARKDOWN)


def test_a_page_needs_nothing_from_outside() -> None:
    for template in (files("gclrec.report") / "templates").iterdir():
        text = template.read_text(encoding="utf-8")
        for word in ("http:", "https:", "url(", "@import", "<script", "<link", "src="):
            assert word not in text, template.name
