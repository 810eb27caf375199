"""docs/attributes.md: its Python runs, and every flag that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gclrec.data.fields import KINDS
from gclrec.encoders import ATTRIBUTE_USES, CONVOLUTIONS
from gclrec.training.config import TrainConfig, flag

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "attributes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL))
def test_its_python_runs(block: str) -> None:
    names: dict[str, object] = {}
    exec(compile(block, "docs/attributes.md", "exec"), names)
    assert "encoder" in names


def test_its_flags_exist_and_every_choice_is_told_of() -> None:
    known = {flag(name) for name in TrainConfig.__dataclass_fields__} | {"--method"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known
    for kind in KINDS:
        assert f"| `{kind}` |" in TEXT
    for use in ATTRIBUTE_USES:
        assert f"## `--attributes {use}`" in TEXT
    for name in CONVOLUTIONS:
        assert f"`--encoder {name}`" in TEXT
