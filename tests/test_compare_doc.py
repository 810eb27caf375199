"""Comparing and cold start in docs/: the examples run, the commands are valid, all names occur."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from gclrec.cli.compare import app
from gclrec.data.splits import SPLITS
from gclrec.evaluation import ITEM_GROUPS, USER_GROUPS

DOCS = Path(__file__).resolve().parent.parent / "docs"
COMPARE = (DOCS / "how-to" / "compare.md").read_text(encoding="utf-8")
COLD = (DOCS / "concepts" / "cold-start.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", COMPARE, flags=re.DOTALL)
    for line in block.splitlines()
]


def test_the_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", COMPARE, flags=re.DOTALL):
        exec(compile(block, "docs/how-to/compare.md", "exec"), names)
    assert capsys.readouterr().out.startswith("# edge_drop against none")
    assert "</html>" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    (p,) = names["p"]
    assert 0 < p <= 1
    estimate = names["estimate"]
    assert estimate.low[0] < estimate.mean[0] < estimate.high[0]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command gets as far as reading its data, with a plan that holds together."""

    class Read(Exception):
        """The data is asked for."""

    def read(*_: object) -> None:
        raise Read

    monkeypatch.setattr("gclrec.training.prepare.prepared_dataset", read)
    words = shlex.split(line)
    assert words[:2] == ["gclrec", "compare"]
    with pytest.raises(Read):
        app(words[2:], exit_on_error=False, print_error=False)


def test_flags_of_the_table_exist(capsys: pytest.CaptureFixture[str]) -> None:
    app(["--help"])
    known = capsys.readouterr().out
    for flag in re.findall(r"^\| `(--[a-z-]+)", COMPARE, flags=re.MULTILINE):
        assert re.search(rf"{flag}\s", known), flag


def test_the_protocol_names_every_group_and_the_cold_splits() -> None:
    for group in (*USER_GROUPS, *ITEM_GROUPS):
        kind, _, side = group.replace("near_cold", "near-cold").partition("_")
        assert kind in COLD
        assert side in COLD
    for name in ("cold_items", "cold_users", "temporal", "given"):
        assert name in SPLITS
        assert f"`{name}`" in COLD
