"""docs/how-to/tuning.md: the example runs, the commands plan, names and ranges are the tables'."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from gclrec.cli.tune import app
from gclrec.common.declaration import Around
from gclrec.common.shell import flag
from gclrec.settings.search_space import spans

TUNING = (Path(__file__).resolve().parent.parent / "docs" / "how-to" / "tuning.md").read_text(
    encoding="utf-8"
)
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", TUNING, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("gclrec tune")
]


def test_the_python_example_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TUNING, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/how-to/tuning.md", "exec"), names)
    tuning, run = names["tuning"], names["run"]
    assert len(tuning.trials) == 3
    assert {name: getattr(run.config, name) for name in tuning.best} == tuning.best
    assert run.history["valid/all/recall@20"].max() == tuning.winner.value


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command gets as far as reading its data, with a space that holds together."""

    class Read(Exception):
        """The data is asked for."""

    def read(*_: object) -> None:
        raise Read

    monkeypatch.setattr("gclrec.training.prepare.prepared_dataset", read)
    with pytest.raises(Read):
        app(shlex.split(line)[2:], exit_on_error=False, print_error=False)


def test_the_table_of_ranges_is_that_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(--[a-z0-9-]+)` \| (.*) \|$", TUNING, flags=re.MULTILINE))
    assert list(rows) == [flag(name) for name in spans()]
    for name, axis in spans().items():
        if isinstance(axis, Around):
            expected = f"the method's value divided by {axis.factor:g} to times {axis.factor:g}"
        else:
            expected = f"{axis.low:g} to {axis.high:g}" + (", log scale" if axis.log else "")
        assert rows[flag(name)] == expected
