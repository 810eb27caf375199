"""Attributes, towers and contrasts in docs/: the Python runs, the flags exist, every choice is described."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from gclrec.cli.add_items import add_items
from gclrec.cli.compare import compare
from gclrec.cli.recommend import recommend
from gclrec.cli.train import train
from gclrec.common.shell import flag
from gclrec.contrast import SSL
from gclrec.contrast.cl4srec import HISTORY_VIEWS
from gclrec.contrast.features import FEATURE_VIEWS
from gclrec.data.schema import KINDS
from gclrec.encoders import ATTRIBUTE_USES, CONVOLUTIONS, HISTORIES, MAP, REFINERS
from gclrec.settings.config import TrainConfig

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "how-to" / "attributes.md").read_text(encoding="utf-8")
VECTORS = (DOCS / "concepts" / "attributes.md").read_text(encoding="utf-8")
TOWERS = (DOCS / "concepts" / "towers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL))
def test_its_python_runs(block: str) -> None:
    names: dict[str, object] = {}
    exec(compile(block, "docs/how-to/attributes.md", "exec"), names)
    assert "encoder" in names


def test_its_flags_exist_and_every_choice_is_described() -> None:
    known = {flag(name) for name in TrainConfig.__dataclass_fields__}
    for command in (train, add_items, recommend, compare):
        known |= {flag(name) for name in inspect.signature(command).parameters}
    assert set(re.findall(r"(?<![\w#-])--[a-z][a-z-]+", TEXT + VECTORS)) <= known
    for kind in KINDS:
        assert f"| `{kind}` |" in TEXT
    for use in (*ATTRIBUTE_USES, MAP):
        assert f"| `{use}` |" in TEXT
        assert f"## `--attributes {use}`" in VECTORS
    for name in CONVOLUTIONS:
        assert f"`--encoder {name}`" in TEXT
    for name in FEATURE_VIEWS:
        assert f"| `{name}` |" in VECTORS


def test_towers_describe_every_choice() -> None:
    flags = {flag(name) for name in TrainConfig.__dataclass_fields__} | {"--method"}
    flags |= {flag(name) for name in inspect.signature(recommend).parameters}
    assert set(re.findall(r"(?<![\w#-])--[a-z][a-z-]+", TOWERS)) <= flags
    for name in (*REFINERS, *HISTORIES, *HISTORY_VIEWS):
        assert f"| `{name}` |" in TOWERS


def test_every_contrast_is_described() -> None:
    text = (DOCS / "concepts" / "contrast.md").read_text(encoding="utf-8")
    for name in SSL:
        assert f"`{name}`" in text
