"""docs/how-to/python.md: its blocks run, one after the other, in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")


def test_the_blocks_run_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pandas")
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "docs/how-to/python.md", "exec"), names)
    told = capsys.readouterr().out
    assert "near cold items" in told
    assert "[1, 2, 3, 4, 5, 6]" in told
    assert "epochs, the best was" in told
