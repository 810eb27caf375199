"""docs/concepts/augmentations.md: its examples run, and it describes every view."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gclrec.views.views import VIEWS

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "concepts" / "augmentations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", VIEWS)
def test_each_view_has_its_section_and_picture(name: str) -> None:
    section = re.search(rf"\n### {name}\n(.*?)(?=\n##)", TEXT, flags=re.DOTALL)
    assert section, f"no section for {name}"
    (picture,) = re.findall(r"!\[.*?\]\((.*?)\)", section[1])
    assert (DOCS / "concepts" / picture).is_file()
    if name != "none":
        for word in ("https://", "$$", "Keeps", "Destroys", "Cost"):
            assert word in section[1], f"{name}: {word}"


def test_no_section_without_a_view() -> None:
    assert set(re.findall(r"\n### (\w+)\n", TEXT)) == set(VIEWS)


def test_pictures_are_small() -> None:
    for picture in (DOCS / "images" / "augmentations").glob("*.png"):
        assert picture.stem in VIEWS
        assert picture.stat().st_size < 50_000


def test_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/concepts/augmentations.md", "exec"), names)
